"""A message on its way through the relay: in memory, or past 1 MiB in a temporary file without a name.

It lasts no longer than its session: Postfix has it until the relay has answered. Its octets are counted with those
of all others; the count is what the relay defers by (:class:`Room`).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.original import header_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

IN_MEMORY: Final = 1024 * 1024
"""Octets of one message."""
_PIECE: Final = 64 * 1024


class Room:
    """How many octets may lie here at a time, of all messages together.

    A message that has been let in is taken in whole, however large it is: to wait in its middle for room that others
    of its kind hold would be for good. So the bound can be passed by what those under way bring.
    """

    def __init__(self, memory: int = 64 * 1024 * 1024, in_all: int = 1024 * 1024 * 1024) -> None:
        """Begin empty.

        Args:
            memory: octets; past it messages of any size go to files.
            in_all: octets, in memory and files; past it no further message is let in for now.
        """
        self._memory = memory
        self._in_all = in_all
        self._lock = threading.Lock()
        self.in_memory = 0
        self.in_files = 0

    def lets_in(self) -> bool:
        """Whether another message may begin."""
        return self.in_memory + self.in_files < self._in_all

    def has_memory(self) -> bool:
        """Whether messages may grow in memory."""
        return self.in_memory < self._memory

    def add(self, memory: int, files: int) -> None:
        """Count octets that have come, or, below zero, have gone."""
        with self._lock:
            self.in_memory += memory
            self.in_files += files


class Spooled:
    """One message. Written by one thread, then read by any number."""

    def __init__(self, room: Room, directory: Path) -> None:
        """Begin with nothing.

        Args:
            room: counts its octets.
            directory: where a file may lie.
        """
        self._room = room
        self._directory = directory
        self._memory = bytearray()
        self._file: int | None = None
        self._head = bytearray()
        """The first piece of what lies in a file: what is looked at is the header, and it must not take the disk."""
        self._counted = (0, 0)
        self._lock = threading.Lock()
        """Over what is said of users; never held while the disk is waited for."""
        self._users = 0
        """Who reads or writes at present."""
        self._is_closed = False
        self.size = 0
        """In octets."""
        self.eight_bit = False
        """Whether an octet has its highest bit set."""

    def write(self, octets: bytes) -> None:
        """Append octets.

        Raises:
            OSError: the file cannot be written, or the message was let go of.
        """
        with self._in_use():
            self._append(octets)

    def _append(self, octets: bytes) -> None:
        if not self.eight_bit and not octets.isascii():
            self.eight_bit = True
        self.size += len(octets)
        if self._file is None and self.size <= IN_MEMORY and self._room.has_memory():
            self._memory += octets
            self._count(len(octets), 0)
            return
        if self._file is None:
            self._file = _nameless(self._directory)
            held, self._memory = self._memory, bytearray()
            self._head += held[:_PIECE]
            self._count(-len(held), len(held))
            _write(self._file, held)
        self._head += octets[: _PIECE - len(self._head)]
        self._count(0, len(octets))
        _write(self._file, octets)

    @property
    def on_disk(self) -> bool:
        """Whether it lies in a file."""
        return self._file is not None

    def would_touch_the_disk(self, octets: int) -> bool:
        """Whether writing so many more may take the disk's time."""
        return self._file is not None or self.size + octets > IN_MEMORY or not self._room.has_memory()

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets, in pieces, from the first to the last; any number of times, side by side.

        Raises:
            OSError: the file cannot be read, or the message was let go of: what has been read is not all of it.
        """
        size, at = self.size, 0
        while at < size or self._is_closed:
            piece = self._piece(at)
            if not piece:
                message = f"a temporary file ends after {at} of {size} octets"
                raise OSError(message)
            at += len(piece)
            yield piece

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of every field of a name (:func:`header_fields`), once all of the message is here.

        Raises:
            OSError: the file cannot be read.
        """
        return self._fields.get(name, ())

    @cached_property
    def _fields(self) -> Mapping[str, tuple[str, ...]]:
        return header_fields(self.chunks())

    def _piece(self, at: int) -> bytes:
        """Read octets from a position.

        Raises:
            OSError: they cannot be read.
        """
        with self._in_use():
            if self._file is None:
                return bytes(self._memory[at : at + _PIECE])
            return bytes(self._head[at:]) or os.pread(self._file, _PIECE, at)

    def close(self) -> None:
        """Let it go; whoever reads or writes it still fails."""
        with self._lock:
            self._is_closed = True
            self._let_go()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep what there is until the end of the block.

        Raises:
            OSError: the message was let go of.
        """
        with self._lock:
            if self._is_closed:
                message = "the message was let go of while it was in use"
                raise OSError(message)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._let_go()

    def _let_go(self) -> None:
        # Not under whoever uses it: the descriptor may be another file's at once.
        if not self._is_closed or self._users:
            return
        if self._file is not None:
            os.close(self._file)
            self._file = None
        memory, files = self._counted
        self._count(-memory, -files)
        self._memory = bytearray()
        self.size = 0

    def _count(self, memory: int, files: int) -> None:
        self._counted = self._counted[0] + memory, self._counted[1] + files
        self._room.add(memory, files)


def _nameless(directory: Path) -> int:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        return os.dup(file.fileno())


def _write(descriptor: int, octets: bytes | bytearray) -> None:
    left = memoryview(octets)
    while left:
        left = left[os.write(descriptor, left) :]
