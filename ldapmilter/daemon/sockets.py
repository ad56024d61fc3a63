"""The parent's sockets: bound anew when their name is gone, hung up on while no worker serves, closed at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from ldapmilter.daemon.listener import CannotListen, listen
from ldapmilter.daemon.side_sockets import SideSockets
from ldapmilter.daemon.turn_away import TurnAway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.fleet import Fleet
    from ldapmilter.daemon.snapshot import Snapshot

_log = logging.getLogger(__name__)

_NO_WORKER_SECONDS = 5.0
"""For which a client may wait for the first worker, or for the successor of one."""


class Sockets:
    """The milter's socket, which the workers accept from, and those that the parent serves itself."""

    def __init__(
        self, fleet: Fleet, answer: Callable[[Message], Awaitable[Message]], snapshot: Callable[[], Snapshot]
    ) -> None:
        """Prepare; :meth:`open` opens what is not open.

        Args:
            fleet: has the milter's socket.
            answer: answers a request on the control socket.
            snapshot: what the metrics are made of.
        """
        self.rebound_at: float | None = None
        """When the milter's socket was last bound anew: seconds since the epoch."""
        self._fleet = fleet
        self._side_sockets = SideSockets(answer, snapshot)
        self._turn_away = TurnAway()
        self._unreachable: dict[str, str] = {}
        """By socket: why clients cannot connect to it."""
        self._changing = asyncio.Lock()
        """Held by the task that changes which sockets are open."""

    async def open(self, config: Config) -> None:
        """Open control and metrics.

        Raises:
            CannotListen: one of them cannot be opened; the milter's socket is closed then.
        """
        try:
            await self._side_sockets.follow(config)
        except CannotListen:
            self._fleet.listener.close()
            raise

    async def follow(self, config: Config, before: Config) -> None:
        """Have the sockets that another configuration wants, with its permissions.

        Raises:
            CannotListen: that cannot be; nothing has changed then.
        """

        def permit() -> None:
            if _permissions(config) != _permissions(before):
                self._fleet.listener.permit(config.milter)

        async with self._changing:
            await self._side_sockets.follow(config, permit)

    def close(self) -> None:
        """Close control and metrics; the fleet closes the milter's socket."""
        self._turn_away.end()
        self._side_sockets.close()

    def no_worker_serves(self) -> bool:
        """Tell whether no worker has taken connections for longer than a client may wait."""
        return self._fleet.none_serves(_NO_WORKER_SECONDS)

    def answer_for_workers(self) -> None:
        """Hang up on connections while no worker takes them from the queue."""
        if self.no_worker_serves():
            self._turn_away.begin(self._fleet.listener.socket)
        else:
            self._turn_away.end()

    async def look_after(self, config: Config) -> None:
        """Bind a socket anew whose name is gone; leave alone what has its name instead."""
        async with self._changing:
            self._unreachable = {}
            try:
                if not self._fleet.listener.has_its_name():
                    self._turn_away.end()
                    await self._fleet.listen_on(listen(config.milter))
                    self.rebound_at = time.time()
                    _log.error("the socket %s was removed, so that no mail came: bound anew", config.milter.socket)
            except CannotListen as error:
                self._unreachable["milter"] = str(error)
            try:
                await self._side_sockets.look_after(config)
            except CannotListen as error:
                self._unreachable["control"] = str(error)

    def problems(self) -> list[str]:
        """Return what keeps clients out, a line each."""
        found = [_lost(name, text) for name, text in self._unreachable.items()]
        if self.no_worker_serves():
            found.append("no worker serves: connections are refused")
        return found


def _permissions(config: Config) -> tuple[int, str]:
    return config.milter.socket_mode, config.milter.socket_group


def _lost(name: str, text: str) -> str:
    """Return the line about a socket whose path is gone or taken."""
    return f"the {name} socket is not found under its name any more, and cannot be bound anew: {text}"
