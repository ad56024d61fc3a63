"""The report as one self-contained page, for people who have no shell: a compliance officer, an auditor.

The page loads nothing and sends nothing. Its data is compact: what many rows have in common is
written once and named by a number, so that 100,000 rows are a few megabytes.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from ldapmilter import __version__
from ldapmilter.coverage.model import KINDS, LISTS, PEOPLE, STATUSES
from ldapmilter.coverage.plain import about_json

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ldapmilter.coverage.model import About, Cell, Given, Origin, Row
    from ldapmilter.coverage.summary import Summary

ThingT = TypeVar("ThingT")


class HtmlForm:
    """The page; rows wait in a file of their own for the end, since the figures come before them."""

    def __init__(self, out: TextIO, spool: TextIO, about: About) -> None:
        """Begin without rows; ``spool`` is an empty file to write to and to read from."""
        self._out = out
        self._spool = spool
        self._about = about
        self._domains: _Numbered[str] = _Numbered()
        self._origins: _Numbered[Origin] = _Numbered()
        self._cells: _Numbered[Hashable] = _Numbered()
        self._separator = "\n"

    def add(self, row: Row) -> None:
        """Take one entry."""
        record: list[Any] = [
            row.address.text.rpartition("@")[0],
            self._domains[row.address.domain],
            KINDS.index(row.kind),
            row.display_name,
            *(self._cell(row, cell) if cell is not None else -1 for cell in row.cells),
        ]
        self._spool.write(f"{self._separator}{_embedded(record)}")
        self._separator = ",\n"

    def end(self, summary: Summary) -> None:
        """Write the page."""
        data = {
            "about": {**about_json(self._about), "version": __version__},
            "summary": summary.as_json(),
            "statuses": STATUSES,
            "kinds": KINDS,
            "people": [kind for kind in KINDS if kind in PEOPLE],
            "lists": [kind for kind in KINDS if kind in LISTS],
            "domains": list(self._domains),
            "origins": [
                [o.level, o.dn, o.attribute, o.value, list(o.group_path), o.condition, o.until and str(o.until), o.ref]
                for o in self._origins
            ],
            "cells": list(self._cells),
        }
        before, after = _template().split("@ROWS@")
        self._out.write(before.replace("@DATA@", _embedded(data)))
        self._spool.seek(0)
        for block in iter(lambda: self._spool.read(1 << 20), ""):
            self._out.write(block)
        self._out.write(after)

    def _cell(self, row: Row, cell: Cell) -> int:
        local = row.address.text.rpartition("@")[0]

        def numbered(given: tuple[Given, ...]) -> tuple[tuple[int, str], ...]:
            # An address with the row's own local part is written from its @ on: the same for many rows.
            return tuple(
                (
                    self._origins[one.origin],
                    one.address[len(local) :] if one.address.startswith(f"{local}@") else one.address,
                )
                for one in given
            )

        return self._cells[
            STATUSES.index(cell.status),
            numbered(cell.copies),
            numbered(cell.expired),
            cell.invalid,
            cell.remarks,
            cell.ended_by,
        ]


class _Numbered(dict[ThingT, int]):
    """Things in the order in which they were first named, each with its number."""

    def __missing__(self, key: ThingT) -> int:
        self[key] = number = len(self)
        return number


def _embedded(data: object) -> str:
    """Return JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    return (
        json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def _template() -> str:
    """Return the page with style and script in place, and ``@DATA@`` and ``@ROWS@`` where data goes."""
    folder = files("ldapmilter.coverage")
    page = (folder / "page.html").read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        page = page.replace(f"@{name}@", (folder / name).read_text(encoding="utf-8"))
    return page
