"""Any graph of lists and forwards: everybody who can be reached, and nobody else, by a path that exists."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.groups import GroupLimits
from tests.contract.asking import address, entry
from tests.support.builders import account, domain, global_config, server, static_list
from tests.support.zimbra_base import base_records
from tests.unit.directory.scene import Scene

if TYPE_CHECKING:
    from ldapmilter.directory.model import Expansion

LISTS = [f"list{number}@example.test" for number in range(5)]
PEOPLE = [f"user{number}@example.test" for number in range(4)]
OUTSIDERS = ["x@outside.test", "y@outside.test", "nobody@example.test"]
EVERYBODY = [*LISTS, *PEOPLE, *OUTSIDERS]
Graph = dict[str, list[str]]


def scene_of(graph: Graph, limits: GroupLimits | None = None) -> Scene:
    """Return a directory with these members and forwards."""
    data = [*base_records(), *global_config(), *domain("example.test")]
    for name in LISTS:
        data += static_list(name, graph.get(name, []))
    for name in PEOPLE:
        forwards = ", ".join(graph.get(name, []))
        data += account(name, zimbraPrefMailForwardingAddress=forwards or None)
    return Scene(data, limits)


def expand(scene: Scene, *roots: str) -> dict[str, Expansion]:
    view = scene.view()
    entries = {root: entry(view, root) for root in roots}
    expanded = view.expand(list(entries.values()))
    return {root: expanded[one.dn] for root, one in entries.items()}


def distances(graph: Graph, root: str, *, through_forwards: bool) -> dict[str, int]:
    """Return who can be reached and in how many steps, the plain way."""
    found: dict[str, int] = {}
    steps = deque([(root, 0)])
    seen = {root}
    while steps:
        name, far = steps.popleft()
        if name in PEOPLE and not through_forwards:
            continue
        for member in graph.get(name, []):
            found.setdefault(member, far + 1)
            if member not in seen:
                seen.add(member)
                steps.append((member, far + 1))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {name: st.lists(st.sampled_from(EVERYBODY), unique=True, max_size=4) for name in [*LISTS, *PEOPLE]}
    )
)
def test_expansion_is_reachability(graph: Graph) -> None:
    for root, expansion in expand(scene_of(graph), *LISTS, *PEOPLE).items():
        assert expansion.truncated is None
        members = {member.resolution.address.key: member for member in expansion.members}
        members.pop(root, None)
        everybody = distances(graph, root, through_forwards=True)
        everybody.pop(root, None)
        assert set(members) == set(everybody)
        direct = distances(graph, root, through_forwards=False)
        for name, member in members.items():
            assert member.by_forward == (name not in direct)
            if name in direct:
                assert len(member.path) == direct[name]
            walk = [*member.path, name]
            assert walk[0] == root
            assert all(after in graph[before] for before, after in pairwise(walk))
            assert len(set(member.path)) == len(member.path)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12))
def test_the_bound_on_members(bound: int) -> None:
    members = [*PEOPLE, *OUTSIDERS]
    found = expand(scene_of({LISTS[0]: members}, GroupLimits(max_members=bound)), LISTS[0])[LISTS[0]]
    if len(members) <= bound:
        assert found.truncated is None
        assert len(found.members) == len(members)
    else:
        assert found.truncated is not None
        assert LISTS[0] in found.truncated
        assert len(found.members) <= bound


def test_one_group_that_is_too_large_does_not_truncate_another() -> None:
    graph = {LISTS[0]: [*PEOPLE, *OUTSIDERS], LISTS[1]: PEOPLE[:1]}
    found = expand(scene_of(graph, GroupLimits(max_members=3)), *LISTS[:2])
    assert found[LISTS[0]].truncated is not None
    assert found[LISTS[1]].truncated is None


def test_many_small_groups_together_are_not_too_large() -> None:
    graph = {name: [*PEOPLE[:2], OUTSIDERS[0]] for name in LISTS}
    for found in expand(scene_of(graph, GroupLimits(max_members=3)), *LISTS).values():
        assert found.truncated is None
        assert len(found.members) == 3


def test_many_small_groups_together_with_nested_ones_are_not_too_large() -> None:
    graph = {name: [PEOPLE[number], LISTS[4]] for number, name in enumerate(LISTS[:4])} | {LISTS[4]: OUTSIDERS[:1]}
    for name, found in expand(scene_of(graph, GroupLimits(max_members=3)), *LISTS[:4]).items():
        assert found.truncated is None, name


@pytest.mark.parametrize("forwards", [False, True])
def test_large_lists_side_by_side_are_counted_before_they_are_read(*, forwards: bool) -> None:
    """Of a list that is too large with them, no more is read than shows it."""
    graph = {name: [f"m{number}{one}@example.test" for one in range(5)] for number, name in enumerate(LISTS)}
    graph[LISTS[0]] = [PEOPLE[0], *LISTS[1:]] if forwards else LISTS[1:]
    graph[PEOPLE[0]] = [f"forward{one}@example.test" for one in range(9)]
    scene = scene_of(graph, GroupLimits(max_members=5))
    found = expand(scene, LISTS[0])[LISTS[0]]
    assert found.truncated == f"{LISTS[0]} has more than [groups] max_members = 5 members"
    read = {key for key, _ in scene.cache.items() if isinstance(key, str)}
    assert {key for key in read if key.startswith(("m1", "forward"))}
    assert not {key for key in read if key.startswith(("m3", "m4"))}


def test_of_one_list_that_is_too_large_no_more_is_read_than_shows_it() -> None:
    graph = {LISTS[0]: [f"m{number}@example.test" for number in range(100)]}
    scene = scene_of(graph, GroupLimits(max_members=5))
    assert expand(scene, LISTS[0])[LISTS[0]].truncated is not None
    assert sum(isinstance(key, str) and key.startswith("m") for key, _ in scene.cache.items()) == 11


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_bound_on_depth_grows_by_one_level(depth: int) -> None:
    graph = {LISTS[number]: [LISTS[number + 1]] for number in range(4)} | {LISTS[4]: PEOPLE[:1]}
    whole = [
        root
        for root, found in expand(scene_of(graph, GroupLimits(max_depth=depth)), *LISTS).items()
        if not found.truncated
    ]
    deeper = [
        root
        for root, found in expand(scene_of(graph, GroupLimits(max_depth=depth + 1)), *LISTS).items()
        if not found.truncated
    ]
    assert len(deeper) == min(len(LISTS), len(whole) + 1)


@pytest.mark.parametrize(
    "forwards",
    [
        "x@outside.test,y@outside.test",
        "x@outside.test, y@outside.test",
        " x@outside.test ,\ty@outside.test ",
        "X <x@outside.test>, Y <y@outside.test>",
        '"Last, First" <x@outside.test>, y@outside.test',
        "x@outside.test, , y@outside.test,",
        "x@outside.test, x@outside.test, X@OUTSIDE.test, y@outside.test",
        "x@outside.test (home, not work), y@outside.test",
    ],
)
def test_forwards_in_one_comma_list(forwards: str) -> None:
    data = [*base_records(), *global_config(), *domain("example.test")]
    data += account(PEOPLE[0], zimbraPrefMailForwardingAddress=forwards)
    found = expand(Scene(data), PEOPLE[0])[PEOPLE[0]]
    assert {member.resolution.address for member in found.members} == {
        address("x@outside.test"),
        address("y@outside.test"),
    }


def test_a_value_that_is_no_address_counts_for_its_lists_domain() -> None:
    scene = Scene(
        [
            *base_records(),
            *global_config(),
            *domain("example.test"),
            *account("user0@example.test", zimbraPrefMailForwardingAddress="somebody"),
            *static_list("list0@example.test", ["Ann user0@example.test", "x@outside.test"]),
        ]
    )
    found = expand(scene, "list0@example.test", "user0@example.test")
    for root, key, direct in (
        ("list0@example.test", "ann user0@example.test@example.test", True),
        ("list0@example.test", "somebody@example.test", False),
        ("user0@example.test", "somebody@example.test", False),
    ):
        (one,) = [member for member in found[root].members if member.resolution.address.key == key]
        assert (one.resolution.unread, one.resolution.hosted_domain) == (True, "example.test")
        assert one.by_forward is not direct
    plain = [member.resolution for member in found["list0@example.test"].members if not member.resolution.unread]
    assert {"user0@example.test", "x@outside.test"} <= {resolution.address.key for resolution in plain}


@pytest.mark.parametrize("host", ["localhost", "[127.0.0.1]", "[IPv6:::1]", "mx.example.test", "localhost.localdomain"])
def test_a_member_by_a_route_through_this_host(host: str) -> None:
    scene = Scene(
        [
            *base_records(),
            *global_config(),
            *domain("example.test"),
            *server("mx.example.test", ["mta"]),
            *account("user0@example.test"),
            *static_list("list0@example.test", [f"user0%example.test@{host}", "user1%example.test@outside.test"]),
        ]
    )
    (expansion,) = expand(scene, "list0@example.test").values()
    members = {member.resolution.address.key: len(member.resolution.entries) for member in expansion.members}
    assert members == {"user0@example.test": 1, "user1%example.test@outside.test": 0}


def test_a_canonical_address_of_somebody_else_is_a_forward() -> None:
    scene = Scene(
        [
            *base_records(),
            *global_config(),
            *domain("example.test"),
            *account("user0@example.test"),
            *account("user1@example.test", zimbraMailCanonicalAddress="user0@example.test"),
            *account("user2@example.test", aliases=["two@example.test"], zimbraMailCanonicalAddress="two@example.test"),
        ]
    )
    found = expand(scene, "user1@example.test", "user2@example.test")
    (one,) = found["user1@example.test"].members
    assert (one.resolution.address.key, one.by_forward) == ("user0@example.test", True)
    assert found["user2@example.test"].members == ()


def test_a_domain_with_a_canonical_domain() -> None:
    scene = Scene(
        [
            *base_records(),
            *global_config(zimbraMtaRecipientDelimiter="+"),
            *domain("example.test"),
            *domain(
                "masq.test", zimbraMailCatchAllAddress="@masq.test", zimbraMailCatchAllCanonicalAddress="@loop.test"
            ),
            *domain(
                "loop.test", zimbraMailCatchAllAddress="@loop.test", zimbraMailCatchAllCanonicalAddress="@back.test"
            ),
            *domain(
                "back.test",
                zimbraMailCatchAllAddress=["@back.test"],
                zimbraMailCatchAllCanonicalAddress="@masq.test",
            ),
            *account("user0@back.test"),
            *account("user1@masq.test"),
            *account("user1@back.test"),
        ]
    )
    view = scene.view()
    for text, name in (
        ("user0@masq.test", "user0@back.test"),
        ("user0+x@masq.test", "user0@back.test"),
        ("user1@masq.test", "user1@masq.test"),
    ):
        assert entry(view, text).name.key == name
    assert view.sender(address("user0@masq.test")).entries == ()
