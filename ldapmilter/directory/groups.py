"""Who is behind a group or a forward: lists, nested lists, dynamic groups of both kinds.

The graph is read level by level, one round of searches per level for all groups together; then
every group is walked in memory. Cycles end quietly, bounds do not: an expansion that had to stop
says which group went past which bound.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.address import Address, parse_addresses
from ldapmilter.directory.model import Entry, Expansion, Member, Resolution
from ldapmilter.mailbox.reading import read_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ldapmilter.directory.loading import GroupMembers
    from ldapmilter.directory.raw_entry import RawEntry

_MANAGED_URL = "ldap:///??sub?(|(zimbramemberof="


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """The ``[groups]`` section."""

    max_members: int = 50_000
    max_depth: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """What walking groups needs from the directory."""

    resolve: Callable[[Collection[Address]], Mapping[str, Resolution]]
    own: Callable[[Entry], Resolution]
    """Return the resolution of an entry's own name, without asking."""
    managed: Callable[[Collection[str]], Mapping[str, GroupMembers]]
    custom: Callable[[Collection[str]], Mapping[str, GroupMembers]]
    together: Callable[[Collection[Address], Collection[str], Collection[str]], None]
    """Look up addresses and members of both kinds of groups at once, so that the three find them in memory."""


@dataclass(frozen=True, slots=True)
class _Children:
    """What is directly behind an entry, before the addresses are looked up."""

    addresses: tuple[Address, ...] = ()
    managed: str | None = None
    custom: str | None = None
    internal_only: bool = False


def has_members(entry: Entry) -> bool:
    """Whether anybody can be behind an entry: any group, an account that forwards."""
    return entry.kind == "group" or _children(entry) is not None


def expand(roots: Collection[Entry], lookups: Lookups, limits: GroupLimits) -> dict[str, Expansion]:
    """Return who is behind each entry, keyed by DN; nobody behind an account without forwards."""
    graph: dict[str, tuple[Resolution, ...]] = {}
    frontiers = {root.dn: [root] for root in roots}
    people: dict[str, set[str]] = {root.dn: set() for root in roots}
    for _level in range(limits.max_depth + 1):
        wanted = {
            entry.dn: children
            for frontier in frontiers.values()
            for entry in frontier
            if entry.dn not in graph and (children := _children(entry)) is not None
        }
        graph.update(_load(wanted, lookups) if wanted else {})
        frontiers = {
            root: following
            for root, frontier in frontiers.items()
            if (following := _next_frontier(frontier, graph, people[root], limits))
        }
        if not frontiers:
            break
    return {root.dn: _walk(root, graph, limits) for root in roots}


def _next_frontier(
    frontier: list[Entry], graph: Mapping[str, tuple[Resolution, ...]], people: set[str], limits: GroupLimits
) -> list[Entry]:
    """Return who is directly behind a frontier and not met before; nobody once there are too many."""
    following: dict[str, Entry] = {}
    for entry in frontier:
        for resolution in graph.get(entry.dn, ()):
            if resolution.address.key in people:
                continue
            people.add(resolution.address.key)
            following.update((child.dn, child) for child in resolution.entries)
    return list(following.values()) if len(people) <= 2 * limits.max_members else []


def _children(entry: Entry) -> _Children | None:
    raw = entry.raw
    if entry.kind == "account":
        addresses = tuple(_forwards(raw))
        return _Children(addresses=addresses) if addresses else None
    classes = {name.lower() for name in raw.all("objectclass")}
    if "zimbradistributionlist" in classes:
        return _Children(addresses=tuple(_sorted_addresses(raw.all("zimbramailforwardingaddress"))))
    if "zimbragroupdynamicunit" in classes:
        return _Children(managed=(raw.first("zimbragroupid") or "").lower(), internal_only=True)
    name = (raw.first("zimbraid") or "").lower()
    if any(url.lower().startswith(_MANAGED_URL) for url in raw.all("memberurl")):
        return _Children(managed=name)
    return _Children(custom=name)


