"""The searches: what is asked of the back end, and how the answers are told apart.

Every search that ldapmilter sends for a message is made here, for many keys at once and in chunks
of a bounded size. Filters name indexed attributes only, or others beside one that narrows them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import parse_addresses
from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.dn import fold_dn, take_apart, unescaped
from ldapmilter.directory.backend.filters import And, Equal, Filter, Or, Substring, any_of
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, COS_BASE, LIST_BOUNCES, SEND_RIGHTS, ZIMBRA_BASE
from ldapmilter.directory.entries import (
    ENTRY_ATTRIBUTES,
    EVERYBODY,
    SYSTEM_ACCOUNT,
    entries_filter,
    found_by,
    kind_of_entry,
    must_fit,
    read_entry,
)
from ldapmilter.directory.keys import SITE, GroupMembers, Key, kind_of, name_of
from ldapmilter.directory.site import CENTRAL_CLASSES, SITE_ATTRIBUTES, SITE_FILTER, Site, read_site
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_value
from ldapmilter.postfix.routing import read_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Deadline, Store
    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.searching import Searching

    Search = Searching
    """``(base, scope, filter, attributes)`` to entries: a search of one message, counted and in time."""

RIGHTS_ATTRIBUTES = (
    "zimbraMailCanonicalAddress",
    "zimbraAllowFromAddress",
    "zimbraAllowAnyFromAddress",
    "zimbraACE",
    "zimbraPrefAllowAddressForDelegatedSender",
)
COS_RIGHTS_ATTRIBUTES = ("zimbraAllowAnyFromAddress",)
SOURCE_ATTRIBUTES = ("objectClass", "zimbraDataSourceEmailAddress", "zimbraDataSourceEnabled")
SOURCE_CLASSES = ("zimbraDataSource", "zimbraPop3DataSource", "zimbraImapDataSource")
_SOURCES = any_of("objectClass", SOURCE_CLASSES)
GRANTING_CLASSES = ("zimbraDistributionList", "zimbraGroup")
_GRANTING_GROUPS = And(
    (
        any_of("objectClass", GRANTING_CLASSES),
        Or(tuple(Substring("zimbraACE", ("", right, "")) for right in SEND_RIGHTS)),
    )
)
"""Zimbra's slapd indexes ``zimbraACE`` by substrings."""
COS_ATTRIBUTES = ("objectClass", "cn", "zimbraId")
GROUP_ATTRIBUTES = ("zimbraId", "member")
_NO_ATTRIBUTES = ("1.1",)
"""RFC 4511 section 4.5.1.8: entries without attributes."""
CHUNK = 200
"""Keys in one search: enough for 50 recipients in an alias domain, with every spelling, in one.

Measured: 25 to 100 cost the same per address within 5 %, 200 a fifth more, 400 half as much again.
"""


class SearchedAttributes(Struct, frozen=True, kw_only=True):
    """Which attributes are asked for, by what is searched; names in lower case."""

    of_entries: frozenset[str]
    of_site: frozenset[str]
    of_cos: frozenset[str]
    all: tuple[str, ...]
    """All of these, and those of external accounts, as they are written."""


