"""Seals: what one says, how it is spelt in the audit, and which is the newest.

A seal is a line of the audit file: SHA-256 of the seal before and of the octets since. Each stands on the one
before, across files, so whoever knows one of them can tell whether anything before it was changed. The forms
below are a contract (docs/evidence.md): whoever checks a seal needs nothing but sha256sum.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter.audit.reading import BAD_STREAM, COMPRESSED, opened, siblings

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.audit.reading import LineStream

SEAL_START: Final = b'{"event":"seal",'
CUT_START: Final = b'{"event":"cut",'
LONGEST: Final = 256
"""Octets that none of these lines reaches."""

_NUMBER = rb"(0|[1-9][0-9]{0,17})"
_SEAL = re.compile(
    rb'\{"event":"seal","n":'
    + _NUMBER
    + rb',"from":'
    + _NUMBER
    + rb',"to":'
    + _NUMBER
    + rb',"sha256":"([0-9a-f]{64})"\}\n'
)
_OPEN = re.compile(rb'\{"event":"open","seal":' + _NUMBER + rb',"sha256":"([0-9a-f]{64})"\}\n')
_BLOCK = 1 << 20
_FILES = 3
"""How many files are looked into for the newest seal: an empty one, one without any, and the one before."""
_SHA256 = hashlib.sha256()
"""Copied, not made anew: OpenSSL's locks are not taken while another thread forks."""


class Seal(Struct, frozen=True):
    """One seal."""

    n: int
    """1 for the first ever, then one more each."""
    sha256: str
    """64 hexadecimal digits."""

    def __str__(self) -> str:
        """Spell it as ``audit verify --seal`` takes it."""
        return f"{self.n}:{self.sha256}"

    def begin(self) -> hashlib._Hash:
        """Return the hash of the next seal, to be fed with the octets that it is for."""
        begun = _SHA256.copy()
        begun.update(self.sha256.encode("ascii"))
        return begun


FIRST: Final = Seal(0, "0" * 64)
"""What the first seal ever stands on."""


class SealLine(Struct, frozen=True):
    """A seal where it stands in a file."""

    seal: Seal
    first: int
    """``from``: where what it is for begins; octets from the start of the file."""
    to: int
    """Where that ends."""
    start: int
    """Where the line itself begins; the same as ``to``, unless somebody moved it."""
    end: int
    """Where the next line begins."""


def seal_line(seal: Seal, first: int, to: int) -> bytes:
    """Return the line of a seal."""
    return b'{"event":"seal","n":%d,"from":%d,"to":%d,"sha256":"%s"}\n' % (seal.n, first, to, seal.sha256.encode())


def open_line(seal: Seal) -> bytes:
    """Return the first line of a file that goes on after a seal."""
    return b'{"event":"open","seal":%d,"sha256":"%s"}\n' % (seal.n, seal.sha256.encode("ascii"))


def read_seal(line: bytes, start: int = 0) -> SealLine | None:
    """Return the seal that a line is, to its end; ``None``: it is none, to the letter."""
    found = _SEAL.fullmatch(line)
    if found is None:
        return None
    n, first, to, digest = found.groups()
    return SealLine(Seal(int(n), digest.decode("ascii")), int(first), int(to), start, start + len(line))


def read_open(line: bytes) -> Seal | None:
    """Return the seal after which a file goes on, as its first line says; ``None``: it says nothing."""
    found = _OPEN.fullmatch(line)
    return Seal(int(found[1]), found[2].decode("ascii")) if found is not None else None


def is_event(line: bytes) -> bool:
    """Whether a line tells of something else than a message: a seal, what became of a copy."""
    return line.startswith(b'{"event":')


def latest_seal(audit: Path) -> Seal | None:
    """Return the newest seal of an audit; ``None``: nothing of it that can be read is sealed.

    Reads back from the end of the file to its last seal, a minute's lines as a rule; of a new file, from the end
    of the one before.
    """
    if (found := _newest_in(audit, audit)) is not None:
        return found
    others = []
    with contextlib.suppress(OSError):
        for file in siblings(audit):
            with contextlib.suppress(OSError):  # renamed, or not for us
                status = file.stat()
                if file != audit and status.st_size:
                    others.append((status.st_mtime_ns, file))
    for _, file in sorted(others, reverse=True)[:_FILES]:
        if found is None or file.suffix not in COMPRESSED:
            # Not the newest file alone: one may be a copy that somebody made.
            one = _newest_in(file, audit)
            found = max((seal for seal in (found, one) if seal is not None), key=lambda seal: seal.n, default=None)
    return found


def _newest_in(file: Path, audit: Path) -> Seal | None:
    try:
        with opened(file, audit, at_whole_lines=False) as stream:
            if not stream.is_plain:
                return _newest_of(stream.lines)
            descriptor = stream.file.fileno()
            last = last_seal_in(descriptor, os.fstat(descriptor).st_size)
            return last.seal if last is not None else opening_of(descriptor)
    except BAD_STREAM:
        return None


def _newest_of(lines: LineStream) -> Seal | None:
    """Return the last seal of a file that can be read from its start only."""
    held = lines.read(_BLOCK)
    found = read_open(held[:LONGEST].partition(b"\n")[0] + b"\n")
    held = b"\n" + held
    while True:
        last = _last_seal_of(held)
        found = last if last is not None else found
        block = lines.read(_BLOCK)
        if not block:
            return found
        held = held[-LONGEST:] + block


def _last_seal_of(octets: bytes) -> Seal | None:
    """Return the last seal among octets, whose first begins no line."""
    at = len(octets)
    while (at := octets.rfind(b"\n" + SEAL_START, 0, at)) >= 0:
        if (seal := read_seal(octets[at + 1 : octets.find(b"\n", at + 1) + 1])) is not None:
            return seal.seal
    return None


def last_seal_in(descriptor: int, size: int) -> SealLine | None:
    """Return the last seal in the first so many octets of an open file, read from their end."""
    end, overlap = size, b""
    while end > 0:
        start = max(0, end - _BLOCK)
        block = read_at(descriptor, start, end - start) + overlap
        at = len(block)
        while (at := block.rfind(SEAL_START, 0, at)) >= 0:
            line = block[at : block.find(b"\n", at) + 1]
            if at == 0 and start > 0:
                break  # what stands before it is in the block before
            begins = at == 0 or block[at - 1 : at] == b"\n"
            if begins and (seal := read_seal(line, start + at)) is not None:
                return seal
        end, overlap = start, block[:LONGEST]
    return None


def opening_of(descriptor: int) -> Seal | None:
    """Return the seal after which an open file goes on, as its first line says."""
    first, ends, _ = os.pread(descriptor, LONGEST, 0).partition(b"\n")
    return read_open(first + ends)


def read_at(descriptor: int, start: int, count: int) -> bytes:
    """Return so many octets from there, or all there are."""
    parts = []
    while count and (part := os.pread(descriptor, count, start)):
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return b"".join(parts)
