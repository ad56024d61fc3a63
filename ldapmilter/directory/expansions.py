"""Expansions of groups and of accounts' forwards, remembered for as long as what they were made from stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ldapmilter.directory import groups
from ldapmilter.directory.keys import Key
from ldapmilter.directory.model import Entry, Expansion

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.addresses import Addresses
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.keys import CacheKey, GroupMembers
    from ldapmilter.directory.large import Large
    from ldapmilter.directory.model import Resolution, Version
    from ldapmilter.directory.view import View

_NOBODY_BEHIND = Expansion()


class Expansions:
    """The expansions of entries, for one message."""

    def __init__(self, view: View, addresses: Addresses, limits: GroupLimits, larger: Large) -> None:
        """Expand within limits, through a message's view."""
        self._larger = larger
        self._view = view
        self._addresses = addresses
        self._limits = limits

    def expand(self, entries: Collection[Entry], *, wait: bool = True) -> dict[str, Expansion]:
        """Return the expansion of each entry; see :meth:`Directory.expand` and :meth:`Large.get`."""
        by_key = {("expansion", entry.version): entry for entry in entries if groups.has_members(entry)}
        found = self._larger.get(
            by_key,
            lambda directory, keys: directory.expansions.work_out({key: by_key[key] for key in keys}),
            lambda key: by_key[key].name.text,
            wait=wait,
        )
        self._view.trace.weigh(sum(len(expansion.members) for expansion in found.values()))
        behind = {by_key[key].dn: expansion for key, expansion in found.items()}
        return {entry.dn: behind.get(entry.dn, _NOBODY_BEHIND) for entry in entries}

    def work_out(self, entries: Mapping[tuple[str, Version], Entry]) -> dict[tuple[str, Version], Expansion]:
        """Return the expansion of each entry, read level by level."""
        expanded = groups.expand(list(entries.values()), self, self._limits)
        return {key: expanded[entry.dn] for key, entry in entries.items()}

    # -- what walking groups needs (GroupLookups) ---------------------------------------------

    def resolve(self, addresses: Collection[Address]) -> Mapping[str, Resolution]:
        """Return what addresses mean, by key."""
        self._view.trace.weigh(len(addresses))
        return self._addresses.resolve(addresses)

    def must_fit(self, size: int) -> None:
        """Refuse more addresses than a message may go through, before they are parsed.

        Raises:
            TooLarge: that is for the background.
        """
        self._view.trace.must_fit(size)

    def resolution_of(self, entry: Entry) -> Resolution:
        """Return the resolution of an entry's own name, without a search."""
        return self._addresses.resolution(entry.name, (entry,), "address")

    def unread(self, value: Address) -> Resolution:
        """Return the resolution of what cannot be looked up: its domain's levels apply."""
        return replace(self._addresses.resolution(value, (), "address"), unread=True)

    def managed_members(self, ids: Collection[str]) -> Mapping[str, GroupMembers]:
        """Return the members of groups that Zimbra manages, by the groups' zimbraId."""
        return self._counted(self._view.reader.managed_members(ids, self._view.trace))

    def custom_members(self, ids: Collection[str]) -> Mapping[str, GroupMembers]:
        """Return the members of groups with a memberURL of their own, by the groups' zimbraId."""
        return self._counted(self._view.reader.custom_members(ids, self._view.trace))

    def prefetch(self, addresses: Collection[Address], managed: Collection[str], custom: Collection[str]) -> None:
        """Look up addresses and members of both kinds of groups at once."""
        self._view.trace.count.known += len(addresses)
        keys: list[CacheKey] = [*dict.fromkeys(self._addresses.keys_of(addresses))]
        keys.extend(Key("managed", name) for name in managed)
        keys.extend(Key("custom", name) for name in custom)
        if managed or custom:  # else it is one search anyway
            self._view.reader.prefetch(keys, self._view.trace)

    def _counted(self, members: dict[str, GroupMembers]) -> dict[str, GroupMembers]:
        count = sum(len(group.entries) for group in members.values())
        self._view.trace.weigh(count)
        self._view.trace.count.known += count
        return members
