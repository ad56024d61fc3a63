"""The cache in front of the directory: what is asked for once is free until it is old.

Four promises, in this order:

* Nothing past its time to live is served while the directory answers.
* One search per key, however many sessions wait for it: they share the result, or the failure.
* A search that began before a flush never fills the cache after it.
* No lock is held while the network is waited for, and nobody waits past their deadline.

While the directory fails, an entry up to ``stale_ttl`` old may be served; "there is no such entry"
never is, since the account may have been made a minute ago.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cachetools import TLRUCache

from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable

if TYPE_CHECKING:
    from ldapmilter.directory.store import Deadline

_JITTER = 0.1
_PATIENCE = 0.5
_REFRESH_AFTER = 0.8
"""Share of the time to live after which a key that is still asked for is fetched again."""


Load = Callable[[Collection[Hashable], "Deadline"], Mapping[Hashable, Any]]
"""Fetches keys from the directory by a deadline; an absent key maps to an empty value or is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much: ``[cache]``, seconds and entries."""

    ttl: float = 300
    negative_ttl: float = 60
    stale_ttl: float = 86400
    max_entries: int = 100_000


@dataclass(frozen=True, slots=True)
class Slot:
    """One answer and how long it counts."""

    value: Any
    generation: int
    """Changes when the answer does: a fetch that finds the same keeps it."""
    loaded_at: float
    fresh_until: float
    drop_at: float


@dataclass(slots=True)
class _Flight:
    """One search on its way, for some keys, and everybody who waits for it."""

    epoch: int
    future: Future[Mapping[Hashable, Slot]] = field(default_factory=Future)


@dataclass(slots=True)
class Statistics:
    """Counts since start."""

    hits: int = 0
    misses: int = 0
    stale: int = 0
    refreshed: int = 0
    failures: int = 0


@dataclass(slots=True)
class Answers:
    """What :meth:`Cache.get_many` found out."""

    slots: dict[Hashable, Slot] = field(default_factory=dict)
    stale_keys: set[Hashable] = field(default_factory=set)
    """Keys whose answer is past its time to live: the directory failed."""
    failures: dict[Hashable, DirectoryUnavailable] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """Whether any answer is past its time to live."""
        return bool(self.stale_keys)

    @property
    def values(self) -> dict[Hashable, Any]:
        """The value of every key that has one, fresh or stale."""
        return {key: slot.value for key, slot in self.slots.items()}


class Cache:
    """Values by key, each fetched by a loader and kept for its time to live."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        submit: Callable[[Callable[[], None]], None],
        jitter: Callable[[], float] = random.random,
        same: Callable[[Any, Any], bool] = operator.eq,
    ) -> None:
        """Make an empty cache.

        Args:
            limits: times to live and size.
            clock: monotonic seconds.
            submit: runs a function on a thread that may wait for the network.
            jitter: numbers in [0, 1), to spread expiry.
            same: whether a fetched value says the same as the one before.
        """
        self.limits = limits
        self._clock = clock
        self._submit = submit
        self._jitter = jitter
        self._same = same
        self._lock = threading.Lock()
        self._slots: TLRUCache[Hashable, Slot] = TLRUCache(
            maxsize=limits.max_entries, ttu=lambda _key, slot, _now: slot.drop_at, timer=clock
        )
        self._flights: dict[Hashable, _Flight] = {}
        self._epoch = 0
        self._generations = itertools.count(1)
        self._changes = 0
        self._failing = False
        self.statistics = Statistics()

    def get_many(
        self, keys: Collection[Hashable], load: Load, deadline: Deadline, *, past_negative: bool = False
    ) -> Answers:
        """Return the value of every key, from memory or from the directory.

        Args:
            keys: what is asked for.
            load: fetches the keys that are missing, all in one call.
            deadline: when to stop waiting; a later answer still fills the cache.
            past_negative: whether to ask again for keys that are known to be absent.
        """
        answers = Answers()
        stale: dict[Hashable, Slot] = {}
        waiting: dict[Hashable, _Flight] = {}
        mine: list[Hashable] = []
        aging: list[Hashable] = []
        now = self._clock()
        with self._lock:
            for key in keys:
                slot = self._slots.get(key)
                if slot is not None and now < slot.fresh_until and (slot.value or not past_negative):
                    answers.slots[key] = slot
                    if self._is_aging(slot, now) and key not in self._flights:
                        aging.append(key)
                    continue
                if slot is not None and slot.value:
                    stale[key] = slot
                flight = self._flights.get(key)
                if flight is None:
                    mine.append(key)
                else:
                    waiting[key] = flight
            self.statistics.hits += len(answers.slots)
            self.statistics.misses += len(mine) + len(waiting)
            own_flight = self._take_off(mine)
            refresh = self._take_off(aging)
        if mine:
            self._start(mine, own_flight, load, deadline)
            waiting.update(dict.fromkeys(mine, own_flight))
        if aging:
            self.statistics.refreshed += len(aging)
            self._start(aging, refresh, load, deadline)
        self._collect(waiting, stale, deadline, answers)
        return answers

    def _is_aging(self, slot: Slot, now: float) -> bool:
        return bool(slot.value) and now - slot.loaded_at > _REFRESH_AFTER * (slot.fresh_until - slot.loaded_at)

    def _take_off(self, keys: Collection[Hashable]) -> _Flight:
        flight = _Flight(self._epoch)
        self._flights.update(dict.fromkeys(keys, flight))
        return flight

    def _start(self, keys: list[Hashable], flight: _Flight, load: Load, deadline: Deadline) -> None:
        def fly() -> None:
            try:
                loaded = load(keys, deadline)
            except DirectoryUnavailable as error:
                self._land(keys, flight, None, error)
            except BaseException as error:
                # A bug in a loader must reach whoever waits, or they would wait for their deadline.
                self._land(keys, flight, None, error)
                raise
            else:
                self._land(keys, flight, loaded, None)

        try:
            self._submit(fly)
        except RuntimeError as error:  # the executor is shutting down
            self._land(keys, flight, None, DirectoryUnavailable(str(error)))

    def _land(
        self,
        keys: list[Hashable],
        flight: _Flight,
        loaded: Mapping[Hashable, Any] | None,
        error: BaseException | None,
    ) -> None:
        slots: dict[Hashable, Slot] = {}
        with self._lock:
            for key in keys:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            self._failing = loaded is None
            if loaded is None:
                self.statistics.failures += 1
            else:
                slots = self._fill(keys, loaded, keep=flight.epoch == self._epoch)
        try:
            if loaded is not None:
                flight.future.set_result(slots)
            else:
                flight.future.set_exception(error or DirectoryUnavailable("no answer"))
        except InvalidStateError:  # pragma: no cover - a flight lands once
            return

    def _fill(self, keys: list[Hashable], loaded: Mapping[Hashable, Any], *, keep: bool) -> dict[Hashable, Slot]:
        """Make slots of what was loaded, and keep them unless a flush came in between."""
        now = self._clock()
        slots: dict[Hashable, Slot] = {}
        for key in keys:
            before = self._slots.get(key)
            slot = self._slot(loaded.get(key), now, before)
            slots[key] = slot
            if keep:
                self._slots[key] = slot
                self._changes += before is not None and before.generation != slot.generation
        return slots

    def _slot(self, value: object, now: float, before: Slot | None) -> Slot:
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        ttl = spread * (self.limits.ttl if value else min(self.limits.negative_ttl, self.limits.ttl))
        fresh_until = now + ttl
        drop_at = max(fresh_until, now + self.limits.stale_ttl) if value else fresh_until
        if before is not None and self._same(before.value, value):
            return Slot(before.value, before.generation, now, fresh_until, drop_at)
        return Slot(value, next(self._generations), now, fresh_until, drop_at)

    def _collect(
        self,
        waiting: Mapping[Hashable, _Flight],
        stale: Mapping[Hashable, Slot],
        deadline: Deadline,
        answers: Answers,
    ) -> None:
        for key, flight in waiting.items():
            patience = deadline.remaining()
            if key in stale and self._failing:
                # The last search failed: with an old answer at hand, hope is worth half a second.
                patience = min(patience, _PATIENCE)
            try:
                answers.slots[key] = flight.future.result(timeout=patience)[key]
            except (DirectoryUnavailable, FutureTimeoutError) as error:
                slot = stale.get(key)
                if slot is not None and self._clock() <= slot.drop_at:
                    answers.slots[key] = slot
                    answers.stale_keys.add(key)
                    self.statistics.stale += 1
                elif isinstance(error, DirectoryUnavailable):
                    answers.failures[key] = error
                else:
                    answers.failures[key] = DeadlineExceeded("no answer within lookup_deadline")

    @property
    def changes(self) -> int:
        """How often anything that was held has changed or been forgotten on purpose."""
        return self._changes

    def current(self, reads: Mapping[Hashable, int]) -> float | None:
        """Return until when all of these keys are fresh, or ``None`` if any is not what was read.

        Args:
            reads: keys and the generations that they had.
        """
        now = self._clock()
        until = math.inf
        with self._lock:
            for key, generation in reads.items():
                slot = self._slots.get(key)
                if slot is None or slot.generation != generation or slot.fresh_until <= now:
                    return None
                until = min(until, slot.fresh_until)
        return until

    def flush(self, forget: Callable[[Hashable, Any], bool] | None = None) -> int:
        """Forget what a predicate on key and value says, or everything; return how many entries.

        Searches that are under way will not fill the cache, and nobody who asks from now on will
        share them.
        """
        with self._lock:
            self._epoch += 1
            self._changes += 1
            self._flights.clear()
            doomed = [key for key, slot in self._slots.items() if forget is None or forget(key, slot.value)]
            for key in doomed:
                del self._slots[key]
        return len(doomed)

    def values(self) -> list[Any]:
        """Return every value that is held now."""
        with self._lock:
            return [slot.value for slot in self._slots.values()]

    def __len__(self) -> int:
        """Return the number of entries held."""
        return len(self._slots)
