"""The back end of tests without a server: its contents, its failures and its moments are in the test's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.ldif import LdifStore, parse
from ldapmilter.errors import DirectoryUnavailable
from tests.support.filter_text import render
from tests.support.record import to_ldif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Deadline, Scope
    from tests.support.record import Record


class FakeStore(LdifStore):
    """An LDIF directory that changes, fails and hides when the test says so, and notes what it was asked."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__([])
        self.fill(records)
        self.down = False
        self.fails: Callable[[str], bool] = lambda _search_filter: False
        """Whether a search fails, by its filter as text."""
        self.shows: Callable[[RawEntry], RawEntry] = lambda raw: raw
        """What is shown of an entry that was found."""
        self.before: Callable[[], None] = lambda: None
        self.during: Callable[[], None] = lambda: None
        """Runs when the answer stands and is not yet returned."""
        self.filters: list[str] = []
        """Of every search, failed ones too."""
        self.next_server_first: list[bool] = []
        """The same."""

    @property
    def searches(self) -> int:
        """How many there were, failed ones too."""
        return len(self.filters)

    def fill(self, records: Iterable[Record]) -> None:
        """Hold these entries and no others from now on."""
        self.hold(parse(to_ldif(records)))

    def hold(self, entries: Iterable[RawEntry]) -> None:
        """Do the same with entries as a back end hands them out."""
        self._holding = LdifStore(entries)

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
        *,
        next_server_first: bool = False,
    ) -> list[RawEntry]:
        text = render(search_filter)
        self.filters.append(text)
        self.next_server_first.append(next_server_first)
        self.before()
        if self.down or self.fails(text):
            message = "the directory is down"
            raise DirectoryUnavailable(message)
        found = self._holding.search(base, scope, search_filter, attributes, deadline)
        self.during()
        return [self.shows(raw) for raw in found]
