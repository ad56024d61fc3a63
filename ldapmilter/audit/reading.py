"""The files of an audit, opened to be read: the file itself and its rotated siblings, compressed or not."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import json
import lzma
import os
import stat
import zlib
from typing import IO, TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from ldapmilter.audit.lock import no_line_under_way
from ldapmilter.errors import AuditError
from ldapmilter.who_may import READ, who_may

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compressed files; the last kind is known, and cannot be read."""
BAD_STREAM = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file may raise."""
MAX_LINE_BYTES = 256 * 1024 * 1024
"""What is longer is no record; a message to a list of 50,000 members takes some 20 MB."""

_LOCK_SECONDS = 5.0
_ZSTD = b"\x28\xb5\x2f\xfd"


class LineStream(Protocol):
    """A file that is read from its start to its end."""

    def readline(self, most: int, /) -> bytes:
        """Return the next line, or its first octets; nothing at the end."""

    def read(self, most: int, /) -> bytes:
        """Return the next octets; nothing at the end."""


_COMPRESSIONS: Mapping[bytes, Callable[[IO[bytes]], AbstractContextManager[LineStream]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


class Stream(Struct, frozen=True):
    """One file, opened."""

    lines: LineStream
    """What it holds, decompressed; of a file that is being written, its whole lines."""
    identity: tuple[int, int]
    """Device and inode."""
    file: IO[bytes]
    """The file itself, whose position tells how much of it has been read."""
    is_plain: bool
    """Whether it is not compressed."""


def siblings(audit: Path) -> list[Path]:
    """Return the file and what logrotate makes of it: ``.1``, ``.2.gz``, ``-20261122``, ``-20261122.gz``.

    Raises:
        OSError: the directory cannot be read.
    """
    base = audit.name
    return [
        file for file in audit.parent.iterdir() if file.name == base or file.name.startswith((f"{base}.", f"{base}-"))
    ]


def files_of(audit: Path) -> list[Path]:
    """Return the files of an audit, of which there has to be one.

    Raises:
        AuditError: there is none, or the directory cannot be read.
    """
    try:
        found = siblings(audit)
    except OSError as error:
        message = f"{audit.parent}: the directory of the audit file cannot be read: {why(audit.parent, error)}"
        raise AuditError(message) from error
    if not found:
        message = f"{audit}: there is no audit file, and no rotated one beside it"
        raise AuditError(message)
    return found


@contextlib.contextmanager
def opened(name: Path, audit: Path, *, at_whole_lines: bool = True) -> Iterator[Stream]:
    """Open a file of an audit, compressed or not.

    Args:
        name: the file.
        audit: the file that the daemon writes, whose lock is taken for a moment.
        at_whole_lines: whether the stream ends before a line that is being written, and the lock is needed.

    Raises:
        OSError: it cannot be opened, or is no file that could be read.
    """
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
                    yield Stream(octets, identity, file, is_plain=False)
                return
        if magic.startswith(_ZSTD):
            raise OSError(errno.EINVAL, "it is compressed by zstd; decompress it first (unzstd)")
        with no_line_under_way(audit, _LOCK_SECONDS) if at_whole_lines else contextlib.nullcontext():
            whole = os.fstat(file.fileno()).st_size
        yield Stream(_Bounded(file, whole), identity, file, is_plain=True)


def object_on(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line holds; ``None``: it is torn, or holds none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class _Bounded:
    """The first so many octets of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readline(self, most: int, /) -> bytes:
        return self._taken(self._file.readline(min(most, self._left)))

    def read(self, most: int, /) -> bytes:
        return self._taken(self._file.read(min(most, self._left)))

    def _taken(self, octets: bytes) -> bytes:
        self._left -= len(octets)
        return octets


def why(path: Path, error: Exception) -> str:
    """Say why a file cannot be read."""
    text = getattr(error, "strerror", None) or str(error) or "it ends in the middle"
    return f"{text}; {who_may(path, READ)}" if isinstance(error, PermissionError) else str(text)
