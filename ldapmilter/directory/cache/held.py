"""What the cache holds, and what a flush or a change makes of it; nothing is asked for here.

A search that is on its way meanwhile counts as held: what it finds is compared with the change before it is kept.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.cache.answers import Answers, Outlook, Slot, Statistics
from ldapmilter.directory.cache.flights import Flights
from ldapmilter.directory.cache.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ldapmilter.directory.cache.answers import Judge, Limits
    from ldapmilter.directory.cache.breaker import Flight

_JITTER = 0.1
_AGAIN = 2.0
"""Seconds between two readings of what every change may outdate."""
_TOGETHER = 16
"""So many answers of one search grow old together: they are asked for together again, and share a number."""


class Held:
    """Answers by key, and the searches that are on their way to further ones."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        same: Callable[[Any, Any], bool],
        part: int,
        names_of: Callable[[Hashable, Any], Iterable[Hashable]] | None,
    ) -> None:
        """Hold nothing yet; what is given is what :class:`~ldapmilter.directory.cache.entries.Cache` is made with."""
        self.limits = limits
        self._clock = clock
        self._jitter = jitter
        self._same = same
        self._lock = threading.Lock()
        self._slots = Slots(limits, clock, names_of)
        self._changes = 0
        self._revisions = 0
        self._outdated_at = 0
        """The epoch that the last :meth:`outdate` began."""
        self.statistics = Statistics()
        self._flights = Flights(self._lock, clock, self.statistics, self._keep, part)

    @property
    def changes(self) -> int:
        """How often anything that was held has changed or been forgotten on purpose."""
        return self._changes

    @property
    def epoch(self) -> int:
        """How often anything has been flushed, or was known to have changed."""
        return self._flights.epoch + self._revisions

    def held(self, keys: Iterable[Hashable], *, stale: bool) -> Answers:
        """Return what is in memory, without asking; with ``stale``, also what is past its time to live."""
        answers = Answers()
        with self._lock, self._slots.timer as now:
            for key in keys:
                slot = self._slots.find(key)
                if slot is not None and now < slot.fresh_until:
                    answers.slots[key] = slot
                elif slot is not None and stale and slot.value:
                    answers.slots[key] = slot
                    answers.stale_keys.add(key)
        return answers

    def stands(self, reads: Iterable[Slot], epoch: int) -> bool:
        """Whether none of these answers has changed or been flushed, whatever their age.

        ``epoch`` is :attr:`epoch` before they were read: what has had to make room since is known to
        stand only as long as nothing has been flushed.
        """
        with self._lock, self._slots.timer:
            if epoch < self._outdated_at:
                return False
            if self.epoch != epoch:
                return all(slot.held for slot in reads)
            found = ((slot, self._slots.find(slot.key)) for slot in reads if not slot.held)
            return all(now is None or self._same(before.value, now.value) for before, now in found)

    def current(self, reads: Iterable[Slot]) -> float | None:
        """Return until when all of these answers are fresh, or ``None`` if any is not what the cache holds."""
        now = self._clock()
        until = math.inf
        with self._lock:
            for slot in reads:
                if slot.fresh_until <= now or not slot.held:
                    return None
                until = min(until, slot.fresh_until)
        return until

    def count_hits(self, hits: int) -> None:
        """Count answers that were of use without being asked for: a value that was made from them still stands."""
        with self._lock:
            self.statistics.hits += hits

    def flush(self, forget: Callable[[Hashable, Any], bool] | None = None) -> int:
        """Forget what a predicate on key and value says, or everything; return how many entries.

        Searches that are under way will not fill the cache, and no caller from now on will
        share them.
        """
        with self._lock, self._slots.timer:
            self._flights.disown()
            self._changes += 1
            doomed = [slot.key for slot in self._slots.everything() if forget is None or forget(slot.key, slot.value)]
            for key in doomed:
                del self._slots[key]
        return len(doomed)

    def revise(self, names: Iterable[Hashable], keys: Iterable[Hashable], judge: Judge) -> int:
        """Take over what is known to have changed; return how many answers are another one now, or outdated.

        What may be affected is looked up, not looked for: nothing is gone through.

        Args:
            names: what affected answers can be found by (``names_of``).
            keys: the keys of further ones.
            judge: says of each what becomes of it; also of what is still on its way.
        """
        revised = 0
        with self._lock, self._slots.timer as now:
            concerned = dict.fromkeys((*keys, *(key for name in names for key in self._slots.named(name))))
            held = [slot for key in concerned if (slot := self._slots.peek(key)) is not None]
            verdicts = {slot.key: judge(slot.key, slot.value) for slot in held}
            self._flights.doubt(judge, (key for key in concerned if verdicts.get(key) is not Outlook.SOON))
            for slot in held:
                verdict = verdicts[slot.key]
                if verdict is Outlook.STANDS:
                    continue
                if verdict is Outlook.SOON and now - slot.loaded_at < _AGAIN:
                    slot.fresh_until = min(slot.fresh_until, slot.loaded_at + _AGAIN)
                    self._changes += 1  # what was made from it counts for no longer
                    continue
                revised += 1
                if verdict is Outlook.OUTDATED or verdict is Outlook.SOON:
                    self._outdate(slot, now)
                else:
                    self._slots[slot.key] = Slot(slot.key, verdict, slot.loaded_at, slot.fresh_until)
            if revised:
                self._changes += 1
                self._revisions += 1
        return revised

    def outdate(self) -> int:
        """Let everything be asked for again; served until then only while the directory fails. Return how much."""
        with self._lock, self._slots.timer as now:
            self._flights.disown()
            self._changes += 1
            self._outdated_at = self.epoch
            held = self._slots.everything()
            for slot in held:
                if slot.value:
                    slot.fresh_until = min(slot.fresh_until, now)
                else:
                    del self._slots[slot.key]
        return len(held)

    def _outdate(self, slot: Slot, now: float) -> None:
        if slot.value:  # another slot: what was made from this one does not stand any more
            self._slots[slot.key] = Slot(slot.key, slot.value, slot.loaded_at, min(slot.fresh_until, now))
        else:
            del self._slots[slot.key]

    def values(self) -> list[Any]:
        """Return every value that is held now."""
        return [slot.value for _, slot in self.items()]

    def items(self) -> list[tuple[Hashable, Slot]]:
        """Return every key and slot that is held now."""
        with self._lock:
            return [(slot.key, slot) for slot in self._slots.everything()]

    def __len__(self) -> int:
        """Return the number of entries held."""
        with self._lock:
            return len(self._slots)

    # -- what searches find -----------------------------------------------------------------

    def _keep(self, keys: list[Hashable], loaded: Mapping[Hashable, Any], flight: Flight) -> dict[Hashable, Slot]:
        """Make slots of what was loaded, and keep those that neither a flush nor a change has overtaken."""
        slots: dict[Hashable, Slot] = {}
        may_fill = self._flights.may_fill(flight)
        with self._slots.timer as now:
            for number, key in enumerate(keys):
                if number % _TOGETHER == 0:
                    absent_until, found_until = self._fresh_until(now)
                value = loaded.get(key)
                until = found_until if value else absent_until
                verdicts = [judge(key, value) for judge in flight.doubts]
                keep = may_fill and all(one is Outlook.STANDS or one is Outlook.SOON for one in verdicts)
                if Outlook.SOON in verdicts:
                    until = min(until, now + _AGAIN)
                before = self._slots.find(key)
                if keep and before is not None and self._same(before.value, value):
                    before.loaded_at, before.fresh_until = now, until
                    slot = before
                else:
                    slot = Slot(key if before is None else before.key, value, now, until)
                    self._changes += keep and before is not None
                slots[key] = slot
                if keep:
                    self._slots[slot.key] = slot  # put in anew: it is of use for longer
        return slots

    def _fresh_until(self, now: float) -> tuple[float, float]:
        """Return until when a new answer counts: that something is absent, and that it is there."""
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        return now + spread * min(self.limits.negative_ttl, self.limits.ttl), now + spread * self.limits.ttl
