"""Derived values stand for exactly as long as the answers that they were made from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.cache.answers import Slot
from ldapmilter.directory.cache.derived import Derived, Remembered
from ldapmilter.directory.cache.entries import Cache, Limits
from ldapmilter.directory.model import Version
from tests.contract.asking import address
from tests.support import builders
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.directory.hand import Clock, Source, at_once
from tests.unit.directory.scene import Scene
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, Message, World, addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from ldapmilter.directory.zimbra import MessageDirectory
    from tests.support.record import Record

TTL: Final = 100
KEYS: Final = ("a", "b", "c")


class Bench:
    """Derived values over a cache, and the sum of some answers as what is worked out."""

    def __init__(self, max_entries: int = 1000, stale_ttl: float = 1000) -> None:
        self.clock = Clock()
        self.source = Source({"a": 1, "b": 10, "c": 100})
        limits = Limits(ttl=TTL, negative_ttl=20, stale_ttl=stale_ttl, max_entries=max_entries)
        self.cache = Cache(limits, self.clock, at_once, lambda: 0.5)
        self.derived = Derived(self.cache, self.clock)
        self.worked_out = 0

    def recall(self, key: Hashable) -> Remembered | None:
        return self.derived.recall([key]).get(key)

    def read(self, keys: Collection[Hashable]) -> list[Slot]:
        """Return some answers, fetched where necessary."""
        return list(self.cache.get_many(keys, self.source.load, self.clock.deadline()).slots.values())

    def sum_of(self, *keys: str) -> int:
        found = self.recall(keys)
        if found is not None:
            value: int = found.value
            return value
        self.worked_out += 1
        changes = self.derived.changes
        answers = self.cache.get_many(keys, self.source.load, self.clock.deadline())
        made = sum(value or 0 for value in answers.values.values())
        self.derived.remember(keys, made, list(answers.slots.values()), changes)
        return made

    def refresh(self, *keys: str) -> None:
        """Read answers so late in their life that they are fetched again."""
        asked = len(self.source.asked)
        self.read(keys)
        assert len(self.source.asked) > asked


# -- remembered while the reads stand -------------------------------------------------------


def test_it_is_worked_out_once() -> None:
    bench = Bench()
    assert [bench.sum_of(*KEYS) for _ in range(5)] == [111] * 5
    assert bench.worked_out == 1
    assert bench.sum_of("a", "b") == 11
    assert bench.worked_out == 2


def test_it_ends_with_the_first_of_its_reads() -> None:
    bench = Bench()
    bench.read(["a"])
    bench.clock.now += 50
    bench.sum_of("a", "b")
    bench.clock.now += 29
    bench.source.held["a"] = 2
    assert bench.sum_of("a", "b") == 11
    bench.clock.now += 21
    assert bench.sum_of("a", "b") == 12


def test_a_changed_answer_takes_it_down_at_once() -> None:
    bench = Bench()
    assert bench.sum_of("a", "b") == 11
    assert bench.sum_of("c") == 100
    bench.clock.now += 90
    bench.source.held["a"] = 2
    bench.refresh("a")
    assert bench.sum_of("a", "b") == 12


@pytest.mark.parametrize("forget", [None, lambda key, _value: key == "b"])
def test_a_flushed_answer_takes_it_down_at_once(forget: Callable[[Hashable, Any], bool] | None) -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    bench.sum_of("c")
    bench.source.held.update(b=20, c=200)
    bench.cache.flush(forget)
    assert bench.sum_of("a", "b") == 21
    # A flush of something else leaves the rest.
    assert bench.sum_of("c") == (200 if forget is None else 100)


def test_an_answer_that_the_cache_dropped_takes_it_down() -> None:
    bench = Bench(max_entries=3)
    assert bench.sum_of("a", "b") == 11
    bench.read(["c"])
    bench.read(["d"])
    bench.source.held["a"] = 2
    bench.read(["a", "b", "c", "d"])
    assert bench.sum_of("a", "b") in {11, 12}
    bench.clock.now += TTL
    assert bench.sum_of("a", "b") == 12


def test_a_refresh_that_finds_the_same_keeps_it() -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    for _ in range(20):
        bench.clock.now += 85
        bench.refresh("a", "b")
        assert bench.sum_of("a", "b") == 11
    assert bench.worked_out == 1


def test_a_refresh_of_some_is_not_a_refresh_of_all() -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    bench.clock.now += 85
    bench.refresh("a")
    bench.clock.now += 15
    bench.source.held["b"] = 20
    assert bench.sum_of("a", "b") == 21


def test_what_reads_nothing_stands_for_ever() -> None:
    bench = Bench()
    bench.sum_of()
    bench.clock.now += 10_000
    assert bench.sum_of() == 0
    assert bench.worked_out == 1


# -- refreshed ahead, by one ----------------------------------------------------------------


def test_one_caller_is_told_to_work_it_out_again() -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    key = ("a", "b")
    bench.clock.now += 79
    assert bench.recall(key) is not None
    bench.clock.now += 2
    told = [bench.recall(key) is None for _ in range(10)]
    assert told == [True, *[False] * 9]


def test_whoever_is_told_refreshes_what_is_behind_it() -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    bench.clock.now += 85
    assert bench.sum_of("a", "b") == 11
    assert bench.worked_out == 2
    # Nobody notices the end of the first life.
    asked = len(bench.source.asked)
    bench.clock.now += 70
    assert bench.sum_of("a", "b") == 11
    assert (bench.worked_out, len(bench.source.asked)) == (2, asked)


def test_if_the_one_gives_up_it_ends_when_it_would_have_ended() -> None:
    bench = Bench()
    bench.sum_of("a", "b")
    bench.clock.now += 85
    assert bench.recall(("a", "b")) is None
    bench.source.held["a"] = 2
    assert bench.sum_of("a", "b") == 11
    bench.clock.now += 15
    assert bench.sum_of("a", "b") == 12


# -- what is not remembered -----------------------------------------------------------------


def test_nothing_is_remembered_of_what_changed_meanwhile() -> None:
    bench = Bench()
    changes = bench.derived.changes
    reads = bench.read(KEYS)
    bench.cache.flush(lambda key, _value: key == "a")
    bench.derived.remember("x", 111, reads, changes)
    assert bench.recall("x") is None


def test_nor_of_what_is_past_its_time() -> None:
    bench = Bench()
    changes = bench.derived.changes
    reads = bench.read(KEYS)
    bench.clock.now += TTL
    bench.derived.remember("x", 111, reads, changes)
    assert bench.recall("x") is None


def test_it_is_bounded_by_what_it_was_made_from() -> None:
    bench = Bench(max_entries=100)
    bench.source.held = {number: number for number in range(50)}
    reads = bench.read(range(50))
    for number in range(1000):
        bench.derived.remember(number, number, reads, bench.derived.changes)
    held = [number for number in range(1000) if bench.recall(number) is not None]
    assert 1 <= len(held) <= 4 * 100 // len(reads)
    # The latest are those that are held.
    assert held[-1] == 999


def test_one_that_is_larger_than_the_bound_is_not_remembered_and_takes_no_other_away() -> None:
    bench = Bench(max_entries=10)
    bench.source.held = {number: number for number in range(100)}
    bench.derived.remember("small", 1, bench.read([0]), bench.derived.changes)
    bench.derived.remember(
        "large", 2, [Slot(number, number, 0, math.inf) for number in range(100)], bench.derived.changes
    )
    assert bench.recall("large") is None
    assert bench.recall("small") is not None


@pytest.mark.parametrize("own", [0, 1, 20])
def test_at_the_bound_it_is_remembered_or_not_whatever_it_was_made_from(own: int) -> None:
    bench = Bench(max_entries=10)
    bench.derived = Derived(bench.cache, bench.clock, lambda key: isinstance(key, int) and key >= own)
    for count in range(30, 45):
        # More than the cache holds at a time: what it has had to let go of is as good here.
        reads = [Slot(number, number, 0, math.inf, held=True) for number in range(count)]
        bench.derived.remember(count, count, reads, bench.derived.changes)
    held = {count for count in range(30, 45) if bench.recall(count) is not None}
    assert held == {max(held)}
    assert 38 <= max(held) < 40


def test_what_is_asked_for_stays_when_room_has_to_be_made() -> None:
    bench = Bench(max_entries=3)
    reads = bench.read(["a"])
    for number in range(50):
        bench.derived.remember(number, number, reads, bench.derived.changes)
        assert bench.recall(0) is not None
    assert bench.recall(1) is None


def _is(wanted: str) -> Callable[[Hashable, Any], bool]:
    return lambda key, _value: key == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("pass"), st.integers(1, 120)),
            st.tuples(st.just("set"), st.sampled_from(KEYS)),
            st.tuples(st.just("flush"), st.sampled_from((*KEYS, ""))),
            st.tuples(st.just("read"), st.sampled_from(KEYS)),
            st.tuples(st.just("sum"), st.sampled_from((("a",), ("a", "b"), KEYS))),
        ),
        max_size=40,
    )
)
def test_what_is_recalled_is_what_the_answers_say(steps: list[tuple[str, Any]]) -> None:
    bench = Bench()
    for step, what in steps:
        if step == "pass":
            bench.clock.now += what
        elif step == "set":
            bench.source.held[what] += 1
        elif step == "flush":
            bench.cache.flush(None if not what else _is(what))
        elif step == "read":
            bench.read([what])
        else:
            found = bench.recall(what)
            if found is not None:
                slots = [bench.cache._slots[key] for key in what]
                assert found.value == sum(slot.value or 0 for slot in slots)
                assert all(bench.clock.now < slot.fresh_until for slot in slots)
            bench.sum_of(*what)


# -- versions -------------------------------------------------------------------------------


def test_a_version_is_what_was_read() -> None:
    one, same = RawEntry("uid=a", {"cn": ("x",)}), RawEntry("uid=a", {"cn": ("x",)})
    assert Version(one) == Version(same)
    assert hash(Version(one)) == hash(Version(same))
    assert Version(one) != Version(RawEntry("uid=a", {"cn": ("y",)}))
    assert Version(one) != Version(RawEntry("uid=b", {"cn": ("x",)}))
    assert Version(one) != "uid=a"


# -- over a directory -----------------------------------------------------------------------

GROUP: Final = "list@example.test"
SALES: Final = zimbra_id("cos", "sales")


def records(archive: str = "old@vault.test") -> list[Record]:
    return [
        *base_records(),
        *builders.global_config(zimbraDefaultDomainName="example.test"),
        *builders.cos("sales", ldapMilterArchiveBcc=archive),
        *builders.domain("example.test"),
        *builders.account("ann@example.test", cos_id=SALES),
        *builders.account("bob@example.test", cos_id=SALES),
        *builders.static_list(GROUP, ["ann@example.test", "bob@example.test"]),
    ]


def derived(
    view: MessageDirectory, key: str, work_out: Callable[[Collection[str]], Mapping[str, tuple[str, ...]]]
) -> tuple[str, ...]:
    """Return what is worked out from a view, or is remembered."""
    found: tuple[str, ...] = view.larger.get([key], lambda _view, keys: work_out(keys), str)[key]
    return found


class Working:
    """A value that is worked out from the COS of ann and bob."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.times = 0

    def ask(self, *, lenient: bool = False, view: MessageDirectory | None = None) -> tuple[str, ...]:
        view = view or self.scene.view(lenient=lenient)

        def work_out(keys: Collection[str]) -> dict[str, tuple[str, ...]]:
            self.times += 1
            return dict.fromkeys(keys, self.archives(view))

        return derived(view, "archives", work_out)

    @staticmethod
    def archives(view: MessageDirectory) -> tuple[str, ...]:
        people = [address(name) for name in ("ann@example.test", "bob@example.test")]
        entries = [entry for found in view.resolve(people).values() for entry in found.entries]
        levels = [level for chain in view.chains(entries).values() for level in chain]
        return tuple(sorted({value for level in levels for value in level.values("ldapMilterArchiveBcc")}))


