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
class _Slot:
    value: Any
    loaded_at: float
    fresh_until: float
    drop_at: float


@dataclass(slots=True)
class _Flight:
    """One search on its way, for some keys, and everybody who waits for it."""

    epoch: int
    future: Future[Mapping[Hashable, Any]] = field(default_factory=Future)


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

    values: dict[Hashable, Any] = field(default_factory=dict)
    stale: bool = False
    failures: dict[Hashable, DirectoryUnavailable] = field(default_factory=dict)


class Cache:
    """Values by key, each fetched by a loader and kept for its time to live."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        submit: Callable[[Callable[[], None]], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make an empty cache.

        Args:
            limits: times to live and size.
            clock: monotonic seconds.
            submit: runs a function on a thread that may wait for the network.
            jitter: numbers in [0, 1), to spread expiry.
        """
        self._limits = limits
        self._clock = clock
        self._submit = submit
        self._jitter = jitter
        self._lock = threading.Lock()
        self._slots: TLRUCache[Hashable, _Slot] = TLRUCache(
            maxsize=limits.max_entries, ttu=lambda _key, slot, _now: slot.drop_at, timer=clock
        )
        self._flights: dict[Hashable, _Flight] = {}
        self._epoch = 0
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
        stale: dict[Hashable, _Slot] = {}
        waiting: dict[Hashable, _Flight] = {}
        mine: list[Hashable] = []
        aging: list[Hashable] = []
        now = self._clock()
        with self._lock:
            for key in keys:
                slot = self._slots.get(key)
                if slot is not None and now < slot.fresh_until and (slot.value or not past_negative):
                    answers.values[key] = slot.value
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
            self.statistics.hits += len(answers.values)
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

    def _is_aging(self, slot: _Slot, now: float) -> bool:
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
        with self._lock:
            for key in keys:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            if loaded is None:
                self.statistics.failures += 1
            elif flight.epoch == self._epoch:
                now = self._clock()
                for key in keys:
                    self._slots[key] = self._slot(loaded.get(key), now)
        try:
            if loaded is not None:
                flight.future.set_result(loaded)
            else:
                flight.future.set_exception(error or DirectoryUnavailable("no answer"))
        except InvalidStateError:  # pragma: no cover - a flight lands once
            return

    def _slot(self, value: object, now: float) -> _Slot:
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        ttl = spread * (self._limits.ttl if value else min(self._limits.negative_ttl, self._limits.ttl))
        fresh_until = now + ttl
        drop_at = max(fresh_until, now + self._limits.stale_ttl) if value else fresh_until
        return _Slot(value, now, fresh_until, drop_at)

    def _collect(
        self,
        waiting: Mapping[Hashable, _Flight],
        stale: Mapping[Hashable, _Slot],
        deadline: Deadline,
        answers: Answers,
    ) -> None:
        for key, flight in waiting.items():
            try:
                answers.values[key] = flight.future.result(timeout=deadline.remaining()).get(key)
            except (DirectoryUnavailable, FutureTimeoutError) as error:
                slot = stale.get(key)
                if slot is not None and self._clock() <= slot.drop_at:
                    answers.values[key] = slot.value
                    answers.stale = True
                    self.statistics.stale += 1
                elif isinstance(error, DirectoryUnavailable):
                    answers.failures[key] = error
                else:
                    answers.failures[key] = DeadlineExceeded("no answer within lookup_deadline")

    def flush(self, keys: Collection[Hashable] | None = None) -> int:
        """Forget some keys, or everything, and return how many entries that were.

        Searches that are under way will not fill the cache, and nobody who asks from now on will
        share them.
        """
        with self._lock:
            self._epoch += 1
            self._flights.clear()
            if keys is None:
                count = len(self._slots)
                self._slots.clear()
                return count
            return sum(self._slots.pop(key, None) is not None for key in keys)

    def __len__(self) -> int:
        """Return the number of entries held."""
        return len(self._slots)
