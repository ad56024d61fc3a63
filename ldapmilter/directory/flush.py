"""What to forget when an administrator says that something has changed: never too little.

An address stands for its whole entry, under every address of it, and for the groups that contain
it. What was worked out from forgotten answers falls with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import fold_domain, make_address, parse_addresses
from ldapmilter.directory.loading import SITE, GroupMembers, Key, kind_of, name_of
from ldapmilter.directory.model import Entry
from ldapmilter.directory.raw_entry import RawEntry
from ldapmilter.directory.site import Site

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable

    from ldapmilter.address import Address
    from ldapmilter.directory.cache import Cache


def flush_addresses(cache: Cache, addresses: Collection[str]) -> int:
    """Forget the entries of some addresses and the groups that contain them; return how many answers.

    Whoever has the address in whatever spelling, under all other addresses of theirs, and a dynamic
    group's members when the address is the group's.
    """
    asked = {address.key: address for address in parse_addresses(addresses)}
    site = site_in(cache)
    keys = every_spelling(asked.values(), site)
    known: list[Entry] = []
    for value in cache.values():
        known.extend(entry for entry in entries_in(value) if not keys.isdisjoint(entry.addresses))
    for entry in known:
        keys |= entry.addresses
    group_ids = {group_id.lower() for entry in known for group_id in entry.raw.all("zimbraid")}
    policy_groups = [raw for raw in (site.policy_groups if site is not None else ()) if _concerns(raw, keys)]
    group_ids.update(group_id.lower() for raw in policy_groups for group_id in raw.all("zimbraid"))
    # A group, or what is not known yet, may have become a policy group: those are kept with the site.
    site_too = bool(policy_groups) or not known or any(entry.kind == "group" for entry in known)

    def forget(key: Hashable, value: object) -> bool:
        if not isinstance(key, (Key, str)):
            return False
        if key == SITE:
            return site_too
        if kind_of(key) in {"managed", "custom"} and name_of(key) in group_ids:
            return True
        return name_of(key) in keys or any(
            not keys.isdisjoint(entry.addresses) or _concerns(entry.raw, keys) for entry in entries_in(value)
        )

    return cache.flush(forget)


def site_in(cache: Cache) -> Site | None:
    """Return the site that the cache holds, if any."""
    return next((value for value in cache.values() if isinstance(value, Site)), None)


def every_spelling(addresses: Iterable[Address], site: Site | None) -> set[str]:
    """Return the keys of addresses in their own domain, in the one it stands for, and in its alias domains."""
    keys: set[str] = set()
    for address in addresses:
        keys.add(address.key)
        if site is None:
            continue
        keys.update(spelling.key for spelling in site.spellings(address))
        own = site.local_domain(address.domain)
        aliases = [domain.name for domain in site.domains.values() if own is not None and domain.target == own.name]
        keys.update(make_address(address.local, name).key for name in aliases)
    return keys


def flush_cos(cache: Cache, name: str) -> int:
    """Forget a COS by its name or zimbraId; return how many answers that were."""
    wanted = name.strip().lower()
    known = any(_is_cos(value, wanted) for value in cache.values())

    def forget(key: Hashable, value: object) -> bool:
        if not isinstance(key, Key) or key.kind not in {"cos", "cos-name"}:
            return False
        # One that is known to be absent, perhaps by its id only, may be the one that was just made.
        return key.name == wanted or _is_cos(value, wanted) or (value is None and not known and bool(wanted))

    return cache.flush(forget)


def _is_cos(value: object, name: str) -> bool:
    return isinstance(value, RawEntry) and name in {text.lower() for text in (*value.all("cn"), *value.all("zimbraid"))}


def flush_domain(cache: Cache, name: str) -> int:
    """Forget a domain, its alias domains and all their addresses; return how many answers that were.

    Domains and the global config are one answer, so the global config is forgotten too.
    """
    domain = fold_domain(name.strip()) or name.strip().lower()
    site = site_in(cache)
    names = {domain}
    if site is not None:
        names |= {alias.name for alias in site.domains.values() if alias.target == domain}

    def forget(key: Hashable, value: object) -> bool:
        if key == SITE:
            return True
        if isinstance(key, str):
            return key.rpartition("@")[2] in names
        return any(entry.name.domain in names for entry in entries_in(value))

    return cache.flush(forget)


def entries_in(value: object) -> Collection[Entry]:
    """Return the entries in one cached value."""
    if isinstance(value, GroupMembers):
        return value.entries
    return [entry for entry in value if isinstance(entry, Entry)] if isinstance(value, tuple) else ()


def _concerns(raw: RawEntry, keys: set[str]) -> bool:
    """Whether a group is one of the addresses, or a static list that names one of them as a member."""
    texts = (*raw.all("zimbramailalias"), *raw.all("zimbramailforwardingaddress"))
    return any(address.key in keys for address in parse_addresses(texts))
