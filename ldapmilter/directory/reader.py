"""Cached reads: what policy asks of Zimbra's objects, from memory or by the searches of ``loading``.

Each kind of read is keyed on its own and fetched for many keys in one search, so that the number of
searches does not grow with the number of recipients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.directory.loading import SITE, GroupMembers, Key, Loading, name_of
from ldapmilter.directory.model import Entry
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from ldapmilter.directory.cache import Cache, Load
    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.loading import CacheKey, Search
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.store import Deadline, Scope, Store
    from ldapmilter.directory.trace import Trace


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
        self._loading = Loading(policy_attributes=policy_attributes, search_base=search_base)
        self._host_addresses = host_addresses

    # -- what can be asked ------------------------------------------------------------------

    def site(self, trace: Trace) -> Site:
        """Return hosted domains, global config and mailbox servers.

        Raises:
            DirectoryUnavailable: also when there is no domain at all: a directory that shows none
                hides them.
        """
        found = self._fetch([SITE], self._loading.site, trace)
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
        but on those of them that :meth:`note` names.
        """
        found = self._fetch(keys, self._loading.members, trace, again=again, every_key_matters=False, noted=noted)
        return {name_of(key): value or () for key, value in found.items()}

    def note(self, keys: Iterable[CacheKey], trace: Trace) -> None:
        """Let what is being worked out depend on some of the answers that were read."""
        slots = dict.fromkeys(trace.slots[key] for key in keys if key in trace.slots)
        for recorder in trace.recorders:
            recorder.update(slots)

    def cos(self, keys: Collection[Key], trace: Trace) -> dict[CacheKey, RawEntry | None]:
        """Return the COS of each ``("cos", zimbraId)`` or ``("cos-name", name)`` key."""
        return self._fetch(keys, self._loading.cos, trace)

    def managed_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups whose membership Zimbra manages, by zimbraId."""
        found = self._fetch([Key("managed", name) for name in group_ids], self._loading.members, trace)
        return {name_of(key): value for key, value in found.items()}

    def custom_members(self, group_ids: Collection[str], trace: Trace) -> dict[str, GroupMembers]:
        """Return the members of dynamic groups with a memberURL of their own, by zimbraId."""
        found = self._fetch([Key("custom", name) for name in group_ids], self._loading.members, trace)
        return {name_of(key): value for key, value in found.items()}

    def prefetch(self, keys: Collection[CacheKey], trace: Trace) -> None:
        """Look up addresses and members of groups of both kinds together.

        What follows finds them in memory; what could not be asked matters where it is needed.
        """
        self._fetch(keys, self._loading.members, trace, every_key_matters=False, noted=False)

    def by_id(self, zimbra_ids: Collection[str], trace: Trace) -> dict[str, Entry | None]:
        """Return the account or group of each zimbraId (lower case)."""
        found = self._fetch([Key("id", name) for name in zimbra_ids], self._loading.by_id, trace)
        return {name_of(key): value for key, value in found.items()}

    def mailbox_addresses(self, names: Sequence[str], trace: Trace) -> frozenset[str]:
        """Return the client addresses of the servers that run the mailbox service."""
        key = Key("hosts", " ".join(names))

        def load(keys: Collection[Hashable], _deadline: Deadline) -> Mapping[Hashable, Any]:
            return dict.fromkeys(keys, self._host_addresses(names))

        found = self._answers([key], load, trace)
        trace.fail([] if key in found else [key])
        return found.get(key) or frozenset()

    # -- everybody --------------------------------------------------------------------------

    def everybody(self, deadline: Deadline) -> Iterator[list[RawEntry]]:
        """Return every account and group, page by page, past the cache; see :meth:`Store.pages`."""
        return self._loading.everybody(self._store, deadline)

    def count_everybody(self, deadline: Deadline) -> int:
        """Return how many entries :meth:`everybody` is about to go through."""
        return self._loading.count_everybody(self._store, deadline)

    # -- the cache --------------------------------------------------------------------------

    def _fetch(
        self,
        keys: Collection[CacheKey],
        load: Callable[[Collection[CacheKey], Search], Mapping[CacheKey, Any]],
        trace: Trace,
        *,
        again: bool = False,
        every_key_matters: bool = True,
        noted: bool = True,
    ) -> dict[CacheKey, Any]:
        def loader(wanted: Collection[Hashable], deadline: Deadline) -> Mapping[Hashable, Any]:
            searching = _Searching(self._store, deadline, trace, next_server_first=again)
            keys = [key for key in wanted if isinstance(key, (Key, str))]
            return {key: value for key, value in load(keys, searching.search).items()}  # noqa: C416 - another type of key

        found = self._answers(keys, loader, trace, past_negative=again, noted=noted)
        if every_key_matters:
            trace.fail(key for key in keys if key not in found)
        return found

    def _answers(
        self,
        keys: Collection[CacheKey],
        loader: Load,
        trace: Trace,
        *,
        past_negative: bool = False,
        noted: bool = True,
    ) -> dict[CacheKey, Any]:
        known = trace.slots
        wanted = [
            key
            for key in keys
            if key not in trace.unanswered and ((slot := known.get(key)) is None or (past_negative and not slot.value))
        ]
        if wanted:
            answers = self.cache.get_many(wanted, loader, trace.deadline, past_negative=past_negative)
            trace.stale = trace.stale or answers.stale
            trace.unanswered.update(answers.failures)
            known.update(answers.slots)
            for key in answers.failures:
                known.pop(key, None)
        if noted:
            self.note(keys, trace)
        return {key: known[key].value for key in keys if key in known}


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
