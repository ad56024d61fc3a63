"""One file of an audit taken apart into its seals and the octets between them, in one pass and little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from ldapmilter.audit.seals import CUT_START, LONGEST, SEAL_START, SealLine, read_seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.audit.reading import LineStream

_BLOCK = 1 << 20
_SEAL = b"\n" + SEAL_START
_CUT = b"\n" + CUT_START


class CutLine(Struct, frozen=True):
    """A line which says that the file was cut."""

    start: int
    """Octets from the start of the file."""


Part: TypeAlias = "memoryview | SealLine | CutLine"
"""Octets that are to be hashed, a seal, or word of a cut; a cut in a stretch of octets comes before them."""


def parts_of(lines: LineStream) -> Iterator[Part]:
    """Yield the parts of a file, from its start to its end; the octets of a seal's line are not among those to hash.

    Raises:
        OSError, EOFError, zlib.error, lzma.LZMAError: the file cannot be read on.
    """
    held = b"\n"
    """The last octet that was yielded, and those after it that were not: a line may begin in them."""
    offset = -1
    """Where that octet stands."""
    while True:
        block = lines.read(_BLOCK)
        data = held + block
        # A line that begins before the limit is there to its end, if it is one of ours.
        limit = max(1, len(data) - LONGEST) if block else len(data)
        done = 1
        if (cut := data.find(_CUT, 0, limit + len(_CUT))) >= 0:
            yield CutLine(offset + cut + 1)
        hit = -1
        while 0 <= (hit := data.find(_SEAL, hit + 1, limit + len(_SEAL))) < limit:
            start = hit + 1
            line = data[start : data.find(b"\n", start, start + LONGEST) + 1]
            if (seal := read_seal(line, offset + start)) is not None:
                if start > done:
                    yield memoryview(data)[done:start]
                yield seal
                done = start + len(line)
        if (end := max(done, limit)) > done:
            yield memoryview(data)[done:end]
        if not block:
            return
        held, offset = data[end - 1 :], offset + end - 1
