"""What is worked out from cached answers, kept for exactly as long as those answers stand.

Who is behind a list, or what the chains of its members ask for, costs far more to work out than to
look up. Every derived value remembers which answers it was made from, in which generation; when
one of them changes, is flushed or grows old, the value is worked out again. So a changed or flushed
COS acts at once for all its accounts.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from ldapmilter.directory.cache import Cache

_REFRESH_AFTER = 0.8
_READS_PER_ENTRY = 4


@dataclass(slots=True)
class Remembered:
    """A derived value with what it was made from."""

    value: Any
    reads: Mapping[Hashable, int]
    """Cache keys and the generations they had."""
    changes: int
    """The cache's count of changes when the reads were last known to stand."""
    refresh_at: float
    fresh_until: float
    refreshing: bool = False


class Derived:
    """Derived values by key, bounded by the number of answers that they were made from."""

    def __init__(self, cache: Cache, clock: Callable[[], float]) -> None:
        """Keep values made from a few times as many answers as the cache may hold."""
        self._cache = cache
        self._clock = clock
        self._lock = threading.Lock()
        self._values: LRUCache[Hashable, Remembered] = LRUCache(
            maxsize=_READS_PER_ENTRY * cache.limits.max_entries, getsizeof=lambda remembered: len(remembered.reads) + 1
        )

    @property
    def changes(self) -> int:
        """The cache's count of changes: take it before the first read of a value."""
        return self._cache.changes

    def recall(self, key: Hashable) -> Remembered | None:
        """Return a value that still stands, or ``None``: it has to be worked out (again).

        Of those who ask for a value that is about to grow old, one is told to work it out again:
        that reads, and so refreshes, the answers behind it. The others still get it.
        """
        now = self._clock()
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            if found.changes == self._cache.changes and now < found.refresh_at:
                return found
            changes = self._cache.changes
            until = self._cache.current(found.reads)
            if until is None:
                del self._values[key]
                return None
            found.changes = changes
            if until > found.fresh_until:
                found.refresh_at, found.fresh_until, found.refreshing = _refresh_at(now, until), until, False
            elif now >= found.refresh_at and not found.refreshing:
                found.refreshing = True
                return None
            return found

    def remember(self, key: Hashable, value: object, reads: Mapping[Hashable, int], changes: int) -> None:
        """Keep a value.

        Args:
            key: what it is asked for by.
            value: the value.
            reads: the answers that it was made from.
            changes: :attr:`changes` before the first of them was read.
        """
        until = self._cache.current(reads)
        if until is None:
            return
        with self._lock:
            before = self._values.get(key)
            refreshing = before is not None and before.refreshing and before.fresh_until >= until
            if len(reads) < self._values.maxsize:
                self._values[key] = Remembered(
                    value, reads, changes, _refresh_at(self._clock(), until), until, refreshing
                )


def _refresh_at(now: float, until: float) -> float:
    return until if math.isinf(until) else now + _REFRESH_AFTER * (until - now)
