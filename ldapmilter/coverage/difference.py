"""What is different between two days: who came, who went, whose copies go elsewhere, or are made no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from ldapmilter.coverage.entry_text import cell_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.coverage.history import Day
    from ldapmilter.coverage.model import Cell, Column, Row

Change = Literal["came", "went", "lost", "gained", "changed"]
"""An entry is new, or is gone; it gets no copy any more where it got one, or the other way round; anything else."""
CHANGES: tuple[Change, ...] = ("lost", "gained", "changed", "came", "went")


class CellChange(Struct, frozen=True, kw_only=True):
    """What is different in one column."""

    title: str
    before: Cell | None
    after: Cell | None
    """``None``: there was no such entry, no such column, or it has no meaning."""

    @property
    def kind(self) -> Change:
        """What it amounts to."""
        had, has = _has_copies(self.before), _has_copies(self.after)
        if had and not has:
            return "lost"
        return "gained" if has and not had else "changed"

    def as_json(self) -> dict[str, Any]:
        """Return it under the keys that programs rely on."""
        return {
            "column": self.title,
            "change": self.kind,
            "before": cell_lines(self.before),
            "after": cell_lines(self.after),
        }


class EntryChange(Struct, frozen=True, kw_only=True):
    """What is different about one entry."""

    row: Row
    """As it is now; of one that is gone, as it was."""
    change: Change
    cells: tuple[CellChange, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it under the keys that programs rely on."""
        return {
            "address": self.row.address.text,
            "name": self.row.display_name,
            "kind": self.row.kind,
            "dn": self.row.dn,
            "change": self.change,
            "columns": [cell.as_json() for cell in self.cells],
        }


class Counts(Struct):
    """How many entries there are of each change, and that are the same."""

    same: int = 0
    changes: dict[Change, int] = field(default_factory=lambda: dict.fromkeys(CHANGES, 0))


def differences(one: Day, other: Day, counts: Counts) -> Iterator[EntryChange]:
    """Yield what is different, by address; both days are read once, side by side.

    Args:
        one: the earlier day.
        other: the later day.
        counts: is counted up.

    Raises:
        HistoryError: a file cannot be read to its end.
    """
    titles = list(dict.fromkeys(column.title for column in (*one.columns, *other.columns)))
    if one.rows_day == other.rows_day:
        counts.same = int(other.header["rows"])
        return
    for before, after in _side_by_side(one.rows(), other.rows()):
        cells = tuple(_changed(titles, _by_title(before, one.columns), _by_title(after, other.columns)))
        change = _change(before, after, cells)
        row = after or before
        if change is None or row is None:
            counts.same += 1
        else:
            counts.changes[change] += 1
            yield EntryChange(row=row, change=change, cells=cells)


def _change(before: Row | None, after: Row | None, cells: Sequence[CellChange]) -> Change | None:
    if before is None:
        return "came"
    if after is None:
        return "went"
    kinds = {cell.kind for cell in cells}
    return next((kind for kind in CHANGES if kind in kinds), None)


def _side_by_side(ones: Iterator[Row], others: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and _key(one) < _key(other)):
            yield one, None
            one = next(ones, None)
        elif one is None or _key(other) < _key(one):
            yield None, other
            other = next(others, None)
        else:
            yield one, other
            one, other = next(ones, None), next(others, None)


def _key(row: Row) -> tuple[str, str]:
    return row.address.text, row.dn


def _by_title(row: Row | None, columns: Sequence[Column]) -> dict[str, Cell | None]:
    return {} if row is None else {column.title: cell for column, cell in zip(columns, row.cells, strict=True)}


def _changed(
    titles: Sequence[str], before: dict[str, Cell | None], after: dict[str, Cell | None]
) -> Iterator[CellChange]:
    for title in titles:
        if before.get(title) != after.get(title):
            yield CellChange(title=title, before=before.get(title), after=after.get(title))


def _has_copies(cell: Cell | None) -> bool:
    return cell is not None and cell.status != "uncovered"