def test_a_cos_that_changes_takes_down_what_came_from_it() -> None:
    scene = Scene(records())
    working = Working(scene)
    assert [working.ask() for _ in range(3)] == [("old@vault.test",)] * 3
    assert (working.times, scene.store.searches) == (1, 3)
    scene.store.fill(records("new@vault.test"))
    assert working.ask() == ("old@vault.test",)
    scene.cache.flush(lambda key, _value: getattr(key, "kind", "") == "cos")
    assert working.ask() == ("new@vault.test",)
    assert (working.times, scene.store.searches) == (2, 4)


def test_what_is_worked_out_from_a_worked_out_value_falls_with_it() -> None:
    scene = Scene(records())
    working = Working(scene)

    def outer() -> tuple[str, ...]:
        view = scene.view()
        return derived(view, "outer", lambda keys: dict.fromkeys(keys, ("seen", *working.ask(view=view))))

    working.ask()
    assert outer() == ("seen", "old@vault.test")
    scene.store.fill(records("new@vault.test"))
    assert outer() == ("seen", "old@vault.test")
    scene.cache.flush(lambda key, _value: getattr(key, "kind", "") == "cos")
    assert outer() == ("seen", "new@vault.test")


def test_what_has_seen_one_answer_change_is_not_remembered() -> None:
    scene = Scene(records())
    working = Working(scene)

    view = scene.view()

    def before_and_after(keys: Collection[str]) -> dict[str, tuple[str, ...]]:
        before = working.archives(view)
        scene.store.fill(records("new@vault.test"))
        scene.cache.flush(lambda key, _value: getattr(key, "kind", "") == "cos")
        working.archives(view)
        return dict.fromkeys(keys, before)

    assert derived(view, "archives", before_and_after) == ("old@vault.test",)
    assert working.ask() == ("new@vault.test",)


