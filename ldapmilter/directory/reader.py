"""Cached reads: every search that ldapmilter ever sends is made here.

Each kind of read is keyed on its own and fetched for many keys in one search (in chunks of a
bounded size), so that the number of searches does not grow with the number of recipients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ldapmilter.address import Address, parse_address
from ldapmilter.directory.entries import (
    ENTRY_ATTRIBUTES,
    catch_all_keys,
    entries_filter,
    read_entry,
    unescape_rdn,
)
from ldapmilter.directory.filters import And, Equal, Filter, Or, any_of
from ldapmilter.directory.model import Entry
from ldapmilter.directory.sender_rights import COS_RIGHTS_ATTRIBUTES, RIGHTS_ATTRIBUTES
from ldapmilter.directory.site import GLOBAL_CONFIG_DN, SITE_ATTRIBUTES, SITE_FILTER, Site, read_site
from ldapmilter.directory.store import fold_dn
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from ldapmilter.directory.cache import Cache, Load, Slot
    from ldapmilter.directory.model import RawEntry
    from ldapmilter.directory.store import Deadline, Scope, Store

COS_BASE = "cn=cos,cn=zimbra"
_COS_ATTRIBUTES = ("objectClass", "cn", "zimbraId")
CHUNK = 200
"""Keys in one search: enough for 50 recipients in an alias domain, with every spelling, in one.

Measured: 25 to 100 cost the same per address within 5 %, 200 a fifth more, 400 half as much again.
"""


class Key(NamedTuple):
    """What one cached value is about."""

    kind: str
    name: str = ""


SITE = Key("site")
_NO_GENERATION = -1


@dataclass(frozen=True, slots=True)
class GroupMembers:
    """Who is in a dynamic group: entries, and external addresses of its static unit."""

    entries: tuple[Entry, ...] = ()
    addresses: tuple[Address, ...] = ()


class Reads(dict["Hashable", int]):
    """What a value that is being worked out has read: keys and the generations of the answers."""

    def note(self, reads: Iterable[tuple[Hashable, int]]) -> None:
        """Add reads; a key read in two generations makes the value one of no moment, never to stand again."""
        for key, generation in reads:
            if self.setdefault(key, generation) != generation:
                self[key] = _NO_GENERATION


@dataclass(slots=True)
class Trace:
    """One message's reads: its deadline, what they cost, and what could not be asked."""

    deadline: Deadline
    lenient: bool = False
    """Whether to go on without what could not be asked (``directory_failure = accept``)."""
    searches: int = 0
    stale: bool = False
    failures: list[str] = field(default_factory=list)
    """What could not be asked and mattered, in words (lenient traces only: others raise)."""
    unanswered: dict[Hashable, DirectoryUnavailable] = field(default_factory=dict)
    """Keys that could not be asked: a message does not ask for them twice."""
    leftovers: dict[Hashable, Slot] = field(default_factory=dict)
    """Stale answers that were used: a message does not wait for them twice either."""
    recorders: list[Reads] = field(default_factory=list)
    """Of the values being worked out: what they read, with generations (innermost last)."""

    def fail(self, keys: Iterable[Key]) -> None:
        """Take note that some keys matter and could not be asked.

        Raises:
            DirectoryUnavailable: unless this trace is lenient.
        """
        for key in keys:
            error = self.unanswered.get(key) or DirectoryUnavailable(f"{key.kind} {key.name} could not be asked")
            if not self.lenient:
                raise error
            self.failures.append(str(error))


