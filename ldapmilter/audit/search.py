"""Reading the audit back: the file and its rotated siblings, in order of time, whatever is found in them.

An answer of the audit may be evidence, so it is whole or says that it may not be: every line that
is no record and every file that cannot be read is told, and counted.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import json
import lzma
import os
import stat
import time
import zlib
from typing import IO, TYPE_CHECKING, Any, Protocol

from ldapmilter.audit.lock import no_line_under_way
from ldapmilter.audit.record import is_record
from ldapmilter.audit.shape import conforms
from ldapmilter.errors import AuditError
from ldapmilter.who_may import READ, who_may

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ldapmilter.audit.criteria import Criteria
    from ldapmilter.audit.record import AuditRecord

MAX_LINE_BYTES = 256 * 1024 * 1024
"""What is longer is no record; a message to a list of 50,000 members takes some 20 MB."""

_LOCK_SECONDS = 5.0
_FIRST_LINES = 20
_COMPRESSIONS: Mapping[bytes, Callable[[IO[bytes]], AbstractContextManager[_Lines]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_MARKS = {"format": int, "time": str, "queue_id": str, "copies": [object]}
_ZSTD = b"\x28\xb5\x2f\xfd"
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_BAD_STREAM = (OSError, EOFError, zlib.error, lzma.LZMAError)


class _Lines(Protocol):
    """A file that is read line by line."""

    def readline(self, most: int, /) -> bytes:
        """Return the next line, or its first octets; nothing at the end."""


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
        names = self._names()
        if not names:
            message = f"{self.path}: there is no audit file, and no rotated one beside it"
            raise AuditError(message)
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
            names, again = self._names(), True

    def _names(self) -> list[Path]:
        """Return the file and what logrotate makes of it: ``.1``, ``.2.gz``, ``-20261122``, ``-20261122.gz``."""
        base = self.path.name
        try:
            found = list(self.path.parent.iterdir())
        except OSError as error:
            why = _why(self.path.parent, error)
            message = f"{self.path.parent}: the directory of the audit file cannot be read: {why}"
            raise AuditError(message) from error
        return [file for file in found if file.name == base or file.name.startswith((f"{base}.", f"{base}-"))]

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
            with _opened(name, self.path) as (octets, _):
                for _ in range(_FIRST_LINES):
                    record = _record(octets.readline(MAX_LINE_BYTES))
                    if record is not None:
                        return str(record["time"])
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(name.stat().st_mtime))
        except _BAD_STREAM:
            return ""

    def _read(self, name: Path, criteria: Criteria) -> Iterator[AuditRecord]:
        number = 0
        try:
            with _opened(name, self.path) as (octets, identity):
                if identity in self._seen:
                    return  # it was read under an earlier name
                self._seen.add(identity)
                self._note_partner(name)
                self.files += 1
                while line := octets.readline(MAX_LINE_BYTES):
                    number += 1
                    record = _record(line)
                    if record is None:
                        self._problem(f"{name}: line {number} is no record of ldapmilter: torn, or somebody else's")
                        continue
                    self._count(record)
                    if not criteria.may_hold(record, line):
                        continue
                    if not is_record(record):
                        self._problem(f"{name}: line {number} has not the shape of a record of ldapmilter")
                    elif not criteria.hold(record):
                        continue
                    elif criteria.miss_message_id(record):
                        self.without_message_id += 1
                    else:
                        yield record
        except FileNotFoundError:
            return  # renamed since the directory was read: met again under its new name
        except _BAD_STREAM as error:
            self._unreadable.add(name)
            where = f"cannot be read on after line {number}" if number else "cannot be read"
            self._problem(f"{name}: {where}: {_why(name, error)}")

    def _note_partner(self, name: Path) -> None:
        """Say when a file and its compressed form are both there: the same lines, or half of them."""
        plain = name.with_suffix("")
        if name.suffix in _COMPRESSED and plain != self.path and plain.exists():
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
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(value, dict) and conforms(value, _MARKS) and line.endswith(b"\n")
    return value if ours else None


@contextlib.contextmanager
def _opened(name: Path, audit: Path) -> Iterator[tuple[_Lines, tuple[int, int]]]:
    """Open a file of an audit, compressed or not, at its whole lines; yield it and its device and inode."""
    # Not blocking: a FIFO of that name would hang us.
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        identity = (found.st_dev, found.st_ino)
        magic = file.peek(6)[:6]
        for start, open_compressed in _COMPRESSIONS.items():
            if magic.startswith(start):
                with open_compressed(file) as octets:
                    yield octets, identity
                return
        if magic.startswith(_ZSTD):
            raise OSError(errno.EINVAL, "it is compressed by zstd; decompress it first (unzstd)")
        with no_line_under_way(audit, _LOCK_SECONDS):
            whole = os.fstat(file.fileno()).st_size
        yield _Bounded(file, whole), identity


class _Bounded:
    """The first so many octets of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readline(self, most: int, /) -> bytes:
        line = self._file.readline(min(most, self._left))
        self._left -= len(line)
        return line


def _why(path: Path, error: Exception) -> str:
    why = getattr(error, "strerror", None) or str(error) or "it ends in the middle"
    return f"{why}; {who_may(path, READ)}" if isinstance(error, PermissionError) else str(why)
