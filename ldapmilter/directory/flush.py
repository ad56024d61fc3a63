"""What to forget when an administrator says that something has changed: never too little.

An address stands for its whole entry, under every address of it, and for the groups that contain
it: those that are remembered to, and those that do so now, which only the directory knows. What was
worked out from forgotten answers falls with them. That an address which a value of it names is nobody's is
forgotten, too: who flushes may just have made the archive's account, or where a list's bounces go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import fold_domain, make_address, stored_addresses
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.entries import ADDRESS_ATTRIBUTES, found_by
from ldapmilter.directory.keys import OF_RIGHTS, SITE, GroupMembers, Key, kind_of, name_of
from ldapmilter.directory.model import Entry
from ldapmilter.directory.site import Site
from ldapmilter.directory.upward import KINDS as FROM_BELOW
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_value
from ldapmilter.postfix.routing import read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    from ldapmilter.address import Address
    from ldapmilter.directory.cache.held import Held

    LookUp = Callable[[Collection[Address]], "CurrentEntries"]
    """Asks the directory, past the cache."""

_ANYBODY = frozenset({"custom", *FROM_BELOW, *OF_RIGHTS})
"""Kinds of answers that a change of any entry may change."""
_IDS = ("zimbraid", "zimbramemberof", "zimbragroupid")
"""What names a dynamic group: on itself, on its members, on the unit of its members from outside."""


_WORD = re.compile(r"[^\s,;<>=\"]+@[^\s,;<>=\"]+")
"""What may be an address inside a value."""
_PLACEHOLDER = re.compile(r"\\\{\w+\\\}")
"""As ``re.escape`` spells it."""


class CurrentEntries(Struct, frozen=True, kw_only=True):
    """What the directory says now about some addresses."""

    site: Site
    raws: tuple[RawEntry, ...]
    """The entries that have one of the addresses, and those that name one of these entries as a member."""


def flush_addresses(cache: Held, addresses: Collection[str], look_up: LookUp | None = None) -> int:
    """Forget the entries of some addresses and the groups that contain them; return how many answers.

    The entry that has the address in any spelling, under all its other addresses, and a dynamic
    group's members when the address is the group's. Policy groups are kept with the site, which is
    forgotten unless the directory says the same of it now. Every dynamic group with a search of its own
    is read again, since only the server can tell who is in it.

    Args:
        cache: what to forget in.
        addresses: whose entries have changed.
        look_up: asks who contains them now; without an answer, every group may.
    """
    asked = list(stored_addresses(addresses))
    present = _ask(look_up, asked)
    remembered = site_in(cache)
    site = present.site if present is not None else remembered
    keys = every_spelling(asked, site)
    concerned = list(present.raws if present is not None else ())
    for value in cache.values():
        concerned.extend(entry.raw for entry in entries_in(value) if not keys.isdisjoint(entry.own_keys))
    for raw in concerned:
        keys |= keys_of(raw, site)
    if remembered is not None:
        concerned.extend(raw for raw in remembered.policy_groups if concerns(raw, keys))
    named = NamedAddresses(concerned, site)
    ids = {fold_value(text) for raw in concerned for name in _IDS for text in raw.all_subtypes(name)}

    def forget(key: Hashable, value: object) -> bool:
        if not isinstance(key, (Key, str)):
            return False
        if key == SITE:
            # What was made from a site that is still the same stands, or nothing large would outlast a flush a second.
            return present is None or present.site != value
        if kind_of(key) in _ANYBODY or (present is None and _may_be_another(key, value)):
            return True
        if kind_of(key) in {"managed", "id"} and name_of(key) in ids:
            return True
        if named.is_nobody(key, value):
            return True
        return name_of(key) in keys or any(
            not keys.isdisjoint(entry.own_keys) or concerns(entry.raw, keys) for entry in entries_in(value)
        )

    return cache.flush(forget)


class NamedAddresses:
    """The addresses that values of some entries name, in whatever attribute: where copies and bounces go to."""

    def __init__(self, raws: Iterable[RawEntry], site: Site | None) -> None:
        """Find them, in every spelling; one with placeholders may be any that looks like it."""
        words = {
            word
            for raw in raws
            for values in raw.attributes.values()
            for text in values
            if "@" in text
            for word in _WORD.findall(text)
        }
        self._keys = every_spelling(stored_addresses(word for word in words if "{" not in word), site)
        looks = (_PLACEHOLDER.sub("[^@]+", re.escape(word)) for word in words if "{" in word)
        self._looks = [re.compile(look, re.IGNORECASE) for look in looks]

    def is_nobody(self, key: Hashable, value: object) -> bool:
        """Whether an answer says that such an address is nobody's."""
        if value or not isinstance(key, str):
            return False
        return key in self._keys or any(look.fullmatch(key) for look in self._looks)


