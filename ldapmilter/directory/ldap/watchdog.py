"""Cuts connections that overrun their time.

A socket time-out bounds one read; a server that sends one byte a second never trips it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AGAIN = 0.1
"""Seconds after which a connection is cut once more, if its block has not ended."""


class Guarded(Protocol):
    """Anything with a socket; there may be none yet."""

    socket: socket.socket | None


class Watchdog:
    """Ends the wait for connections that overrun their time, from a thread of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Watch by a monotonic clock; the thread starts with the first connection."""
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int]] = []
        self._guarded: dict[int, Guarded] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @contextlib.contextmanager
    def guard(self, connection: Guarded, seconds: float) -> Iterator[None]:
        """Shut the connection's socket down if the block takes longer than so many seconds."""
        number = next(self._numbers)
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._watch, name="ldap-watchdog", daemon=True)
                self._thread.start()
            self._guarded[number] = connection
            heapq.heappush(self._heap, (self._clock() + seconds, number))
            if self._heap[0][1] == number:
                self._changed.notify()  # only a new earliest time needs the thread to wake up
        try:
            yield
        finally:
            with self._changed:
                self._guarded.pop(number, None)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped:
                while self._heap and self._heap[0][1] not in self._guarded:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                wait = self._heap[0][0] - self._clock()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                _, number = heapq.heappop(self._heap)
                connection = self._guarded[number]
                # Until the block ends: what was cut may be about to open another socket.
                heapq.heappush(self._heap, (self._clock() + _AGAIN, number))
                with contextlib.suppress(Exception):
                    if connection.socket is not None:
                        connection.socket.shutdown(socket.SHUT_RDWR)
