"""Reading the audit back: the file and its rotated siblings, in order of time, whatever is found in them.

An answer of the audit may be evidence, so it is whole or says that it may not be: every line that
is no record and every file that cannot be read is told, and counted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ldapmilter.audit.reading import BAD_STREAM, COMPRESSED, MAX_LINE_BYTES, files_of, object_on, opened, why
from ldapmilter.audit.record import is_record
from ldapmilter.audit.seals import is_event
from ldapmilter.audit.shape import conforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ldapmilter.audit.criteria import Criteria
    from ldapmilter.audit.record import AuditRecord

_FIRST_LINES = 1000
"""In which the first record is looked for; those before it tell of no message."""
_MARKS = {"format": int, "time": str, "queue_id": str, "copies": [object]}


class Search:
    """One pass through the audit; afterwards its attributes say what was read."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Prepare it.

        Args:
            path: the file that the daemon writes; its rotated siblings lie beside it.
            complain: told, in one line each, of whatever could not be read.
        """
        self.path = path
        self.files = 0
        """How many files were read."""
        self.records = 0
        """How many records stand in them."""
        self.without_message_id = 0
        """How many records would answer if they had the Message-ID that is looked for, and have none."""
        self.problems = 0
        """How many things could not be read: the answer may be incomplete."""
        self.first: str | None = None
        """The time of the earliest record."""
        self.last: str | None = None
        """The time of the latest one."""
        self._complain = complain
        self._seen: set[tuple[int, int]] = set()
        self._unreadable: set[Path] = set()

    def run(self, criteria: Criteria) -> Iterator[AuditRecord]:
        """Yield every record that answers, in order of time.

        Raises:
            AuditError: there is no audit file, or its directory cannot be read.
        """
        names = files_of(self.path)
        again = False
        while True:
            unread = [name for name in names if self._is_unread(name)]
            if not unread:
                return
            if again:
                self._problem(f"{self.path}: was rotated during the search: a message may be shown twice")
            for name in sorted(unread, key=self._began):
                yield from self._read(name, criteria)
            # What a rotation renamed meanwhile is known by its inode; what it made is new.
            names, again = files_of(self.path), True

    def _is_unread(self, name: Path) -> bool:
        try:
            found = name.stat()
        except FileNotFoundError:
            return False  # renamed since; it is met under its new name
        except OSError:
            return name not in self._unreadable  # told when it is opened
        return name not in self._unreadable and (found.st_dev, found.st_ino) not in self._seen

    def _began(self, name: Path) -> str:
        """Return the time of a file's first record: names order by number or by date, and backups by neither."""
        try:
            with opened(name, self.path) as stream:
                for _ in range(_FIRST_LINES):
                    record = _record(stream.lines.readline(MAX_LINE_BYTES))
                    if record is not None:
                        return str(record["time"])
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(name.stat().st_mtime))
        except BAD_STREAM:
            return ""

    def _read(self, name: Path, criteria: Criteria) -> Iterator[AuditRecord]:
        number = 0
        try:
            with opened(name, self.path) as stream:
                if stream.identity in self._seen:
                    return  # it was read under an earlier name
                self._seen.add(stream.identity)
                self._note_partner(name)
                self.files += 1
                while line := stream.lines.readline(MAX_LINE_BYTES):
                    number += 1
                    if (record := self._taken(line, f"{name}: line {number}", criteria)) is not None:
                        yield record
        except FileNotFoundError:
            return  # renamed since the directory was read: met again under its new name
        except BAD_STREAM as error:
            self._unreadable.add(name)
            where = f"cannot be read on after line {number}" if number else "cannot be read"
            self._problem(f"{name}: {where}: {why(name, error)}")

    def _taken(self, line: bytes, where: str, criteria: Criteria) -> AuditRecord | None:
        """Count a line; return its record when that answers."""
        if _is_event(line):
            return None
        record = _record(line)
        if record is None:
            self._problem(f"{where} is no record of ldapmilter: torn, or somebody else's")
            return None
        self._count(record)
        if not criteria.may_hold(record, line):
            return None
        if not is_record(record):
            self._problem(f"{where} has not the shape of a record of ldapmilter")
        elif criteria.hold(record):
            if not criteria.miss_message_id(record):
                return record
            self.without_message_id += 1
        return None

    def _note_partner(self, name: Path) -> None:
        """Say when a file and its compressed form are both there: the same lines, or half of them."""
        plain = name.with_suffix("")
        if name.suffix in COMPRESSED and plain != self.path and plain.exists():
            self._problem(f"{name}: {plain.name} is there as well (being compressed?): a message may be shown twice")

    def _count(self, record: dict[str, Any]) -> None:
        self.records += 1
        self.first = min(self.first or record["time"], record["time"])
        self.last = max(self.last or record["time"], record["time"])

    def _problem(self, text: str) -> None:
        self.problems += 1
        self._complain(text)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record on a line, or ``None``: the line is torn, or none of ours.

    Only what tells a record from other JSON is looked at here: the whole shape of every record of
    ten years would cost most of the time of a search.
    """
    value = object_on(line)
    return value if value is not None and conforms(value, _MARKS) and line.endswith(b"\n") else None


def _is_event(line: bytes) -> bool:
    """Whether a line tells of something else than a message, to its end."""
    return is_event(line) and line.endswith(b"\n") and object_on(line) is not None
