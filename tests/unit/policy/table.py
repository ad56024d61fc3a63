"""The tables of a Markdown page, as rows that tests run.

A table is named by an HTML comment before it, ``<!-- table: when -->``. Whatever is not quite a table
is refused: a typing slip on the page must not take tests away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = Path(__file__).parents[3] / "docs" / "policy.md"

_MARKER = re.compile(r"<!--\s*table:\s*([a-z0-9-]+)\s*-->\s*\Z")
_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+\Z")
_SPAN = re.compile(r"`([^`]*)`")
# What may stand between the code spans of one cell.
_BETWEEN_SPANS = re.compile(r"[\s,]*\Z")


class TableError(ValueError):
    """The page does not hold the table that a test wants."""


@dataclass(frozen=True)
class Row:
    """One row of a named table."""

    table: str
    line: int
    cells: Mapping[str, str]

    def values(self, column: str) -> tuple[str, ...]:
        """Return what stands in code spans in a cell; nothing when the cell is empty."""
        cell = self._cell(column)
        if not _BETWEEN_SPANS.match(_SPAN.sub("", cell)):
            msg = f"line {self.line}: {column!r} mixes values and text: {cell!r}"
            raise TableError(msg)
        return tuple(_SPAN.findall(cell))

    def value(self, column: str) -> str:
        """Return the one code span of a cell, or the empty text."""
        values = self.values(column)
        if len(values) > 1:
            msg = f"line {self.line}: {column!r} holds more than one value"
            raise TableError(msg)
        return values[0] if values else ""

    def text(self, column: str) -> str:
        """Return a cell without its backquotes."""
        return self._cell(column).replace("`", "")

    def is_yes(self, column: str) -> bool:
        """Whether a cell says yes; anything but yes and no is refused."""
        cell = self._cell(column)
        if cell not in {"yes", "no"}:
            msg = f"line {self.line}: {column!r} wants yes or no: {cell!r}"
            raise TableError(msg)
        return cell == "yes"

    def _cell(self, column: str) -> str:
        if column not in self.cells:
            msg = f"line {self.line}: table {self.table} has no column {column!r}, only {list(self.cells)}"
            raise TableError(msg)
        return self.cells[column]

    def __str__(self) -> str:
        shown = " | ".join(cell.replace("`", "") or "-" for cell in self.cells.values())
        return f"{self.table}:{self.line}: {shown}"


def read_tables(text: str) -> dict[str, list[Row]]:
    """Return every named table of a page.

    Raises:
        TableError: a name without table, a name given twice, a table without rows, a ragged row.
    """
    tables: dict[str, list[Row]] = {}
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        if not line.startswith("<!--"):
            continue
        marker = _MARKER.match(line)
        if marker is None:
            msg = f"line {number + 1}: a comment that names no table: {line!r}"
            raise TableError(msg)
        name = marker[1]
        if name in tables:
            msg = f"line {number + 1}: there are two tables called {name}"
            raise TableError(msg)
        tables[name] = _read_table(name, lines, number + 1)
    return tables


def _read_table(name: str, lines: list[str], start: int) -> list[Row]:
    while start < len(lines) and not lines[start]:
        start += 1
    if len(lines) < start + 2 or not lines[start].startswith("|") or not _RULE.match(lines[start + 1]):
        msg = f"line {start + 1}: no table follows the name {name}"
        raise TableError(msg)
    header = _cells(lines[start], start + 1)
    if len(set(header)) != len(header):
        msg = f"line {start + 1}: two columns of table {name} have one name"
        raise TableError(msg)
    rows: list[Row] = []
    for number in range(start + 2, len(lines)):
        if not lines[number].startswith("|"):
            break
        cells = _cells(lines[number], number + 1)
        if len(cells) != len(header):
            msg = f"line {number + 1}: table {name} has {len(header)} columns, this row {len(cells)}"
            raise TableError(msg)
        rows.append(Row(name, number + 1, dict(zip(header, cells, strict=True))))
    if not rows:
        msg = f"line {start + 1}: table {name} has no rows"
        raise TableError(msg)
    return rows


def _cells(line: str, number: int) -> list[str]:
    if not line.endswith("|") or line == "|":
        msg = f"line {number}: a row begins and ends with a bar: {line!r}"
        raise TableError(msg)
    return [cell.strip() for cell in line[1:-1].split("|")]


def policy_table(name: str) -> list[Row]:
    """Return the rows of a table of the policy reference.

    Raises:
        TableError: there is no such table.
    """
    tables = read_tables(PAGE.read_text(encoding="utf-8"))
    if name not in tables:
        msg = f"{PAGE.name} has no table called {name}, only {', '.join(tables)}"
        raise TableError(msg)
    return tables[name]