# -- records: what each value of a batch is made from ---------------------------------------

PEOPLE: Final = ("ann@example.test", "bob@example.test")


def batch(view: MessageDirectory, turns: int = 1) -> None:
    """Make and keep a value for each person, in turns."""
    view.prefetch(None, [address(name) for name in PEOPLE])
    kept = {name: view.record() for name in PEOPLE}
    for _ in range(turns):
        for name in PEOPLE:
            with kept[name]:
                view.resolve([address(name)])
    for name in PEOPLE:
        kept[name].keep(name, f"about {name}")


@pytest.mark.parametrize("turns", [1, 2])
def test_each_value_of_a_batch_falls_with_its_own_answers_only(turns: int) -> None:
    scene = Scene(records())
    batch(scene.view(), turns)
    assert scene.view().recall(PEOPLE) == {name: f"about {name}" for name in PEOPLE}

    scene.cache.flush(_is(PEOPLE[0]))

    assert list(scene.view().recall(PEOPLE)) == [PEOPLE[1]]


def test_each_value_of_a_batch_depends_on_the_site() -> None:
    scene = Scene(records())
    batch(scene.view())
    scene.cache.flush(lambda key, _value: getattr(key, "kind", "") == "site")
    assert scene.view().recall(PEOPLE) == {}


