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

import math
import operator
import random
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from concurrent.futures import InvalidStateError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.answers import Answers, Limits, Slot, Statistics
from ldapmilter.directory.bounded import Bounded
from ldapmilter.directory.breaker import Breaker, Flight
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable

if TYPE_CHECKING:
    from ldapmilter.directory.store import Deadline

__all__ = ["Cache", "Limits", "Load"]

_JITTER = 0.1
_TOGETHER = 16
"""So many answers of one search grow old together: they are asked for together again, and share a number."""
_SWEEP_EVERY = 60.0
_REFRESH_AFTER = 0.8
"""Share of the time to live after which a key that is still asked for is fetched again."""


Load = Callable[[Collection[Hashable], "Deadline"], Mapping[Hashable, Any]]
"""Fetches keys from the directory by a deadline; an absent key maps to an empty value or is left out."""


@dataclass(slots=True)
class _Need:
    """What a question does not find fresh in memory."""

    missing: list[Hashable] = field(default_factory=list)
    waiting: dict[Hashable, Flight] = field(default_factory=dict)
    """Keys that somebody else is asking for already."""
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
        self._slots: Bounded[Hashable, Slot] = Bounded(limits.max_entries)
        self._sweep_at = -math.inf
        self._flights: dict[Hashable, Flight] = {}
        self._epoch = 0
        self._changes = 0
        self._failing = False
        self._breaker = Breaker()
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
        now = self._clock()
        with self._lock:
            need = self._sort(keys, answers, now, past_negative=past_negative)
            if not (need.missing or need.waiting or need.aging):
                return answers
            probe = self._breaker.holds_back(now) if need.missing else None
            mine = need.missing if probe is None else []
            refresh = [] if self._breaker.is_open else need.aging
            own_flight = self._take_off(mine, now)
            refreshing = self._take_off(refresh, now)
        if mine:
            self._start(mine, own_flight, load, deadline)
            need.waiting.update(dict.fromkeys(mine, own_flight))
        if refresh:
            self.statistics.refreshed += len(refresh)
            self._start(refresh, refreshing, load, deadline)
        self._collect(need, deadline, answers)
        if probe is None:
            return answers
        if self._is_back(probe, deadline):
            answers.add(self.get_many(need.missing, load, deadline, past_negative=past_negative))
        else:
            error = DirectoryUnavailable(f"the directory keeps its askers waiting: {self._breaker.failure}")
            for key in need.missing:
                self._fall_back(key, need, error, answers)
        return answers

    def _sort(self, keys: Collection[Hashable], answers: Answers, now: float, *, past_negative: bool) -> _Need:
        """Take what is fresh from memory; return the rest."""
        need = _Need()
        for key in keys:
            slot = self._slots.get(key)
            flight = self._flights.get(key)
            if slot is not None and now < slot.fresh_until and (slot.value or not past_negative):
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

    def _is_back(self, probe: Flight, deadline: Deadline) -> bool:
        """Whether the directory answers again, a moment later at most."""
        wait([probe.future], timeout=min(probe.patience(self._clock()), deadline.remaining()))
        return not self._breaker.is_open

    def _is_aging(self, slot: Slot, now: float) -> bool:
        return now - slot.loaded_at > _REFRESH_AFTER * (slot.fresh_until - slot.loaded_at)

    def _take_off(self, keys: Collection[Hashable], now: float) -> Flight:
        flight = Flight(self._epoch, now)
        if keys:
            self._breaker.took_off(flight)
        self._flights.update(dict.fromkeys(keys, flight))
        return flight

    def _start(self, keys: list[Hashable], flight: Flight, load: Load, deadline: Deadline) -> None:
        def fly() -> None:
            # Of a search that had to queue for a thread until its time was up, the directory knows nothing.
            asked = deadline.remaining() > 0
            try:
                loaded = load(keys, deadline)
            except DirectoryUnavailable as error:
                self._land(keys, flight, None, error, asked=asked)
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
        flight: Flight,
        loaded: Mapping[Hashable, Any] | None,
        error: BaseException | None,
        *,
        asked: bool = True,
    ) -> None:
        slots: dict[Hashable, Slot] = {}
        with self._lock:
            for key in keys:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            self._failing = loaded is None
            if loaded is None:
                self.statistics.failures += 1
                if asked:
                    self._breaker.failed(flight, error, self._clock())
            else:
                self._breaker.succeeded(self._clock())
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
        if keep and now >= self._sweep_at:
            self._sweep(now)
        for number, key in enumerate(keys):
            if number % _TOGETHER == 0:
                absent_until, found_until = self._fresh_until(now)
            value = loaded.get(key)
            until = found_until if value else absent_until
            before = self._slots.get(key)
            if keep and before is not None and self._same(before.value, value):
                before.loaded_at, before.fresh_until = now, until
                slot = before
            else:
                slot = Slot(key if before is None else before.key, value, now, until)
                self._changes += keep and before is not None
            slots[key] = slot
            if keep:
                self._slots.put(slot.key, slot)
        return slots

    def _fresh_until(self, now: float) -> tuple[float, float]:
        """Return until when a new answer counts: that something is absent, and that it is there."""
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        return now + spread * min(self.limits.negative_ttl, self.limits.ttl), now + spread * self.limits.ttl

    def _drop_at(self, slot: Slot) -> float:
        """Return until when a slot may be of use, in an outage at least."""
        return max(slot.fresh_until, slot.loaded_at + self.limits.stale_ttl) if slot.value else slot.fresh_until

    def _sweep(self, now: float) -> None:
        """Make room of what can be of no use to anybody, now and then."""
        self._sweep_at = now + max(_SWEEP_EVERY, self.limits.negative_ttl)
        for key in [key for key, slot in self._slots.items() if self._drop_at(slot) < now]:
            self._slots.drop(key)

    def _collect(self, need: _Need, deadline: Deadline, answers: Answers) -> None:
        for key, flight in need.waiting.items():
            patience = deadline.remaining()
            if self._breaker.is_open or (key in need.stale and self._failing):
                # The last search failed: hope is worth half a second.
                patience = min(patience, flight.patience(self._clock()))
            try:
                answers.slots[key] = flight.future.result(timeout=patience)[key]
            except DirectoryUnavailable as error:
                self._fall_back(key, need, error, answers)
            except FutureTimeoutError:
                failure = f": {self._breaker.failure}" if self._breaker.is_open else ""
                message = f"no answer within lookup_deadline{failure}"
                self._fall_back(key, need, DeadlineExceeded(message), answers)

    def _fall_back(self, key: Hashable, need: _Need, error: DirectoryUnavailable, answers: Answers) -> None:
        """Take an answer past its time to live, or else note the failure."""
        slot = need.stale.get(key)
        if slot is not None and self._clock() <= self._drop_at(slot):
            answers.slots[key] = slot
            answers.stale_keys.add(key)
            self.statistics.stale += 1
        else:
            answers.failures[key] = error

    @property
    def changes(self) -> int:
        """How often anything that was held has changed or been forgotten on purpose."""
        return self._changes

    def current(self, reads: Iterable[Slot]) -> float | None:
        """Return until when all of these answers are fresh, or ``None`` if any is not what the cache holds."""
        now = self._clock()
        until = math.inf
        with self._lock:
            for slot in reads:
                if slot.fresh_until <= now or self._slots.get(slot.key) is not slot:
                    return None
                until = min(until, slot.fresh_until)
        return until

    def count_hits(self, hits: int) -> None:
        """Count answers that were of use without being asked for: a value that was made from them still stands."""
        with self._lock:
            self.statistics.hits += hits

    def flush(self, forget: Callable[[Hashable, Any], bool] | None = None) -> int:
        """Forget what a predicate on key and value says, or everything; return how many entries.

        Searches that are under way will not fill the cache, and nobody who asks from now on will
        share them.
        """
        with self._lock:
            self._epoch += 1
            self._changes += 1
            self._flights.clear()
            doomed = [key for key, slot in self._held() if forget is None or forget(key, slot.value)]
            for key in doomed:
                self._slots.drop(key)
        return len(doomed)

    def values(self) -> list[Any]:
        """Return every value that is held now."""
        with self._lock:
            return [slot.value for _, slot in self._held()]

    def items(self) -> list[tuple[Hashable, Slot]]:
        """Return every key and slot that is held now."""
        with self._lock:
            return self._held()

    def _held(self) -> list[tuple[Hashable, Slot]]:
        now = self._clock()
        return [(key, slot) for key, slot in self._slots.items() if now <= self._drop_at(slot)]

    def __len__(self) -> int:
        """Return the number of entries held, some of which may be of no use any more."""
        return len(self._slots)
