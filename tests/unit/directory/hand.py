"""A clock, an executor and a directory that a test turns by hand."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.backend.store import Deadline
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from ldapmilter.directory.cache.answers import Answers
    from ldapmilter.directory.cache.entries import Cache, Load


@dataclass
class Clock:
    """Monotonic seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def deadline(self, seconds: float = 3600.0) -> Deadline:
        return Deadline.after(seconds, self)


@dataclass
class Executor:
    """Keeps what it is given until the test runs it."""

    jobs: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, work: Callable[[], None]) -> None:
        self.jobs.append(work)

    def run(self, number: int = 0) -> None:
        """Run one of the jobs that wait, the oldest unless told."""
        self.jobs.pop(number)()


def at_once(work: Callable[[], None]) -> None:
    """Run what is submitted in the thread that submits it."""
    work()


@dataclass
class Source:
    """A directory: what it holds, what it was asked, and whether it fails."""

    held: dict[Hashable, Any] = field(default_factory=dict)
    asked: list[list[Hashable]] = field(default_factory=list)
    error: BaseException | None = None

    def load(self, keys: Collection[Hashable], _deadline: Deadline) -> Mapping[Hashable, Any]:
        self.asked.append(list(keys))
        if self.error is not None:
            raise self.error
        return {key: self.held[key] for key in keys if key in self.held}


@dataclass
class Waiter:
    """A thread that asks the cache, and what came of it."""

    answers: Answers | None = None
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def join(self) -> Waiter:
        assert self.thread is not None
        self.thread.join(HANG)
        assert not self.thread.is_alive(), "still waiting"
        return self


def waiting(cache: Cache, load: Load, deadline: Deadline, *keys: Hashable) -> Waiter:
    """Ask in a thread of its own, and return when it has begun to wait (or is done)."""
    waiter, before = Waiter(), cache.statistics.misses

    def ask() -> None:
        try:
            waiter.answers = cache.get_many(keys, load, deadline)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            waiter.error = error

    thread = waiter.thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    wait_until(lambda: cache.statistics.misses > before or not thread.is_alive(), "the waiter")
    return waiter
