"""The whole directory, a page at a time: memory does not grow with the number of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.coverage.collect import rows_of
from ldapmilter.coverage.members import Lists
from ldapmilter.directory.entries import read_entry
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import date

    from ldapmilter.coverage.model import Column, Row
    from ldapmilter.directory.zimbra import MessageDirectory, ZimbraDirectory
    from ldapmilter.policy.settings import CopyClass


class Page(Struct, frozen=True):
    """The rows of one page, and how much was read for them."""

    read: int
    """Entries read, those that were left out included."""
    without_address: int
    """Entries among them that mail cannot be addressed to."""
    rows: tuple[Row, ...]


def survey(
    directory: ZimbraDirectory,
    columns: Sequence[Column],
    classes: Sequence[CopyClass],
    today: date,
    domains: Collection[str] = (),
    *,
    seconds: float,
) -> Iterator[Page]:
    """Yield the rows of all entries, page by page, in the directory's own order; lists without a copy come last.

    Args:
        directory: asked anew for each page.
        columns: what is asked about each.
        classes: the configuration's copy classes.
        today: the day in UTC.
        domains: only entries whose primary address is in one of these; empty: all.
        seconds: how long one page may take, and everything that is looked up for it.

    Raises:
        DirectoryUnavailable: wherever something could not be asked; what came before is not the whole.
    """
    lists = Lists()
    for raws in directory.everybody(seconds):
        entries = [entry for raw in raws if (entry := read_entry(raw)) is not None]
        wanted = [entry for entry in entries if not domains or entry.name.domain in domains]
        view = directory.for_message(seconds=seconds)
        rows = list(rows_of(wanted, columns, classes, today, view)) if wanted else []
        final = tuple(lists.settle_later(wanted, rows, directory.for_message(seconds=seconds)))
        _must_be_fresh(view)
        yield Page(len(raws), len(raws) - len(entries), final)
    view = directory.for_message(seconds=seconds)
    final = tuple(lists.settled(lambda members: rows_of(members, columns, classes, today, view)))
    _must_be_fresh(view)
    yield Page(0, 0, final)


def _must_be_fresh(view: MessageDirectory) -> None:
    if view.stale:
        message = "the directory stopped answering: what is left would be from answers past their time to live"
        raise DirectoryUnavailable(message)
