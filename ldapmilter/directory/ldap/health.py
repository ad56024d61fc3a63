"""Whether a server answers: its last outcome counts until there is a new one.

Where no mail comes, no request is sent. So a server that has not been asked for a while is asked something
cheap, and one that fails a little sooner.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from ldapmilter.directory.backend.store import ServerState

QUIET: Final = 10.0
"""Seconds without an outcome after which a server that answers is asked."""
AGAIN: Final = 3.0
"""The same for one that fails."""


class Health(Struct):
    """The outcomes of one server's searches. Not for several threads at once."""

    answered_at: float | None = None
    """When it last answered anything, in monotonic seconds."""
    failing_since: float | None = None
    """Since when it has not answered: what was asked then was the first to fail; ``None``: it answers."""
    failure: str = ""
    """What went wrong last, in words."""
    confirmed: bool = False
    """Whether it failed once more after the first failure was known: one search alone may be slow."""
    _known_at: float = field(default=math.inf)
    _heard_at: float = field(default=-math.inf)

    def answered(self, now: float) -> None:
        """Take note of an answer."""
        self.answered_at = self._heard_at = now
        self.failing_since, self.failure, self.confirmed = None, "", False

    def failed(self, asked_at: float, now: float, failure: str) -> None:
        """Take note of a failure of what was asked at some time."""
        self._heard_at, self.failure = now, failure
        if self.failing_since is None:
            self.failing_since = asked_at if self.answered_at is None else max(asked_at, self.answered_at)
            self._known_at = now
            self.confirmed = self.answered_at is None  # it has never answered: there is nothing to go back to
        elif asked_at >= self._known_at:
            self.confirmed = True

    def is_quiet(self, now: float) -> bool:
        """Whether there has been no outcome for so long that one has to be asked for."""
        return now - self._heard_at >= (QUIET if self.failing_since is None else AGAIN)

    def state(self, unreadable: str | None) -> ServerState:
        """Return how it is now; ``unreadable`` says what policy may not be read there."""
        known = self.failing_since is not None or self.answered_at is not None
        return {
            "up": self.failing_since is None if known else None,
            "answered_at": self.answered_at,
            "failing_since": self.failing_since,
            "confirmed": self.confirmed,
            "failure": self.failure,
            "unreadable": unreadable,
        }
