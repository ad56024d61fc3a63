"""Hangs up on every connection at once while no worker serves.

A connection in the queue of a socket that no process accepts from waits for ever. Postfix takes the end
of a connection for a milter that is not there (``milter_default_action``), and tries again with the
next message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_AT_ONCE = 64
"""Connections that are taken before anything else has its turn."""
_PAUSE = 1.0


class TurnAway:
    """Accepts and hangs up, while it is told to."""

    def __init__(self) -> None:
        """Do nothing yet."""
        self._on: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None

    def begin(self, listening: socket.socket) -> None:
        """Hang up on every connection to a socket (and to no other)."""
        if self._on is not listening:
            self.end()
            self._on = listening
            self._watch()

    def end(self) -> None:
        """Leave the connections to the workers."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._on is not None:
            asyncio.get_running_loop().remove_reader(self._on)
            self._on = None

    def _watch(self) -> None:
        self._again = None
        if self._on is not None and self._on.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._on, self._hang_up)

    def _hang_up(self) -> None:
        for _ in range(_AT_ONCE):
            if self._on is None:
                return
            try:
                self._on.accept()[0].close()
            except BlockingIOError:
                return
            except OSError:
                # No descriptor is left, say: it would be tried again without end.
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._on)
                self._again = loop.call_later(_PAUSE, self._watch)
                return
