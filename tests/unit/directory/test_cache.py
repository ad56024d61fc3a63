"""The cache's promises, with the clock and the threads in the test's hands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ldapmilter.directory.cache.entries import Cache, Limits
from ldapmilter.directory.cache.slots import Slots
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable
from tests.support.ports import HANG, wait_until
from tests.unit.directory.hand import Clock, Executor, Source, at_once, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from ldapmilter.directory.backend.store import Deadline
    from ldapmilter.directory.cache.answers import Slot

LIMITS = Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=1000)
DOWN = DirectoryUnavailable("down")


def middle() -> float:
    """Return the jitter that leaves the time to live as it is."""
    return 0.5


class Bench:
    """A cache with its surroundings."""

    def __init__(
        self,
        limits: Limits = LIMITS,
        submit: Callable[[Callable[[], None]], None] = at_once,
        jitter: Callable[[], float] = middle,
    ) -> None:
        self.clock = Clock()
        self.source = Source({"a": "one", "b": "two", "c": "three"})
        self.cache = Cache(limits, self.clock, submit, jitter)

    def get(self, key: Hashable = "a", *, past_negative: bool = False) -> Any:
        """Return a value; a failure is raised."""
        answers = self.cache.get_many([key], self.source.load, self.clock.deadline(), past_negative=past_negative)
        if key in answers.failures:
            raise answers.failures[key]
        return answers.values[key]

    def is_stale(self, key: Hashable = "a") -> bool:
        return bool(self.cache.get_many([key], self.source.load, self.clock.deadline()).stale)


# -- time to live ---------------------------------------------------------------------------


def test_a_second_question_is_free() -> None:
    bench = Bench()
    assert bench.get() == "one"
    bench.source.held["a"] = "changed"
    assert bench.get() == "one"
    assert bench.source.asked == [["a"]]


def test_past_the_time_to_live_the_directory_is_asked() -> None:
    bench = Bench()
    bench.get()
    bench.source.held["a"] = "changed"
    bench.clock.now += 100
    assert bench.get() == "changed"


@pytest.mark.parametrize(("jitter", "fresh_for"), [(0.0, 90.0), (0.5, 100.0), (1 - 2**-53, 110.0)])
def test_the_spread_is_ten_percent(jitter: float, fresh_for: float) -> None:
    bench = Bench(submit=Executor(), jitter=lambda: jitter)
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    executor = bench.cache._submit
    assert isinstance(executor, Executor)
    executor.run()
    waiter.join()
    bench.clock.now += fresh_for - 0.001
    assert bench.get() == "one"
    executor.jobs.clear()
    bench.clock.now += 0.002
    answers = bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    assert answers.stale or answers.failures


@settings(deadline=None)
@given(jitter=st.floats(0, 1, exclude_max=True), age=st.floats(0, 200))
def test_whatever_the_spread_it_stays_within_bounds(jitter: float, age: float) -> None:
    executor = Executor()
    bench = Bench(submit=executor, jitter=lambda: jitter)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.clock.now += age
    answers = bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    fresh = "a" in answers.values and not answers.stale
    if age < 89.999:
        assert fresh
    elif age > 110.001:
        assert not fresh


@pytest.mark.parametrize("absent", [(), None, "", "left out"])
def test_absent_lives_shorter(absent: object) -> None:
    bench = Bench()
    if absent == "left out":
        del bench.source.held["a"]
    else:
        bench.source.held["a"] = absent
    assert not bench.get()
    bench.source.held["a"] = "made a minute ago"
    bench.clock.now += 19.9
    assert not bench.get()
    bench.clock.now += 0.2
    assert bench.get() == "made a minute ago"


def test_absent_never_lives_longer_than_present() -> None:
    bench = Bench(Limits(ttl=10, negative_ttl=60, stale_ttl=0, max_entries=10))
    assert not bench.get("nobody")
    bench.clock.now += 10.1
    bench.source.held["nobody"] = "somebody"
    assert bench.get("nobody") == "somebody"


def test_no_time_to_live_means_always_asking() -> None:
    bench = Bench(Limits(ttl=0, negative_ttl=0, stale_ttl=0, max_entries=10))
    for value in ("one", "two", ""):
        bench.source.held["a"] = value
        assert bench.get() == value
    assert len(bench.source.asked) == 3


# -- many keys ------------------------------------------------------------------------------


def test_only_what_is_missing_is_asked_for_and_all_at_once() -> None:
    bench = Bench()
    bench.get("b")
    answers = bench.cache.get_many(["a", "b", "c", "nobody"], bench.source.load, bench.clock.deadline())
    assert answers.values["a"] == "one"
    assert answers.values["b"] == "two"
    assert not answers.values["nobody"]
    assert bench.source.asked == [["b"], ["a", "c", "nobody"]]


def test_a_key_that_is_named_twice_is_asked_for_once() -> None:
    bench = Bench()
    bench.cache.get_many(["a", "a", "b", "a"], bench.source.load, bench.clock.deadline())
    (asked,) = bench.source.asked
    assert set(asked) == {"a", "b"}


def test_no_keys_ask_nothing() -> None:
    bench = Bench()
    assert bench.cache.get_many([], bench.source.load, bench.clock.deadline()).values == {}
    assert bench.source.asked == []


def test_it_is_bounded_and_still_answers_all() -> None:
    bench = Bench(Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=3))
    bench.source.held.update({number: f"value {number}" for number in range(50)})
    answers = bench.cache.get_many(range(50), bench.source.load, bench.clock.deadline())
    assert answers.values == {number: f"value {number}" for number in range(50)}
    assert len(bench.cache) <= 3
    for number in range(50):
        bench.get(number)
        assert len(bench.cache) <= 3


def test_what_is_asked_for_stays_when_room_has_to_be_made() -> None:
    bench = Bench(Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=3))
    for number in range(50):
        bench.get("a")
        bench.get(("nobody", number))
    assert bench.source.asked.count(["a"]) == 1


def test_an_answer_that_is_found_again_stands_in_for_as_long_as_a_new_one() -> None:
    bench = Bench()
    bench.get()
    bench.clock.now += 900
    bench.get()
    bench.source.error = DOWN
    bench.clock.now += 900
    assert bench.get() == "one"
    assert bench.cache.statistics.stale == 1


def test_absent_keys_count_too() -> None:
    bench = Bench(Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=3))
    for number in range(50):
        assert not bench.get(("nobody", number))
    assert len(bench.cache) <= 3


# -- one search for everybody ---------------------------------------------------------------


def test_sixty_four_share_one_result() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    waiters = [waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a") for _ in range(64)]
    assert len(executor.jobs) == 1
    executor.run()
    results = [waiter.join().answers for waiter in waiters]
    assert all(answers is not None and answers.values == {"a": "one"} for answers in results)
    assert bench.source.asked == [["a"]]


def test_sixty_four_share_one_failure() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.source.error = DOWN
    waiters = [waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a") for _ in range(64)]
    assert len(executor.jobs) == 1
    executor.run()
    results = [waiter.join().answers for waiter in waiters]
    assert all(answers is not None and answers.failures == {"a": DOWN} for answers in results)
    assert bench.source.asked == [["a"]]
    assert executor.jobs == []


def test_a_failure_is_not_remembered() -> None:
    bench = Bench()
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get()
    bench.source.error = None
    assert bench.get() == "one"


def test_waiting_for_others_and_asking_oneself_in_one_go() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    first = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a", "b")
    second = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "b", "c")
    assert len(executor.jobs) == 2
    executor.run(1)
    executor.run(0)
    for waiter, values in ((first, {"a": "one", "b": "two"}), (second, {"b": "two", "c": "three"})):
        answers = waiter.join().answers
        assert answers is not None
        assert answers.values == values
    assert bench.source.asked == [["c"], ["a", "b"]]


def test_one_failure_takes_nothing_from_the_other_keys() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    other = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a", "b")
    bench.source.error = DOWN
    executor.run()
    bench.source.error = None
    executor.run()
    waiter.join()
    answers = other.join().answers
    assert answers is not None
    assert (answers.values, answers.failures) == ({"b": "two"}, {"a": DOWN})


# -- while the directory fails --------------------------------------------------------------


def test_stale_stands_in_while_the_directory_fails() -> None:
    bench = Bench()
    bench.get()
    bench.clock.now += 500
    bench.source.error = DOWN
    assert bench.get() == "one"
    assert bench.is_stale()
    assert bench.cache.statistics.stale == 2


def test_stale_ends_when_the_directory_is_back() -> None:
    bench = Bench()
    bench.get()
    bench.clock.now += 500
    bench.source.error = DOWN
    bench.get()
    bench.source.error = None
    bench.source.held["a"] = "changed"
    assert bench.get() == "changed"
    assert not bench.is_stale()


def test_fresh_is_not_called_stale_while_the_directory_fails() -> None:
    bench = Bench()
    bench.get()
    bench.source.error = DOWN
    bench.clock.now += 50
    assert not bench.is_stale()


@pytest.mark.parametrize(("age", "served"), [(999.0, True), (1001.0, False), (5000.0, False)])
def test_nothing_older_than_stale_ttl_is_served(age: float, *, served: bool) -> None:
    bench = Bench()
    bench.get()
    bench.clock.now += age
    bench.source.error = DOWN
    if served:
        assert bench.get() == "one"
    else:
        with pytest.raises(DirectoryUnavailable):
            bench.get()


def test_serving_stale_does_not_make_it_younger() -> None:
    bench = Bench()
    bench.get()
    bench.source.error = DOWN
    for _ in range(9):
        bench.clock.now += 105
        assert bench.get() == "one"
    bench.clock.now += 105
    with pytest.raises(DirectoryUnavailable):
        bench.get()


def test_absent_is_never_stale() -> None:
    bench = Bench()
    assert not bench.get("nobody")
    bench.clock.now += 21
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get("nobody")


@pytest.mark.parametrize("negative_ttl", [20, 0])
def test_what_has_become_absent_is_not_revived(negative_ttl: float) -> None:
    bench = Bench(Limits(ttl=100, negative_ttl=negative_ttl, stale_ttl=1000, max_entries=1000))
    bench.get()
    bench.clock.now += 101
    del bench.source.held["a"]
    assert not bench.get()
    bench.clock.now += 21
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get()


def test_without_stale_ttl_nothing_stands_in() -> None:
    bench = Bench(Limits(ttl=100, negative_ttl=20, stale_ttl=0, max_entries=10))
    bench.get()
    bench.clock.now += 101
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get()


# -- known to be absent, and asked again ----------------------------------------------------


def test_past_negative_asks_again_for_what_is_absent() -> None:
    bench = Bench()
    assert not bench.get("new")
    bench.source.held["new"] = "made a minute ago"
    assert not bench.get("new")
    assert bench.get("new", past_negative=True) == "made a minute ago"
    assert bench.get("new") == "made a minute ago"


def test_past_negative_takes_what_is_present_from_memory() -> None:
    bench = Bench()
    bench.get()
    bench.get(past_negative=True)
    assert bench.source.asked == [["a"]]


# -- flush ----------------------------------------------------------------------------------


def test_flush_forgets_everything_and_says_how_much() -> None:
    bench = Bench()
    for key in ("a", "b", "nobody"):
        bench.get(key)
    bench.source.held["a"] = "changed"
    assert bench.cache.flush() == 3
    assert len(bench.cache) == 0
    assert bench.get() == "changed"
    assert bench.cache.flush() == 1


def test_flush_of_some_leaves_the_rest() -> None:
    bench = Bench()
    for key in ("a", "b", "nobody"):
        bench.get(key)
    assert bench.cache.flush(lambda key, _value: key in {"a", "nobody", "never seen"}) == 2
    bench.get("b")
    assert len(bench.source.asked) == 3
    bench.get("a")
    bench.get("nobody")
    assert len(bench.source.asked) == 5


def test_flushed_entries_are_not_served_stale() -> None:
    bench = Bench()
    bench.get()
    bench.cache.flush()
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get()


FLUSHES: dict[str, Callable[[Cache], int]] = {
    "all": lambda cache: cache.flush(),
    "the key": lambda cache: cache.flush(lambda key, _value: key == "a"),
}


@pytest.mark.parametrize("how", FLUSHES)
def test_a_search_begun_before_a_flush_never_fills_the_cache(how: str) -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    early = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    FLUSHES[how](bench.cache)
    executor.run()
    answers = early.join().answers
    assert answers is not None
    assert answers.values == {"a": "one"}
    assert len(bench.cache) == 0
    bench.source.held["a"] = "changed"
    late = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    executor.run()
    answers = late.join().answers
    assert answers is not None
    assert answers.values == {"a": "changed"}


@pytest.mark.parametrize("how", FLUSHES)
@pytest.mark.parametrize("order", [(0, 0), (1, 0)])
def test_it_is_not_shared_by_those_who_ask_after_the_flush(how: str, order: tuple[int, int]) -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    old, new = Source({"a": "old"}), Source({"a": "new"})
    early = waiting(bench.cache, old.load, bench.clock.deadline(), "a")
    FLUSHES[how](bench.cache)
    late = waiting(bench.cache, new.load, bench.clock.deadline(), "a")
    assert len(executor.jobs) == 2
    for number in order:
        executor.run(number)
    for waiter, value in ((early, "old"), (late, "new")):
        answers = waiter.join().answers
        assert answers is not None
        assert answers.values == {"a": value}
    assert bench.get() == "new"
    assert bench.source.asked == []


def test_a_refresh_begun_before_a_flush_never_fills_the_cache() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.clock.now += 95
    assert bench.get() == "one"
    assert len(executor.jobs) == 1
    bench.cache.flush()
    executor.run()
    assert len(bench.cache) == 0


# -- refresh ahead --------------------------------------------------------------------------


def test_what_is_hot_and_near_expiry_is_refreshed_behind_the_askers_back() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.source.held["a"] = "changed"
    bench.clock.now += 99
    for _ in range(5):
        assert bench.get() == "one"
    assert len(executor.jobs) == 1
    executor.run()
    assert bench.get() == "changed"
    bench.clock.now += 50
    assert bench.get() == "changed"
    assert executor.jobs == []
    assert bench.cache.statistics.refreshed == 1


def test_what_is_young_is_left_alone() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.clock.now += 50
    assert bench.get() == "one"
    assert executor.jobs == []


def test_a_refresh_that_fails_takes_nothing_away() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.clock.now += 99
    bench.get()
    bench.source.error = DOWN
    executor.run()
    assert bench.get() == "one"
    executor.jobs.clear()


# -- waiting --------------------------------------------------------------------------------


@pytest.mark.parametrize("submit", [at_once, None])
def test_a_load_may_read_another_key(submit: Callable[[Callable[[], None]], None] | None) -> None:
    threads: list[Callable[[], None]] = []
    bench = Bench(submit=submit or threads.append)

    def outer(keys: Collection[Hashable], deadline: Deadline) -> Mapping[Hashable, Any]:
        inner = bench.cache.get_many(["b"], bench.source.load, deadline)
        return dict.fromkeys(keys, f"made of {inner.values['b']}")

    waiter = waiting(bench.cache, outer, bench.clock.deadline(), "outer")
    if submit is None:
        nested = waiting_job(bench, threads)
        threads.pop()()
        nested.join(HANG)
        assert not nested.is_alive()
    answers = waiter.join().answers
    assert answers is not None
    assert answers.values == {"outer": "made of two"}


def waiting_job(bench: Bench, jobs: list[Callable[[], None]]) -> threading.Thread:
    """Run the first job in a thread, and return when the load that it starts is under way."""
    thread = threading.Thread(target=jobs.pop(), daemon=True)
    thread.start()
    wait_until(lambda: bool(jobs), "the inner load")
    assert bench.cache.statistics.misses == 2
    return thread


def test_other_keys_are_served_while_a_load_is_under_way() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["b"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    waiter = waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a")
    assert bench.get("b") == "two"
    executor.run()
    waiter.join()


class LoaderBugError(Exception):
    """Something that no loader should raise."""


def test_a_bug_in_a_loader_reaches_who_waits() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.source.error = LoaderBugError("typo")
    waiters = [waiting(bench.cache, bench.source.load, bench.clock.deadline(), "a") for _ in range(3)]
    with pytest.raises(LoaderBugError):
        executor.run()
    assert all(isinstance(waiter.join().error, LoaderBugError) for waiter in waiters)
    bench.source.error = None
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    assert bench.get() == "one"


def test_a_bug_in_a_loader_is_not_papered_over_by_a_stale_answer() -> None:
    bench = Bench()
    bench.get()
    bench.clock.now += 101
    bench.source.error = LoaderBugError("typo")
    with pytest.raises(LoaderBugError):
        bench.get()


def test_an_executor_that_takes_no_more_is_an_outage() -> None:
    def refuse(_work: Callable[[], None]) -> None:
        message = "cannot schedule new futures after shutdown"
        raise RuntimeError(message)

    bench = Bench(submit=refuse)
    with pytest.raises(DirectoryUnavailable):
        bench.get()


def test_past_the_deadline_nobody_waits_and_the_late_answer_fills_the_cache() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    answers = bench.cache.get_many(["a", "b"], bench.source.load, bench.clock.deadline(0))
    assert answers.values == {}
    assert {type(error) for error in answers.failures.values()} == {DeadlineExceeded}
    assert set(answers.failures) == {"a", "b"}
    executor.run()
    assert bench.get("a") == "one"
    assert bench.get("b") == "two"
    assert len(bench.source.asked) == 1


def test_past_the_deadline_stale_stands_in() -> None:
    executor = Executor()
    bench = Bench(submit=executor)
    bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    executor.run()
    bench.clock.now += 101
    answers = bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    assert answers.values == {"a": "one"}
    assert answers.stale
    bench.source.held["a"] = "changed"
    executor.run()
    assert bench.get() == "changed"


def test_what_is_in_memory_needs_no_time() -> None:
    bench = Bench()
    bench.get()
    answers = bench.cache.get_many(["a"], bench.source.load, bench.clock.deadline(0))
    assert answers.values == {"a": "one"}


def test_statistics() -> None:
    bench = Bench()
    for key in ("a", "a", "nobody", "nobody", "b"):
        bench.get(key)
    bench.source.error = DOWN
    with pytest.raises(DirectoryUnavailable):
        bench.get("c")
    bench.clock.now += 200
    bench.get("a")
    statistics = bench.cache.statistics
    assert (statistics.hits, statistics.misses, statistics.stale, statistics.failures) == (2, 5, 1, 2)


# -- the lock -------------------------------------------------------------------------------


OPERATIONS: dict[str, Callable[[Bench, list[Slot]], object]] = {
    "get_many": lambda bench, _: [bench.get(key) for key in ("a", "nobody", "new")],
    "held": lambda bench, _: bench.cache.held(["a", "nobody"], stale=True),
    "stands": lambda bench, reads: bench.cache.stands(reads, bench.cache.epoch),
    "current": lambda bench, reads: bench.cache.current(reads),
    "items": lambda bench, _: bench.cache.items(),
    "values": lambda bench, _: bench.cache.values(),
    "len": lambda bench, _: len(bench.cache),
    "flush of some": lambda bench, _: bench.cache.flush(lambda key, _value: key == "a"),
    "flush": lambda bench, _: bench.cache.flush(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("later", [0, 50, 150, 2000])
def test_the_store_is_touched_with_the_lock_held_only(operation: str, later: float) -> None:
    """cachetools is not fit for several threads, not even to read."""
    bench = Bench()
    unguarded: list[str] = []

    def guard(name: str) -> Callable[..., Any]:
        def method(self: Slots, *arguments: Any) -> Any:
            if not bench.cache._lock.locked():
                unguarded.append(name)
            touched.append(name)
            return getattr(Slots, name)(self, *arguments)

        return method

    touched: list[str] = []
    names = ("__getitem__", "__setitem__", "__delitem__", "__len__", "__contains__", "expire", "find", "everything")
    bench.cache._slots.__class__ = type("Guarded", (Slots,), {name: guard(name) for name in names})
    reads = [
        slot
        for key in ("a", "b", "nobody")
        for slot in bench.cache.get_many([key], bench.source.load, bench.clock.deadline()).slots.values()
    ]
    bench.source.held["b"] = "changed"
    bench.clock.now += later
    bench.get("b")
    OPERATIONS[operation](bench, reads)
    assert touched
    assert unguarded == []


# -- all of it together ---------------------------------------------------------------------


class CachePromises(RuleBasedStateMachine):
    """Any sequence of questions, changes, outages and flushes keeps the promises."""

    keys = st.sampled_from(["a", "b"])

    @initialize(jitter=st.floats(0, 1, exclude_max=True))
    def set_up(self, jitter: float) -> None:
        self.bench = Bench(jitter=lambda: jitter)
        self.bench.source.held = {"a": (0, 1000.0), "b": ()}
        self.version = 0
        self.flushed_at = 0.0
        self.down = False

    @rule(seconds=st.one_of(st.floats(0, 30), st.floats(0, 1500)))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.now += seconds

    @rule(key=keys, there=st.booleans())
    def the_directory_changes(self, key: str, *, there: bool) -> None:
        self.version += 1
        self.bench.source.held[key] = (self.version, self.bench.clock.now) if there else ()

    @rule()
    def the_directory_fails(self) -> None:
        self.bench.source.error, self.down = DOWN, True

    @rule()
    def the_directory_is_back(self) -> None:
        self.bench.source.error, self.down = None, False

    @rule()
    def everything_is_flushed(self) -> None:
        self.bench.cache.flush()
        self.flushed_at = self.bench.clock.now
        # What was true before the flush is gone: a new version from here on.
        for key, held in self.bench.source.held.items():
            if held:
                self.version += 1
                self.bench.source.held[key] = (self.version, self.bench.clock.now)

    @precondition(lambda self: hasattr(self, "bench"))
    @rule(key=keys)
    def somebody_asks(self, key: str) -> None:
        bench, now = self.bench, self.bench.clock.now
        answers = bench.cache.get_many([key], bench.source.load, bench.clock.deadline())
        if key in answers.failures:
            assert self.down
            return
        value, truth = answers.values[key], bench.source.held[key]
        if answers.stale:
            assert self.down
            assert value
        if not value:
            return
        version, since = value
        assert since >= self.flushed_at
        if not self.down and truth and version != truth[0]:
            # It was overtaken by a change: then it may not be older than its time to live.
            assert now - truth[1] <= 110.001

    @invariant()
    def it_is_bounded(self) -> None:
        if hasattr(self, "bench"):
            assert len(self.bench.cache) <= 2


CachePromises.TestCase.settings = settings(deadline=None)
TestCachePromises = CachePromises.TestCase