def test_a_record_that_is_opened_again_goes_on() -> None:
    scene = Scene(records())
    view = scene.view()
    record = view.record()
    for name in PEOPLE:
        with record:
            view.resolve([address(name)])
        view.login("nobody@example.test")
    record.keep("both", 1)

    scene.cache.flush(_is("nobody@example.test"))
    assert scene.view().recall(["both"]) == {"both": 1}
    scene.cache.flush(_is(PEOPLE[0]))
    assert scene.view().recall(["both"]) == {}


@pytest.mark.parametrize("turn", [0, 1])
def test_what_fails_in_one_turn_spoils_that_value_and_no_other(turn: int) -> None:
    scene = Scene(records())
    scene.view().resolve([address(PEOPLE[1])])
    view = scene.view(lenient=True)
    broken, whole = view.record(), view.record()
    for number in range(2):
        scene.store.down = number == turn
        with broken:
            view.resolve([address(f"new{number}@example.test")])
        with whole:
            view.resolve([address(PEOPLE[1])])
    scene.store.down = False
    broken.keep("broken", 1)
    whole.keep("whole", 2)

    assert len(view.failures) == 1
    assert scene.view().recall(["broken", "whole"]) == {"whole": 2}


def test_an_error_in_one_turn_spoils_the_value() -> None:
    scene = Scene(records())
    record = scene.view().record()
    with pytest.raises(ArithmeticError), record:
        raise ArithmeticError
    record.keep("x", 1)
    assert scene.view().recall(["x"]) == {}


