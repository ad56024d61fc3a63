"""What entries that have changed mean for answers that are held: only what depends on them is outdated.

Every entry is compared with what is held of it, attribute by attribute as the search asked that found it,
so that a login, which moves a time stamp, costs nothing. A renamed entry is known by its zimbraId.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ldapmilter.directory.backend.dn import fold_dn, take_apart
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, LIST_BOUNCES, SEND_RIGHTS
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.cache.answers import Outlook
from ldapmilter.directory.entries import GROUP_CLASSES, found_by, id_of, kind_of_entry, read_entry
from ldapmilter.directory.flush import entries_in
from ldapmilter.directory.groups import has_own_search
from ldapmilter.directory.keys import GRANTING, SITE, SOURCES, GroupMembers, Key, kind_of, name_of
from ldapmilter.directory.searches import GRANTING_CLASSES, SOURCE_CLASSES
from ldapmilter.directory.site import SITE_CLASSES, Site
from ldapmilter.directory.upward import LIST_CLASSES, ODD_VALUES, OWN_SEARCHES, Node, named_plainly, node_of
from ldapmilter.folding import fold_value
from ldapmilter.postfix.routing import means_itself, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping

    from ldapmilter.directory.searches import SearchedAttributes

_OUTDATED, _STANDS = Outlook.OUTDATED, Outlook.STANDS
_CUSTOM = ("kind", "custom")
"""What every answer about a dynamic group with a search of its own is found by: any entry may be in it."""
_LISTS, _GRANTING, _SOURCES, _OF_SITE = (
    frozenset(map(str.lower, names)) for names in (LIST_CLASSES, GRANTING_CLASSES, SOURCE_CLASSES, SITE_CLASSES)
)
"""What the searches find by its class."""
_DECIDES = frozenset({"zimbraaccount", "zimbracos", *GROUP_CLASSES, *_LISTS, *_GRANTING, *_SOURCES, *_OF_SITE})


def is_decided_by(raw: RawEntry) -> bool:
    """Whether mail may be decided by an entry of its classes."""
    return not _DECIDES.isdisjoint(raw.classes)


def names_of(key: Hashable, value: object) -> Iterator[Hashable]:
    """Yield what an answer can be found by, beside its key: the entries that are in it (``Cache``)."""
    if isinstance(value, RawEntry):
        yield name_of_entry(value)
    elif isinstance(value, (tuple, GroupMembers)) and key != GRANTING:
        yield from (name_of_entry(entry.raw) for entry in entries_in(value))
        if isinstance(value, tuple):
            yield from (_name_of_node(node) for node in value if isinstance(node, Node))
    elif not isinstance(value, Site):
        yield from (name_of_entry(entry.raw) for entry in entries_in(value))
    if isinstance(key, Key) and key.kind == "custom":
        yield _CUSTOM


def name_of_entry(raw: RawEntry) -> str:
    """Return what an entry is the same by when its DN and all its addresses have changed."""
    return id_of(raw) or fold_dn(raw.dn)


def _name_of_node(node: Node) -> str:
    """Return what :func:`name_of_entry` does, of the entry that a node was made from."""
    return node.zimbra_id or fold_dn(node.dn)


class Changes:
    """Entries as they are now, some of them perhaps as they were."""

    def __init__(self, entries: Iterable[RawEntry], asked: SearchedAttributes, delimiters: str) -> None:
        """Index what has changed.

        Args:
            entries: with every attribute that any search asks for (:attr:`SearchedAttributes.all`).
            asked: which attributes each kind of search asks for.
            delimiters: of subaddresses (``zimbraMtaRecipientDelimiter``).
        """
        self._asked = asked
        self._delimiters = delimiters
        self._by_name: dict[Hashable, list[RawEntry]] = defaultdict(list)
        self._by_key: dict[Hashable, list[RawEntry]] = defaultdict(list)
        for raw in entries:
            if not is_decided_by(raw):
                continue
            self._by_name[name_of_entry(raw)].append(raw)
            if kind_of_entry(raw) is not None:
                self._by_name[_CUSTOM].append(raw)
            for key in self._keys(raw):
                self._by_key[key].append(raw)
        self._judges: Mapping[str, Callable[[Any, Any, RawEntry], Any]] = {
            "address": self._entries,
            "id": self._by_id,
            "managed": self._managed,
            "custom": self._custom,
            "cos": self._cos,
            "cos-name": self._cos,
            "site": self._site,
            "naming": self._naming,
            "dynamic": self._dynamic,
            OWN_SEARCHES.kind: self._own_searches,
            ODD_VALUES.kind: self._odd_values,
            GRANTING.kind: self._granting,
            SOURCES: lambda _key, _value, _raw: _OUTDATED,  # whose addresses were in it is not known any more
        }

    @property
    def names(self) -> Collection[Hashable]:
        """What affected answers can be found by."""
        return self._by_name.keys()

    @property
    def keys(self) -> Collection[Hashable]:
        """The keys of answers that may be affected though none of the entries is in them."""
        return self._by_key.keys()

    def judge(self, key: Hashable, value: object) -> Any:  # noqa: ANN401 - a verdict, or a value
        """Return what becomes of an answer; see :data:`~ldapmilter.directory.cache.answers.Judge`."""
        if not isinstance(key, (Key, str)) or (judge := self._judges.get(kind_of(key))) is None:
            return _STANDS
        concerned = {id(raw): raw for raw in self._by_key.get(key, ())}
        for name in names_of(key, value):
            concerned.update((id(raw), raw) for raw in self._by_name.get(name, ()))
        revised = value
        for raw in concerned.values():
            verdict = judge(key, revised, raw)
            if verdict is _OUTDATED or verdict is Outlook.SOON:
                return verdict
            if verdict is not _STANDS:
                revised = verdict
        return _STANDS if revised is value else revised

    # -- what an entry answers now ----------------------------------------------------------

    def _keys(self, raw: RawEntry) -> Iterator[Hashable]:
        """Yield the keys of answers that an entry may be in now."""
        classes = raw.classes
        zimbra_id = id_of(raw)
        if kind_of_entry(raw) is not None:
            yield from found_by(raw)
            yield Key("id", zimbra_id)
            yield from (Key("managed", fold_value(text)) for text in raw.all_subtypes("zimbramemberof"))
        if "zimbragroupstaticunit" in classes:
            yield from (Key("managed", fold_value(text)) for text in raw.all_subtypes("zimbragroupid"))
        if "zimbracos" in classes:
            yield from (Key("cos", fold_value(text)) for text in raw.all("zimbraid"))
            yield from (Key("cos-name", fold_value(text)) for text in raw.all("cn"))
        if classes & (_OF_SITE | GROUP_CLASSES):
            yield SITE
        if classes & _LISTS:
            yield from (Key("naming", name) for name in self._names(raw))
            yield ODD_VALUES
        if classes & {"zimbragroup", "zimbragroupdynamicunit"}:
            yield OWN_SEARCHES
            yield from (Key("dynamic", name) for name in _ids_of_group(raw))
        if classes & _GRANTING:
            yield GRANTING
        if classes & _SOURCES:
            yield Key(SOURCES, take_apart(raw.dn).parent)

    def _names(self, raw: RawEntry) -> set[str]:
        return named_plainly(raw, self._delimiters) if raw.classes & _LISTS else set()

    # -- how an answer compares -------------------------------------------------------------

    def _differs(self, held: RawEntry, raw: RawEntry, attributes: frozenset[str]) -> bool:
        return fold_dn(held.dn) != fold_dn(raw.dn) or _told(held, attributes) != _told(raw, attributes)

    def _entries(self, key: str, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        held = next((entry.raw for entry in value or () if _same(entry.raw, raw)), None)
        answers = kind_of_entry(raw) is not None and key in found_by(raw)
        if held is None:
            return _OUTDATED if answers else _STANDS
        return _OUTDATED if not answers or self._differs(held, raw, self._asked.of_entries) else _STANDS

    def _by_id(self, key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        if name_of(key) != id_of(raw):
            return _STANDS
        return _OUTDATED if value is None or self._differs(value.raw, raw, self._asked.of_entries) else _STANDS

    def _cos(self, key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        names = raw.all("zimbraid") if key.kind == "cos" else raw.all("cn")
        answers = "zimbracos" in raw.classes and name_of(key) in map(fold_value, names)
        if value is None or not _same(value, raw):
            return _OUTDATED if answers else _STANDS
        return _OUTDATED if not answers or self._differs(value, raw, self._asked.of_cos) else _STANDS

    def _managed(self, key: Key, value: Any, raw: RawEntry) -> Any:  # noqa: ANN401 - as it is held
        """Return the group with the member as it is now: tens of thousands of others need not be read again for one."""
        if value is None:
            return _OUTDATED
        if "zimbragroupstaticunit" in raw.classes:
            return self._members_from_outside(key, value, raw)
        held = next((entry for entry in value.entries if _same(entry.raw, raw)), None)
        is_in = name_of(key) in map(fold_value, raw.all_subtypes("zimbramemberof"))
        if (held is not None) == is_in and (held is None or not self._differs(held.raw, raw, self._asked.of_entries)):
            return _STANDS
        entry = read_entry(RawEntry(raw.dn, _asked_for(raw, self._asked.of_entries))) if is_in else None
        if is_in and entry is None:
            return _OUTDATED
        members = [one for one in value.entries if one is not held]
        members += [entry] if entry is not None else []
        return GroupMembers(tuple(sorted(members, key=lambda one: one.name.key)), value.addresses, value.odd)

    def _members_from_outside(self, key: Key, value: GroupMembers, raw: RawEntry) -> Outlook:
        if name_of(key) not in map(fold_value, raw.all_subtypes("zimbragroupid")):
            return _STANDS
        addresses, odd = read_values(raw.all("zimbramailforwardingaddress"))
        same = (set(addresses), set(odd)) == (set(value.addresses), set(value.odd))
        return _STANDS if same else _OUTDATED

    def _custom(self, _key: Key, _value: Any, _raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        """Only the server can tell who is in it, by whatever attribute: a login may be a change of it."""
        return Outlook.SOON

    def _site(self, _key: Key, site: Site, raw: RawEntry) -> Outlook:
        classes = raw.classes
        if "zimbraserver" in classes:
            return _STANDS if site.has_server(raw) else _OUTDATED
        held = next((one for one in site.raws() if _same(one, raw)), None)
        if held is not None:
            return _OUTDATED if self._differs(held, raw, self._asked.of_site) else _STANDS
        if classes & _OF_SITE:
            return _OUTDATED
        applies = raw.is_true(APPLIES_TO_MEMBERS.lower())
        return _OUTDATED if applies or (raw.all(LIST_BOUNCES.lower()) and not site.has_list_bounces) else _STANDS

    def _naming(self, key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        return _node_verdict(value, raw, answers=name_of(key) in self._names(raw))

    def _dynamic(self, key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        return _node_verdict(value, raw, answers=name_of(key) in _ids_of_group(raw))

    def _own_searches(self, _key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        return _node_verdict(value, raw, answers="zimbragroup" in raw.classes and has_own_search(raw))

    def _odd_values(self, _key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        node = node_of(raw)
        was = any(_same_node(one, node) for nodes in (value or {}).values() for one in nodes)
        odd = not all(map(means_itself, raw.all_subtypes("zimbramailforwardingaddress")))
        return _OUTDATED if was or odd else _STANDS

    def _granting(self, _key: Key, value: Any, raw: RawEntry) -> Outlook:  # noqa: ANN401 - as it is held
        held = next((one for one in value or () if _same(one, raw)), None)
        said = frozenset(raw.all("zimbraace"))
        if held is not None:
            return _STANDS if frozenset(held.all("zimbraace")) == said else _OUTDATED
        grants = any(right.lower() in text.lower() for text in said for right in SEND_RIGHTS)
        return _OUTDATED if grants else _STANDS


def _node_verdict(value: Any, raw: RawEntry, *, answers: bool) -> Outlook:  # noqa: ANN401 - as it is held
    node = node_of(raw)
    held = next((one for one in value or () if _same_node(one, node)), None)
    if held is None or not answers:
        return _STANDS if (held is not None) == answers else _OUTDATED
    return _STANDS if _as_compared(held) == _as_compared(node) else _OUTDATED


def _same_node(one: Node, other: Node) -> bool:
    return _name_of_node(one) == _name_of_node(other)


def _as_compared(node: Node) -> tuple[object, ...]:
    return (fold_dn(node.dn), node.name, frozenset(node.addresses), frozenset(node.member_of), node.inside)


def _ids_of_group(raw: RawEntry) -> frozenset[str]:
    """Return the ids by which :meth:`Upward.dynamic` finds a group, or the unit inside it."""
    classes = raw.classes
    if has_own_search(raw):
        return frozenset()
    names = raw.all("zimbragroupid") if "zimbragroupdynamicunit" in classes else ()
    names += raw.all("zimbraid") if "zimbragroup" in classes else ()
    return frozenset(map(fold_value, names))


def _same(held: RawEntry, raw: RawEntry) -> bool:
    return name_of_entry(held) == name_of_entry(raw) or fold_dn(held.dn) == fold_dn(raw.dn)


def _told(raw: RawEntry, attributes: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return what a search that asks for some attributes finds of an entry; LDAP values have no order."""
    return {name: frozenset(values) for name, values in _asked_for(raw, attributes).items()}


def _asked_for(raw: RawEntry, attributes: frozenset[str]) -> dict[str, tuple[str, ...]]:
    return {name: values for name, values in raw.attributes.items() if name.partition(";")[0] in attributes}
