"""Who is behind a group, or an account's forwards: expansions, remembered for as long as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory import groups
from ldapmilter.directory.loading import Key
from ldapmilter.directory.model import Entry, Expansion

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.address import Address
    from ldapmilter.directory.addresses import Addresses
    from ldapmilter.directory.groups import GroupLimits
    from ldapmilter.directory.loading import CacheKey
    from ldapmilter.directory.model import Version
    from ldapmilter.directory.view import View

_NOBODY_BEHIND = Expansion()


class Expansions:
    """Who is behind entries, to one message."""

    def __init__(self, view: View, addresses: Addresses, limits: GroupLimits) -> None:
        """Expand within limits, through a message's view."""
        self._view = view
        self._addresses = addresses
        self._limits = limits

    def expand(self, entries: Collection[Entry]) -> dict[str, Expansion]:
        """Return who is behind each entry; see :meth:`Directory.expand`."""
        by_key = {("expansion", entry.version): entry for entry in entries if groups.has_members(entry)}
        found = self._view.derived(by_key, lambda keys: self._expand({by_key[key].dn: key for key in keys}, by_key))
        behind = {by_key[key].dn: expansion for key, expansion in found.items()}
        return {entry.dn: behind.get(entry.dn, _NOBODY_BEHIND) for entry in entries}

    def _expand(
        self, keys: Mapping[str, tuple[str, Version]], entries: Mapping[tuple[str, Version], Entry]
    ) -> dict[tuple[str, Version], Expansion]:
        lookups = groups.Lookups(
            resolve=self._addresses.resolve,
            own=lambda entry: self._addresses.resolution(entry.name, (entry,), "address"),
            managed=lambda ids: self._view.reader.managed_members(ids, self._view.trace),
            custom=lambda ids: self._view.reader.custom_members(ids, self._view.trace),
            together=self._prefetch_behind,
        )
        expanded = groups.expand([entries[key] for key in keys.values()], lookups, self._limits)
        return {keys[dn]: expansion for dn, expansion in expanded.items()}

    def _prefetch_behind(
        self, addresses: Collection[Address], managed: Collection[str], custom: Collection[str]
    ) -> None:
        keys: list[CacheKey] = [*dict.fromkeys(self._addresses.keys_of(addresses))]
        keys.extend(Key("managed", name) for name in managed)
        keys.extend(Key("custom", name) for name in custom)
        if managed or custom:  # else it is one search anyway
            self._view.reader.prefetch(keys, self._view.trace)
