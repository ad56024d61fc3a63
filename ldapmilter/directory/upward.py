"""Which groups an account is in, asked from below: the searches, and what they find.

The members of a group are read from above, member by member. Where that cannot be had (it is too much,
or on its way), the directory is asked for the groups that name one address instead: a few searches,
however large those groups are.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import plain_address
from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.filters import And, Equal, Filter, Or, Present, Substring, any_of
from ldapmilter.directory.entries import ADDRESS_ATTRIBUTES, GROUP_CLASSES, id_of, must_fit, read_entry
from ldapmilter.directory.groups import has_own_search
from ldapmilter.directory.keys import Key, name_of
from ldapmilter.folding import fold_ascii, fold_value
from ldapmilter.postfix.routing import means_itself, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from ldapmilter.address import Address
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.searches import Search
    from ldapmilter.directory.searching import Searching

OWN_SEARCHES = Key("own-searches")
"""Every dynamic group with a memberURL of its own."""
ODD_VALUES = Key("odd-values")
"""Every list with members in values that are more than an address."""
KINDS = frozenset({"naming", "dynamic", OWN_SEARCHES.kind, ODD_VALUES.kind})
"""What answers from below are about: who is named by a group may change with any group."""

_MEMBER = "zimbraMailForwardingAddress"
LIST_CLASSES = ("zimbraDistributionList", "zimbraGroupStaticUnit")
"""What names members by their addresses."""
_LISTS = any_of("objectClass", LIST_CLASSES)
_ATTRIBUTES = (
    "objectClass",
    "cn",
    "zimbraId",
    "zimbraMailDeliveryAddress",
    "zimbraMailAlias",
    "zimbraOldMailAddress",
    "zimbraMemberOf",
    "zimbraGroupId",
    "memberURL",
)
_ODD = (*(("", character, "") for character in '<(,;:"%!\\'), ("", "@", "@", ""), ("", "."))
"""Substrings of values by which Postfix delivers to another address than the value itself."""
_CHUNK = 50
"""Addresses in one search: with extensions each is asked for several times."""


class Node(Struct, frozen=True):
    """An account or a group, and what names it as a member."""

    dn: str
    name: str
    """The address of a group; nothing: it has none."""
    addresses: tuple[str, ...]
    """As the directory holds them."""
    member_of: tuple[str, ...]
    """Dynamic groups, by their zimbraId."""
    zimbra_id: str
    inside: bool = False
    """Whether it is the unit inside a dynamic group that names members from outside."""
    internal_only: bool = False
    """Whether it is the unit inside a dynamic group that holds its members from inside."""


def node_of(raw: RawEntry) -> Node:
    """Return what may be a member, or have members."""
    classes = raw.classes
    inside = "zimbragroupstaticunit" in classes
    entry = read_entry(raw) if classes & GROUP_CLASSES else None
    return Node(
        dn=raw.dn,
        name=entry.name.text if entry is not None else "",
        addresses=tuple(text for name in ADDRESS_ATTRIBUTES for text in raw.all_subtypes(name)),
        member_of=tuple(fold_value(text) for text in raw.all_subtypes("zimbragroupid" if inside else "zimbramemberof")),
        zimbra_id=id_of(raw),
        inside=inside,
        internal_only="zimbragroupdynamicunit" in classes,
    )


class Upward:
    """The searches."""

    def __init__(self, base: str) -> None:
        """Search below a base."""
        self._base = base

    def naming(
        self, keys: Collection[CacheKey], delimiters: str, search: Searching
    ) -> dict[CacheKey, tuple[Node, ...]]:
        """Return the lists, and units inside dynamic groups, that name each ``naming`` key (an address) as a member.

        With an extension, too (``ann+news@``). An account that forwards to it is none.
        """
        found: dict[CacheKey, dict[str, Node]] = {key: {} for key in keys}
        for some in chunks(keys, _CHUNK):
            chunk = {name_of(key): key for key in some}
            wanted = And((_LISTS, Or(tuple(_named(chunk, delimiters)))))
            for raw in search(self._base, "sub", wanted, (*_ATTRIBUTES, _MEMBER)):
                node = node_of(raw)
                named = _plain(raw.all_subtypes(_MEMBER.lower()), delimiters) & chunk.keys()
                must_fit(raw, named)
                for name in named:
                    found[chunk[name]][node.dn] = node
        return {key: _sorted(nodes) for key, nodes in found.items()}

    def odd_values(
        self, _keys: Collection[CacheKey], keys_of: Callable[[Address], Iterable[str]], search: Search
    ) -> dict[CacheKey, dict[str, tuple[Node, ...]]]:
        """Return the lists that name a member by a value that is not a plain address, by the keys of the members.

        The server compares whole values: it finds no address in ``Ann <ann@example.test>, bob@example.test``.

        Args:
            keys_of: what the directory may hold an address as that Postfix reads in a value.
            search: asks the back end.
        """
        found: dict[str, dict[str, Node]] = {}
        for raw in self.odd_lists(search):
            node, values = node_of(raw), raw.all_subtypes(_MEMBER.lower())
            for address in read_values(filterfalse(means_itself, values)).addresses:
                for key in keys_of(address):
                    found.setdefault(key, {})[node.dn] = node
        return {ODD_VALUES: {key: _sorted(nodes) for key, nodes in found.items()}}

    def odd_lists(self, search: Search) -> list[RawEntry]:
        """Return the lists with members in values that are more than an address."""
        wanted = And((_LISTS, Or(tuple(Substring(_MEMBER, parts) for parts in _ODD))))
        raws = search(self._base, "sub", wanted, (*_ATTRIBUTES, _MEMBER))
        for raw in raws:
            must_fit(raw, raw.all_subtypes(_MEMBER.lower()))
        return raws

    def dynamic(self, keys: Collection[CacheKey], search: Searching) -> dict[CacheKey, tuple[Node, ...]]:
        """Return the group of each ``dynamic`` key (a zimbraId) whose members Zimbra manages, and its unit."""
        found: dict[CacheKey, dict[str, Node]] = {key: {} for key in keys}
        for ids in chunks(map(name_of, keys), _CHUNK):
            group = And((Equal("objectClass", "zimbraGroup"), any_of("zimbraId", ids)))
            unit = And((Equal("objectClass", "zimbraGroupDynamicUnit"), any_of("zimbraGroupId", ids)))
            for raw in search(self._base, "sub", Or((group, unit)), _ATTRIBUTES):
                node = node_of(raw)
                if not has_own_search(raw):
                    names = raw.all("zimbragroupid") if node.internal_only else raw.all("zimbraid")
                    for key in (Key("dynamic", fold_value(name)) for name in names):
                        if key in found:
                            found[key][node.dn] = node
        return {key: _sorted(nodes) for key, nodes in found.items()}

    def own_searches(self, _keys: Collection[CacheKey], search: Searching) -> dict[CacheKey, tuple[Node, ...]]:
        """Return every dynamic group with a memberURL of its own: only the server can tell who is in one."""
        wanted = And((Equal("objectClass", "zimbraGroup"), Present("memberURL")))
        raws = search(self._base, "sub", wanted, _ATTRIBUTES)
        return {OWN_SEARCHES: _sorted({raw.dn: node_of(raw) for raw in raws if has_own_search(raw)})}


def _named(keys: Iterable[str], delimiters: str) -> Iterator[Filter]:
    for key in keys:
        yield Equal(_MEMBER, key)
        address = plain_address(key)
        if not any(delimiter in address.local for delimiter in delimiters):
            for delimiter in delimiters:
                yield Substring(_MEMBER, (f"{address.local}{delimiter}", f"@{address.domain}"))


def named_plainly(raw: RawEntry, delimiters: str) -> set[str]:
    """Return the keys by which :meth:`Upward.naming` finds a list."""
    return _plain(raw.all_subtypes(_MEMBER.lower()), delimiters)


def _plain(values: Iterable[str], delimiters: str) -> set[str]:
    """Return values as the server compares them, with their extensions and without; nothing is parsed."""
    found: set[str] = set()
    for value in map(fold_ascii, values):
        found.add(value)
        cut = min((cut for delimiter in delimiters if (cut := value.find(delimiter)) >= 0), default=0)
        if cut > 0:
            found.add(f"{value[:cut]}@{value.rpartition('@')[2]}")
    return found


def _sorted(nodes: dict[str, Node]) -> tuple[Node, ...]:
    return tuple(nodes[dn] for dn in sorted(nodes))
