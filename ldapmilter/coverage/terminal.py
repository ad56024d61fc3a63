"""The report on a terminal: the figures, and a table of those who lack a copy first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ldapmilter.coverage.model import About, Cell, Row, Status
    from ldapmilter.coverage.summary import Summary

_STYLE: dict[Status, str] = {"covered": "green", "conditional": "yellow", "uncovered": "red"}
_GROUP_PATH = " > "


class TableForm:
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
        """Print the table, then the figures, which are what a reader sees last."""
        rows = [*self._lacking, *self._others]
        shown = rows[: self._limit] if self._limit else rows
        if shown:
            self._console.print(self._table(shown))
        if len(shown) < self._rows:
            self._console.print(
                f"{len(shown):,} of {self._rows:,} shown, those that lack a copy first;"
                " --limit 0 shows all, --csv, --json and --html write all"
            )
        _print_summary(self._console, self._about, summary)

    def _table(self, rows: list[Row]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("address", overflow="fold")
        table.add_column("kind", no_wrap=True)
        for column in self._about.columns:
            table.add_column(column.title, overflow="fold")
        for row in rows:
            cells = ("\n".join(_lines(cell)) if cell is not None else "[dim]-[/]" for cell in row.cells)
            table.add_row(escape(row.address.text), row.kind, *cells)
        return table


def _lines(cell: Cell) -> Iterator[str]:
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
        yield f"[{style}]{escape(one.address)}[/] {escape(rest)}"
    if not cell.copies:
        ended = f" (none at {_rdn(cell.ended_by)})" if cell.ended_by is not None else ""
        yield f"[{_STYLE[cell.status]}]no copy[/]{escape(ended)}"
    for one in cell.expired:
        yield escape(f"expired {one.origin.until}: {one.address} ({one.origin.level})")
    for text in cell.invalid:
        yield f"[red]{escape(text)}[/]"
    for text in cell.remarks:
        yield escape(text)


def _rdn(dn: str) -> str:
    return dn.partition(",")[0].partition("=")[2]


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
    """Print the figures, and what a reader must know about them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("class", "direction", "of"):
        table.add_column(title, no_wrap=True)
    for title in ("covered", "with= only", "not covered", "expired", "invalid"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("by level", overflow="fold")
    for column, one in zip(summary.columns, summary.figures, strict=True):
        levels = ", ".join(f"{level} {count:,}" for level, count in one.levels.most_common())
        for name, counts in (("accounts", one.accounts), ("groups", one.groups)):
            if name == "groups" and not counts:
                continue
            head = (column.copy_class, column.direction) if name == "accounts" else ("", "")
            tail = (f"{one.expired:,}", f"{one.invalid:,}", levels) if name == "accounts" else ("", "", "")
            figures = (f"{counts[status]:,}" for status in ("covered", "conditional", "uncovered"))
            table.add_row(*head, name, *figures, *tail)
    console.print(table)
    kinds = ", ".join(f"{count:,} {kind}{'s' if count != 1 else ''}" for kind, count in summary.kinds.items())
    console.print(f"{summary.entries:,} entries: {kinds}" if kinds else "nobody")
    if summary.without_address:
        console.print(f"{summary.without_address:,} more without an address: no mail reaches them")
    for text in (*about.narrowed, *about.notes):
        console.print(f"note: {escape(text)}")
