"""What the state does not have yet: copies that have just been presented, and ends that the audit has.

Nothing is written to the state for a copy that goes through at once. The audit has its end, and the state takes over
what the audit says of all copies in one step, a moment later. Until then it is remembered here which tokens the state
is behind with: whoever presents one of them again has the state catch up first.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.relay.following import Following
    from ldapmilter.relay.state import RelayState


class Lag:
    """Remembers it; for any number of threads."""

    def __init__(self, following: Following, state: RelayState) -> None:
        """Begin with nothing.

        Args:
            following: has the state catch up with the audit.
            state: what is known of copies.
        """
        self._following = following
        self._state = state
        self._lock = threading.Lock()
        self._presented: dict[str, float] = {}
        self._ended: set[str] = set()
        self._failed = False

    def presented(self, token: str, now: float) -> None:
        """Remember that a copy was presented, at a time (seconds since the epoch)."""
        with self._lock:
            self._presented[token] = now

    def settled(self, token: str) -> None:
        """Forget that a copy was presented: what became of it is recorded, or noted."""
        with self._lock:
            self._presented.pop(token, None)

    def ended(self, token: str) -> None:
        """Remember that the audit has the end of a copy, on disk."""
        with self._lock:
            self._ended.add(token)

    def counts_for(self, token: str) -> bool:
        """Whether the state may be wrong about a copy, or could not be written the last time."""
        return self._failed or token in self._ended

    def catch_up(self) -> None:
        """Have the state catch up, with what is under way besides.

        Raises:
            AuditError: the audit cannot be read.
            StateError: the state cannot be written.
        """
        with self._lock:
            ended, presented = set(self._ended), dict(self._presented)
        try:
            self._following.catch_up()
            if presented:
                self._state.seen_all(presented)
        except Exception:
            self._failed = True
            raise
        self._failed = False
        with self._lock:
            self._ended -= ended
            for token, at in presented.items():
                if self._presented.get(token) == at:
                    del self._presented[token]
