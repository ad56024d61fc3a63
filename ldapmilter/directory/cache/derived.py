"""What is worked out from cached answers, kept for exactly as long as those answers stand.

Who is on a list, or what the chains of its members ask for, costs far more to work out than to
look up. Every derived value remembers which answers it was made from, in which generation; when
one of them changes, is flushed or grows old, the value is worked out again. So a changed or flushed
COS acts at once for all its accounts.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from ldapmilter.directory.cache.answers import Slot
    from ldapmilter.directory.cache.held import Held

_REFRESH_AFTER = 0.8
_READS_PER_ENTRY = 4
_MOST_COMBINATIONS = 1024


class Remembered(Struct, eq=False, gc=False):
    """A derived value with what it was made from."""

    value: Any
    first: Slot | None
    """Of the answers that it was made from, the first that is its own: most have one."""
    further: tuple[Slot, ...]
    """The others."""
    changes: int
    """The cache's count of changes when the reads were last known to stand."""
    refresh_at: float
    """When one caller has to work it out again, ahead of its expiry; ``fresh_until``: one does, or none has to."""
    fresh_until: float
    count: int = 0
    """How many answers it was made from."""

    def __post_init__(self) -> None:
        """Count once what every message counts."""
        self.count = len(self.further) + (self.first is not None)

    @property
    def reads(self) -> tuple[Slot, ...]:
        """The answers that it was made from."""
        return self.further if self.first is None else (self.first, *self.further)

    def weight(self) -> int:
        """Return what it costs to keep, in answers."""
        return len(self.further) + 2


class Derived:
    """Derived values by key, bounded by the number of answers that they were made from."""

    def __init__(
        self, cache: Held, clock: Callable[[], float], is_shared: Callable[[Hashable], bool] = lambda _key: False
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
        self._values: LRUCache[Hashable, Remembered] = LRUCache(
            _READS_PER_ENTRY * cache.limits.max_entries, Remembered.weight
        )

    @property
    def changes(self) -> int:
        """The cache's count of changes: take it before the first read of a value."""
        return self._cache.changes

    def recall(
        self, keys: Collection[Hashable], due: set[Hashable] | None = None, lasting: float = 0.0
    ) -> dict[Hashable, Remembered]:
        """Return the values that still stand; the others have to be worked out (again).

        Of those who ask for a value that is about to grow old, one is told to work it out again:
        that reads, and so refreshes, the answers that it was made from. The others still get it. Told means left
        out, or in ``due``, where that is given. What does not last for so many seconds more is left out, too.
        """
        now = self._clock()
        lasts = now + lasting
        recalled: dict[Hashable, Remembered] = {}
        hits = 0
        with self._lock:
            changes, look_up = self._cache.changes, self._values.__getitem__
            for key in keys:
                try:  # get() takes twice the time
                    found = look_up(key)
                except KeyError:
                    continue
                if found.fresh_until < lasts:
                    continue
                if found.changes != changes or now >= found.refresh_at:
                    if not self._still_stands(key, found, now):
                        continue
                    if found.refresh_at <= now < found.fresh_until:
                        found.refresh_at = found.fresh_until
                        if due is None:
                            continue
                        due.add(key)
                recalled[key] = found
                hits += found.count
        if hits:
            self._cache.count_hits(hits)
        return recalled

    def _still_stands(self, key: Hashable, found: Remembered, now: float) -> bool:
        changes = self._cache.changes
        until = self._cache.current(found.reads)
        if until is None:
            del self._values[key]
            return False
        found.changes = changes
        if until > found.fresh_until:
            found.refresh_at, found.fresh_until = _refresh_at(now, until), until
        elif until < found.fresh_until:
            found.refresh_at, found.fresh_until = min(found.refresh_at, until), until
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
        if until is None:
            return
        with self._lock:
            before = self._values.get(key)
            # Whoever was told to work it out, and found nothing newer, does not tell the next one.
            told = before is not None and before.refresh_at == before.fresh_until >= until
            refresh_at = until if told else _refresh_at(self._clock(), until)
            made = Remembered(value, *self._split(reads), changes, refresh_at, until)
            if made.weight() <= self._values.maxsize:
                self._values[key] = made

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
