"""The message that a copy is of, as its octets reached the relay: the fields that a journal report names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_FIELD_OCTETS = 16 * 1024 * 1024
"""Octets of all fields together that are kept: a To with 50,000 recipients takes some 2 MB."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_WANTED = frozenset({b"from", b"to", b"cc", b"subject", b"message-id"})


class Octets(Protocol):
    """A message in memory or in a file, without dot-stuffing."""

    def chunks(self) -> Iterator[bytes]:
        """Yield its octets in pieces of any size; as often as it is asked for."""


class Original(Struct, frozen=True, kw_only=True):
    """What was found in one pass through a message."""

    fields: Mapping[str, tuple[str, ...]]
    """Values by name in lower case, in message order, folding kept; surrogates for octets that are not UTF-8."""
    size: int
    """Octets."""
    eight_bit: bool
    """Whether any octet is not ASCII."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of every field of a name (lower case)."""
        return self.fields.get(name, ())


def read_original(octets: Iterable[bytes]) -> Original:
    """Go through a message once; memory is taken by its named fields only."""
    reader = _HeaderReader()
    size, eight_bit = 0, False
    for chunk in octets:
        size += len(chunk)
        eight_bit = eight_bit or not chunk.isascii()
        reader.feed(chunk)
    return Original(fields=reader.finish(), size=size, eight_bit=eight_bit)


def fields_of_header(octets: Iterable[bytes]) -> Mapping[str, tuple[str, ...]]:
    """Return the named fields (:attr:`Original.fields`); octets are taken as far as the header goes."""
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
        if self.is_over:
            return
        lines = chunk.split(b"\n")
        for part in lines[:-1]:
            self._append(part)
            if not self._is_header():
                self.is_over = True
                return
        self._append(lines[-1])

    def finish(self) -> dict[str, tuple[str, ...]]:
        if self._line and not self.is_over:
            self._is_header()
        return {
            name: tuple(value.decode("utf-8", "surrogateescape").strip(" \t\r\n") for value in values)
            for name, values in self._found.items()
        }

    def _append(self, part: bytes) -> None:
        self._line += part[: max(0, self._left - len(self._line))]

    def _is_header(self) -> bool:
        """Take the line that has ended; return whether it belongs to the header."""
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
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