def test_nothing_is_remembered_from_stale_answers() -> None:
    scene = Scene(records())
    working = Working(scene)
    working.ask()
    scene.clock.now += 150
    scene.store.down = True
    view = scene.view()
    assert working.ask(view=view) == ("old@vault.test",)
    assert view.stale
    scene.store.down = False
    scene.store.fill(records("new@vault.test"))
    again = scene.view()
    assert working.ask(view=again) == ("new@vault.test",)
    assert not again.stale


def test_a_remembered_value_of_the_past_is_not_passed_off_as_fresh() -> None:
    scene = Scene(records())
    working = Working(scene)
    working.ask()
    scene.clock.now += 150
    scene.store.down = True
    for _ in range(2):
        view = scene.view()
        working.ask(view=view)
        assert view.stale


def test_nothing_is_remembered_from_failed_reads() -> None:
    scene = Scene(records())
    working = Working(scene)
    scene.view().hosts("example.test")
    scene.store.down = True
    view = scene.view(lenient=True)
    assert working.ask(view=view) == ()
    assert view.failures
    scene.store.down = False
    fresh = scene.view(lenient=True)
    assert working.ask(view=fresh) == ("old@vault.test",)
    assert fresh.failures == ()


def test_nor_when_the_message_had_failures_before() -> None:
    scene = Scene(records())
    working = Working(scene)
    scene.view().hosts("example.test")
    scene.store.down = True
    view = scene.view(lenient=True)
    view.resolve([address("ann@example.test")])
    assert view.failures
    assert working.ask(view=view) == ()
    scene.store.down = False
    assert working.ask() == ("old@vault.test",)


def test_an_error_while_working_out_leaves_nothing_behind() -> None:
    scene = Scene(records())
    working = Working(scene)

    def fail(_keys: Collection[str]) -> dict[str, tuple[str, ...]]:
        message = "worked out wrongly"
        raise ArithmeticError(message)

    view = scene.view()
    with pytest.raises(ArithmeticError):
        derived(view, "archives", fail)
    assert working.ask(view=view) == ("old@vault.test",)
    assert working.ask() == ("old@vault.test",)
    assert working.times == 1


# -- while answers change under a message ---------------------------------------------------


def _decide_while_refreshed(number: int) -> tuple[list[str], int]:
    """Let a refresh land before one of a message's reads; return the next message's copies, and the reads."""
    hold = {ANN: {"ldapMilterLegalSentBcc": "hold@vault.example.net"}}
    world = World(example_records())
    cache = world.directory._reader.cache
    pending: list[Callable[[], None]] = []
    state = {"reads": 0, "holding": False, "refreshed": 0}

    def submit(work: Callable[[], None]) -> None:
        refreshed, state["refreshed"] = state["refreshed"], cache.statistics.refreshed
        if state["holding"] and cache.statistics.refreshed > refreshed:
            pending.append(work)  # what nobody waits for
        else:
            work()

    def get_many(*arguments: Any, **options: Any) -> Any:
        state["reads"] += 1
        if state["holding"] and state["reads"] == number:
            state["holding"] = False
            while pending:
                pending.pop(0)()
        return Cache.get_many(cache, *arguments, **options)

    world.decide(Message())
    cache._submit = submit
    cache.get_many = get_many  # type: ignore[method-assign]
    world.replace(example_records(hold))
    world.clock.now += 0.85 * world.config.cache.ttl
    state["holding"] = True
    world.decide(Message())
    assert pending or not state["holding"], "nothing is refreshed"
    reads, state["holding"] = state["reads"], False
    while pending:
        pending.pop(0)()
    return addresses(world.decide(Message())), reads


def test_a_refresh_that_lands_while_a_message_is_decided_shows_in_the_next_message() -> None:
    _, reads = _decide_while_refreshed(0)
    assert reads > 1
    missed = [number for number in range(1, reads + 1) if not _decide_while_refreshed(number)[0]]
    assert missed == []