class Loading:
    """What is searched for, and with which attributes."""

    def __init__(self, *, policy_attributes: Iterable[str], search_base: str) -> None:
        """Search below a base for everything that policy needs."""
        self._base = search_base
        policy = tuple(sorted(set(policy_attributes)))
        self._entry_attributes = (*ENTRY_ATTRIBUTES, *RIGHTS_ATTRIBUTES, *policy)
        self._site_attributes = tuple(
            dict.fromkeys((*SITE_ATTRIBUTES, *ENTRY_ATTRIBUTES, APPLIES_TO_MEMBERS, LIST_BOUNCES, *policy))
        )
        self._cos_attributes = (*COS_ATTRIBUTES, *COS_RIGHTS_ATTRIBUTES, *policy)

    @property
    def asked(self) -> SearchedAttributes:
        """What the searches ask for; ``member``, which slapd works out for every reader, is not among all."""
        every = (*self._entry_attributes, *self._site_attributes, *self._cos_attributes, *SOURCE_ATTRIBUTES)
        return SearchedAttributes(
            of_entries=frozenset(map(str.lower, self._entry_attributes)),
            of_site=frozenset(map(str.lower, self._site_attributes)),
            of_cos=frozenset(map(str.lower, self._cos_attributes)),
            all=tuple({name.lower(): name for name in every}.values()),
        )

    def everybody(self, store: Store, deadline: Deadline) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page; see :meth:`~ldapmilter.directory.backend.store.Store.pages`."""
        return store.pages(self._base, "sub", EVERYBODY, (*self._entry_attributes, SYSTEM_ACCOUNT), deadline)

    def count_everybody(self, store: Store, deadline: Deadline) -> int:
        """Return how many entries :meth:`everybody` is about to go through."""
        return sum(len(page) for page in store.pages(self._base, "sub", EVERYBODY, _NO_ATTRIBUTES, deadline))

    def site(self, _keys: Collection[CacheKey], search: Search) -> dict[CacheKey, Site]:
        """Return the snapshot of the site.

        Raises:
            DirectoryUnavailable: a domain is hidden, or its name is: its people would count as outsiders.
        """
        raws = search(self._base, "sub", SITE_FILTER, self._site_attributes)
        if self._base:
            everything = any_of("objectClass", CENTRAL_CLASSES)
            raws += search(ZIMBRA_BASE, "sub", everything, self._site_attributes)
        site = read_site(raws)
        if not site.domains:
            message = "no zimbraDomain can be seen: wrong search_base, or the bind identity may not read them"
            raise DirectoryUnavailable(message)
        for raw in raws:
            if "zimbradomain" in raw.classes:
                must_fit(raw, raw.all_subtypes("zimbradomainname"))
        return {SITE: site}

    def members(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, tuple[Entry, ...] | GroupMembers]:
        """Return who is behind keys of three kinds, all in one search if there are not too many.

        Args:
            keys: an address, or ``@domain`` for a catch-all, gives entries; ``managed`` and ``custom``
                (the zimbraId of a dynamic group) give members.
            search: asks the back end.
        """
        found: dict[CacheKey, dict[str, Entry]] = {key: {} for key in keys}
        external: dict[CacheKey, list[str]] = {key: [] for key in keys}
        by_dn = self._custom_members([key for key in keys if isinstance(key, Key) and key.kind == "custom"], search)
        # By what names them: LDAP has no filter on the DN itself.
        names = dict.fromkeys(part for dn in by_dn if (part := _rdn(dn)) is not None)
        for chunk in chunks([*(key for key in keys if kind_of(key) != "custom"), *names], CHUNK):
            by_name = any(not isinstance(item, (Key, str)) for item in chunk)
            for raw in self._found(chunk, search):
                entry = read_entry(raw)
                answers = _unit_keys(raw) if entry is None else _entry_keys(raw)
                asked = [key for key in answers if key in found]
                must_fit(raw, by_name or asked)
                if entry is not None:
                    for key in (*asked, *by_dn.get(fold_dn(raw.dn), ())):
                        found[key][entry.dn] = entry
                elif asked:
                    _must_have_name(raw)
                    for key in asked:
                        external[key].extend(raw.all("zimbramailforwardingaddress"))
        return {
            key: _sorted(found[key])
            if isinstance(key, str)
            else GroupMembers(_sorted(found[key]), *read_values(external[key]))
            for key in keys
        }

    def _found(self, items: Collection[CacheKey | Filter], search: Search) -> Iterator[RawEntry]:
        """Return what may be behind address keys, groups, and names; behind one group may be tens of thousands."""
        wanted = _members_filter(items)
        if any(isinstance(item, Key) for item in items):
            return itertools.chain.from_iterable(search.many(self._base, "sub", wanted, self._entry_attributes))
        return iter(search(self._base, "sub", wanted, self._entry_attributes))

    def _custom_members(self, groups: Collection[Key], search: Search) -> dict[str, list[Key]]:
        """Return, by folded DN, which of the groups an entry is in.

        Reads ``member``: only slapd, with dgIdentity's rights, can evaluate every memberURL.
        """
        by_dn: dict[str, list[Key]] = {}
        for chunk in chunks(groups, CHUNK):
            ids = any_of("zimbraId", (key.name for key in chunk))
            for raw in search(self._base, "sub", And((Equal("objectClass", "zimbraGroup"), ids)), GROUP_ATTRIBUTES):
                asked = [key for key in _keys("custom", raw, "zimbraid") if key in groups]
                must_fit(raw, asked)
                for dn in raw.all("member"):
                    by_dn.setdefault(fold_dn(dn), []).extend(asked)
        return by_dn

    def by_id(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, Entry]:
        """Return the account or group of each ``id`` key."""
        found: dict[CacheKey, Entry] = {}
        for chunk in chunks(map(name_of, keys), CHUNK):
            for raw in search(self._base, "sub", any_of("zimbraId", chunk), self._entry_attributes):
                asked = [key for key in _keys("id", raw, "zimbraid") if key in keys]
                must_fit(raw, asked)
                if (entry := read_entry(raw)) is not None:
                    found.update(dict.fromkeys(asked, entry))
                else:
                    _must_have_name(raw)
        return found

    def granting_groups(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, tuple[RawEntry, ...]]:
        """Return every list and dynamic group with a send right of any kind, and of each nothing but that."""
        found = search(self._base, "sub", _GRANTING_GROUPS, ("zimbraId", "zimbraACE"))
        for raw in found:
            must_fit(raw, raw.all("zimbraid") and raw.all("zimbraace"))
        return dict.fromkeys(keys, tuple(sorted(found, key=lambda raw: raw.dn)))

    def external_addresses(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, frozenset[str]]:
        """Return the address keys of the external accounts that are in use, by the DN of each ``sources`` key.

        A server that hides anything that rights are made of does not answer this (:data:`.readability.OF_RIGHTS`).
        """
        found: dict[CacheKey, frozenset[str]] = {}
        for key in keys:
            sources = search(name_of(key), "sub", _SOURCES, SOURCE_ATTRIBUTES)
            for raw in sources:
                must_fit(raw, raw.all("objectclass"))
            texts = (
                text
                for raw in sources
                if raw.is_true("zimbradatasourceenabled")
                for text in raw.all("zimbradatasourceemailaddress")
            )
            found[key] = frozenset(address.key for address in parse_addresses(texts))
        return found

    def naming(self, addresses: Collection[str], search: Search) -> list[RawEntry]:
        """Return what names any of the addresses as a member, or as where mail is forwarded."""
        found: list[RawEntry] = []
        for chunk in chunks(addresses, CHUNK):
            found += search(self._base, "sub", any_of("zimbraMailForwardingAddress", chunk), self._entry_attributes)
        return found

    def cos(self, keys: Collection[CacheKey], search: Search) -> dict[CacheKey, RawEntry]:
        """Return the COS of each ``cos`` (zimbraId) or ``cos-name`` (cn) key."""
        by_attribute = {"cos": "zimbraId", "cos-name": "cn"}
        found: dict[CacheKey, RawEntry] = {}
        wanted = set(keys)
        for chunk in chunks(keys, CHUNK):
            choice = Or(tuple(Equal(by_attribute[kind_of(key)], name_of(key)) for key in chunk))
            search_filter = And((Equal("objectClass", "zimbraCOS"), choice))
            for raw in search(COS_BASE, "sub", search_filter, self._cos_attributes):
                names = (*_keys("cos", raw, "zimbraid"), *_keys("cos-name", raw, "cn"))
                asked = [name for name in names if name in wanted]
                must_fit(raw, asked)
                found.update(dict.fromkeys(asked, raw))
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


def _entry_keys(raw: RawEntry) -> list[CacheKey]:
    """Return the keys by which :func:`_members_filter` finds an account or a group."""
    return [*found_by(raw), *_keys("managed", raw, "zimbramemberof")]


def _unit_keys(raw: RawEntry) -> list[CacheKey]:
    """Return the keys by which :func:`_members_filter` finds what is neither: the static unit of a group above all."""
    return [*_entry_keys(raw), *_keys("managed", raw, "zimbragroupid")]


def _keys(kind: str, raw: RawEntry, attribute: str) -> list[Key]:
    """Return the keys of one kind that an entry answers to, by the values of an attribute that a filter finds."""
    return [Key(kind, fold_value(value)) for value in raw.all_subtypes(attribute)]


def _must_have_name(raw: RawEntry) -> None:
    """Refuse an account or a group of which no address can be read.

    Raises:
        DirectoryUnavailable: it is one.
    """
    if kind_of_entry(raw) is not None:
        message = f"the directory answers with {raw.dn} and does not show any address of it"
        raise DirectoryUnavailable(message)


def _rdn(dn: str) -> Filter | None:
    """Return a filter on the indexed naming attribute of a DN: None: it has no such name."""
    name = take_apart(dn)
    return Equal(name.attribute, unescaped(name.value)) if name.attribute.lower() in {"uid", "cn"} else None


def _sorted(entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries.values(), key=lambda entry: entry.name.key))
