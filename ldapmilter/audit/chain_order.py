"""In which order the files of an audit were written: each sealed one says after which seal it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.audit.reading import BAD_STREAM, COMPRESSED, object_on, opened, why
from ldapmilter.audit.seals import SEAL_START, Seal, read_open, read_seal
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ldapmilter.audit.reading import Stream

_FIRST_LINES = 1000
"""In which a time is looked for."""
_LONG_LINE = 1 << 20


class CannotRead(AuditError):
    """A file cannot be read."""

    def __init__(self, file: Path, error: Exception) -> None:
        super().__init__(f"it cannot be read: {why(file, error)}")
        self.file = file


class Head(Struct, frozen=True):
    """A file, and how it begins."""

    file: Path
    opening: Seal | None
    """The seal after which it goes on, as its first line says."""
    after: int | None
    """The number of that seal, or of the one before the first that stands in it."""
    began: str
    """Time of its first line that has one; else of its last change."""


def in_order(files: Sequence[Path], audit: Path, note: Callable[[str], None]) -> list[Head]:
    """Return the files that hold something, in the order of the chain; those from before there were seals come first.

    Args:
        files: in any order.
        audit: the file that the daemon writes.
        note: told of each file that is left out.

    Raises:
        CannotRead: a file cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    heads = []
    for file in files:
        plain = file.with_suffix("")
        if file.suffix in COMPRESSED and plain != audit and plain in files:
            note(f"{file}: left out, {plain.name} is there as well (being compressed?)")
            continue
        try:
            with opened(file, audit) as stream:
                if stream.identity not in seen and (head := _head(file, stream)) is not None:
                    heads.append(head)
                seen.add(stream.identity)
        except FileNotFoundError:
            note(f"{file}: left out, it was renamed or removed meanwhile; verify once more")
        except BAD_STREAM as error:
            raise CannotRead(file, error) from error
    began = min((head.began for head in heads if head.after is not None), default="~")
    return sorted(heads, key=lambda head: _place(head, began))


def _place(head: Head, chain_began: str) -> tuple[int, int, str]:
    if head.after is not None:
        return 1, head.after, head.began
    return (0 if head.began <= chain_began else 2), 0, head.began


def _head(file: Path, stream: Stream) -> Head | None:
    opening, after, began = None, None, None
    for number in range(_FIRST_LINES):
        line = stream.lines.readline(_LONG_LINE)
        if not line:
            if number == 0:
                return None
            break
        if number == 0 and (opening := read_open(line)) is not None:
            after = opening.n
        elif after is None and line.startswith(SEAL_START) and (seal := read_seal(line)) is not None:
            after = seal.seal.n - 1
        began = began or _time_of(line)
        if after is not None and began is not None:
            break
    return Head(file, opening, after, began or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(file.stat().st_mtime)))


def _time_of(line: bytes) -> str | None:
    value = object_on(line)
    found = value.get("time") if value is not None else None
    return found if isinstance(found, str) else None
