"""Keeping a day: rows come in any order, and are sorted in parts that fit into memory."""

from __future__ import annotations

import heapq
import json
import tempfile
from contextlib import ExitStack
from hashlib import sha256
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from ldapmilter.coverage.history import FORMAT
from ldapmilter.coverage.model import KINDS
from ldapmilter.coverage.plain import about_json
from ldapmilter.coverage.stored import cell_text, dumped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

    from ldapmilter.coverage.history import History
    from ldapmilter.coverage.model import About, Row
    from ldapmilter.coverage.summary import Summary

_PART = 20_000
"""Rows that are sorted in memory at a time."""


class Saved(Struct, frozen=True):
    """What was kept of a day."""

    file: Path
    rows: int
    same_as: date | None
    """The day whose rows it has, since nothing has changed."""


class DayWriter:
    """Takes the rows of today's report, in any order, and keeps them when all are there."""

    def __init__(self, history: History, about: About) -> None:
        """Begin without rows; close it in the end."""
        self._history = history
        self._about = about
        self._stack = ExitStack()
        self._cells: dict[str, int] = {}
        self._part: list[tuple[str, str, str]] = []
        self._parts: list[IO[str]] = []
        self.saved: Saved | None = None

    def close(self) -> None:
        """Let go of what is in the way."""
        self._stack.close()

    def add(self, row: Row) -> None:
        """Take one entry."""
        numbers = [
            self._cells.setdefault(cell_text(row, cell), len(self._cells)) if cell is not None else -1
            for cell in row.cells
        ]
        text = dumped([row.address.text, row.dn, row.display_name, KINDS.index(row.kind), numbers])
        self._part.append((row.address.text, row.dn, text))
        if len(self._part) >= _PART:
            self._put_aside()

    def end(self, summary: Summary) -> None:
        """Keep the day."""
        self._put_aside()
        cells = sorted(self._cells)
        place = {self._cells[text]: number for number, text in enumerate(cells)}
        about = about_json(self._about)
        digest = sha256(dumped(about["columns"]).encode())
        for text in cells:
            digest.update(f"{text}\n".encode())
        rows = 0
        for line in self._sorted(place):
            digest.update(line.encode())
            rows += 1
        header = {
            "format": FORMAT,
            **about,
            "summary": summary.as_json(),
            "digest": digest.hexdigest(),
            "rows": rows,
            "cells": len(cells),
        }
        before = self._history.last_before(self._about.day)
        same = before is not None and before.header["digest"] == header["digest"]
        same_as = before.rows_day if same and before is not None else None
        lines = [] if same else self._lines(cells, place)
        file = self._history.write(self._about.day, {**header, "rows_of": same_as and same_as.isoformat()}, lines)
        self.saved = Saved(file, rows, same_as)

    def _lines(self, cells: Iterable[str], place: dict[int, int]) -> Iterator[str]:
        yield from (f"{text}\n" for text in cells)
        yield from self._sorted(place)

    def _put_aside(self) -> None:
        self._part.sort()
        part: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed when all are kept
        self._stack.callback(part.close)
        part.writelines(f"{text}\n" for _, _, text in self._part)
        self._parts.append(part)
        self._part = []

    def _sorted(self, place: dict[int, int]) -> Iterator[str]:
        for part in self._parts:
            part.seek(0)
        rows = (map(json.loads, part) for part in self._parts)
        for *first, numbers in heapq.merge(*rows, key=lambda row: (row[0], row[1])):
            yield dumped([*first, [place[number] if number >= 0 else -1 for number in numbers]]) + "\n"