def _ask(look_up: LookUp | None, addresses: Collection[Address]) -> CurrentEntries | None:
    try:
        return look_up(addresses) if look_up is not None else None
    except DirectoryUnavailable:
        return None


def _may_be_another(key: Key | str, value: object) -> bool:
    """Whether an answer may have become another one when it is not known who changed: groups, and what was absent."""
    return kind_of(key) == "managed" or not value or any(entry.kind == "group" for entry in entries_in(value))


def keys_of(raw: RawEntry, site: Site | None) -> set[str]:
    """Return every key that an entry's answers are held by: all its addresses, in all spellings, and its catch-alls."""
    own = stored_addresses(value for name in ADDRESS_ATTRIBUTES for value in raw.all_subtypes(name))
    return {*every_spelling(own, site), *found_by(raw)}


def site_in(cache: Held) -> Site | None:
    """Return the site that the cache holds, if any."""
    return next((value for value in cache.values() if isinstance(value, Site)), None)


def every_spelling(addresses: Iterable[Address], site: Site | None) -> set[str]:
    """Return the keys of addresses in their own domain, in the one it stands for, and in those that stand for it."""
    keys: set[str] = set()
    for address in addresses:
        keys.update(address.search_keys)
        if site is None:
            continue
        own = site.local_domain(address.domain)
        elsewhere = site.domains_for(own.name) if own is not None else ()
        spelled = [*site.spellings(address), *(make_address(address.local, name) for name in elsewhere)]
        keys.update(key for spelling in spelled for key in spelling.search_keys)
    return keys


def flush_cos(cache: Held, name: str) -> int:
    """Forget a COS by its name or zimbraId; return how many answers that were."""
    wanted = fold_value(name)
    known = [value for value in cache.values() if isinstance(value, RawEntry) and _is_cos(value, wanted)]
    named = NamedAddresses(known, site_in(cache))

    def forget(key: Hashable, value: object) -> bool:
        if named.is_nobody(key, value):
            return True
        if not isinstance(key, Key) or key.kind not in {"cos", "cos-name"}:
            return False
        # One that is known to be absent, perhaps by its id only, may be the one that was just made.
        return key.name == wanted or _is_cos(value, wanted) or (value is None and not known and bool(wanted))

    return cache.flush(forget)


def _is_cos(value: object, name: str) -> bool:
    return isinstance(value, RawEntry) and name in map(fold_value, (*value.all("cn"), *value.all("zimbraid")))


def flush_domain(cache: Held, name: str) -> int:
    """Forget a domain, its alias domains and all their addresses; return how many answers that were.

    Domains and the global config are one answer, so the global config is forgotten too.
    """
    domain = fold_domain(fold_value(name)) or fold_value(name)
    site = site_in(cache)
    names = {domain}
    if site is not None:
        names |= {alias.name for alias in site.domains.values() if alias.target == domain}
    named = NamedAddresses(
        (one.raw for one in site.domains.values() if one.name in names) if site is not None else (), site
    )

    def forget(key: Hashable, value: object) -> bool:
        if key == SITE or (isinstance(key, Key) and key.kind in {*FROM_BELOW, *OF_RIGHTS}):
            return True
        if isinstance(key, str):
            return key.rpartition("@")[2] in names or named.is_nobody(key, value)
        return any(entry.name.domain in names for entry in entries_in(value))

    return cache.flush(forget)


def entries_in(value: object) -> Collection[Entry]:
    """Return the entries in one cached value."""
    if isinstance(value, GroupMembers):
        return value.entries
    if isinstance(value, Entry):
        return (value,)
    return [entry for entry in value if isinstance(entry, Entry)] if isinstance(value, tuple) else ()


def concerns(raw: RawEntry, keys: set[str]) -> bool:
    """Whether a group is one of the addresses, or a static list that names one of them as a member."""
    named = (
        *stored_addresses(raw.all("zimbramailalias")),
        *read_values(raw.all("zimbramailforwardingaddress")).addresses,
    )
    return any(address.key in keys for address in named)
