"""Which connections and messages a worker has in flight, and waiting for the messages at its end."""

from __future__ import annotations

import threading
import time


class InFlight:
    """Connections and messages of one worker.

    Messages are counted by epoch: a caller that waits begins a new one, and so waits only for those that
    were in flight then.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.sessions = 0
        """How many connections are open."""
        self._messages: dict[int, int] = {0: 0}
        """By epoch."""
        self._epoch = 0
        self._lock = threading.Lock()

    def session_began(self) -> None:
        """Count a connection."""
        with self._lock:
            self.sessions += 1

    def session_ended(self) -> None:
        """Count a connection that is closed."""
        with self._lock:
            self.sessions -= 1

    def message_began(self) -> int:
        """Count a message in flight; return its epoch, for :meth:`message_ended`."""
        with self._lock:
            self._messages[self._epoch] += 1
            return self._epoch

    def message_ended(self, epoch: int) -> None:
        """Count a message that is through."""
        with self._lock:
            self._messages[epoch] -= 1

    @property
    def messages(self) -> int:
        """How many messages are in flight."""
        return sum(self._messages.values())

    def wait_for_messages(self, seconds: float, pause: float = 0.02) -> int:
        """Wait for the messages that are in flight now, not for those that begin later.

        Returns:
            how many of them were not through in time.
        """
        with self._lock:
            epoch, self._epoch = self._epoch, self._epoch + 1
            self._messages[self._epoch] = 0
        deadline = time.monotonic() + seconds
        while self._messages[epoch] > 0 and time.monotonic() < deadline:
            time.sleep(pause)
        # The last callback has returned; libmilter still has to write what it said.
        time.sleep(min(3 * pause, seconds))
        return self._messages[epoch]
