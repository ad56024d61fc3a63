"""Values made from as many entries as a group has members: here while that is quick, else in the background.

A message works out what a thousand entries go into. What takes more is left to :mod:`.loads`; the
message waits for it as long as it can, and else says how far it is.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Protocol

from ldapmilter.directory.cache.load import Outcome
from ldapmilter.directory.cache.progress import Count
from ldapmilter.directory.working_out import Asking, InBackground, place_of
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable, StillReading, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping
    from concurrent.futures import Future

    from ldapmilter.directory.cache.answers import Reads
    from ldapmilter.directory.cache.load import Load
    from ldapmilter.directory.cache.loads import Loads
    from ldapmilter.directory.cache.progress import Progress
    from ldapmilter.directory.interface import KeyT
    from ldapmilter.directory.view import View
    from ldapmilter.directory.working_out import About, WorkOut

LARGE = 1000
"""Entries that a message reads, or goes through, for one value."""


class Enlarging(Protocol):
    """A directory with large values, on whatever thread."""

    @property
    def larger(self) -> Large:
        """Its large values."""


class Large:
    """Large values, to one message or to what goes on in the background."""

    def __init__(
        self,
        directory: Enlarging,
        view: View,
        loads: Loads | None,
        in_background: Callable[[Progress], Enlarging],
        whole: Callable[[Any], object] | None = None,
    ) -> None:
        """Work out values for a directory.

        Args:
            directory: of the message.
            view: its view.
            loads: what is read in the background; without it everything is worked out at once.
            in_background: opens a directory for reading there.
            whole: what the message is going to need altogether: it is read there once anything has to be.
        """
        self.view = view
        self.whole = whole
        self._directory = directory
        self._loads = loads
        self._in_background = in_background
        self._epoch = view.reader.cache.epoch
        self._given: dict[Hashable, tuple[Any, Reads]] = {}
        """What this message was given already: it does not change under it."""

    def get(
        self, keys: Collection[Any], work_out: WorkOut, about: About, *, wait: bool = True, for_all: bool = False
    ) -> dict[Any, Any]:
        """Return values; see :meth:`RememberingDirectory.large`.

        Args:
            keys: what is asked for.
            work_out: makes the values of some keys from a directory, on whatever thread.
            about: what to call what a key stands for.
            wait: whether what takes long is worth waiting for.
            for_all: whether everybody's mail needs it.
        """
        asking = Asking(work_out=work_out, about=about, wait=wait, for_all=for_all)
        trace, loads = self.view.trace, self._loads
        if loads is None or trace.memory_only:
            found = self.view.recall(keys)
            missing = [key for key in dict.fromkeys(keys) if key not in found]
            return {**found, **self._made(missing, asking)} if missing else found
        found = {}
        for key in keys:
            if key in self._given:
                found[key], reads = self._given[key]
                self.view.read(reads)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if not missing:
            return found
        if trace.background is not None:
            found.update(self.view.recall(missing, lasting=self.view.reader.cache.limits.ttl / 2))
            for key in missing:
                if key not in found:
                    run = InBackground(lambda _progress: self, key, work_out)
                    again = self._run(key, asking)
                    outcome = loads.here(place_of(key), key, about(key), run, again, trace.background)
                    found[key] = self.give(key, outcome)
            return found
        found.update(self._at_hand(missing, loads, asking))
        missing = [key for key in missing if key not in found]
        if missing:
            found.update(self._work_out(missing, loads, asking))
        return found

    def ready(
        self, keys: Collection[KeyT], work_out: WorkOut, about: About
    ) -> tuple[dict[KeyT, Any], dict[KeyT, DirectoryUnavailable]]:
        """Return the values that are at hand or soon made, and why the others are not: those are not waited for.

        They are what everybody's mail needs.
        """
        trace = self.view.trace
        found: dict[KeyT, Any] = {}
        failures: dict[KeyT, DirectoryUnavailable] = {}
        room, trace.room = trace.room, None  # what is too large here makes nothing around it too large
        try:
            found.update(self.get(keys, work_out, about, wait=False, for_all=True))
        except DirectoryUnavailable:
            for key in keys:
                try:
                    found.update(self.get([key], work_out, about, wait=False, for_all=True))
                except StillReading as error:
                    error.confidential = True
                    failures[key] = error
                except DirectoryUnavailable as error:
                    failures[key] = error
        finally:
            trace.room = room
        return found, failures

    def give(self, key: Hashable, outcome: Outcome) -> Any:  # noqa: ANN401 - as the value was worked out
        """Take over what was worked out elsewhere."""
        self.view.read(outcome.reads)
        self.view.trace.stale = self.view.trace.stale or outcome.stale
        self._given[key] = (outcome.value, outcome.reads)
        return outcome.value

    def make(self, key: Hashable, work_out: WorkOut) -> Outcome:
        """Work a value out on this thread."""
        made = self.view.make([key], lambda some: work_out(self._directory, some))
        value = made.values[key]
        self._given[key] = (value, made.reads)
        return Outcome(value=value, reads=made.reads, stale=made.stale, epoch=self._epoch)

    def go_on(self) -> None:
        """Read what the message is going to need besides."""
        if self.whole is not None:
            self.whole(self._directory)

    # -- for a message ----------------------------------------------------------------------

    def _at_hand(self, keys: list[Any], loads: Loads, asking: Asking) -> dict[Any, Any]:
        """Return what was worked out before; what is about to grow old is worked out again, meanwhile."""
        due: set[Hashable] = set()
        found = self.view.recall(keys, due)
        for key in due:
            with contextlib.suppress(StillReading):  # the value is at hand; it is worked out when it is not
                self._start(key, loads, asking)
        if loads.in_use:
            for key in keys:
                if key not in found and (outcome := loads.outcome(place_of(key), key)) is not None:
                    found[key] = self.give(key, outcome)
        return found

    def _work_out(self, keys: list[Any], loads: Loads, asking: Asking) -> dict[Any, Any]:
        """Work values out here if that is quick; the others are waited for."""
        try:
            return self._here(keys, loads, asking)
        except TooLarge:
            if self.view.trace.room is not None:  # part of something larger, which is worked out as a whole
                raise
        found: dict[Any, Any] = {}
        large: list[Any] = []
        for key in keys:
            try:
                found.update(self._here([key], loads, asking) if len(keys) > 1 else {})
            except TooLarge:
                large.append(key)
        large = large or [key for key in keys if key not in found]
        for key in large:
            with contextlib.suppress(StillReading):  # said when it is waited for
                self._start(key, loads, asking)
        for key in large:
            found[key] = self._wait_for(key, loads, asking)
        return found

    def _here(self, keys: list[Any], loads: Loads, asking: Asking) -> dict[Any, Any]:
        """Work values out.

        Raises:
            TooLarge: it would take more than a message may.
        """
        trace = self.view.trace
        failures = len(trace.failures)
        before, trace.room = trace.room, LARGE
        if before is None:
            trace.count = Count()
        try:
            found = dict(self._made(keys, asking))
        except DeadlineExceeded as error:
            if before is not None:
                raise
            raise self._read_on(keys, str(error), loads, asking) from error
        finally:
            trace.room = before
        if before is None and len(trace.failures) > failures and trace.deadline.remaining() <= 0:
            trace.failures.append(str(self._read_on(keys, "no answer in time", loads, asking)))
        return found

    def _made(self, keys: list[Any], asking: Asking) -> Mapping[Any, Any]:
        """Work values out on this thread, and remember them."""
        return self.view.make(keys, lambda some: asking.work_out(self._directory, some)).values

    def _read_on(self, keys: list[Any], error: str, loads: Loads, asking: Asking) -> StillReading:
        """Let what took too long be read on, and return what to say: few entries, but a slow directory."""
        said: list[str] = []
        for key in keys:
            try:
                load, _ = self._start(key, loads, asking)
            except StillReading as failure:
                said.append(str(failure))
            else:
                self._put_off(load, loads, asking)
                count = load.progress.count if load.progress.count.known or len(keys) > 1 else self.view.trace.count
                said.append(count.of(load.progress.about))
        return StillReading("; ".join((*said, f"it goes on ({error})")))

    def _put_off(self, load: Load, loads: Loads, asking: Asking) -> None:
        """Take note that the message does not wait any longer, and will be back."""
        loads.put_off(load)
        self.view.trace.still_reading |= asking.wait

    def _start(self, key: Hashable, loads: Loads, asking: Asking) -> tuple[Load, Future[Outcome]]:
        run = self._run(key, asking)
        return loads.want(place_of(key), key, asking.about(key), run, for_all=asking.for_all)

    def _run(self, key: Hashable, asking: Asking) -> InBackground:
        """Return how a value is read in the background; it holds nothing of what this message has read."""
        whole, in_background = self.whole, self._in_background

        def opened(progress: Progress) -> Large:
            larger = in_background(progress).larger
            larger.whole = whole
            return larger

        return InBackground(opened, key, asking.work_out)

    def _wait_for(self, key: Hashable, loads: Loads, asking: Asking) -> Any:  # noqa: ANN401 - as the value was worked out
        trace = self.view.trace
        failure: DirectoryUnavailable
        while True:
            try:
                load, future = self._start(key, loads, asking)
            except StillReading as error:
                failure = error
                break
            try:
                outcome = future.result(trace.deadline.remaining() if asking.wait else 0)
            except FutureTimeoutError:
                self._put_off(load, loads, asking)
                failure = StillReading(f"{load.progress}; it goes on")
                break
            except DirectoryUnavailable as error:
                self._put_off(load, loads, asking)
                failure = error
                break
            if loads.counts(outcome):
                trace.searches += load.progress.searches
                return self.give(key, outcome)
        if not trace.lenient or not asking.wait:
            raise failure
        # What is known is applied.
        trace.failures.append(str(failure))
        trace.memory_only = True
        try:
            return self._made([key], asking)[key]
        finally:
            trace.memory_only = False
