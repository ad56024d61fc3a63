"""The members of groups and the targets of forwards: lists, nested lists, dynamic groups of both kinds.

The graph is read level by level, one round of searches per level for all groups together; then
every group is walked in memory. Cycles end quietly, bounds do not: an expansion that had to stop
says which group went past which bound.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.address import Address, make_address, stored_addresses
from ldapmilter.directory.entries import id_of
from ldapmilter.directory.model import Entry, Expansion, Member, Resolution
from ldapmilter.folding import fold_value
from ldapmilter.postfix.routing import read_values

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.keys import GroupMembers

FORWARDS = ("zimbraprefmailforwardingaddress", "zimbramailforwardingaddress")
"""What holds the forwards of an account: the user's own, the administrator's."""
_CANONICAL = ("zimbramailcanonicaladdress",)
"""What mail to an account is readdressed to by Postfix's ``canonical_maps``."""
MEMBERS = ("zimbramailforwardingaddress",)
"""What holds the members of a static list."""
_WORDS_AND_ADDRESS = re.compile(r"[^@<>()\[\]:;,\"\\]+@[^@ ]+")
_MANAGED_URL = "ldap:///??sub?(|(zimbramemberof="


class GroupLimits(Struct, frozen=True, kw_only=True):
    """The ``[groups]`` section."""

    max_members: int = 50_000
    max_depth: int = 20


class GroupLookups(Protocol):
    """What walking groups needs from the directory."""

    def resolve(self, addresses: Collection[Address]) -> Mapping[str, Resolution]:
        """Return what addresses mean, by key."""

    def must_fit(self, size: int) -> None:
        """Refuse what is too large for the caller, before anything is done for it."""

    def resolution_of(self, entry: Entry) -> Resolution:
        """Return the resolution of an entry's own name, without a search."""

    def unread(self, value: Address) -> Resolution:
        """Return the resolution of what cannot be looked up: its domain's levels apply."""

    def managed_members(self, ids: Collection[str]) -> Mapping[str, GroupMembers]:
        """Return the members of groups that Zimbra manages, by the groups' zimbraId."""

    def custom_members(self, ids: Collection[str]) -> Mapping[str, GroupMembers]:
        """Return the members of groups with a memberURL of their own, by the groups' zimbraId."""

    def prefetch(self, addresses: Collection[Address], managed: Collection[str], custom: Collection[str]) -> None:
        """Look up addresses and members of both kinds of groups at once, so that the others find them in memory."""


class _Children(Struct, frozen=True):
    """The direct members and forward targets of an entry, before the addresses are looked up."""

    addresses: tuple[Address, ...] = ()
    odd: tuple[str, ...] = ()
    """Values that hold something other than addresses: mail may go on to unknown recipients."""
    domain: str = ""
    """Whose levels apply to the recipients of those."""
    managed: str | None = None
    custom: str | None = None
    internal_only: bool = False


def has_members(entry: Entry) -> bool:
    """Whether mail goes on from an entry: any group, an account that forwards.

    Every message asks: forwards, of which there may be thousands, are not parsed for it.
    """
    if entry.kind == "group" or any(entry.raw.all(name) for name in FORWARDS):
        return True
    return any(entry.raw.all(name) for name in _CANONICAL) and _children(entry) is not None


def has_own_search(group: RawEntry) -> bool:
    """Whether a dynamic group has a memberURL of its own, and Zimbra does not manage its members."""
    urls = group.all("memberurl")
    return bool(urls) and not any(url.lower().startswith(_MANAGED_URL) for url in urls)


def expand(roots: Collection[Entry], lookups: GroupLookups, limits: GroupLimits) -> dict[str, Expansion]:
    """Return the members and forward targets of each entry, keyed by DN; none for an account without forwards."""
    graph: dict[str, tuple[Resolution, ...]] = {}
    frontiers = {root.dn: [root] for root in roots}
    people: dict[str, set[str]] = {root.dn: set() for root in roots}
    for _level in range(limits.max_depth + 1):
        unread = {entry.dn: entry for frontier in frontiers.values() for entry in frontier if entry.dn not in graph}
        lookups.must_fit(sum(map(_values_of, unread.values())))
        named = {dn: children for dn, entry in unread.items() if (children := _children(entry)) is not None}
        wanted = _not_too_many(frontiers, named, graph, people, limits)
        graph.update(_load(wanted, lookups) if wanted else {})
        frontiers = {
            root: following
            for root, frontier in frontiers.items()
            if (following := _next_frontier(frontier, graph, people[root], limits))
        }
        if not frontiers:
            break
    return {root.dn: _walk(root, graph, limits, full=_is_full(people[root.dn], limits)) for root in roots}


def _not_too_many(
    frontiers: Mapping[str, Collection[Entry]],
    named: Mapping[str, _Children],
    graph: Mapping[str, tuple[Resolution, ...]],
    people: Mapping[str, set[str]],
    limits: GroupLimits,
) -> dict[str, _Children]:
    """Return what has to be looked up: of a root that is too large, as much as shows that it is.

    Lists side by side in one may name a million people, none of them too many.
    """
    wanted: dict[str, _Children] = {}
    for root, frontier in frontiers.items():
        seen = set(people[root])
        for entry in frontier:
            if _is_full(seen, limits):
                break
            seen.update(child.address.key for child in graph.get(entry.dn, ()))
            if (children := named.get(entry.dn)) is not None:
                seen.update(address.key for address in children.addresses)
                wanted[entry.dn] = replace(children, addresses=children.addresses[: 2 * limits.max_members + 1])
    return wanted


