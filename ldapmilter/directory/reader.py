"""What policy asks of Zimbra's objects: the kinds of reads, and which search answers each.

Each kind of read is keyed on its own and fetched for many keys in one search, so that the number of
searches does not grow with the number of recipients. How a read is put to the cache: :mod:`.answering`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.address import stored_addresses
from ldapmilter.directory.answering import Answering
from ldapmilter.directory.changes import Changes
from ldapmilter.directory.entries import ADDRESS_ATTRIBUTES
from ldapmilter.directory.flush import CurrentEntries, concerns, entries_in, every_spelling
from ldapmilter.directory.keys import GRANTING, SITE, SOURCES, GroupMembers, Key, name_of
from ldapmilter.directory.searches import Loading
from ldapmilter.directory.searching import Searching
from ldapmilter.directory.trace import Trace
from ldapmilter.directory.upward import ODD_VALUES, OWN_SEARCHES, Upward
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from ldapmilter.address import Address
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Deadline, Store
    from ldapmilter.directory.cache.entries import Cache
    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.upward import Node


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
        self._answering = Answering(store, cache)
        self._loading = Loading(policy_attributes=policy_attributes, search_base=search_base)
        self._upward = Upward(search_base)
        self._host_addresses = host_addresses

    # -- what can be asked ------------------------------------------------------------------

    def site(self, trace: Trace) -> Site:
        """Return hosted domains, global config and mailbox servers.

        Raises:
            DirectoryUnavailable: also when there is no domain at all: a directory that shows none
                hides them.
        """
        found = self._answering.fetch([SITE], self._loading.site, trace)
        if SITE not in found:
            message = "the list of hosted domains could not be read"
            raise DirectoryUnavailable(message)
        site: Site = found[SITE]
        return site

    def entries(
        self, keys: Collection[str], trace: Trace, *, again: bool = False, noted: bool = True
    ) -> dict[str, tuple[Entry, ...]]:
        """Return the entries of each address key, and of each ``@domain`` catch-all key.

        ``again`` asks about absent keys once more, the next server first: an account made a minute
        ago may be there already. A key that could not be asked is left out: whether that matters
        depends on the others. Unless ``noted``, what is worked out does not depend on these answers
        but on those of them that :func:`~ldapmilter.directory.answering.note` names.
        """
        found = self._answering.fetch(
            keys, self._loading.members, trace, again=again, every_key_matters=False, noted=noted
        )
        return {name_of(key): value or () for key, value in found.items()}

    def cos(self, keys: Collection[Key], trace: Trace) -> dict[CacheKey, RawEntry | None]:
        """Return the COS of each ``("cos", zimbraId)`` or ``("cos-name", name)`` key."""
        return self._answering.fetch(keys, self._loading.cos, trace)

    def prefetch_cos(self, keys: Collection[Key], trace: Trace) -> None:
        """Look COSes up together, as :meth:`prefetch` does addresses."""
        self._answering.fetch(keys, self._loading.cos, trace, every_key_matters=False, noted=False)

    def managed_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups whose membership Zimbra manages, by zimbraId."""
        found = self._answering.fetch([Key("managed", name) for name in group_ids], self._loading.members, trace)
        return {name_of(key): value for key, value in found.items()}

    def custom_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups with a memberURL of their own, by zimbraId."""
        found = self._answering.fetch([Key("custom", name) for name in group_ids], self._loading.members, trace)
        return {name_of(key): value for key, value in found.items()}

    def naming(self, addresses: Collection[str], delimiters: str, trace: Trace) -> dict[str, tuple[Node, ...]]:
        """Return the lists that name each address as a member."""
        keys = [Key("naming", address) for address in addresses]
        found = self._answering.fetch(keys, lambda some, search: self._upward.naming(some, delimiters, search), trace)
        return {name_of(key): value for key, value in found.items()}

    def dynamic_groups(self, ids: Collection[str], trace: Trace) -> dict[str, tuple[Node, ...]]:
        """Return the groups of each zimbraId whose members Zimbra manages."""
        found = self._answering.fetch([Key("dynamic", name) for name in ids], self._upward.dynamic, trace)
        return {name_of(key): value for key, value in found.items()}

    def own_searches(self, trace: Trace) -> tuple[Node, ...]:
        """Return the dynamic groups with a memberURL of their own."""
        found: dict[CacheKey, tuple[Node, ...]] = self._answering.fetch(
            [OWN_SEARCHES], self._upward.own_searches, trace
        )
        return found.get(OWN_SEARCHES, ())

    def odd_values(self, keys_of: Callable[[Address], Iterable[str]], trace: Trace) -> dict[str, tuple[Node, ...]]:
        """Return the lists that name a member by a value that is not a plain address; see :meth:`Upward.odd_values`."""
        found: dict[CacheKey, dict[str, tuple[Node, ...]]] = self._answering.fetch(
            [ODD_VALUES], lambda keys, search: self._upward.odd_values(keys, keys_of, search), trace
        )
        return found.get(ODD_VALUES, {})

    def prefetch(self, keys: Collection[CacheKey], trace: Trace) -> None:
        """Look up addresses and members of groups of both kinds together.

        What follows finds them in memory; what could not be asked matters where it is needed.
        """
        self._answering.fetch(keys, self._loading.members, trace, every_key_matters=False, noted=False)

    def by_id(self, zimbra_ids: Collection[str], trace: Trace) -> dict[str, Entry | None]:
        """Return the account or group of each zimbraId (lower case)."""
        found = self._answering.fetch([Key("id", name) for name in zimbra_ids], self._loading.by_id, trace)
        return {name_of(key): value for key, value in found.items()}

    def granting_groups(self, trace: Trace) -> tuple[RawEntry, ...] | None:
        """Return every group with a send right of any kind; ``None``: that could not be asked, and is noted."""
        found: dict[CacheKey, tuple[RawEntry, ...]] = self._answering.fetch(
            [GRANTING], self._loading.granting_groups, trace
        )
        return found.get(GRANTING)

    def external_addresses(self, account_dn: str, trace: Trace) -> frozenset[str] | None:
        """Return the addresses of an account's external accounts; ``None``: they could not be asked, as is noted."""
        key = Key(SOURCES, account_dn)
        found: dict[CacheKey, frozenset[str]] = self._answering.fetch([key], self._loading.external_addresses, trace)
        return found.get(key)

    def mailbox_addresses(self, names: Sequence[str], trace: Trace) -> frozenset[str]:
        """Return the client addresses of the servers that run the mailbox service."""
        key = Key("hosts", " ".join(names))

        def load(keys: Collection[Hashable], _deadline: Deadline) -> Mapping[Hashable, Any]:
            return dict.fromkeys(keys, self._host_addresses(names))

        found = self._answering.answers([key], load, trace)
        trace.fail([] if key in found else [key])
        return found.get(key) or frozenset()

    def present(self, addresses: Collection[Address], deadline: Deadline) -> CurrentEntries:
        """Return what the directory says now about some addresses, past the cache; see :class:`CurrentEntries`.

        Raises:
            DirectoryUnavailable: it does not say.
        """
        search = Searching(self._store, deadline, Trace(deadline, lenient=False), next_server_first=False)
        addresses = [one for one in addresses if one.is_readable]  # no other is in a directory, nor fit for a filter
        site = self._loading.site([SITE], search)[SITE]
        entries = self._loading.members(every_spelling(addresses, site), search).values()
        raws = {entry.raw.dn: entry.raw for value in entries for entry in entries_in(value)}
        own = stored_addresses(
            text for raw in raws.values() for name in ADDRESS_ATTRIBUTES for text in raw.all_subtypes(name)
        )
        keys = every_spelling((*addresses, *own), site)
        raws.update((raw.dn, raw) for raw in self._loading.naming(keys, search))
        raws.update((raw.dn, raw) for raw in self._upward.odd_lists(search) if concerns(raw, keys))
        return CurrentEntries(site=site, raws=tuple(raws.values()))

    def changed(self, entries: Iterable[RawEntry]) -> int:
        """Take over how entries are now; see :meth:`ZimbraDirectory.changed`."""
        slot = self.cache.held([SITE], stale=True).slots.get(SITE)
        delimiters = slot.value.delimiters if slot is not None else ""
        changes = Changes(entries, self._loading.asked, delimiters)
        return self.cache.revise(changes.names, changes.keys, changes.judge)

    # -- everybody --------------------------------------------------------------------------

    def everybody(self, deadline: Deadline) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page, past the cache; see :meth:`Store.pages`."""
        return self._loading.everybody(self._store, deadline)

    def count_everybody(self, deadline: Deadline) -> int:
        """Return how many entries :meth:`everybody` is about to go through."""
        return self._loading.count_everybody(self._store, deadline)