class Reader:
    """Reads Zimbra's objects through the cache."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        *,
        policy_attributes: Iterable[str],
        search_base: str = "",
        host_addresses: Callable[[Sequence[str]], frozenset[str]],
    ) -> None:
        """Read from a store through a cache.

        Args:
            store: the back end.
            cache: where answers are kept.
            policy_attributes: attributes that hold policy values, asked for on every level.
            search_base: where accounts, lists and domains are; empty: everywhere, as in Zimbra.
            host_addresses: turns server names into the client addresses they connect from.
        """
        self._store = store
        self.cache = cache
        self._base = search_base
        self._host_addresses = host_addresses
        policy = tuple(sorted(set(policy_attributes)))
        self._entry_attributes = (*ENTRY_ATTRIBUTES, *RIGHTS_ATTRIBUTES, *policy)
        self._site_attributes = tuple(dict.fromkeys((*SITE_ATTRIBUTES, *ENTRY_ATTRIBUTES, *policy)))
        self._cos_attributes = (*_COS_ATTRIBUTES, *COS_RIGHTS_ATTRIBUTES, *policy)

    # -- what can be asked ------------------------------------------------------------------

    def site(self, trace: Trace) -> Site:
        """Return hosted domains, global config and mailbox servers.

        Raises:
            DirectoryUnavailable: also when there is no domain at all: a directory that shows none
                hides them.
        """
        found = self._fetch([SITE], self._load_site, trace)
        if SITE not in found:
            message = "the list of hosted domains could not be read"
            raise DirectoryUnavailable(message)
        site: Site = found[SITE]
        return site

    def entries(self, keys: Collection[str], trace: Trace, *, again: bool = False) -> dict[str, tuple[Entry, ...]]:
        """Return the entries of each address key, and of each ``@domain`` catch-all key.

        ``again`` asks about absent keys once more, the next server first: an account made a minute
        ago may be there already. A key that could not be asked is left out: whether that matters
        depends on the others.
        """
        wanted = [Key("address", key) for key in keys]
        found = self._fetch(wanted, self._load_entries, trace, again=again, every_key_matters=False)
        return {key.name: value or () for key, value in found.items()}

    def cos(self, keys: Collection[Key], trace: Trace) -> dict[Key, RawEntry | None]:
        """Return the COS of each ``("cos", zimbraId)`` or ``("cos-name", name)`` key."""
        return self._fetch(keys, self._load_cos, trace)

    def managed_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups whose membership Zimbra manages, by zimbraId."""
        found = self._fetch([Key("managed", name) for name in group_ids], self._load_managed, trace)
        return {key.name: value for key, value in found.items()}

    def custom_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups with a memberURL of their own, by zimbraId."""
        found = self._fetch([Key("custom", name) for name in group_ids], self._load_custom, trace)
        return {key.name: value for key, value in found.items()}

    def by_id(self, zimbra_ids: Collection[str], trace: Trace) -> dict[str, Entry | None]:
        """Return the account or group of each zimbraId (lower case)."""
        found = self._fetch([Key("id", name) for name in zimbra_ids], self._load_by_id, trace)
        return {key.name: value for key, value in found.items()}

    def mailbox_addresses(self, names: Sequence[str], trace: Trace) -> frozenset[str]:
        """Return the client addresses of the servers that run the mailbox service."""
        key = Key("hosts", " ".join(names))

        def load(keys: Collection[Hashable], _deadline: Deadline) -> Mapping[Hashable, Any]:
            return dict.fromkeys(keys, self._host_addresses(names))

        found = self._answers([key], load, trace)
        trace.fail([] if key in found else [key])
        return found.get(key) or frozenset()

    # -- the cache --------------------------------------------------------------------------

    def _fetch(
        self,
        keys: Collection[Key],
        load: Callable[[Collection[Key], _Searching], Mapping[Key, Any]],
        trace: Trace,
        *,
        again: bool = False,
        every_key_matters: bool = True,
    ) -> dict[Key, Any]:
        def loader(wanted: Collection[Hashable], deadline: Deadline) -> Mapping[Hashable, Any]:
            searching = _Searching(self._store, deadline, trace, next_server_first=again)
            return dict(load([key for key in wanted if isinstance(key, Key)], searching))

        found = self._answers(keys, loader, trace, past_negative=again)
        if every_key_matters:
            trace.fail(key for key in keys if key not in found)
        return found

    def _answers(
        self,
        keys: Collection[Key],
        loader: Load,
        trace: Trace,
        *,
        past_negative: bool = False,
    ) -> dict[Key, Any]:
        wanted = [key for key in keys if key not in trace.unanswered and key not in trace.leftovers]
        answers = self.cache.get_many(wanted, loader, trace.deadline, past_negative=past_negative)
        trace.stale = trace.stale or answers.stale
        trace.leftovers.update((key, answers.slots[key]) for key in answers.stale_keys)
        trace.unanswered.update(answers.failures)
        slots = {key: slot for key in keys if (slot := answers.slots.get(key) or trace.leftovers.get(key))}
        for recorder in trace.recorders:
            recorder.note((key, slot.generation) for key, slot in slots.items())
        return {key: slot.value for key, slot in slots.items()}

    # -- the searches -----------------------------------------------------------------------

    def _load_site(self, _keys: Collection[Key], searching: _Searching) -> dict[Key, Site]:
        raws = searching.search(self._base, "sub", SITE_FILTER, self._site_attributes)
        if self._base:
            everything = any_of("objectClass", ("zimbraGlobalConfig", "zimbraServer"))
            raws += searching.search(GLOBAL_CONFIG_DN.partition(",")[2], "sub", everything, self._site_attributes)
        site = read_site(raws)
        if not site.domains:
            message = "no zimbraDomain can be seen: wrong search_base, or the bind identity may not read them"
            raise DirectoryUnavailable(message)
        return {SITE: site}

    def _load_entries(self, keys: Collection[Key], searching: _Searching) -> dict[Key, tuple[Entry, ...]]:
        found: dict[str, dict[str, Entry]] = {key.name: {} for key in keys}
        for chunk in _chunks([key.name for key in keys]):
            for raw in searching.search(self._base, "sub", entries_filter(chunk), self._entry_attributes):
                entry = read_entry(raw)
                if entry is None:
                    continue
                for name in (*entry.addresses, *catch_all_keys(raw)):
                    if name in found:
                        found[name][entry.dn] = entry
        return {key: _sorted(found[key.name]) for key in keys}

    def _load_by_id(self, keys: Collection[Key], searching: _Searching) -> dict[Key, Entry]:
        found: dict[Key, Entry] = {}
        for chunk in _chunks([key.name for key in keys]):
            for raw in searching.search(self._base, "sub", any_of("zimbraId", chunk), self._entry_attributes):
                if (entry := read_entry(raw)) is not None:
                    found[Key("id", (raw.first("zimbraid") or "").lower())] = entry
        return found

    def _load_cos(self, keys: Collection[Key], searching: _Searching) -> dict[Key, RawEntry]:
        by_attribute = {"cos": "zimbraId", "cos-name": "cn"}
        found: dict[Key, RawEntry] = {}
        wanted = set(keys)
        for chunk in _chunks(list(keys)):
            choice = Or(tuple(Equal(by_attribute[key.kind], key.name) for key in chunk))
            search_filter = And((Equal("objectClass", "zimbraCOS"), choice))
            for raw in searching.search(COS_BASE, "sub", search_filter, self._cos_attributes):
                names = [Key("cos", (raw.first("zimbraid") or "").lower())]
                names.extend(Key("cos-name", name.lower()) for name in raw.all("cn"))
                found.update({name: raw for name in names if name in wanted})
        return found

    def _load_managed(self, keys: Collection[Key], searching: _Searching) -> dict[Key, GroupMembers]:
        entries: dict[str, dict[str, Entry]] = {key.name: {} for key in keys}
        addresses: dict[str, list[Address]] = {key.name: [] for key in keys}
        for chunk in _chunks([key.name for key in keys]):
            units = And((Equal("objectClass", "zimbraGroupStaticUnit"), any_of("zimbraGroupId", chunk)))
            search_filter = Or((*any_of("zimbraMemberOf", chunk).parts, units))
            for raw in searching.search(self._base, "sub", search_filter, self._entry_attributes):
                if (entry := read_entry(raw)) is not None:
                    for group in raw.all("zimbramemberof"):
                        entries.get(group.lower(), {})[entry.dn] = entry
                else:
                    group = (raw.first("zimbragroupid") or "").lower()
                    parsed = (parse_address(value) for value in raw.all("zimbramailforwardingaddress"))
                    addresses.get(group, []).extend(address for address in parsed if address is not None)
        return {
            key: GroupMembers(_sorted(entries[key.name]), tuple(sorted(addresses[key.name], key=_by_key)))
            for key in keys
        }

    def _load_custom(self, keys: Collection[Key], searching: _Searching) -> dict[Key, GroupMembers]:
        """Read ``member``: only slapd, with dgIdentity's rights, can evaluate every memberURL."""
        members: dict[str, list[str]] = {key.name: [] for key in keys}
        for chunk in _chunks([key.name for key in keys]):
            search_filter = And((Equal("objectClass", "zimbraGroup"), any_of("zimbraId", chunk)))
            for raw in searching.search(self._base, "sub", search_filter, ("zimbraId", "member")):
                members.get((raw.first("zimbraid") or "").lower(), []).extend(raw.all("member"))
        names = list(dict.fromkeys(part for dns in members.values() for dn in dns if (part := _rdn(dn)) is not None))
        found: dict[str, Entry] = {}
        for chunk in _chunks(names):
            for raw in searching.search(self._base, "sub", Or(tuple(chunk)), self._entry_attributes):
                if (entry := read_entry(raw)) is not None:
                    found[fold_dn(raw.dn)] = entry
        return {
            key: GroupMembers(_sorted({dn: found[dn] for dn in map(fold_dn, members[key.name]) if dn in found}))
            for key in keys
        }


