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

from ldapmilter.directory.bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from ldapmilter.directory.answers import Slot
    from ldapmilter.directory.cache import Cache

_REFRESH_AFTER = 0.8
_READS_PER_ENTRY = 4
_MOST_COMBINATIONS = 1024


@dataclass(slots=True, eq=False)
class Remembered:
    """A derived value with what it was made from."""

    value: Any
    first: Slot | None
    """Of the answers that it was made from, the first that is its own: most have one."""
    further: tuple[Slot, ...]
    """The others."""
    changes: int
    """The cache's count of changes when the reads were last known to stand."""
    refresh_at: float
    """When somebody has to work it out again; as ``fresh_until``: somebody does, or nobody has to."""
    fresh_until: float

    @property
    def reads(self) -> tuple[Slot, ...]:
        """The answers that it was made from."""
        return self.further if self.first is None else (self.first, *self.further)


class Derived:
    """Derived values by key, bounded by the number of answers that they were made from."""

    def __init__(
        self, cache: Cache, clock: Callable[[], float], is_shared: Callable[[Hashable], bool] = lambda _key: False
    ) -> None:
        """Keep values made from a few times as many answers as the cache may hold.

        Args:
            cache: where the answers are.
            clock: the cache's.
            is_shared: whether an answer is one that many values are made from, by its key: which of
                those a value was made from is kept once for all values.
        """
        self._cache = cache
        self._is_shared = is_shared
        self._combinations: dict[tuple[Slot, ...], tuple[Slot, ...]] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._values: Bounded[Hashable, Remembered] = Bounded(
            _READS_PER_ENTRY * cache.limits.max_entries, lambda remembered: len(remembered.further) + 2
        )

    @property
    def changes(self) -> int:
        """The cache's count of changes: take it before the first read of a value."""
        return self._cache.changes

    def recall(self, keys: Collection[Hashable]) -> dict[Hashable, Remembered]:
        """Return the values that still stand; the others have to be worked out (again).

        Of those who ask for a value that is about to grow old, one is told to work it out again:
        that reads, and so refreshes, the answers behind it. The others still get it.
        """
        now = self._clock()
        recalled: dict[Hashable, Remembered] = {}
        hits = 0
        with self._lock:
            changes, values = self._cache.changes, self._values
            for key in keys:
                found = values.get(key)
                if found is None:
                    continue
                if (found.changes == changes and now < found.refresh_at) or self._still_stands(key, found, now):
                    recalled[key] = found
                    hits += len(found.further) + (found.first is not None)
        if hits:
            self._cache.count_hits(hits)
        return recalled

    def _still_stands(self, key: Hashable, found: Remembered, now: float) -> bool:
        changes = self._cache.changes
        until = self._cache.current(found.reads)
        if until is None:
            self._values.drop(key)
            return False
        found.changes = changes
        if until > found.fresh_until:
            found.refresh_at, found.fresh_until = _refresh_at(now, until), until
        elif found.refresh_at <= now:
            found.refresh_at = found.fresh_until
            return False
        return True

    def remember(self, key: Hashable, value: object, reads: Collection[Slot], changes: int) -> None:
        """Keep a value.

        Args:
            key: what it is asked for by.
            value: the value.
            reads: the answers that it was made from.
            changes: :attr:`changes` before the first of them was read.
        """
        until = self._cache.current(reads)
        if until is None or len(reads) >= self._values.bound:
            return
        with self._lock:
            before = self._values.get(key)
            # Whoever was told to work it out, and found nothing newer, does not tell the next one.
            told = before is not None and before.refresh_at == before.fresh_until >= until
            refresh_at = until if told else _refresh_at(self._clock(), until)
            self._values.put(key, Remembered(value, *self._split(reads), changes, refresh_at, until))

    def _split(self, reads: Collection[Slot]) -> tuple[Slot | None, tuple[Slot, ...]]:
        own = [slot for slot in reads if not self._is_shared(slot.key)]
        further = (*own[1:], *(slot for slot in reads if self._is_shared(slot.key)))
        if len(own) <= 1:
            if len(self._combinations) >= _MOST_COMBINATIONS:
                self._combinations.clear()
            further = self._combinations.setdefault(further, further)
        return own[0] if own else None, further


def _refresh_at(now: float, until: float) -> float:
    return until if math.isinf(until) else now + _REFRESH_AFTER * (until - now)
