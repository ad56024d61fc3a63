"""A whole directory over an embedded one: its clock, its outages and its data in the test's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.cache import Cache, Limits
from ldapmilter.directory.groups import GroupLimits
from ldapmilter.directory.ldif import LdifStore, parse
from ldapmilter.directory.reader import Reader
from ldapmilter.directory.zimbra import ZimbraDirectory
from ldapmilter.errors import DirectoryUnavailable
from tests.support.record import Record, to_ldif
from tests.unit.directory.hand import Clock, at_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.store import Deadline, Scope
    from ldapmilter.directory.zimbra import MessageDirectory

LIMITS = Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=10_000)
POLICY_ATTRIBUTES = ("ldapMilterArchiveBcc", "ldapMilterLegalBcc", "ldapMilterAppliesToMembers")


class Switch(LdifStore):
    """A store that can fail and be filled anew."""

    def __init__(self) -> None:
        super().__init__([])
        self._store = LdifStore([])
        self.down = False
        self.searches = 0

    def fill(self, records: Iterable[Record]) -> None:
        self._store = LdifStore(parse(to_ldif(records)))

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
        **hints: bool,
    ) -> list[RawEntry]:
        self.searches += 1
        if self.down:
            message = "the directory is down"
            raise DirectoryUnavailable(message)
        return self._store.search(base, scope, search_filter, attributes, deadline, **hints)


class Scene:
    """A directory, its cache, its clock and its store."""

    def __init__(self, records: Iterable[Record], limits: GroupLimits | None = None) -> None:
        self.clock = Clock()
        self.store = Switch()
        self.store.fill(records)
        self.cache = Cache(LIMITS, self.clock, at_once, lambda: 0.5)
        reader = Reader(
            self.store,
            self.cache,
            policy_attributes=POLICY_ATTRIBUTES,
            host_addresses=lambda names: frozenset(names),  # noqa: PLW0108 - typed as it is called
        )
        self.directory = ZimbraDirectory(reader, limits or GroupLimits(), lookup_deadline=60, clock=self.clock)

    def view(self, *, lenient: bool = False) -> MessageDirectory:
        return self.directory.for_message(lenient=lenient)
