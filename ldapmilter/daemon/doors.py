"""The parent's doors: the control socket and the metrics port, as one configuration wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.daemon.control import ControlServer
from ldapmilter.daemon.listener import listen_unix
from ldapmilter.daemon.metrics_server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message

_CONTROL_MODE = 0o660


class Doors:
    """What is open; one that is the same under two configurations stays open between them."""

    def __init__(self, answer: Callable[[Message], Awaitable[Message]], page: Callable[[], bytes]) -> None:
        """Nothing is open yet.

        Args:
            answer: answers a request on the control socket.
            page: makes the metrics.
        """
        self._answer = answer
        self._page = page
        self._control: tuple[Path, ControlServer] | None = None
        self._metrics: tuple[tuple[str, int], MetricsServer] | None = None

    async def follow(self, config: Config) -> Doors:
        """Return the doors of a configuration; those of before stay as they are until closed.

        Raises:
            CannotListen: one of them cannot be opened; nothing has changed then.
        """
        new = Doors(self._answer, self._page)
        new._control, new._metrics = self._control, self._metrics
        try:
            await new._open(config)
        except BaseException:
            new.close_but(self)
            raise
        return new

    async def _open(self, config: Config) -> None:
        if config.control is None:
            self._control = None
        elif self._control is None or self._control[0] != config.control:
            self._control = None
            control = ControlServer(self._answer, listen_unix(config.control, _CONTROL_MODE))
            self._control = (config.control, control)
            await control.serve()
        if config.metrics is None:
            self._metrics = None
        elif self._metrics is None or self._metrics[0] != config.metrics:
            self._metrics = None
            metrics = MetricsServer(self._page)
            await metrics.serve(*config.metrics)
            self._metrics = (config.metrics, metrics)

    def close_but(self, kept: Doors | None = None) -> None:
        """Close what is open here and not kept there."""
        if self._control is not None and (kept is None or kept._control != self._control):  # noqa: SLF001
            self._control[1].close()
        if self._metrics is not None and (kept is None or kept._metrics != self._metrics):  # noqa: SLF001
            self._metrics[1].close()
