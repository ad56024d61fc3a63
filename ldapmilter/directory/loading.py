"""The searches: what is asked of the back end, and how the answers are told apart.

Every search that ldapmilter sends for a message is made here, for many keys at once and in chunks
of a bounded size. Filters name indexed attributes only, or others beside one that narrows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ldapmilter.address import Address, parse_addresses
from ldapmilter.directory.entries import (
    ENTRY_ATTRIBUTES,
    EVERYBODY,
    catch_all_keys,
    entries_filter,
    read_entry,
    unescape_rdn,
)
from ldapmilter.directory.filters import And, Equal, Filter, Or, any_of
from ldapmilter.directory.sender_rights import COS_RIGHTS_ATTRIBUTES, RIGHTS_ATTRIBUTES
from ldapmilter.directory.site import GLOBAL_CONFIG_DN, SITE_ATTRIBUTES, SITE_FILTER, Site, read_site
from ldapmilter.directory.store import fold_dn
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.store import Deadline, Store

    Search = Callable[..., list[RawEntry]]
    """``(base, scope, filter, attributes)`` to entries: a search of one message, counted and in time."""

COS_BASE = "cn=cos,cn=zimbra"
COS_ATTRIBUTES = ("objectClass", "cn", "zimbraId")
GROUP_ATTRIBUTES = ("zimbraId", "member")
_NO_ATTRIBUTES = ("1.1",)
"""RFC 4511 section 4.5.1.8: entries without attributes."""
CHUNK = 200
"""Keys in one search: enough for 50 recipients in an alias domain, with every spelling, in one.

Measured: 25 to 100 cost the same per address within 5 %, 200 a fifth more, 400 half as much again.
"""

ItemT = TypeVar("ItemT")


class Key(NamedTuple):
    """What one cached value is about, unless it is an address."""

    kind: str
    name: str = ""


CacheKey = Key | str
"""What one cached value is about: an address (or ``@domain`` for a catch-all) stands for itself.