def _next_frontier(
    frontier: list[Entry], graph: Mapping[str, tuple[Resolution, ...]], people: set[str], limits: GroupLimits
) -> list[Entry]:
    """Return the direct members of a frontier that were not met before; none once there are too many."""
    following: dict[str, Entry] = {}
    for entry in frontier:
        for resolution in graph.get(entry.dn, ()):
            if resolution.address.key in people:
                continue
            people.add(resolution.address.key)
            following.update((child.dn, child) for child in resolution.entries)
    return [] if _is_full(people, limits) else list(following.values())


def _is_full(people: Collection[str], limits: GroupLimits) -> bool:
    """Whether there are too many behind a root, whatever they are: nested groups and others count apart."""
    return len(people) > 2 * limits.max_members


def _values_of(entry: Entry) -> int:
    """Return about how many addresses an entry names: to parse them takes as long as there are."""
    return sum(1 + text.count(",") for name in FORWARDS for text in entry.raw.all(name))


def _children(entry: Entry) -> _Children | None:
    raw = entry.raw
    if entry.kind == "account":
        forwards = _named(entry, FORWARDS)
        own = entry.own_keys
        elsewhere = [one for one in _named(entry, _CANONICAL).addresses if one.key not in own]
        forwards = replace(forwards, addresses=(*forwards.addresses, *elsewhere))
        return forwards if forwards.addresses or forwards.odd else None
    classes = raw.classes
    if "zimbradistributionlist" in classes:
        return _named(entry, MEMBERS)
    if "zimbragroupdynamicunit" in classes:
        return _Children(managed=fold_value(raw.first("zimbragroupid") or ""), internal_only=True)
    domain = entry.name.domain
    name = id_of(raw)
    if any(url.lower().startswith(_MANAGED_URL) for url in raw.all("memberurl")):
        return _Children(managed=name, domain=domain)
    return _Children(custom=name, domain=domain)


def _named(entry: Entry, attributes: Collection[str]) -> _Children:
    """Return whom values of an entry name, as Postfix reads them: one value may name several."""
    reading = read_values(value for attribute in attributes for value in entry.raw.all(attribute))
    # Words in front of an address may be the beginning of a local part: so the directory takes them.
    found = {address.key: address for address in stored_addresses(filter(_WORDS_AND_ADDRESS.fullmatch, reading.odd))}
    found.update((address.key, address) for address in reading.addresses)
    return _Children(addresses=tuple(found.values()), odd=reading.odd, domain=entry.name.domain)


def _load(wanted: Mapping[str, _Children], lookups: GroupLookups) -> dict[str, tuple[Resolution, ...]]:
    """Look up all children of one level together."""
    addresses = {address.key: address for children in wanted.values() for address in children.addresses}
    managed_ids = {children.managed for children in wanted.values() if children.managed}
    custom_ids = {children.custom for children in wanted.values() if children.custom}
    lookups.prefetch(list(addresses.values()), managed_ids, custom_ids)
    managed = lookups.managed_members(managed_ids) if managed_ids else {}
    custom = lookups.custom_members(custom_ids) if custom_ids else {}
    addresses.update({address.key: address for group in managed.values() for address in group.addresses})
    resolved = lookups.resolve(list(addresses.values())) if addresses else {}
    loaded: dict[str, tuple[Resolution, ...]] = {}
    for dn, children in wanted.items():
        found = [resolved[address.key] for address in children.addresses]
        odd = list(children.odd)
        for group in (managed.get(children.managed or ""), custom.get(children.custom or "")):
            if group is not None:
                found.extend(lookups.resolution_of(entry) for entry in group.entries)
                found.extend(() if children.internal_only else (resolved[address.key] for address in group.addresses))
                odd.extend(() if children.internal_only else group.odd)
        found.extend(lookups.unread(make_address(text, children.domain)) for text in odd)
        loaded[dn] = tuple(found)
    return loaded


class _Step(Struct, frozen=True):
    entry: Entry
    path: tuple[str, ...]
    by_forward: bool


def _walk(root: Entry, graph: Mapping[str, tuple[Resolution, ...]], limits: GroupLimits, *, full: bool) -> Expansion:
    """Collect all members of one entry, breadth first, forwards last.

    An account that is reached both through lists and through a forward counts as a member of the
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
            text = _too_many(root, limits) if full else _too_deep(step, limits)
            return Expansion(members=tuple(members.values()), truncated=text)
        for child in children:
            if child.address.key not in members:
                nested = any(entry.kind == "group" for entry in child.entries)
                counts[nested] += 1
                if counts[nested] > limits.max_members:
                    return Expansion(members=tuple(members.values()), truncated=_too_many(root, limits))
                members[child.address.key] = Member(resolution=child, path=step.path, by_forward=step.by_forward)
            for entry in child.entries:
                if entry.dn not in visited:
                    visited.add(entry.dn)
                    forward = entry.kind == "account"
                    next_step = _Step(entry, (*step.path, entry.name.text), step.by_forward or forward)
                    (forwards if next_step.by_forward else steps).append(next_step)
    return Expansion(members=tuple(members.values()))


def _too_many(root: Entry, limits: GroupLimits) -> str:
    return f"{root.name} has more than [groups] max_members = {limits.max_members} members"


def _too_deep(step: _Step, limits: GroupLimits) -> str:
    return (
        f"{step.entry.name} (through {' > '.join(step.path)}) lies deeper than [groups] max_depth = {limits.max_depth}"
    )
