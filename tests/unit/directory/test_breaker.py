"""A directory that hangs is found out once: who comes after does not wait for a deadline of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.directory.cache.answers import Limits
from ldapmilter.directory.cache.breaker import PATIENCE
from ldapmilter.directory.cache.entries import Cache
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable
from tests.support.ports import wait_until
from tests.unit.directory.hand import Clock, Executor, Source, waiting

if TYPE_CHECKING:
    from ldapmilter.directory.cache.answers import Answers

LATE = DeadlineExceeded("ldap://one.test: nothing")
DEADLINE = 5.0
A_MOMENT = 0.02


class Bench:
    """A cache whose threads are in the test's hands, over a directory that hangs until it is let go."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.executor = Executor()
        self.source = Source({key: key for key in "abcdef"})
        self.cache = Cache(Limits(ttl=100, stale_ttl=1000), self.clock, self.executor, lambda: 0.5)

    def ask(self, key: str, seconds: float = A_MOMENT) -> Answers:
        """Ask in this thread: whatever comes has to come without a thread's doing."""
        return self.cache.get_many([key], self.source.load, self.clock.deadline(seconds))

    def answer(self, key: str) -> None:
        """Let a search be answered."""
        waiter = waiting(self.cache, self.source.load, self.clock.deadline(), key)
        self.executor.run()
        assert waiter.join().answers is not None


def hung() -> Bench:
    bench = Bench()
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    bench.clock.now += DEADLINE - 0.25
    bench.source.error = LATE
    bench.executor.run()
    bench.source.error = None
    waiter.join()
    assert bench.executor.jobs == []
    return bench


def test_the_first_who_comes_after_goes_on_searching_but_does_not_wait_for_it() -> None:
    bench = hung()
    answers = bench.ask("b", DEADLINE)
    assert isinstance(answers.failures["b"], DirectoryUnavailable)
    assert "ldap://one.test" in str(answers.failures["b"])
    assert len(bench.executor.jobs) == 1


def test_the_others_do_not_even_search() -> None:
    bench = hung()
    bench.ask("b")
    for key in "cdef":
        assert "ldap://one.test" in str(bench.ask(key).failures[key])
    assert len(bench.executor.jobs) == 1


def test_another_may_search_after_a_second_and_a_few_at_once_at_most() -> None:
    bench = hung()
    for key in "bcdef":
        bench.ask(key)
        bench.clock.now += 1.1
    assert len(bench.executor.jobs) == 3


@pytest.mark.parametrize("late", [0.0, 60.0])
def test_an_answer_makes_everything_as_it_was(late: float) -> None:
    bench = hung()
    bench.ask("b")
    bench.clock.now += late
    bench.executor.run()
    assert bench.ask("b").values == {"b": "b"}
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "c")
    bench.clock.now += DEADLINE - 1
    assert waiter.thread is not None
    waiter.thread.join(2 * PATIENCE)
    assert waiter.thread.is_alive(), "given up although the directory answers"
    bench.executor.run()
    answers = waiter.join().answers
    assert answers is not None
    assert answers.values == {"c": "c"}


def test_who_is_held_back_asks_as_soon_as_the_directory_is_back() -> None:
    bench = hung()
    bench.ask("b")
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "c")
    bench.executor.run()
    wait_until(lambda: bool(bench.executor.jobs), "the question of who was held back")
    bench.executor.run()
    answers = waiter.join().answers
    assert answers is not None
    assert answers.values == {"c": "c"}


def test_what_is_in_memory_stands_in_at_once() -> None:
    bench = Bench()
    for key in "ab":
        bench.answer(key)
    bench.clock.now += 500
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "c")
    bench.clock.now += DEADLINE
    bench.source.error = LATE
    bench.executor.run()
    waiter.join()
    bench.ask("d")
    for key in "ab":
        answers = bench.ask(key)
        assert (answers.values, answers.stale) == ({key: key}, True)
    assert len(bench.executor.jobs) == 1


def test_one_that_fails_between_others_that_succeed_proves_nothing() -> None:
    bench = Bench()
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    bench.clock.now += 3
    other = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "b")
    bench.executor.run(1)
    other.join()
    bench.clock.now += 1.5
    bench.source.error = LATE
    bench.executor.run()
    waiter.join()
    bench.source.error = None
    for number, key in enumerate("cde", 1):
        assert waiting(bench.cache, bench.source.load, bench.clock.deadline(), key).thread is not None
        assert len(bench.executor.jobs) == number


def test_one_that_waited_for_a_thread_until_its_time_was_up_proves_nothing() -> None:
    bench = Bench()
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    bench.clock.now += DEADLINE + 3600  # past the deadline before it began
    bench.source.error = LATE
    bench.executor.run()
    waiter.join()
    for number, key in enumerate("bcd", 1):
        waiting(bench.cache, bench.source.load, bench.clock.deadline(), key)
        assert len(bench.executor.jobs) == number


def test_one_that_fails_at_once_holds_nobody_back() -> None:
    bench = Bench()
    bench.source.error = DirectoryUnavailable("refused")
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    bench.executor.run()
    waiter.join()
    for number, key in enumerate("bcd", 1):
        waiting(bench.cache, bench.source.load, bench.clock.deadline(), key)
        assert len(bench.executor.jobs) == number
