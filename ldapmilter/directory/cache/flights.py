"""Searches on their way: one for each key, however many sessions wait for it.

They share the answer, or the failure. Many keys are searched for in parts, each of which is there for
everybody as soon as it is answered. No lock is held while the network is waited for, and nobody waits
past their deadline, or for long while :mod:`.breaker` knows that the directory hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from concurrent.futures import InvalidStateError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from ldapmilter.chunks import chunks
from ldapmilter.directory.cache.breaker import Breaker, Flight
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable, TooLarge

if TYPE_CHECKING:
    import threading

    from ldapmilter.directory.backend.store import Deadline
    from ldapmilter.directory.cache.answers import Judge, Slot, Statistics

Load = Callable[[Collection[Hashable], "Deadline"], Mapping[Hashable, Any]]
"""Fetches keys from the directory by a deadline; an absent key maps to an empty value or is left out."""

Parts = list[tuple[list[Hashable], Flight]]
"""The keys of a question, a search for each part of them."""
_MOST_DOUBTS = 100
"""Changes that one search is compared with; after more it fills nothing."""


class Flights:
    """Searches by key.

    Attributes:
        epoch: how often those under way have been disowned; a search of an earlier epoch fills nothing.
    """

    def __init__(
        self,
        lock: threading.Lock,
        clock: Callable[[], float],
        statistics: Statistics,
        keep: Callable[[list[Hashable], Mapping[Hashable, Any], Flight], dict[Hashable, Slot]],
        part: int,
    ) -> None:
        """Search for nothing yet.

        Args:
            lock: the cache's, who looks for an answer and for a search under way in one turn.
            clock: monotonic seconds.
            statistics: where failures are counted.
            keep: makes slots of what a search has found, with the lock held.
            part: so many keys are searched for in one go.
        """
        self._lock = lock
        self._clock = clock
        self._statistics = statistics
        self._keep = keep
        self._part = part
        self._by_key: dict[Hashable, Flight] = {}
        self._breaker = Breaker()
        self._failing = False
        self.epoch = 0

    # -- with the lock held -----------------------------------------------------------------

    def find(self, key: Hashable) -> Flight | None:
        """Return the search that is under way for a key."""
        return self._by_key.get(key)

    def disown(self) -> None:
        """Let nothing that is under way fill the cache, nor be shared by who asks from now on."""
        self.epoch += 1
        self._by_key.clear()

    def may_fill(self, flight: Flight) -> bool:
        """Whether a search has not been disowned."""
        return flight.epoch == self.epoch and len(flight.doubts) <= _MOST_DOUBTS

    def doubt(self, judge: Judge, keys: Iterable[Hashable]) -> None:
        """Have what is under way compared with a change when it is there; who asks for the keys from now on asks anew.

        Args:
            judge: the change.
            keys: what it is known to be about.
        """
        for flight in {id(flight): flight for flight in self._by_key.values()}.values():
            if len(flight.doubts) <= _MOST_DOUBTS:
                flight.doubts.append(judge)
        for key in keys:
            self._by_key.pop(key, None)

    @property
    def hardly_worth_it(self) -> bool:
        """Whether the directory answers too slowly now."""
        return self._breaker.is_open

    def holds_back(self, now: float) -> Flight | None:
        """Return the search to wait for a moment for before another one; see :class:`Breaker`."""
        return self._breaker.holds_back(now)

    def take_off(self, keys: list[Hashable], now: float) -> Parts:
        """Let the keys be waited for: each part lands for itself."""
        parts: Parts = []
        for part in chunks(keys, self._part):
            flight = Flight(self.epoch, now)
            if not parts:
                self._breaker.took_off(flight)
            self._by_key.update(dict.fromkeys(part, flight))
            parts.append((part, flight))
        return parts

    # -- without the lock -------------------------------------------------------------------

    def start(self, parts: Parts, load: Load, deadline: Deadline, submit: Callable[[Callable[[], None]], None]) -> None:
        """Search for what has taken off, on a thread that may wait."""
        try:
            submit(lambda: self._fly(parts, load, deadline))
        except RuntimeError as error:  # the executor is shutting down
            for keys, flight in parts:
                self._land(keys, flight, None, DirectoryUnavailable(str(error)))

    def result(self, key: Hashable, flight: Flight, deadline: Deadline, *, has_stale: bool) -> Slot:
        """Wait for a search, and return what it found for a key.

        Raises:
            DirectoryUnavailable: it failed, or took longer than it is worth waiting: little, for who has
                a stale answer and sees the directory fail.
        """
        patience = deadline.remaining()
        if self._breaker.is_open or (has_stale and self._failing):
            # The last search failed: hope is worth half a second.
            patience = min(patience, flight.patience(self._clock()))
        try:
            return flight.future.result(timeout=patience)[key]
        except FutureTimeoutError:
            failure = f": {self._breaker.failure}" if self._breaker.is_open else ""
            message = f"no answer within lookup_deadline{failure}"
            raise DeadlineExceeded(message) from None

    def is_back(self, probe: Flight, deadline: Deadline) -> bool:
        """Whether the directory answers again, a moment later at most."""
        wait([probe.future], timeout=min(probe.patience(self._clock()), deadline.remaining()))
        return not self._breaker.is_open

    def held_back(self) -> DirectoryUnavailable:
        """Return the failure of who was not even let search."""
        return DirectoryUnavailable(f"the directory answers too slowly: {self._breaker.failure}")

    # -- on the thread that searches --------------------------------------------------------

    def _fly(self, parts: Parts, load: Load, deadline: Deadline) -> None:
        failure: DirectoryUnavailable | None = None
        for position, (keys, flight) in enumerate(parts):
            if failure is not None:  # the next part would fare no better
                self._land(keys, flight, None, failure, asked=False)
                continue
            if position:
                flight.began = self._clock()
            # Of a search that had to queue for a thread until its time was up, the directory knows nothing.
            asked = deadline.remaining() > 0
            try:
                loaded = load(keys, deadline)
            except DirectoryUnavailable as error:
                failure = error
                self._land(keys, flight, None, error, asked=asked)
            except BaseException as error:
                # A bug in a loader must reach whoever waits, or they would wait for their deadline.
                for rest, waited_for in parts[position:]:
                    self._land(rest, waited_for, None, error)
                raise
            else:
                self._land(keys, flight, loaded, None)

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
                if self._by_key.get(key) is flight:
                    del self._by_key[key]
            self._failing = loaded is None and not isinstance(error, TooLarge)
            if isinstance(error, TooLarge):
                self._breaker.succeeded(self._clock())  # it answers, and there is more than may be read here
            elif loaded is None:
                self._statistics.failures += 1
                if asked:
                    self._breaker.failed(flight, error, self._clock())
            else:
                self._breaker.succeeded(self._clock())
                slots = self._keep(keys, loaded, flight)
        try:
            if loaded is not None:
                flight.future.set_result(slots)
            else:
                flight.future.set_exception(error or DirectoryUnavailable("no answer"))
        except InvalidStateError:  # pragma: no cover - a flight lands once
            return
