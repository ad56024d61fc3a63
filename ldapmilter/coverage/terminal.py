"""The report on a terminal: the figures, and a table of those who lack a copy first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ldapmilter.directory.backend.dn import take_apart
from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ldapmilter.coverage.model import About, Cell, Row, Status
    from ldapmilter.coverage.summary import Summary

_STYLE: dict[Status, str] = {"covered": "green", "conditional": "yellow", "uncovered": "red"}
_GROUP_PATH = " > "


def _shown(text: str) -> str:
    """Return a text as rich prints it: neither its markup nor its control characters are obeyed."""
    return escape(plain(text))


class _FewRows(ABC):
    """Keeps as many rows as are shown, so that a large directory needs no more memory than a small one."""

    def __init__(self, console: Console, about: About, limit: int) -> None:
        """Show at most so many rows; 0: all."""
        self._console = console
        self._about = about
        self._limit = limit
        self._lacking: list[Row] = []
        self._others: list[Row] = []
        self._rows = 0

    def add(self, row: Row) -> None:
        """Keep a row if it can still be among those that are shown."""
        self._rows += 1
        kept = self._lacking if row.lacks_a_copy else self._others
        if not self._limit or len(kept) < self._limit:
            kept.append(row)

    def end(self, summary: Summary) -> None:
        """Print the rows, then the figures, which are what a reader sees last."""
        rows = [*self._lacking, *self._others]
        shown = rows[: self._limit] if self._limit else rows
        if shown:
            self._print(shown)
        if len(shown) < self._rows:
            self._console.print(
                f"{len(shown):,} of {self._rows:,} shown, those that lack a copy first;"
                " --limit 0 shows all, --csv, --json and --html write all"
            )
        _print_summary(self._console, self._about, summary)

    @abstractmethod
    def _print(self, rows: list[Row]) -> None:
        """Print rows in this form."""


class TableForm(_FewRows):
    """A table, for a terminal that has room for one."""

    def _print(self, rows: list[Row]) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("address", overflow="fold")
        table.add_column("kind", no_wrap=True)
        for column in self._about.columns:
            table.add_column(column.title, overflow="fold")
        for row in rows:
            cells = ("\n".join(_lines(cell, row)) if cell is not None else "[dim]-[/]" for cell in row.cells)
            table.add_row(_shown(row.address.text), row.kind, *cells)
        self._console.print(table)


class LinesForm(_FewRows):
    """One line for each entry: for a pipe, whole; for a narrow terminal, cut at its edge, what is lacking first."""

    def __init__(self, console: Console, about: About, limit: int, *, cut: bool) -> None:
        """Show at most so many rows, cut at the terminal's edge or not."""
        super().__init__(console, about, limit)
        self._cut = cut

    def _print(self, rows: list[Row]) -> None:
        for row in rows:
            line = Text(f"{plain(row.address.text)}  {row.kind}  ")
            said = _by_class(self._about, row)
            for number, (style, text) in enumerate(sorted(said, key=lambda one: one[0] != "red")):
                line.append(("; " if number else "") + plain(text), style if style == "red" else "")
            if self._cut:
                line.truncate(self._console.width, overflow="ellipsis")
            self._console.print(line, soft_wrap=True)


def _by_class(about: About, row: Row) -> Iterator[tuple[str, str]]:
    """Yield what an entry gets, with how loud that is: a class once where both directions get the same."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for column, cell in zip(about.columns, row.cells, strict=True):
        if cell is not None:
            lines = [Text.from_markup(text).plain for text in _lines(cell, row)]
            loud = bool(cell.invalid) or (cell.status == "uncovered" and row.lacks_a_copy)
            found.setdefault(column.copy_class, {})[column.direction] = ("red" if loud else "", ", ".join(lines))
    for copy_class, directions in found.items():
        if len(set(directions.values())) == 1:
            style, text = next(iter(directions.values()))
            yield style, f"{copy_class}: {text}"
        else:
            yield from ((style, f"{copy_class} {way}: {text}") for way, (style, text) in directions.items())


def _lines(cell: Cell, row: Row) -> Iterator[str]:
    """Yield what a cell says, line by line, as rich markup."""
    for one in cell.copies:
        origin = one.origin
        where = (
            _GROUP_PATH.join((origin.level, *origin.group_path)) if origin.level != "cos" else f"cos {_rdn(origin.dn)}"
        )
        extras = [
            f"with={origin.condition}" if origin.condition else "",
            f"until={origin.until}" if origin.until else "",
        ]
        style = "yellow" if origin.condition else "green"
        rest = " ".join(filter(None, (*extras, f"({where})")))
        yield f"[{style}]{_shown(one.address)}[/] {_shown(rest)}"
    if not cell.copies and not cell.by_members:
        ended = f" (none at {_rdn(cell.ended_by)})" if cell.ended_by is not None else ""
        style = _STYLE[cell.status] if row.lacks_a_copy else "dim"
        yield f"[{style}]no copy[/]{_shown(ended)}"
    for one in cell.expired:
        yield _shown(f"expired {one.origin.until}: {one.address} ({one.origin.level})")
    for text in cell.invalid:
        yield f"[red]{_shown(text)}[/]"
    for text in cell.remarks:
        yield _shown(text)


def _rdn(dn: str) -> str:
    return take_apart(dn).value


class FiguresForm:
    """The figures alone, where the rows are written elsewhere."""

    def __init__(self, console: Console, about: About) -> None:
        """Print nothing yet."""
        self._console = console
        self._about = about

    def add(self, row: Row) -> None:
        """Leave the rows to others."""

    def end(self, summary: Summary) -> None:
        """Print the figures."""
        _print_summary(self._console, self._about, summary)


def _print_summary(console: Console, about: About, summary: Summary) -> None:
    """Print the figures, people and lists apart, and what a reader must know about them."""
    console.print(_figures(summary))
    for column, one in zip(summary.columns, summary.figures, strict=True):
        if one.levels:
            levels = ", ".join(f"{level} {count:,}" for level, count in one.levels.most_common())
            console.print(f"{column.title}, by level: {levels}")
    kinds = ", ".join(f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in summary.kinds.items())
    console.print(f"{summary.entries:,} entries: {kinds}" if kinds else "nobody")
    if summary.lacking:
        lists = f"{summary.lacking_groups:,} list{'s' if summary.lacking_groups != 1 else ''}"
        console.print(f"lacking a copy: {summary.lacking_people:,} people, {lists}")
    if summary.without_address:
        console.print(f"{summary.without_address:,} more without an address: no mail reaches them")
    for text in (*about.narrowed, *about.notes):
        console.print(f"note: {_shown(text)}")


def _figures(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("class", "direction", "of"):
        table.add_column(title, no_wrap=True)
    for title in ("covered", "with=", "none", "expired", "invalid"):
        table.add_column(title, justify="right", no_wrap=True)
    for column, one in zip(summary.columns, summary.figures, strict=True):
        head: tuple[str, str] = (column.copy_class, column.direction)
        tail = (f"{one.expired:,}", f"{one.invalid:,}")
        for name, counts in (("people", one.accounts), ("lists", one.groups), ("Zimbra's own", one.system)):
            if counts or name == "people":
                figures = (f"{counts[status]:,}" for status in ("covered", "conditional", "uncovered"))
                table.add_row(*head, name, *figures, *tail)
                head, tail = ("", ""), ("", "")
    return table
