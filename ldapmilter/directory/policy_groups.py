"""Whose level a policy group is: its values apply to its members.

Who is in one is read from above and remembered. A group of which that cannot be had (past a bound of
``[groups]``, or on its way) defers no mail: of the accounts at hand, it is asked from below which
groups they are in. Only who may be in one, and is found neither in it nor out of it, waits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import stored_addresses
from ldapmilter.directory.entries import read_entry
from ldapmilter.directory.flush import every_spelling
from ldapmilter.directory.model import Holder, Version
from ldapmilter.directory.upward import Node, node_of
from ldapmilter.errors import DirectoryUnavailable, StillReading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.expansions import Expansions
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.large import Large
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.view import View

Path = tuple[str, ...]
_CATCH_ALL = "zimbramailcatchalladdress"
"""An account with it may be in any group, by an address without an entry."""


class Reached(Struct, frozen=True):
    """Who is in a policy group."""

    paths: Mapping[str, Path]
    """By the DN of every account in it: the groups that lead there."""
    truncated: str | None = None
    """Which bound was too small, in words: more may be in it."""


class _Above(Struct):
    """The groups that an account is in."""

    paths: dict[str, Path]
    """By DN: the groups that lead from it to them, itself first."""
    further: bool
    """Whether there are more, deeper than ``[groups] max_depth``."""


class _Unknown(Struct):
    """A policy group that is not known."""

    raw: RawEntry
    paths: Mapping[str, Path]
    """What is known of it."""
    failure: DirectoryUnavailable
    """Why there may be more."""


class PolicyGroups:
    """The policy groups, to one message."""

    def __init__(self, view: View, expansions: Expansions, larger: Large, limits: GroupLimits) -> None:
        """Read groups through a message's view."""
        self._view = view
        self._expansions = expansions
        self._larger = larger
        self._limits = limits

    def warm_up(self) -> None:
        """Read who is in which.

        Raises:
            DirectoryUnavailable: it could not be read.
        """
        _, failures = self._read(self._by_key())
        if failures and all(isinstance(error, StillReading) for error in failures.values()):
            message = f"the members of {len(failures)} of {len(self._by_key())} policy groups are being read"
            raise StillReading(message)
        for error in failures.values():
            raise error

    def levels(self, accounts: Collection[Entry]) -> dict[str, list[Holder]]:
        """Return, by the DN of every account that is in one, the policy groups that apply to it.

        Raises:
            DirectoryUnavailable: it cannot be ruled out that an account is in one that is not known.
        """
        groups = self._by_key()
        found, failures = self._read(groups)
        holders: dict[str, list[Holder]] = {}
        unknown: list[_Unknown] = []
        for key, raw in groups.items():
            reached = found.get(key)
            if reached is None:
                unknown.append(_Unknown(raw, {}, failures[key]))
            elif reached.truncated is not None:
                unknown.append(_Unknown(raw, reached.paths, DirectoryUnavailable(reached.truncated)))
            else:
                for account in accounts:
                    if (path := reached.paths.get(account.dn)) is not None:
                        _add(holders, account, raw, path)
        if unknown:
            self._from_below(accounts, unknown, holders)
        return holders

    def prefetch(self, accounts: Collection[Entry]) -> None:
        """Go up from some accounts together, where :meth:`levels` will have to from each of them."""
        found, failures = self._read(self._by_key())
        if failures or any(reached.truncated is not None for reached in found.values()):
            self._above([node_of(account.raw) for account in accounts])

    # -- from above -------------------------------------------------------------------------

    def _by_key(self) -> dict[tuple[str, Version], RawEntry]:
        return {("policy group", Version(raw)): raw for raw in self._view.site.policy_groups}

    def _read(
        self, groups: Mapping[tuple[str, Version], RawEntry]
    ) -> tuple[dict[tuple[str, Version], Reached], dict[tuple[str, Version], DirectoryUnavailable]]:
        return self._larger.ready(
            groups,
            lambda directory, keys: directory.policy_groups.work_out({key: groups[key] for key in keys}),
            lambda _key: "a policy group",  # which one is as confidential as its values
        )

    def work_out(self, groups: Mapping[tuple[str, Version], RawEntry]) -> dict[tuple[str, Version], Reached]:
        """Return who is in each group."""
        entries = {key: read_entry(raw) for key, raw in groups.items()}
        expansions = self._expansions.expand([entry for entry in entries.values() if entry is not None])
        found: dict[tuple[str, Version], Reached] = {}
        for key, entry in entries.items():
            if entry is None:  # not a group that can be read as one: no members
                found[key] = Reached({})
                continue
            expansion = expansions[entry.dn]
            paths: dict[str, Path] = {}
            for member in expansion.members:
                for account in member.resolution.entries:
                    if account.kind == "account" and not member.by_forward:
                        paths.setdefault(account.dn, member.path)
            found[key] = Reached(paths, expansion.truncated)
        return found

    # -- from below -------------------------------------------------------------------------

    def _from_below(
        self, accounts: Collection[Entry], unknown: Collection[_Unknown], holders: dict[str, list[Holder]]
    ) -> None:
        """Tell which groups that are not known apply to some accounts.

        One applies at once to accounts that are found in it; for others that may be in it, mail waits.
        """
        above = self._above([node_of(account.raw) for account in accounts])
        searching: dict[str, list[Node]] | None = None
        for account in accounts:
            around = above[account.dn]
            for group in unknown:
                path = around.paths.get(group.raw.dn) or group.paths.get(account.dn)
                unclear = path is None and (around.further or bool(account.raw.all_subtypes(_CATCH_ALL)))
                if path is None and not unclear:
                    searching = self._searching(unknown) if searching is None else searching
                    unclear = any(self._may_be_in(account, one, group) for one in searching[group.raw.dn])
                if unclear:
                    if not self._view.trace.lenient:
                        raise group.failure
                    self._view.trace.failures.append("whether a policy group applies could not be known")
                if path is not None:
                    _add(holders, account, group.raw, path)

    def around(self, account: Entry) -> dict[Entry, Path]:
        """Return the groups that an account is in; see :meth:`Directory.groups_around`."""
        paths = self._above([node_of(account.raw)])[account.dn].paths
        keys = [address.key for address in stored_addresses(name for path in paths.values() for name in path[:1])]
        found = self._view.reader.entries(keys, self._view.trace)
        groups = {entry for entries in found.values() for entry in entries}
        return {group: paths[group.dn] for group in sorted(groups, key=lambda one: one.dn) if group.dn in paths}

    def _searching(self, unknown: Iterable[_Unknown]) -> dict[str, list[Node]]:
        """Return, by the DN of each group, it and those in it that have a search of their own."""
        nodes = self._view.reader.own_searches(self._view.trace)
        around = self._above(nodes) if nodes else {}
        return {
            group.raw.dn: [
                one
                for one in nodes
                if one.dn == group.raw.dn or group.raw.dn in around[one.dn].paths or around[one.dn].further
            ]
            for group in unknown
        }

    def _may_be_in(self, account: Entry, searching: Node, group: _Unknown) -> bool:
        """Whether an account may be in a group by a search that only the server can evaluate."""
        if searching.dn == group.raw.dn:
            return True
        entry = self._view.reader.by_id([searching.zimbra_id], self._view.trace).get(searching.zimbra_id)
        if entry is None:
            return True
        try:
            expansion = self._expansions.expand([entry], wait=False)[entry.dn]
        except DirectoryUnavailable:
            return True
        members = (member for member in expansion.members if not member.by_forward)
        return expansion.truncated is not None or any(account in member.resolution.entries for member in members)

    def _above(self, nodes: Iterable[Node]) -> dict[str, _Above]:
        """Return the groups around each account or group, level by level, for all of them together."""
        found: dict[str, _Above] = {}
        frontiers: dict[str, dict[str, Node]] = {}
        for node in nodes:
            found[node.dn] = _Above({}, further=False)
            frontiers[node.dn] = {node.dn: node}
        for level in range(self._limits.max_depth + 2):
            parents = self._parents({node.dn: node for front in frontiers.values() for node in front.values()})
            for dn, frontier in frontiers.items():
                paths = found[dn].paths
                following: dict[str, Node] = {}
                for one in frontier.values():
                    for parent in parents[one.dn]:
                        if parent.dn not in paths:
                            paths[parent.dn] = (*filter(None, [parent.name]), *paths.get(one.dn, ()))
                            following[parent.dn] = parent
                if level > self._limits.max_depth:
                    found[dn].further = bool(following)
                    for parent_dn in following:
                        del paths[parent_dn]
                frontiers[dn] = following
            if not any(frontiers.values()):
                break
        return found

    def _parents(self, nodes: Mapping[str, Node]) -> dict[str, list[Node]]:
        """Return the groups that hold each node directly, in three searches for all of them."""
        site, reader, trace = self._view.site, self._view.reader, self._view.trace
        keys = {dn: sorted(every_spelling(stored_addresses(node.addresses), site)) for dn, node in nodes.items()}
        naming = reader.naming({key for some in keys.values() for key in some}, site.delimiters, trace)
        oddly = reader.odd_values(partial(_keys_of, site), trace)
        dynamic = reader.dynamic_groups({name for node in nodes.values() for name in node.member_of}, trace)
        return {
            dn: [
                *(parent for key in keys[dn] for parent in (*naming.get(key, ()), *oddly.get(key, ()))),
                *(
                    parent
                    for name in node.member_of
                    for parent in dynamic.get(name, ())
                    if not (node.inside and parent.internal_only)
                ),
            ]
            for dn, node in nodes.items()
        }


def _keys_of(site: Site, address: Address) -> Iterator[str]:
    """Yield what the directory may hold an address as that a value of a list names."""
    return (key for spelling in site.delivered_as(address) if spelling.is_readable for key in spelling.search_keys)


def _add(holders: dict[str, list[Holder]], account: Entry, group: RawEntry, path: Path) -> None:
    holders.setdefault(account.dn, []).append(Holder(level="policy-group", raw=group, group_path=path))
