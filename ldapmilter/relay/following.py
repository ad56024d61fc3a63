"""Following the audit: what the milter decides on this host, and how copies end, goes over into the state.

The decision's line is on disk before Postfix has the message, so whoever reads up to the end when a token comes
knows it. What was read is remembered by file (device and inode), through rotation; a rotated file that was
compressed meanwhile is another file, and is read once more, which does no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Final

from ldapmilter.audit.reading import BAD_STREAM, MAX_LINE_BYTES, files_of, object_on, opened, why
from ldapmilter.errors import AuditError
from ldapmilter.relay.lost_tokens import BATCH, MARK, LostTokens, lines_with
from ldapmilter.relay.stored import FilePosition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ldapmilter.audit.reading import LineStream
    from ldapmilter.relay.state import RelayState

    Positions = dict[tuple[int, int], FilePosition]

HORIZON: Final = 45 * 86_400.0
"""Seconds: what ended longer ago is not remembered; an older token is looked for in the audit when it comes."""
_HEAD_OCTETS: Final = 256
_BATCH_OCTETS: Final = 8 * 1024 * 1024
_LINES: Final = 10_000
"""Lines of any kind, after which it is remembered how far it was read."""


class Following:
    """Reads one host's audit into the state; for any number of threads."""

    def __init__(self, audit: Path, state: RelayState, clock: Callable[[], float] = time.time) -> None:
        """Prepare; nothing is read yet.

        Args:
            audit: the file that the daemon writes; its rotated siblings lie beside it.
            state: where it goes.
            clock: seconds since the epoch.
        """
        self._audit = audit
        self._state = state
        self._clock = clock
        self.lost = LostTokens(audit, state, clock)
        """Looks for tokens that are not known."""
        self._lock = threading.Lock()
        self._positions: Positions | None = None

    def catch_up(self) -> None:
        """Read what has been written since the last time.

        Raises:
            AuditError: the audit cannot be read.
            StateError: the state cannot be written.
        """
        with self._lock:
            if self._state.check():
                self._positions = None
                self.lost.begin_anew()
            if self._positions is not None and self._has_only_grown(self._positions):
                return
            positions, self._positions = self._positions, None
            if positions is None:
                positions = {(one.device, one.inode): one for one in self._state.positions()}
            names = files_of(self._audit)
            for name in names:
                self._read_on(name, positions)
            self._forget_gone(names, positions)
            self._positions = positions

    def learn(self, file: Path) -> int:
        """Take over what another host's audit file says; return how many lines that were.

        Raises:
            AuditError: it cannot be read.
            StateError: the state cannot be written.
        """
        lines = 0
        batch: list[dict[str, Any]] = []
        for _, value in lines_with(file, file, lambda line: MARK in line):
            lines += 1
            batch.append(value)
            if len(batch) >= BATCH:
                self._state.take(batch)
                batch = []
        self._state.take(batch)
        self.lost.begin_anew()
        return lines

    # -- files ------------------------------------------------------------------------------

    def _has_only_grown(self, positions: Positions) -> bool:
        """Read on in the file of that name, where it is the one that was read last; else return ``False``.

        Nobody is kept from writing: a token waits. A line that its writer takes back for want of room, and that is read
        before, is one of a message that was told to wait, or an end that is written again.
        """
        try:
            with self._audit.open("rb") as file:
                status = os.fstat(file.fileno())
                known = positions.get((status.st_dev, status.st_ino))
                if known is None or not known.octets or known.octets > status.st_size:
                    return False
                if _hash_of_head(file) != known.head:
                    return False
                file.seek(known.octets)
                end = known.octets
                for batch, octets in _batches(file):
                    end += octets
                    self._advance(positions, batch, (known.device, known.inode), end, known.head)
        except OSError:
            return False
        return True

    def _read_on(self, name: Path, positions: Positions) -> None:
        """Read a file from where it was left.

        Raises:
            AuditError: it cannot be read.
            StateError: the state cannot be written.
        """
        try:
            if self._clock() - _changed(name) >= HORIZON:
                return
            with opened(name, self._audit) as stream:
                known = positions.get(stream.identity)
                head = _head(name)
                begin = known.octets if known is not None and (known.head == head or not known.octets) else 0
                if begin == os.fstat(stream.file.fileno()).st_size and known is not None:
                    return
                if stream.is_plain:
                    stream.file.seek(begin)
                for batch, octets in _batches(stream.lines):
                    begin += octets
                    self._advance(positions, batch, stream.identity, begin if stream.is_plain else 0, head)
                if not stream.is_plain:
                    self._advance(positions, [], stream.identity, os.fstat(stream.file.fileno()).st_size, head)
        except FileNotFoundError:
            return  # renamed since; it is met under its new name the next time
        except BAD_STREAM as error:
            message = f"{name}: the relay cannot read the audit: {why(name, error)}"
            raise AuditError(message) from error

    def _advance(
        self, positions: Positions, batch: list[dict[str, Any]], identity: tuple[int, int], octets: int, head: str
    ) -> None:
        read = FilePosition(device=identity[0], inode=identity[1], octets=octets, head=head)
        self._state.take(batch, read)
        positions[identity] = read

    def _forget_gone(self, names: Iterable[Path], positions: Positions) -> None:
        there = set()
        for name in names:
            with contextlib.suppress(OSError):
                status = name.stat()
                there.add((status.st_dev, status.st_ino))
        gone = [positions.pop(identity) for identity in positions.keys() - there]
        if gone:
            self._state.forget_files(gone)


def _changed(name: Path) -> float:
    return name.stat().st_mtime


def _head(name: Path) -> str:
    """Return what tells a file from a later one that has its inode: of the first line."""
    with name.open("rb") as file:
        return _hash_of_head(file)


def _hash_of_head(file: IO[bytes]) -> str:
    return hashlib.sha256(file.readline(_HEAD_OCTETS)).hexdigest()


def _batches(lines: LineStream) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Yield what lines say of copies, with the octets of all lines that were read for it."""
    batch: list[dict[str, Any]] = []
    octets = number = held = 0
    while (line := lines.readline(MAX_LINE_BYTES)).endswith(b"\n"):
        octets += len(line)
        number += 1
        if MARK in line and (value := object_on(line)) is not None:
            batch.append(value)
            held += len(line)
        if len(batch) >= BATCH or held >= _BATCH_OCTETS or number % _LINES == 0:
            yield batch, octets
            batch, octets, held = [], 0, 0
    if octets:
        yield batch, octets