class _Searching:
    """The searches of one load, counted on the message that caused it."""

    def __init__(self, store: Store, deadline: Deadline, trace: Trace, *, next_server_first: bool) -> None:
        self._store = store
        self._deadline = deadline
        self._trace = trace
        self._next_server_first = next_server_first

    def search(self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str]) -> list[RawEntry]:
        self._trace.searches += 1
        return self._store.search(
            base, scope, search_filter, attributes, self._deadline, next_server_first=self._next_server_first
        )


def same_answer(before: object, after: object) -> bool:
    """Whether two answers say the same: entries are compared by all that was read of them."""
    if isinstance(before, tuple) and isinstance(after, tuple):
        return len(before) == len(after) and all(
            one.raw == other.raw if isinstance(one, Entry) and isinstance(other, Entry) else one == other
            for one, other in zip(before, after, strict=True)
        )
    if isinstance(before, GroupMembers) and isinstance(after, GroupMembers):
        return before.addresses == after.addresses and same_answer(before.entries, after.entries)
    return before == after


def _rdn(dn: str) -> Filter | None:
    """Return a filter on the indexed naming attribute of a DN: LDAP has none on the DN itself."""
    attribute, equals, value = dn.partition(",")[0].partition("=")
    return Equal(attribute, unescape_rdn(value)) if equals and attribute.lower() in {"uid", "cn"} else None


def _sorted(entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries.values(), key=lambda entry: entry.name.key))


def _by_key(address: Address) -> str:
    return address.key


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
