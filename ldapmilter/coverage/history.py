"""The coverage of each day, kept: one compressed file a day, sorted by address, in which little is written twice.

A day on which nothing has changed is a few hundred octets that name the day whose rows it has. Rows are read one after
the other.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
import zlib
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ldapmilter.coverage.model import About
from ldapmilter.coverage.stored import column_of, dumped, row_of
from ldapmilter.errors import LdapmilterError
from ldapmilter.who_may import READ, who_may

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ldapmilter.coverage.model import Column, Row

FORMAT = 1
_NAME = re.compile(r"coverage-(\d{4}-\d\d-\d\d)\.jsonl\.gz")
_BAD_FILE = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError)


class HistoryError(LdapmilterError):
    """A day is not there, or a file of the history cannot be read or written; the text names it."""


class Day:
    """The coverage of one day."""

    def __init__(self, history: History, day: date, header: dict[str, Any]) -> None:
        self.day = day
        self.header = header
        self._history = history
        self.columns: tuple[Column, ...] = tuple(column_of(one) for one in header["columns"])

    @property
    def rows_day(self) -> date:
        """The day whose file has the rows: this one, or an earlier one with the same."""
        other = self.header["rows_of"]
        return date.fromisoformat(other) if other is not None else self.day

    def about(self, columns: tuple[Column, ...], narrowed: tuple[str, ...]) -> About:
        """Return what it is of."""
        return About(
            directory=self.header["directory"],
            day=self.day,
            began=self.header["began"],
            columns=columns,
            narrowed=narrowed,
            notes=tuple(self.header["notes"]),
        )

    def rows(self, address: str | None = None) -> Iterator[Row]:
        """Yield its rows by address and DN, or those of one address.

        Raises:
            HistoryError: the file cannot be read to its end.
        """
        start = dumped([address])[:-1] + "," if address is not None else ""
        file = self._history.file(self.rows_day)
        with _readable(file) as lines:
            header = json.loads(next(lines))
            cells = [json.loads(next(lines)) for _ in range(header["cells"])]
            count = 0
            for line in lines:
                count += 1
                if line.startswith(start):
                    yield row_of(json.loads(line), cells)
            if count != header["rows"]:
                message = f"{file}: ends early: {count} of {header['rows']} rows are there"
                raise HistoryError(message)


class History:
    """The days that were kept, in one directory."""

    def __init__(self, folder: Path) -> None:
        """Prepare; nothing is read yet."""
        self.folder = folder

    def file(self, day: date) -> Path:
        """Return where a day is kept."""
        return self.folder / f"coverage-{day.isoformat()}.jsonl.gz"

    def days(self) -> list[date]:
        """Return the days that are there, in order.

        Raises:
            HistoryError: the directory cannot be read.
        """
        try:
            names = [_NAME.fullmatch(file.name) for file in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            message = f"[coverage] history = {self.folder}: cannot be read: {_why(self.folder, error)}"
            raise HistoryError(message) from error
        return sorted(date.fromisoformat(name[1]) for name in names if name is not None)

    def day(self, day: date) -> Day:
        """Return one day.

        Raises:
            HistoryError: it is not there, or cannot be read.
        """
        file = self.file(day)
        try:
            file.stat()
        except FileNotFoundError:
            days = self.days()
            near = sorted(days, key=lambda one: abs(one - day))[:2]
            there = (
                f"the nearest are {', '.join(map(str, sorted(near)))}" if near else "none is: coverage --save keeps one"
            )
            message = f"no coverage of {day} is kept in {self.folder}; {there}"
            raise HistoryError(message) from None
        except OSError as error:
            message = f"{file}: cannot be read: {_why(file, error)}"
            raise HistoryError(message) from error
        with _readable(file) as lines:
            header = json.loads(next(lines))
            if header["format"] != FORMAT:
                message = f"{file}: was made by another version (format {header['format']}, this one reads {FORMAT})"
                raise HistoryError(message)
            return Day(self, day, header)

    def last_before(self, day: date) -> Day | None:
        """Return the last day before another that can be read."""
        earlier = [one for one in self.days() if one < day]
        try:
            return self.day(earlier[-1]) if earlier else None
        except HistoryError:
            return None

    def write(self, day: date, header: dict[str, Any], lines: Iterable[str]) -> Path:
        """Keep a day, all of it or nothing; one that was there is replaced.

        Raises:
            HistoryError: it cannot be written.
        """
        file = self.file(day)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=self.folder)  # 0600: it names who is copied
            try:
                with os.fdopen(handle, "wb") as raw:
                    with gzip.open(raw, "wt", encoding="utf-8") as out:
                        out.write(dumped(header) + "\n")
                        out.writelines(lines)
                    raw.flush()
                    os.fsync(raw.fileno())
                os.replace(name, file)  # noqa: PTH105 - one name
            except BaseException:
                os.unlink(name)  # noqa: PTH108 - one name
                raise
        except OSError as error:
            message = f"[coverage] history = {self.folder}: {file.name} cannot be written: {error.strerror}"
            raise HistoryError(message) from error
        return file

    def delete_before(self, first: date) -> list[date]:
        """Delete the days before another; rows that a later day has in common with them move there.

        Raises:
            HistoryError: a file cannot be read or written.
        """
        days = self.days()
        old, kept = [day for day in days if day < first], [day for day in days if day >= first]
        moved: dict[date, date] = {}
        for day in kept:
            found = self.day(day)
            if found.rows_day >= first:
                continue
            if (place := moved.get(found.rows_day)) is None:
                moved[found.rows_day] = day
                self._copy_rows(found)
            else:
                self.write(day, {**found.header, "rows_of": place.isoformat()}, [])
        try:
            for day in old:
                self.file(day).unlink()
        except OSError as error:
            message = f"{self.file(day)}: cannot be deleted: {error.strerror}"
            raise HistoryError(message) from error
        return old

    def _copy_rows(self, day: Day) -> None:
        with _readable(self.file(day.rows_day)) as lines:
            next(lines)
            self.write(day.day, {**day.header, "rows_of": None}, lines)


def first_kept(today: date, days: int) -> date:
    """Return the first day that is kept, when so many are."""
    return today - timedelta(days=days - 1)


@contextmanager
def _readable(file: Path) -> Iterator[Iterator[str]]:
    """Hand out the lines of a file.

    Raises:
        HistoryError: it cannot be read, or is none of ours.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield iter(lines)
    except StopIteration:
        message = f"{file}: ends early"
        raise HistoryError(message) from None
    except _BAD_FILE as error:
        message = f"{file}: cannot be read: {_why(file, error)}"
        raise HistoryError(message) from error


def _why(path: Path, error: Exception) -> str:
    """Say why a file or directory cannot be read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{text}; {who_may(path, READ)}" if isinstance(error, PermissionError) else str(text)
