"""A dict with a bound lets go of what is oldest, and of no more than it has to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.directory.bounded import Bounded


def test_the_oldest_go_first() -> None:
    held: Bounded[int, str] = Bounded(100)
    for number in range(250):
        held.put(number, "x")
    assert 90 <= len(held) <= 100
    assert list(held) == list(range(250 - len(held), 250))


def test_what_is_put_in_anew_is_the_latest() -> None:
    held: Bounded[str, int] = Bounded(3)
    for key in ("a", "b", "c", "a", "d"):
        held.put(key, 1)
    assert list(held) == ["c", "a", "d"]


def test_weights_count_and_the_latest_stays() -> None:
    held: Bounded[str, int] = Bounded(100, lambda weight: weight)
    held.put("small", 10)
    held.put("large", 99)
    assert list(held) == ["large"]
    held.drop("large")
    held.drop("nobody")
    for key in ("a", "b"):
        held.put(key, 50)
    assert list(held) == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.booleans())))
def test_it_is_never_past_its_bound(steps: list[tuple[int, int, bool]]) -> None:
    held: Bounded[int, int] = Bounded(20, lambda weight: weight)
    for key, weight, drop in steps:
        if drop:
            held.drop(key)
        else:
            held.put(key, weight)
            assert held[key] == weight
        assert sum(held.values()) <= 20
