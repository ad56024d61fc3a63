"""The parent's sockets beside the milter's: control and metrics, as one configuration wants them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from ldapmilter.daemon.control import ControlServer
from ldapmilter.daemon.listener import listen_unix
from ldapmilter.daemon.metrics_server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.snapshot import Snapshot

_log = logging.getLogger(__name__)

_CONTROL_MODE = 0o660


class SideSockets:
    """What is open; what is the same under two configurations stays open between them."""

    def __init__(self, answer: Callable[[Message], Awaitable[Message]], snapshot: Callable[[], Snapshot]) -> None:
        """Open nothing yet.

        Args:
            answer: answers a request on the control socket.
            snapshot: what the metrics are made of.
        """
        self._answer = answer
        self._snapshot = snapshot
        self._open: dict[tuple[str, object], ControlServer | MetricsServer] = {}
        """By option and value."""

    async def follow(self, config: Config, before_commit: Callable[[], None] = lambda: None) -> None:
        """Open what a configuration wants, and close what it does not.

        Args:
            config: the configuration.
            before_commit: called when all is open; where it raises, nothing changes.

        Raises:
            CannotListen: a socket cannot be opened; nothing has changed then.
        """
        wanted: dict[tuple[str, object], Callable[[], Awaitable[ControlServer | MetricsServer]]] = {}
        if config.control is not None:
            wanted["control", config.control] = partial(self._control, config.control)
        if config.metrics is not None:
            wanted["metrics", config.metrics] = partial(self._metrics, *config.metrics)
        opened: dict[tuple[str, object], ControlServer | MetricsServer] = {}
        try:
            for key, opening in wanted.items():
                if key not in self._open:
                    opened[key] = await opening()
            before_commit()
        except BaseException:
            for socket in opened.values():
                socket.close()
            raise
        for key in self._open.keys() - wanted.keys():
            self._open.pop(key).close()
        self._open.update(opened)

    async def look_after(self, config: Config) -> None:
        """Bind the control socket anew when its name is gone.

        Raises:
            CannotListen: something else has its name, or it cannot be had.
        """
        held = self._open.get(("control", config.control))
        if config.control is None or not isinstance(held, ControlServer) or held.has_its_name():
            return
        self._open["control", config.control] = await self._control(config.control)
        held.close()
        _log.error("the control socket %s was removed: bound anew", config.control)

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()

    async def _control(self, path: Path) -> ControlServer:
        server = ControlServer(self._answer, listen_unix(path, _CONTROL_MODE))
        await server.serve()
        return server

    async def _metrics(self, host: str, port: int) -> MetricsServer:
        # Three megabytes in the parent and in every worker, for a page that few sites have.
        from ldapmilter.daemon.metrics import page  # noqa: PLC0415

        server = MetricsServer(lambda: page(self._snapshot()))
        await server.serve(host, port)
        return server
