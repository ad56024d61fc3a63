"""The report for programs: JSON with one entry a line, and CSV with one copy a line."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.coverage.model import About, Cell, Column, Given, Row
    from ldapmilter.coverage.summary import Summary

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

CSV_HEADER = (
    "address",
    "name",
    "kind",
    "class",
    "direction",
    "status",
    "copy_to",
    "with",
    "until",
    "ref",
    "level",
    "entry",
    "attribute",
    "value",
    "group_path",
    "problems",
)


class CsvForm:
    """One line for each copy; one without a copy address for an entry that gets none."""

    def __init__(self, out: TextIO, about: About) -> None:
        """Write the header line."""
        self._columns = about.columns
        self._writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180 section 2
        self._writer.writerow(CSV_HEADER)

    def add(self, row: Row) -> None:
        """Write the lines of one entry."""
        for column, cell in zip(self._columns, row.cells, strict=True):
            if cell is not None:
                for line in _csv_lines(row, column, cell):
                    self._writer.writerow([inert(text) for text in line])

    def end(self, summary: Summary) -> None:
        """Add nothing: the figures are what a spreadsheet counts."""


def _csv_lines(row: Row, column: Column, cell: Cell) -> Iterator[tuple[str, ...]]:
    begin = (row.address.text, row.display_name, row.kind, column.copy_class, column.direction)
    problems = "; ".join((*cell.invalid, *cell.remarks))
    for status, given in ((cell.status, cell.copies), ("expired", cell.expired)):
        for one in given:
            origin = one.origin
            day = origin.until.isoformat() if origin.until is not None else ""
            yield (
                *begin,
                status,
                one.address,
                origin.condition or "",
                day,
                origin.ref or "",
                origin.level,
                origin.dn,
                origin.attribute,
                origin.value,
                " > ".join(origin.group_path),
                problems,
            )
    if not cell.copies:
        ended = f"none at {cell.ended_by} ends inheritance" if cell.ended_by is not None else ""
        why = "; ".join(filter(None, (ended, problems)))
        yield (*begin, cell.status, *("",) * 9, why)


def inert(text: str) -> str:
    """Return a text that steers no terminal and is not a formula to a spreadsheet: names are written by users."""
    return f"'{plain(text)}" if text.startswith(_FORMULA) else plain(text)


class JsonForm:
    """One object; what it is of comes first, the figures last: a reader that finds those has all of it."""

    def __init__(self, out: TextIO, about: About) -> None:
        """Write the beginning."""
        self._out = out
        self._columns = about.columns
        self._separator = "\n"
        out.write("{")
        about_it = about_json(about).items()
        out.writelines(f"{json.dumps(key)}: {plain_json(value)},\n" for key, value in about_it)
        out.write('"entries": [')

    def add(self, row: Row) -> None:
        """Write one entry."""
        cells = zip(self._columns, row.cells, strict=True)
        entry = {
            "address": row.address.text,
            "name": row.display_name,
            "kind": row.kind,
            "dn": row.dn,
            "coverage": [_cell_json(column, cell) for column, cell in cells if cell is not None],
        }
        self._out.write(f"{self._separator}{plain_json(entry)}")
        self._separator = ",\n"

    def end(self, summary: Summary) -> None:
        """Write the figures."""
        self._out.write(f'],\n"summary": {plain_json(summary.as_json())}}}\n')


def about_json(about: About) -> dict[str, Any]:
    """Return what a report is of."""
    return {
        "directory": about.directory,
        "day": about.day.isoformat(),
        "began": about.began,
        "columns": [
            {
                "class": column.copy_class,
                "direction": column.direction,
                "inherit": column.inherit,
                "invalid_value": column.invalid_value,
                "mode": column.mode,
            }
            for column in about.columns
        ],
        "narrowed": list(about.narrowed),
        "notes": list(about.notes),
    }


def _cell_json(column: Column, cell: Cell) -> dict[str, Any]:
    return {
        "class": column.copy_class,
        "direction": column.direction,
        "status": cell.status,
        "copies": [_given_json(one) for one in cell.copies],
        "expired": [_given_json(one) for one in cell.expired],
        "invalid": list(cell.invalid),
        "remarks": list(cell.remarks),
        "ended_by": cell.ended_by,
        "by_members": cell.by_members,
    }


def _given_json(given: Given) -> dict[str, Any]:
    origin = given.origin
    return {
        "address": given.address,
        "with": origin.condition,
        "until": origin.until.isoformat() if origin.until is not None else None,
        "ref": origin.ref,
        "level": origin.level,
        "dn": origin.dn,
        "attribute": origin.attribute,
        "value": origin.value,
        "group_path": list(origin.group_path),
    }
