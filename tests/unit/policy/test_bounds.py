"""Large, deep and circular groups, and too many copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support import builders
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, JOE, Message, addresses, warnings_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.record import Record
    from tests.unit.policy.world import Options

LEAF: Final = {"carol@example.com": {"ldapMilterArchiveBcc": "carol@archive.example.net"}}


def lists(members: dict[str, Sequence[str]]) -> list[Record]:
    return [
        record
        for name, inside in members.items()
        for record in builders.static_list(
            f"{name}@example.com",
            [member if "@" in member else f"{member}@example.com" for member in inside],
            ldapMilterArchiveReceivedBcc=f"{name}@archive.example.net",
        )
    ]


def bounds(**values: int) -> Options:
    return {"groups": {name: str(value) for name, value in values.items()}}


def test_as_many_members_as_allowed() -> None:
    crowd = lists({"crowd": ["carol", "dan", BOB, JOE]})
    # Behind the members there are dan's and bob's forwards: carol, and one address outside.
    decision = example(LEAF, *crowd, options=bounds(max_members=5)).decide(Message(to=["crowd@example.com"]))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["crowd@archive.example.net", "carol@archive.example.net"]


def test_one_member_too_many_names_the_list() -> None:
    crowd = lists({"crowd": ["m1", "m2", "m3", "m4"]})
    decision = example({}, *crowd, options=bounds(max_members=3)).decide(Message(to=["crowd@example.com"]))

    assert decision.verdict == "tempfail"
    assert warnings_about(decision, "crowd@example.com")


def test_lists_within_the_bound_do_not_add_up() -> None:
    # Four people behind each list: none is too large, however many a message is written to.
    crowds = lists({"one": ["one1", "a@example.net"], "one1": ["b@example.net", "c@example.net"]})
    crowds += lists({"two": ["two1", "d@example.net"], "two1": ["e@example.net", "f@example.net"]})
    crowds += lists({"three": ["three1", "g@example.net"], "three1": ["h@example.net", "i@example.net"]})
    decision = example({}, *crowds, options=bounds(max_members=4)).decide(
        Message(to=["one@example.com", "two@example.com", "three@example.com"])
    )

    assert warnings_about(decision) == []
    assert decision.verdict == "accept"


def test_who_is_in_two_lists_counts_once() -> None:
    shared = ["a@example.net", "b@example.net"]
    crowd = lists({"top": ["left", "right"], "left": [*shared, "last"], "right": [*shared, "last"], "last": [JOE]})
    # left, right, a, b, last, joe
    decision = example({}, *crowd, options=bounds(max_members=6)).decide(Message(to=["top@example.com"]))

    assert warnings_about(decision) == []
    assert decision.verdict == "accept"


@pytest.mark.parametrize(("max_depth", "verdict"), [(5, "accept"), (2, "tempfail")])
def test_depth(max_depth: int, verdict: str) -> None:
    deep = lists({"l1": ["l2"], "l2": ["l3"], "l3": ["l4"], "l4": ["l5"], "l5": [JOE]})
    decision = example({}, *deep, options=bounds(max_depth=max_depth)).decide(Message(to=["l1@example.com"]))

    assert decision.verdict == verdict


def test_a_list_that_contains_itself_and_its_parents() -> None:
    ring = lists({"a": ["b", "a"], "b": ["c", "a"], "c": ["a", "b", "carol"]})
    decision = example(LEAF, *ring).decide(Message(login=None, to=["b@example.com"]))

    assert decision.verdict == "accept"
    assert not decision.warnings
    assert sorted(addresses(decision)) == [
        "a@archive.example.net",
        "b@archive.example.net",
        "c@archive.example.net",
        "carol@archive.example.net",
    ]


def test_a_ring_of_any_size_is_not_deep() -> None:
    names = [f"r{number}" for number in range(4)]
    ring = lists({name: [names[(number + 1) % 4]] for number, name in enumerate(names)})
    decision = example({}, *ring, options=bounds(max_depth=6)).decide(Message(login=None, to=["r0@example.com"]))

    assert decision.verdict == "accept"
    assert len(decision.copies) == 4


def test_forwards_in_a_circle_end() -> None:
    ping = builders.account("ping@example.com", zimbraPrefMailForwardingAddress="pong@example.com")
    pong = builders.account("pong@example.com", zimbraPrefMailForwardingAddress="ping@example.com, carol@example.com")
    decision = example(LEAF, *ping, *pong).decide(Message(login=None, to=["ping@example.com"]))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["carol@archive.example.net"]


def test_a_too_large_group_in_a_condition_is_a_failure_too() -> None:
    # Whether bob is in it cannot be told.
    crowd = lists({"crowd": ["m1", "m2", "m3", "m4", BOB]})
    rule = {ANN: {"ldapMilterSenderFromRewrite": "group:crowd@example.com => legal@example.com"}}
    decision = example(rule, *crowd, options=bounds(max_members=3)).decide(Message(to=[BOB]))

    assert decision.verdict == "tempfail"


def test_max_copies_counts_what_remains_after_removing_doubles() -> None:
    copies = ["vault@example.com ref=1", "safe@example.com ref=2", "Vault@example.com ref=3", "vault@example.org ref=4"]
    decision = example({ANN: {"ldapMilterArchiveBcc": copies}}, options={"policy": {"max_copies": "1"}}).decide()

    assert decision.verdict == "accept"
    assert len(decision.copies) == 1


def test_max_copies_exactly_is_allowed() -> None:
    copies = [f"vault{number}@example.net" for number in range(3)]
    values = {ANN: {"ldapMilterArchiveBcc": copies}}

    assert example(values, options={"policy": {"max_copies": "3"}}).decide().verdict == "accept"
    assert example(values, options={"policy": {"max_copies": "2"}}).decide().verdict == "tempfail"
