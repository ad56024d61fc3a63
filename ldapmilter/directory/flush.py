"""What to forget when an administrator says that something has changed: never too little.

An address stands for its whole entry, under every address of it, and for the groups that contain
it. What was worked out from forgotten answers falls with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import fold_domain, parse_address
from ldapmilter.directory.model import Entry, RawEntry
from ldapmilter.directory.reader import SITE, GroupMembers, Key
from ldapmilter.directory.site import Site

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from ldapmilter.directory.cache import Cache


def flush_addresses(cache: Cache, addresses: Collection[str]) -> int:
    """Forget the entries of some addresses and the groups that contain them; return how many answers.

    Whoever has the address in whatever spelling, under all other addresses of theirs, and a dynamic
    group's members when the address is the group's.
    """
    keys = {address.key for text in addresses if (address := parse_address(text)) is not None}
    group_ids: set[str] = set()
    for value in cache.values():
        for entry in _entries(value):
            if not keys.isdisjoint(entry.addresses):
                keys |= entry.addresses
                group_ids.update(entry.raw.all("zimbraid"))
    ids = {group_id.lower() for group_id in group_ids}

    def forget(key: Hashable, value: object) -> bool:
        if not isinstance(key, Key):
            return False
        if key.kind in {"managed", "custom"} and key.name in ids:
            return True
        if isinstance(value, Site):
            return any(_concerns(raw, keys) for raw in value.policy_groups)
        return key.name in keys or any(
            not keys.isdisjoint(entry.addresses) or _concerns(entry.raw, keys) for entry in _entries(value)
        )

    return cache.flush(forget)


def flush_cos(cache: Cache, name: str) -> int:
    """Forget a COS by its name or zimbraId; return how many answers that were."""
    wanted = name.strip().lower()

    def forget(key: Hashable, value: object) -> bool:
        if not isinstance(key, Key) or key.kind not in {"cos", "cos-name"}:
            return False
        names = [*value.all("cn"), *value.all("zimbraid")] if isinstance(value, RawEntry) else []
        return key.name == wanted or wanted in {text.lower() for text in names}

    return cache.flush(forget)


def flush_domain(cache: Cache, name: str) -> int:
    """Forget a domain, its alias domains and all their addresses; return how many answers that were.

    Domains and the global config are one answer, so the global config is forgotten too.
    """
    domain = fold_domain(name.strip()) or name.strip().lower()
    site = next((value for value in cache.values() if isinstance(value, Site)), None)
    names = {domain}
    if site is not None:
        names |= {alias.name for alias in site.domains.values() if alias.target == domain}

    def forget(key: Hashable, value: object) -> bool:
        if key == SITE:
            return True
        if not isinstance(key, Key):
            return False
        if key.kind == "address":
            return key.name.rpartition("@")[2] in names
        return any(entry.name.domain in names for entry in _entries(value))

    return cache.flush(forget)


def _entries(value: object) -> Collection[Entry]:
    if isinstance(value, GroupMembers):
        return value.entries
    return [entry for entry in value if isinstance(entry, Entry)] if isinstance(value, tuple) else ()


def _concerns(raw: RawEntry, keys: set[str]) -> bool:
    """Whether a group is one of the addresses, or a static list that names one of them as a member."""
    texts = (*raw.all("zimbramailalias"), *raw.all("zimbramailforwardingaddress"))
    return any((address := parse_address(text)) is not None and address.key in keys for text in texts)
