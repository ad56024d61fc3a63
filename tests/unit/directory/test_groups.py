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
from tests.support.builders import account, domain, global_config, static_list
from tests.support.directory_data import base_records
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
