"""A closer look at one place of a file: its lines, and seals that are none to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.audit.reading import BAD_STREAM, MAX_LINE_BYTES, object_on, opened
from ldapmilter.audit.seals import SEAL_START, Seal, seal_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.audit.reading import LineStream

_BLOCK = 1 << 20
_SHORT = 1024
"""Octets that no seal's line has, however it was changed."""
_ALIKE = 0.8
"""How much of a seal has to stand in a line that is one, changed."""


def line_numbers(file: Path, audit: Path, first: int, to: int) -> tuple[int, int] | None:
    """Return the first and the last line, from 1, of so many octets; ``None``: the file cannot be read."""
    try:
        with opened(file, audit) as stream:
            before = sum(part.count(b"\n") for part in _octets(stream.lines, first))
            within = sum(part.count(b"\n") for part in _octets(stream.lines, max(0, to - first - 1)))
    except BAD_STREAM:
        return None
    return before + 1, before + within + 1


def damaged_seal(file: Path, audit: Path, after: Seal, first: int) -> tuple[int, int] | None:
    """Return where the next seal stands, changed a little, among octets that no seal is for; ``None``: nowhere.

    Args:
        file: the file.
        audit: the file that the daemon writes.
        after: the last seal that holds.
        first: where the octets since then begin.
    """
    digest = after.begin()
    start, before, expected_before = first, b"", b""
    try:
        with opened(file, audit) as stream:
            for _ in _octets(stream.lines, first):
                pass
            while line := stream.lines.readline(MAX_LINE_BYTES):
                if line.find(SEAL_START) > 0 or _is_no_seal_of_ours(line):
                    return start, start + len(line)
                expected = b""
                if len(line) < _SHORT:
                    begun = digest.copy()
                    expected = seal_line(Seal(after.n + 1, begun.hexdigest()), first, start)
                    if _is_alike(line, expected):
                        return start, start + len(line)
                    if before and _is_alike(before + line, expected_before):  # an end of line was put into it
                        return start - len(before), start + len(line)
                before, expected_before = (line, expected) if expected else (b"", b"")
                digest.update(line)
                start += len(line)
    except BAD_STREAM:
        return None
    return None


def _is_no_seal_of_ours(line: bytes) -> bool:
    """Whether a line says that it is a seal, and is not spelt as one."""
    if len(line) >= _SHORT or b"seal" not in line:
        return False
    value = object_on(line)
    return value is not None and value.get("event") == "seal"


def _is_alike(line: bytes, expected: bytes) -> bool:
    """Whether a line is what is expected, but for one place.

    What a writer that was killed has left, the beginning of it, is not.
    """
    if expected.startswith(line.removesuffix(b"\n")):
        return False
    shorter = min(len(line), len(expected))
    common = next((n for n in range(shorter) if line[n] != expected[n]), shorter)
    rest = shorter - common
    common += next((n for n in range(rest) if line[-1 - n] != expected[-1 - n]), rest)
    return common >= _ALIKE * max(len(line), len(expected))


def _octets(lines: LineStream, count: int) -> Iterator[bytes]:
    """Yield the next so many octets, or all there are."""
    while count and (part := lines.read(min(_BLOCK, count))):
        count -= len(part)
        yield part