There are tens of thousands of addresses, and their texts are there anyway.
"""
SITE = Key("site")


def kind_of(key: CacheKey) -> str:
    """Return what a cached value is about: ``address``, ``site``, ``cos``, ``managed``, ..."""
    return "address" if isinstance(key, str) else key.kind


def name_of(key: CacheKey) -> str:
    """Return whom a cached value is about."""
    return key if isinstance(key, str) else key.name


@dataclass(frozen=True, slots=True)
class GroupMembers:
    """Who is in a dynamic group: entries, and external addresses of its static unit."""

    entries: tuple[Entry, ...] = ()
    addresses: tuple[Address, ...] = ()


class Loading:
    """What is searched for, and with which attributes."""

    def __init__(self, *, policy_attributes: Iterable[str], search_base: str) -> None:
        """Search below a base for everything that policy needs."""
        self._base = search_base
        policy = tuple(sorted(set(policy_attributes)))
        self._entry_attributes = (*ENTRY_ATTRIBUTES, *RIGHTS_ATTRIBUTES, *policy)
        self._site_attributes = tuple(dict.fromkeys((*SITE_ATTRIBUTES, *ENTRY_ATTRIBUTES, *policy)))
        self._cos_attributes = (*COS_ATTRIBUTES, *COS_RIGHTS_ATTRIBUTES, *policy)

    def everybody(self, store: Store, deadline: Deadline) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page; see :meth:`~ldapmilter.directory.store.Store.pages`."""
        return store.pages(self._base, "sub", EVERYBODY, self._entry_attributes, deadline)

    def count_everybody(self, store: Store, deadline: Deadline) -> int:
        """Return how many entries :meth:`everybody` is about to go through."""
        return sum(len(page) for page in store.pages(self._base, "sub", EVERYBODY, _NO_ATTRIBUTES, deadline))

    def site(self, _keys: Collection[CacheKey], search: Search) -> dict[CacheKey, Site]:
        """Return the snapshot of the site.

        Raises:
            DirectoryUnavailable: there is no domain at all: they are hidden.
        """
        raws = search(self._base, "sub", SITE_FILTER, self._site_attributes)
        if self._base:
            everything = any_of("objectClass", ("zimbraGlobalConfig", "zimbraServer"))
            raws += search(GLOBAL_CONFIG_DN.partition(",")[2], "sub", everything, self._site_attributes)
        site = read_site(raws)
        if not site.domains:
            message = "no zimbraDomain can be seen: wrong search_base, or the bind identity may not read them"
            raise DirectoryUnavailable(message)
        return {SITE: site}

    def members(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, tuple[Entry, ...] | GroupMembers]:
        """Return who is behind keys of three kinds, all in one search if there are not too many.

        Args:
            keys: an address, or ``@domain`` for a catch-all, gives entries; ``managed`` and ``custom``
                (the zimbraId of a dynamic group) give members.
            search: asks the back end.
        """
        found: dict[CacheKey, dict[str, Entry]] = {key: {} for key in keys}
        external: dict[CacheKey, list[Address]] = {key: [] for key in keys}
        by_dn = self._custom_members([key for key in keys if isinstance(key, Key) and key.kind == "custom"], search)
        # By what names them: LDAP has no filter on the DN itself.
        names = dict.fromkeys(part for dn in by_dn if (part := _rdn(dn)) is not None)
        for chunk in _chunks([*(key for key in keys if kind_of(key) != "custom"), *names]):
            for raw in search(self._base, "sub", _members_filter(chunk), self._entry_attributes):
                entry = read_entry(raw)
                if entry is None:
                    if (unit := Key("managed", (raw.first("zimbragroupid") or "").lower())) in external:
                        external[unit].extend(parse_addresses(raw.all("zimbramailforwardingaddress")))
                    continue
                meant: list[CacheKey] = [*entry.own_keys, *catch_all_keys(raw)]
                meant.extend(Key("managed", group.lower()) for group in raw.all("zimbramemberof"))
                meant.extend(by_dn.get(fold_dn(raw.dn), ()))
                for key in meant:
                    if key in found:
                        found[key][entry.dn] = entry
        return {
            key: _sorted(found[key])
            if isinstance(key, str)
            else GroupMembers(_sorted(found[key]), tuple(sorted(external[key], key=_by_key)))
            for key in keys
        }

    def _custom_members(self, groups: Collection[Key], search: Search) -> dict[str, list[Key]]:
        """Return, by folded DN, which of the groups an entry is in.

        Reads ``member``: only slapd, with dgIdentity's rights, can evaluate every memberURL.
        """
        by_dn: dict[str, list[Key]] = {}
        for chunk in _chunks(list(groups)):
            ids = any_of("zimbraId", (key.name for key in chunk))
            for raw in search(
                self._base, "sub", And((Equal("objectClass", "zimbraGroup"), ids)), ("zimbraId", "member")
            ):
                group = Key("custom", (raw.first("zimbraid") or "").lower())
                for dn in raw.all("member"):
                    by_dn.setdefault(fold_dn(dn), []).append(group)
        return by_dn

    def by_id(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, Entry]:
        """Return the account or group of each ``id`` key."""
        found: dict[CacheKey, Entry] = {}
        for chunk in _chunks([name_of(key) for key in keys]):
            for raw in search(self._base, "sub", any_of("zimbraId", chunk), self._entry_attributes):
                if (entry := read_entry(raw)) is not None:
                    found[Key("id", (raw.first("zimbraid") or "").lower())] = entry
        return found

    def cos(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, RawEntry]:
        """Return the COS of each ``cos`` (zimbraId) or ``cos-name`` (cn) key."""
        by_attribute = {"cos": "zimbraId", "cos-name": "cn"}
        found: dict[CacheKey, RawEntry] = {}
        wanted = set(keys)
        for chunk in _chunks(list(keys)):
            choice = Or(tuple(Equal(by_attribute[kind_of(key)], name_of(key)) for key in chunk))
            search_filter = And((Equal("objectClass", "zimbraCOS"), choice))
            for raw in search(COS_BASE, "sub", search_filter, self._cos_attributes):
                names = [Key("cos", (raw.first("zimbraid") or "").lower())]
                names.extend(Key("cos-name", name.lower()) for name in raw.all("cn"))
                found.update({name: raw for name in names if name in wanted})
        return found


def _members_filter(items: Collection[CacheKey | Filter]) -> Filter:
    """Return the filter that finds the entries of address keys, of groups by their zimbraId, and by name."""
    managed = [item.name for item in items if isinstance(item, Key)]
    parts: list[Filter] = [*entries_filter(item for item in items if isinstance(item, str)).parts]
    parts.extend(any_of("zimbraMemberOf", managed).parts)
    if managed:
        parts.append(And((Equal("objectClass", "zimbraGroupStaticUnit"), any_of("zimbraGroupId", managed))))
    parts.extend(item for item in items if not isinstance(item, (Key, str)))
    return Or(tuple(parts))


def _rdn(dn: str) -> Filter | None:
    """Return a filter on the indexed naming attribute of a DN: None: it has no such name."""
    attribute, equals, value = dn.partition(",")[0].partition("=")
    return Equal(attribute, unescape_rdn(value)) if equals and attribute.lower() in {"uid", "cn"} else None


def _sorted(entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries.values(), key=lambda entry: entry.name.key))


def _by_key(address: Address) -> str:
    return address.key


def _chunks(items: list[ItemT]) -> Iterator[list[ItemT]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
