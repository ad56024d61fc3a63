"""The store of the answers: how long they stay, what goes first, and who knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.cache.answers import Limits, Slot
from ldapmilter.directory.cache.slots import Slots
from tests.unit.directory.hand import Clock

if TYPE_CHECKING:
    from collections.abc import Hashable

LIMITS: Final = Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=3)


class Bench:
    """A store that holds three answers, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.slots = Slots(LIMITS, self.clock)

    def put(self, key: Hashable, value: str = "there", fresh_for: float = 100) -> Slot:
        self.slots[key] = slot = Slot(key, value, self.clock.now, self.clock.now + fresh_for)
        return slot

    def keys(self) -> list[Hashable]:
        return [slot.key for slot in self.slots.everything()]


@pytest.mark.parametrize(
    ("value", "fresh_for", "useful_for"),
    [("there", 100, 1000), ("there", 5000, 5000), ("", 20, 20)],
    ids=["in an outage", "fresh for longer than that", "absent: while it is fresh"],
)
def test_an_answer_stays_while_it_is_of_use(value: str, fresh_for: float, useful_for: float) -> None:
    bench = Bench()
    slot = bench.put("a", value, fresh_for)
    bench.clock.now += useful_for - 0.001
    assert bench.slots.find("a") is slot
    assert bench.slots.everything() == [slot]
    bench.clock.now += 0.002
    assert bench.slots.find("a") is None
    assert bench.slots.everything() == []
    assert not slot.held


def test_one_that_is_found_again_stays_from_then_on() -> None:
    bench = Bench()
    slot = bench.put("a")
    bench.clock.now += 900
    slot.loaded_at, slot.fresh_until = bench.clock.now, bench.clock.now + 100
    bench.slots["a"] = slot
    bench.clock.now += 900
    assert bench.slots.find("a") is slot
    assert slot.held
    bench.clock.now += 101
    assert bench.slots.find("a") is None


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    bench = Bench()
    first, second, _ = bench.put("a"), bench.put("b"), bench.put("c")
    assert bench.slots.find("a") is first
    bench.put("d")
    assert sorted(map(str, bench.keys())) == ["a", "c", "d"]
    assert (first.held, second.held) == (True, False)


def test_to_go_through_everything_is_to_ask_for_nothing() -> None:
    bench = Bench()
    for key in ("a", "b", "c"):
        bench.put(key)
    bench.slots.find("a")
    bench.slots.everything()
    bench.put("d")
    assert sorted(map(str, bench.keys())) == ["a", "c", "d"]


def test_what_takes_the_place_of_another_is_held_instead() -> None:
    bench = Bench()
    before, after = bench.put("a"), bench.put("a", "changed")
    assert (before.held, after.held) == (False, True)
    assert bench.slots.everything() == [after]


def test_what_is_of_no_use_from_the_first_is_not_held_and_takes_the_place_of_another_all_the_same() -> None:
    bench = Bench()
    before, after = bench.put("a"), bench.put("a", "", fresh_for=0)
    assert (before.held, after.held) == (False, False)
    assert bench.slots.find("a") is None


STEPS: Final = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcde"), st.sampled_from(["there", ""]), st.sampled_from([0, 20, 100])),
    st.tuples(st.just("again"), st.sampled_from("abcde"), st.just(""), st.just(100)),
    st.tuples(st.sampled_from(["find", "delete"]), st.sampled_from("abcde"), st.just(""), st.just(0)),
    st.tuples(st.sampled_from(["pass", "everything"]), st.just(""), st.just(""), st.integers(0, 1100)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_slot_knows_whether_it_is_held(steps: list[tuple[str, str, str, int]]) -> None:
    bench, made = Bench(), []
    for step, key, value, seconds in steps:
        slot = bench.slots.find(key)
        if step == "put":
            made.append(bench.put(key, value, seconds))
        elif step == "again" and slot is not None:
            slot.loaded_at, slot.fresh_until = bench.clock.now, bench.clock.now + seconds
            bench.slots[key] = slot
        elif step == "delete" and slot is not None:
            del bench.slots[key]
        elif step == "pass":
            bench.clock.now += seconds
        else:
            bench.slots.everything()
        for one in made:
            found = bench.slots.find(one.key) is one
            # Time passes without a word; whoever asks about the past lets go of it first.
            assert one.held == found or (one.held and bench.clock.now >= bench.slots.useful_until(one))
        assert len(bench.slots) <= 3
        assert {id(one) for one in made if one.held} == {id(slot) for slot in bench.slots.everything()}