def _forwards(raw: RawEntry) -> Iterable[Address]:
    """Return the forwards of an account: the user's own (one comma list, names allowed), the administrator's."""
    lists = (*raw.all("zimbraprefmailforwardingaddress"), *raw.all("zimbramailforwardingaddress"))
    if not lists:
        return ()
    return sorted({mailbox.address for mailbox in read_from(lists).mailboxes}, key=lambda address: address.key)


def _sorted_addresses(values: Iterable[str]) -> list[Address]:
    found = set(parse_addresses(values))
    return sorted(found, key=lambda address: address.key)


def _load(wanted: Mapping[str, _Children], lookups: Lookups) -> dict[str, tuple[Resolution, ...]]:
    """Look up all children of one level together."""
    addresses = {address.key: address for children in wanted.values() for address in children.addresses}
    managed_ids = {children.managed for children in wanted.values() if children.managed}
    custom_ids = {children.custom for children in wanted.values() if children.custom}
    lookups.together(list(addresses.values()), managed_ids, custom_ids)
    managed = lookups.managed(managed_ids) if managed_ids else {}
    custom = lookups.custom(custom_ids) if custom_ids else {}
    addresses.update({address.key: address for group in managed.values() for address in group.addresses})
    resolved = lookups.resolve(list(addresses.values())) if addresses else {}
    loaded: dict[str, tuple[Resolution, ...]] = {}
    for dn, children in wanted.items():
        found = [resolved[address.key] for address in children.addresses]
        for group in (managed.get(children.managed or ""), custom.get(children.custom or "")):
            if group is not None:
                found.extend(lookups.own(entry) for entry in group.entries)
                found.extend(() if children.internal_only else (resolved[address.key] for address in group.addresses))
        loaded[dn] = tuple(found)
    return loaded


@dataclass(frozen=True, slots=True)
class _Step:
    entry: Entry
    path: tuple[str, ...]
    by_forward: bool


def _walk(root: Entry, graph: Mapping[str, tuple[Resolution, ...]], limits: GroupLimits) -> Expansion:
    """Collect everybody behind one entry, breadth first, forwards last.

    Whoever is reached both through lists and through somebody's forward counts as a member of the
    list: From rules look at list members, never at forwards.
    """
    members: dict[str, Member] = {}
    counts = {True: 0, False: 0}  # nested groups, and everybody else
    visited = {root.dn}
    steps: deque[_Step] = deque()
    forwards: deque[_Step] = deque()
    (forwards if root.kind == "account" else steps).append(_Step(root, (root.name.text,), root.kind == "account"))
    while steps or forwards:
        step = (steps or forwards).popleft()
        children = graph.get(step.entry.dn)
        if children is None:
            if _children(step.entry) is None:
                continue
            return Expansion(members=tuple(members.values()), truncated=_too_deep(step, limits))
        for child in children:
            if child.address.key not in members:
                nested = any(entry.kind == "group" for entry in child.entries)
                counts[nested] += 1
                if counts[nested] > limits.max_members:
                    text = f"{root.name} has more than [groups] max_members = {limits.max_members} members"
                    return Expansion(members=tuple(members.values()), truncated=text)
                members[child.address.key] = Member(resolution=child, path=step.path, by_forward=step.by_forward)
            for entry in child.entries:
                if entry.dn not in visited:
                    visited.add(entry.dn)
                    forward = entry.kind == "account"
                    next_step = _Step(entry, (*step.path, entry.name.text), step.by_forward or forward)
                    (forwards if next_step.by_forward else steps).append(next_step)
    return Expansion(members=tuple(members.values()))


def _too_deep(step: _Step, limits: GroupLimits) -> str:
    return (
        f"{step.entry.name} (through {' > '.join(step.path)}) lies deeper than [groups] max_depth = {limits.max_depth}"
    )
