"""The directory as the checks read it: searches, and whether "nothing there" may be believed.

A check that finds an attribute unset has found nothing as long as it might be hidden. The milter's
identity needs fewer attributes for mail than the checks would like to see, so this is asked each time.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.filters import any_of
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.entries import read_entry
from ldapmilter.directory.ldap.exchange import ServerFailed
from ldapmilter.directory.ldap.readability import LOOKED_AT
from ldapmilter.directory.searches import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Scope, Store
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.model import Entry


class RawDirectory(Struct, frozen=True, kw_only=True):
    """A directory whose entries are read as they are, past the cache and without Zimbra's semantics."""

    store: Store
    server: Connection | None
    """Where "hidden" can be told from "unset"; ``None``: an export, which hides nothing."""
    base: str
    """Where accounts, lists and domains are; empty: everywhere."""
    seconds: float
    """That one search, or one page, may take."""

    def search(self, base: str, scope: Scope, wanted: Filter, attributes: Sequence[str]) -> list[RawEntry]:
        """Return the entries that match.

        Raises:
            DirectoryUnavailable: no answer.
        """
        return self.store.search(base, scope, wanted, attributes, self._deadline())

    def pages(self, base: str, wanted: Filter, attributes: Sequence[str]) -> Iterator[RawEntry]:
        """Yield the entries below a base that match, in bounded memory.

        Raises:
            DirectoryUnavailable: the answer broke off.
        """
        for page in self.store.pages(base, "sub", wanted, attributes, self._deadline()):
            yield from page

    def hidden(self, dn: str, attributes: Iterable[str]) -> tuple[str, ...]:
        """Return which attributes of an entry may not be read, or are unknown to the server."""
        if self.server is None:
            return ()
        try:
            return tuple(name for name in attributes if self.server.compare(dn, name, "TRUE") not in LOOKED_AT)
        except ServerFailed:
            return tuple(attributes)

    def _deadline(self) -> Deadline:
        return Deadline.after(self.seconds, time.monotonic)


def entries_of(raws: Iterable[RawEntry], most: int) -> Iterator[list[Entry]]:
    """Yield those that mail can be addressed to, so many at a time."""
    entries = (entry for raw in raws if (entry := read_entry(raw)) is not None)
    while some := list(islice(entries, most)):
        yield some


def read_again(
    entries: Mapping[str, tuple[Entry, object]], raw_directory: RawDirectory, attributes: tuple[str, ...]
) -> Iterator[RawEntry]:
    """Read further attributes of entries that are known, by DN; what comes beside the entry is not looked at."""
    for dns in chunks(entries, CHUNK):
        ids = [zimbra_id for dn in dns for zimbra_id in entries[dn][0].raw.all("zimbraid")]
        for raw in raw_directory.search(raw_directory.base, "sub", any_of("zimbraId", ids), ("zimbraId", *attributes)):
            if raw.dn in entries:
                yield raw
