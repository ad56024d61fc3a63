"""A directory that hangs is found out once, not by every message for itself.

As long as a search may be answered, it is worth its whole deadline. Once one has failed that way and
none has succeeded for a while, the next callers wait for a moment only, so that sessions do not
queue up behind each other's deadlines; meanwhile a search or two go on with all their time, and the
first that succeeds makes everything as it was.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import TYPE_CHECKING

from msgspec import Struct, field

from ldapmilter.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from ldapmilter.directory.cache.answers import Judge, Slot

PATIENCE = 0.5
"""Seconds that are worth waiting while the directory answers too slowly."""
_SILENCE = 2.0
"""Seconds without an answer, at least, before a search that failed proves anything: one may be slow."""
_PROBES = 3
"""Searches that may go on at once."""
_PROBE_EVERY = 1.0
"""Seconds between the beginnings of two of them."""


class Flight(Struct):
    """One search on its way, for some keys, and the callers that wait for it."""

    epoch: int
    began: float
    future: Future[Mapping[Hashable, Slot]] = field(default_factory=Future)
    doubts: list[Judge] = field(default_factory=list)
    """What has changed in the directory meanwhile: it may have been answered before."""

    def patience(self, now: float) -> float:
        """Return for how many seconds it is still worth waiting, when little is."""
        return max(0.0, self.began + PATIENCE - now)


class Breaker:
    """Whether the directory answers too slowly. Not for several threads at once."""

    def __init__(self) -> None:
        """Trust the directory."""
        self.failure = ""
        """What the last search failed by, in words."""
        self._open = False
        self._answered_at = -math.inf
        self._probes: list[Flight] = []

    @property
    def is_open(self) -> bool:
        """Whether waiting is hardly worth it now."""
        return self._open

    def holds_back(self, now: float) -> Flight | None:
        """Return the search to wait for a moment for, or ``None``: the asker may search."""
        if not self._open:
            return None
        self._probes = [probe for probe in self._probes if not probe.future.done()]
        if not self._probes:
            return None
        newest = self._probes[-1]
        may_probe = len(self._probes) < _PROBES and now - newest.began >= _PROBE_EVERY
        return None if may_probe else newest

    def took_off(self, flight: Flight) -> None:
        """Take note of a search that begins: while waiting is hardly worth it, few do."""
        if self._open:
            self._probes.append(flight)

    def succeeded(self, now: float) -> None:
        """Take note of an answer."""
        self._open = False
        self._answered_at = now
        self._probes.clear()

    def failed(self, flight: Flight, error: BaseException | None, now: float) -> None:
        """Take note of a failure; one that came at once made no caller wait."""
        self.failure = str(error)
        slow = isinstance(error, DeadlineExceeded) or now - flight.began >= PATIENCE
        if slow and now - self._answered_at >= _SILENCE:
            self._open = True
