"""The message that a copy is of, as its octets reached the relay: the fields that a journal report names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_FIELD_OCTETS = 16 * 1024 * 1024
"""Octets of all fields together that are kept: a To with 50,000 recipients takes some 2 MB."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_WANTED = frozenset({b"from", b"to", b"cc", b"subject", b"message-id"})


class Original(Protocol):
    """A message in memory or in a file, without dot-stuffing."""

    @property
    def size(self) -> int:
        """In octets."""

    @property
    def eight_bit(self) -> bool:
        """Whether an octet of it is not ASCII."""

    def chunks(self) -> Iterator[bytes]:
        """Yield its octets in pieces of any size; as often as it is asked for."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of every field of a name (:func:`header_fields`)."""


def header_fields(octets: Iterable[bytes]) -> Mapping[str, tuple[str, ...]]:
    """Return the fields that a report names, by name in lower case.

    Args:
        octets: of a message, in pieces; they are taken as far as the header goes.

    Returns:
        values in message order, folding kept; surrogates for octets that are not UTF-8.
    """
    reader = _HeaderReader()
    for chunk in octets:
        reader.feed(chunk)
        if reader.is_over:
            break
    return reader.finish()


def occurs(needle: bytes, octets: Iterable[bytes]) -> bool:
    """Whether some octets stand anywhere in a message."""
    before = b""
    for chunk in octets:
        window = before + chunk
        if needle in window:
            return True
        before = window[-(len(needle) - 1) :]
    return False


class _HeaderReader:
    """The header, line by line.

    It ends at an empty line, or before the first line that is no field: so does Postfix's.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._wanted = False
        self._last = bytearray()
        self._found: dict[str, list[bytearray]] = {}
        self._left = MAX_FIELD_OCTETS
        self.is_over = False

    def feed(self, chunk: bytes) -> None:
        start = 0
        while not self.is_over:
            end = chunk.find(b"\n", start)
            if end < 0:
                self._begun(chunk[start:])
                return
            line = chunk[start:end]
            if self._line:
                self._begun(line)
                line = bytes(self._line)
                self._line.clear()
            start = end + 1
            self.is_over = not self._is_header(line)

    def finish(self) -> dict[str, tuple[str, ...]]:
        if self._line and not self.is_over:
            self._is_header(bytes(self._line))
        return {
            name: tuple(value.decode("utf-8", "surrogateescape").strip(" \t\r\n") for value in values)
            for name, values in self._found.items()
        }

    def _begun(self, part: bytes) -> None:
        """Hold a line that has not ended."""
        self._line += part[: max(0, self._left - len(self._line))]

    def _is_header(self, line: bytes) -> bool:
        """Take a line that has ended; return whether it belongs to the header."""
        line = line.removesuffix(b"\r")
        if line[:1] in (b" ", b"\t"):
            if self._wanted:
                self._keep(b"\r\n" + line)
            return True
        field = _FIELD.match(line)
        if field is None:
            return False
        name = field[1].lower()
        self._wanted = name in _WANTED
        if self._wanted:
            self._last = bytearray()
            self._found.setdefault(name.decode("ascii"), []).append(self._last)
            self._keep(line[field.end() :])
        return True

    def _keep(self, value: bytes) -> None:
        self._last += value[: self._left]
        self._left -= min(len(value), self._left)
