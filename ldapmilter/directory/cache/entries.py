"""The cache in front of the directory: what is asked for once is free until it is old.

Four promises, in this order:

* Nothing past its time to live is served while the directory answers.
* One search per key, however many sessions wait for it: they share the result, or the failure. Many
  keys are fetched in parts, each of which is there for all callers as soon as it is answered.
* A search that began before a flush never fills the cache after it, nor before a change that was told (:mod:`.held`).
* No lock is held while the network is waited for, and no caller waits past its deadline.

While the directory fails, an entry up to ``stale_ttl`` old may be served; "there is no such entry"
never is, since the account may have been made a minute ago.
"""

from __future__ import annotations

import operator
import random
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ldapmilter.directory.cache.answers import Answers, Limits
from ldapmilter.directory.cache.flights import Load
from ldapmilter.directory.cache.held import Held
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    from ldapmilter.directory.backend.store import Deadline
    from ldapmilter.directory.cache.answers import Slot
    from ldapmilter.directory.cache.breaker import Flight

__all__ = ["Cache", "Limits", "Load"]

_REFRESH_AFTER = 0.8
"""Share of the time to live after which a key that is still asked for is fetched again."""
_RENEW_AFTER = 0.5
"""The same for what is read by the thousand: it should not have to be read again in a moment."""


class _Need(Struct):
    """What a question does not find fresh in memory."""

    missing: list[Hashable] = field(default_factory=list)
    waiting: dict[Hashable, Flight] = field(default_factory=dict)
    """Keys that another caller is asking for already."""
    stale: dict[Hashable, Slot] = field(default_factory=dict)
    """Answers past their time to live."""
    aging: list[Hashable] = field(default_factory=list)
    """Fresh still, but not for long."""


class Cache(Held):
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
        super().__init__(limits, clock, jitter, same, part, names_of)
        self._submit = submit

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


def _at_once(work: Callable[[], None]) -> None:
    work()
