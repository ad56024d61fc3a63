"""The cache in front of the directory: what is asked for once is free until it is old.

Four promises, in this order:

* Nothing past its time to live is served while the directory answers.
* One search per key, however many sessions wait for it: they share the result, or the failure. Many
  keys are fetched in parts, each of which is there for all callers as soon as it is answered.
* A search that began before a flush never fills the cache after it, nor before a change that was told.
* No lock is held while the network is waited for, and no caller waits past its deadline.

While the directory fails, an entry up to ``stale_ttl`` old may be served; "there is no such entry"
never is, since the account may have been made a minute ago.
"""

from __future__ import annotations

import math
import operator
import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.cache.answers import Answers, Limits, Outlook, Slot, Statistics
from ldapmilter.directory.cache.flights import Flights, Load
from ldapmilter.directory.cache.slots import Slots
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

    from ldapmilter.directory.backend.store import Deadline
    from ldapmilter.directory.cache.answers import Judge
    from ldapmilter.directory.cache.breaker import Flight

__all__ = ["Cache", "Limits", "Load"]

_JITTER = 0.1
_TOGETHER = 16
"""So many answers of one search grow old together: they are asked for together again, and share a number."""
_REFRESH_AFTER = 0.8
"""Share of the time to live after which a key that is still asked for is fetched again."""
_RENEW_AFTER = 0.5
"""The same for what is read by the thousand: it should not have to be read again in a moment."""


@dataclass(slots=True)
class _Need:
    """What a question does not find fresh in memory."""

    missing: list[Hashable] = field(default_factory=list)
    waiting: dict[Hashable, Flight] = field(default_factory=dict)
    """Keys that another caller is asking for already."""
    stale: dict[Hashable, Slot] = field(default_factory=dict)
    """Answers past their time to live."""
    aging: list[Hashable] = field(default_factory=list)
    """Fresh still, but not for long."""


class Cache:
    """Values by key, each fetched by a loader and kept for its time to live."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        submit: Callable[[Callable[[], None]], None],
        jitter: Callable[[], float] = random.random,
        same: Callable[[Any, Any], bool] = operator.eq,
        part: int = 200,
        names_of: Callable[[Hashable, Any], Iterable[Hashable]] | None = None,
    ) -> None:
        """Make an empty cache.

        Args:
            limits: times to live and size.
            clock: monotonic seconds.
            submit: runs a function on a thread that may wait for the network.
            jitter: numbers in [0, 1), to spread expiry.
            same: whether a fetched value says the same as the one before.
            part: so many keys are fetched in one go.
            names_of: what a key and its value can be found by when something changes; ``None``: nothing is looked for.
        """
        self.limits = limits
        self._clock = clock
        self._submit = submit
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

    def get_many(
        self,
        keys: Collection[Hashable],
        load: Load,
        deadline: Deadline,
        *,
        past_negative: bool = False,
        here: bool = False,
    ) -> Answers:
        """Return the value of every key, from memory or from the directory.

        Args:
            keys: what is asked for.
            load: fetches the keys that are missing, all in one call.
            deadline: when to stop waiting; a later answer still fills the cache.
            past_negative: whether to ask again for keys that are known to be absent.
            here: whether this thread may wait for the network itself; what is old, but counts still, is
                then fetched anew, too.
        """
        answers = Answers()
        flights = self._flights
        with self._lock, self._slots.timer as now:  # the time stands still meanwhile
            need = self._sort(keys, answers, now, past_negative=past_negative, renew=here)
            if not (need.missing or need.waiting or need.aging):
                return answers
            probe = flights.holds_back(now) if need.missing else None
            mine = need.missing if probe is None else []
            refresh = [] if flights.hardly_worth_it else need.aging
            own = flights.take_off(mine, now)
            refreshing = flights.take_off(refresh, now)
            self.statistics.refreshed += len(refresh)
        if mine:
            flights.start(own, load, deadline, _at_once if here else self._submit)
            need.waiting.update((key, flight) for part, flight in own for key in part)
        if refresh:
            flights.start(refreshing, load, deadline, self._submit)
        self._collect(need, deadline, answers)
        if probe is None:
            return answers
        if flights.is_back(probe, deadline):
            answers.add(self.get_many(need.missing, load, deadline, past_negative=past_negative, here=here))
        else:
            error = flights.held_back()
            for key in need.missing:
                self._fall_back(key, need, error, answers)
        return answers

    def _sort(
        self, keys: Collection[Hashable], answers: Answers, now: float, *, past_negative: bool, renew: bool
    ) -> _Need:
        """Take what is fresh from memory; return the rest."""
        need = _Need()
        for key in keys:
            slot = self._slots.find(key)
            flight = self._flights.find(key)
            if (
                slot is not None
                and now < slot.fresh_until
                and (slot.value or not past_negative)
                and not (renew and self._is_aging(slot, now, _RENEW_AFTER))
            ):
                answers.slots[key] = slot
                if slot.value and flight is None and self._is_aging(slot, now):
                    need.aging.append(key)
                continue
            if slot is not None and slot.value:
                need.stale[key] = slot
            if flight is None:
                need.missing.append(key)
            else:
                need.waiting[key] = flight
        self.statistics.hits += len(answers.slots)
        self.statistics.misses += len(need.missing) + len(need.waiting)
        return need

    def _is_aging(self, slot: Slot, now: float, share: float = _REFRESH_AFTER) -> bool:
        return now - slot.loaded_at > share * (slot.fresh_until - slot.loaded_at)

    def _collect(self, need: _Need, deadline: Deadline, answers: Answers) -> None:
        for key, flight in need.waiting.items():
            try:
                answers.slots[key] = self._flights.result(key, flight, deadline, has_stale=key in need.stale)
            except DirectoryUnavailable as error:
                self._fall_back(key, need, error, answers)

    def _fall_back(self, key: Hashable, need: _Need, error: DirectoryUnavailable, answers: Answers) -> None:
        """Take an answer past its time to live, or else note the failure."""
        slot = need.stale.get(key)
        if slot is not None and self._clock() < self._slots.useful_until(slot):
            answers.slots[key] = slot
            answers.stale_keys.add(key)
            self.statistics.stale += 1
        else:
            answers.failures[key] = error

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
                keep = may_fill and all(judge(key, value) is Outlook.STANDS for judge in flight.doubts)
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
            self._flights.doubt(judge, concerned)
            for key in concerned:
                slot = self._slots.peek(key)
                if slot is None or (verdict := judge(slot.key, slot.value)) is Outlook.STANDS:
                    continue
                revised += 1
                if verdict is Outlook.OUTDATED:
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


def _at_once(work: Callable[[], None]) -> None:
    work()
