"""Lists that ask for no copy themselves: whether everybody behind one gets a copy, so that mail to it is copied.

Who is behind a list is asked of the directory; what they get is known from their own rows, once all have been made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ldapmilter.chunks import chunks
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ldapmilter.coverage.model import Cell, Row
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry, Expansion

_PART = 200
"""Members at a time whose rows are made for this alone: those that the report is not about."""


class Lists:
    """The lists that wait for the rows of those behind them."""

    def __init__(self) -> None:
        """No list waits."""
        self._covered: dict[str, tuple[bool, ...]] = {}
        """By DN of an account: in which columns every message of theirs is copied."""
        self._waiting: list[tuple[Row, tuple[Entry, ...]]] = []

    def settle_later(self, entries: Sequence[Entry], rows: Iterable[Row], view: Directory) -> Iterator[Row]:
        """Take a page in; yield the rows that are final, without those that wait.

        Args:
            entries: of the page.
            rows: theirs, in the same order.
            view: asks who is behind a list.
        """
        groups: list[tuple[Entry, Row]] = []
        for entry, row in zip(entries, rows, strict=True):
            if entry.kind == "group" and row.lacks_a_copy:
                groups.append((entry, row))
                continue
            if entry.kind == "account":
                self._covered[entry.dn] = _covered(row)
            yield row
        if not groups:
            return
        try:
            behind = view.expand([entry for entry, _ in groups])
        except DirectoryUnavailable as error:
            text = f"whether everybody behind it gets a copy is not known: {error}"
            yield from (_remarked(row, text) for _, row in groups)
            return
        for entry, row in groups:
            if (members := _accounts(behind[entry.dn])) is None:
                yield row
            else:
                self._waiting.append((row, members))

    def settled(self, rows_of: Callable[[Sequence[Entry]], Iterable[Row]]) -> Iterator[Row]:
        """Yield the rows of the lists that have waited.

        Args:
            rows_of: makes the rows of accounts that the report is not about.
        """
        unknown = {one.dn: one for _, members in self._waiting for one in members if one.dn not in self._covered}
        for part in chunks(unknown.values(), _PART):
            self._covered.update((row.dn, _covered(row)) for row in rows_of(part))
        for row, members in self._waiting:
            every = [all(column) for column in zip(*(self._covered[one.dn] for one in members), strict=True)]
            cells = zip(row.cells, every, strict=True)
            yield replace(row, cells=tuple(_by_members(cell) if whole else cell for cell, whole in cells))


def _covered(row: Row) -> tuple[bool, ...]:
    return tuple(cell is not None and cell.status == "covered" for cell in row.cells)


def _accounts(expansion: Expansion) -> tuple[Entry, ...] | None:
    """Return the accounts behind a list; ``None``: there are none, or not all are known."""
    found = {one.dn: one for member in expansion.members for one in member.resolution.entries if one.kind == "account"}
    return tuple(found.values()) if found and expansion.truncated is None else None


def _by_members(cell: Cell | None) -> Cell | None:
    if cell is None or cell.status != "uncovered":
        return cell
    return replace(cell, by_members=True, remarks=(*cell.remarks, "every account behind it gets a copy"))


def _remarked(row: Row, text: str) -> Row:
    return replace(
        row,
        cells=tuple(replace(cell, remarks=(*cell.remarks, text)) if cell is not None else None for cell in row.cells),
    )
