"""What takes longer to read than a message may wait: read in the background, and there at a later try.

The directory is read on a thread of its own for each group, one search at a time over all of them,
with a pause after each: whoever else asks comes first. What is read is in the cache at once. While
a message that had to be put off has not come back, what it needs is read anew before it grows old.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from ldapmilter.directory.cache.load import SOONEST, Load, dated
from ldapmilter.directory.cache.progress import LONGEST, Progress
from ldapmilter.errors import DirectoryUnavailable, LdapmilterError, StillReading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ldapmilter.directory.cache.held import Held
    from ldapmilter.directory.cache.load import Outcome, Run

_MOST = 16
"""Groups that are read for the first time, for messages, at a time."""
_MOST_KEPT = 64
"""Groups that have been read and are kept: for messages that were put off, and whatever else those need."""
KEPT_FOR = 4500.0
"""Seconds for which a message that was put off is waited for: Postfix's maximal_backoff_time, and some more."""
_RENEW_AFTER, _AFTER_FAILURE = 0.7, 15.0
_MOST_TIMES = 5
"""Times that something is read, one after the other, because it has changed meanwhile."""


class Loads:
    """What is read in the background, by key: never twice at a time."""

    def __init__(
        self,
        cache: Held,
        clock: Callable[[], float],
        *,
        spawn: Callable[[Callable[[], None]], None] | None = None,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            cache: where what is read is kept.
            clock: monotonic seconds.
            spawn: runs a function on a thread of its own.
            pause: lets some seconds pass, and says whether to stop.
        """
        self._cache = cache
        self.clock = clock
        self._stopped = threading.Event()
        self._spawn = spawn or _on_a_thread
        self.pause = pause or self._stopped.wait
        self.one_search = threading.Lock()
        self._lock = threading.Lock()
        self._loads: dict[Hashable, Load] = {}

    def stop(self) -> None:
        """Read no more; the threads end by themselves."""
        self._stopped.set()

    @property
    def in_use(self) -> bool:
        """Whether anything is read, or kept."""
        return bool(self._loads)

    def under_way(self) -> list[Load]:
        """Return what is being read now."""
        with self._lock:
            return [load for load in self._loads.values() if load.on_its_way]

    def want(
        self, place: Hashable, key: Hashable, about: str, run: Run, *, for_all: bool = False
    ) -> tuple[Load, Future[Outcome]]:
        """Let something be read, unless it is already; return it, and what to wait for.

        Args:
            place: the same for all versions of it.
            key: what it is asked for by.
            about: what to call it.
            run: reads it.
            for_all: whether everybody's mail needs it: it is read however many others are.

        Raises:
            StillReading: too many others are read, or there is no thread for it.
        """
        with self._lock:
            before = self._loads.get(place)
            if before is not None and before.on_its_way and before.key == key:
                return before, before.future
            load = self._begin(place, key, about, run, counted=not for_all)
            future = load.future
        try:
            self._spawn(lambda: self._work(load))
        except RuntimeError as error:
            failure = StillReading(f"{about} has to be read, and no thread could be started for that: {error}")
            self._give_up(load, before, failure)
            raise failure from error
        if before is not None:
            before.let_go()
        return load, future

    def _give_up(self, load: Load, before: Load | None, failure: StillReading) -> None:
        """Take out a load that no thread is going to run, so that the next caller begins anew."""
        with self._lock:
            if self._loads.get(load.place) is load:
                del self._loads[load.place]
                if before is not None:
                    self._loads[load.place] = before
            load.on_its_way = False
        load.future.set_exception(failure)

    def here(
        self,
        place: Hashable,
        key: Hashable,
        about: str,
        run: Callable[[Progress], Outcome],
        again: Run,
        progress: Progress,
    ) -> Outcome:
        """Read something on this thread, which is in the background itself; or wait for who does.

        Args:
            place: the same for all versions of it.
            key: what it is asked for by.
            about: what to call it.
            run: reads it from the directory that this thread reads.
            again: reads it later.
            progress: of what this thread reads.

        Raises:
            DirectoryUnavailable: it could not be read.
        """
        with self._lock:
            load = self._loads.get(place)
            mine = load is None or not load.on_its_way or load.key != key
            if load is None or (mine and load.on_its_way):
                before, load = load, self._begin(place, key, about, again)
                load.main = progress.place
                if before is not None:
                    before.let_go()
            elif mine:  # the thread that looks after it, if there is one, goes on with this version
                if load.key != key:
                    load.key, load.run, load.outcome = key, again, None
                self._anew(load)
            future = load.future
            if mine:
                load.progress.began = progress.began
        if mine:
            self._pass(load, run, times=1)
        try:
            return future.result(max(0.0, progress.left))
        except FutureTimeoutError:
            raise progress.given_up() from None

    def _begin(self, place: Hashable, key: Hashable, about: str, run: Run, *, counted: bool = False) -> Load:
        """Take note of what is about to be read, in the place of what was read before.

        Raises:
            StillReading: too many others are read.
        """
        now = self.clock()
        before = self._loads.get(place)
        if counted:
            others = sum(one.counted and one.on_its_way for one in self._loads.values() if one is not before)
            if others >= _MOST:
                message = f"{about} has to be read, and {_MOST} other groups are being read"
                raise StillReading(message)
        load = Load(place, key, run, Progress(place, about, self, now), counted=counted)
        if before is not None:
            before.progress.replaced = True
            load.wanted_until = before.wanted_until
            if before.key == key:
                load.outcome, load.renewed = before.outcome, before.renewed
        self._loads[place] = load
        self._make_room(now)
        return load

    def _anew(self, load: Load) -> None:
        """Take note that something is about to be read once more."""
        load.future, load.on_its_way, load.counted = Future(), True, False
        load.progress = Progress(load.place, load.progress.about, self, self.clock())

    def _make_room(self, now: float) -> None:
        """Forget what has been read and is of no use, then what has been waited for longest."""
        finished = {one.place: self._wanted_until(one) for one in self._loads.values() if not one.on_its_way}
        for place, wanted_until in list(finished.items()):
            outcome = self._loads[place].outcome
            if wanted_until < now and (outcome is None or outcome.until < now):
                self._loads.pop(place).let_go()
                del finished[place]
        for place in sorted(finished, key=finished.__getitem__)[: max(0, len(finished) - _MOST_KEPT)]:
            self._loads.pop(place).let_go()

    def _wanted_until(self, load: Load) -> float:
        main = self._loads.get(load.main) if load.main is not None else None
        return load.wanted_until if main is None else max(load.wanted_until, main.wanted_until)

    # -- whoever waits ----------------------------------------------------------------------

    def put_off(self, load: Load) -> None:
        """Take note that a message could not wait any longer, and will be back."""
        with self._lock:
            for one in (load, self._loads.get(load.place, load)):
                one.wanted_until = self.clock() + KEPT_FOR

    def outcome(self, place: Hashable, key: Hashable) -> Outcome | None:
        """Return what was read for a message that was put off, if it still counts."""
        load = self._loads.get(place)
        if load is None or load.key != key or (outcome := load.outcome) is None:
            return None
        if self._is_renewed(load) and not outcome.stale and self.clock() < outcome.read_at + KEPT_FOR:
            return outcome if self._stands(outcome) else None
        return outcome if self.counts(outcome) else None

    def counts(self, outcome: Outcome) -> bool:
        """Whether nothing that a value was made from has changed or been flushed, and it is not too old."""
        return self.clock() < outcome.until and self._stands(outcome)

    def _stands(self, outcome: Outcome) -> bool:
        return self._cache.stands(outcome.reads, outcome.epoch)

    def _is_renewed(self, load: Load) -> bool:
        """Whether it is kept fresh for a message that was put off, and could be read so far."""
        main = self._loads.get(load.main, load) if load.main is not None else load
        return main.renewed and main.wanted_until >= self.clock()

    # -- reading ----------------------------------------------------------------------------

    def _work(self, load: Load) -> None:
        try:
            while True:
                run = load.run
                load.renewed = self._pass(load, run)
                if load.renewed:
                    with contextlib.suppress(LdapmilterError):  # who needs it will hear of it
                        run.go_on()
                if not self._has_to_go_on(load):
                    return
        finally:  # by a bug, too: what is not read anew must not count as if it were
            load.renewed = False

    def _pass(self, load: Load, run: Callable[[Progress], Outcome], times: int = _MOST_TIMES) -> bool:
        """Read it, and let everybody who waits know; return whether it could be read.

        What has changed while it was read is read again, so many times at most; whoever waits looks
        whether the outcome counts.
        """
        began = load.progress.began
        failure: BaseException | None = None
        outcome: Outcome | None = None
        try:
            for _ in range(times):
                outcome = dated(run(load.progress), began, self.clock(), self._cache.limits.negative_ttl)
                if self._cache.stands(outcome.reads, outcome.epoch):
                    break
        except DirectoryUnavailable as error:
            failure = error
        except BaseException as error:  # a bug must reach whoever waits
            failure = error
            raise
        finally:
            with self._lock:
                load.outcome, load.on_its_way = load.outcome if failure is not None else outcome, False
            if outcome is not None and failure is None:
                load.future.set_result(outcome)
            else:
                load.future.set_exception(failure or DirectoryUnavailable("nothing was read"))
        return failure is None

    def _has_to_go_on(self, load: Load) -> bool:
        """Wait until it has to be read anew for a message that was put off; return whether it has to be at all."""
        while True:
            now = self.clock()
            with self._lock:
                if self._loads.get(load.place) is not load or load.wanted_until < now:
                    return False
                counts_until = load.outcome.until if load.outcome is not None else None  # nothing is held meanwhile
            left = _AFTER_FAILURE if counts_until is None else min(counts_until - now, LONGEST) * _RENEW_AFTER
            if self.pause(max(SOONEST, left)):
                return False
            with self._lock:
                if self._loads.get(load.place) is not load or load.on_its_way or load.wanted_until < self.clock():
                    continue
                self._anew(load)
                return True


def _on_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="background-reading", daemon=True).start()
