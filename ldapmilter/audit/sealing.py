"""Sealing an audit: a seal every minute, at its rotation and at the end; one process does it.

No writer is held up. What was written is hashed as it comes, outside the audit's lock; with the lock held only what
came since is, and two lines are written. Time counts, not mail: there is a seal for a minute without any line, too,
and a line of random digits before each seal that is told elsewhere. Else whoever reads it there could tell whether
there was something to seal, and so that there was a legal copy.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from ldapmilter.audit.lock import AuditLock
from ldapmilter.audit.open_file import OpenFile
from ldapmilter.audit.record import as_text
from ldapmilter.audit.seals import (
    CUT_START,
    FIRST,
    Seal,
    SealLine,
    last_seal_in,
    latest_seal,
    opening_of,
    read_at,
    read_seal,
    seal_line,
)
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEAL_SECONDS: Final = 60.0
ANCHOR_SECONDS: Final = 3600.0
"""After which a seal is made that is to be told elsewhere."""
NAMELESS_SECONDS: Final = 0.6
"""How long a file that lost its name may get another: less than whoever has a line waits."""

_BLOCK = 1 << 20
_ROUNDS = 4

_log = logging.getLogger(__name__)


class SealedFile:
    """One file of an audit, while seals are added to it."""

    def __init__(self, file: OpenFile, lock: AuditLock, after: Seal | None = None) -> None:
        """Find out how far it is sealed.

        Args:
            file: the file.
            lock: the audit's.
            after: the newest seal, as it was made; ``None``: as the files have it.

        Raises:
            AuditError: it cannot be read or written.
        """
        self.file = file
        self._lock = lock
        with lock.held():
            size = self._healed(after)
        self._last = self._last_seal(size)
        standing = self._last.seal if self._last is not None else opening_of(file.descriptor)
        self.seal: Seal = after or standing or latest_seal(file.path) or FIRST
        """The newest seal."""
        self._go_on()

    def _go_on(self) -> None:
        self._first = self._hashed = self._last.end if self._last is not None else 0
        self._hash = self.seal.begin()

    def catch_up(self) -> None:
        """Hash what was written by now, a while before it is sealed."""
        for _ in range(_ROUNDS):
            with self._lock.held():  # a line that is under way may be taken back yet
                size = self.file.size()
            behind = size - self._hashed
            self._take_in(size)
            if behind < _BLOCK:
                return

    def add_seal(self, line: bytes = b"") -> Seal:
        """Seal all there is; with the audit's lock held.

        Args:
            line: another line that is written before, and sealed.

        Raises:
            AuditError: the seal could not be written; nothing of it is left.
        """
        if not self._stands():
            self._note_cut()
        size = self._healed(self.seal)
        if line:
            self.file.append(line, size)
            size = self.file.size()
        self._take_in(size)
        seal = Seal(self.seal.n + 1, self._hash.hexdigest())
        octets = seal_line(seal, self._first, size)
        self.file.append(octets, size)
        self.seal, self._last = seal, read_seal(octets, size)
        self._go_on()
        return seal

    def was_cut(self) -> bool:
        """Whether the file has become shorter."""
        return self.file.size() < self._hashed

    def _stands(self) -> bool:
        """Whether the file is the one that was sealed, as far as a look can tell; else it was cut, and may have grown.

        Raises:
            AuditError: it cannot be read.
        """
        last = self._last
        if self.was_cut():
            return False
        return last is None or read_seal(self._octets(last.start, last.end - last.start), last.start) == last

    def _note_cut(self) -> None:
        _log.error(
            "%s: was cut short while it is in use, by copytruncate perhaps: lines are lost that way, and `ldapmilter"
            " audit verify` will not pass this place; rotate it by renaming (docs/audit.md)",
            self.file.path,
        )
        self.file.append(
            CUT_START + b'"time":"%s","seal":%d}\n' % (_now().encode("ascii"), self.seal.n),
            self.file.size(),
            after=self.seal,
        )
        self._last = self._last_seal(self.file.size())
        self._go_on()

    def _healed(self, after: Seal | None) -> int:
        """End a line that a killed writer began, and begin a file that is empty; return the size."""
        self.file.append(b"", after=after)
        return self.file.size()

    def _take_in(self, size: int) -> None:
        while self._hashed < size:
            octets = self._octets(self._hashed, min(_BLOCK, size - self._hashed))
            if not octets:
                return  # cut meanwhile: found when it is sealed
            self._hash.update(octets)
            self._hashed += len(octets)

    def _octets(self, start: int, count: int) -> bytes:
        try:
            return read_at(self.file.descriptor, start, count)
        except OSError as error:
            message = f"{self.file.path}: the audit file cannot be read: {error.strerror}"
            raise AuditError(message) from error

    def _last_seal(self, size: int) -> SealLine | None:
        try:
            return last_seal_in(self.file.descriptor, size)
        except OSError as error:
            message = f"{self.file.path}: the audit file cannot be read: {error.strerror}"
            raise AuditError(message) from error


class Sealing:
    """The seals of one audit, whatever becomes of its files. For one thread."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is opened yet.

        Args:
            path: the file by its name.
            clock: seconds, monotonic.
        """
        self.path = path
        self._clock = clock
        self._lock = AuditLock(path)
        self._sealed: SealedFile | None = None
        self._next_seal = self._next_anchor = clock()
        self._nameless_since: float | None = None

    @property
    def newest(self) -> Seal | None:
        """The newest seal of the file that is followed; ``None``: there is none yet, or no file."""
        return self._sealed.seal if self._sealed is not None and self._sealed.seal is not FIRST else None

    def look(self, *, rotated: bool = False) -> Seal | None:
        """Do what is due; call it several times a second.

        Args:
            rotated: whoever rotates says that it is done: a file without a name gets no other one any more.

        Returns:
            a seal that is to be told elsewhere.

        Raises:
            AuditError: a file cannot be opened, read or written; what is due stays due.
        """
        try:
            self._follow(rotated=rotated)
            sealed = self._sealed
            if sealed is not None and (self._clock() >= self._next_seal or sealed.was_cut()):
                return self._seal(sealed)
            return None
        finally:
            self._lock.close()  # a process that is forked from this one must not keep it

    def finish(self) -> Seal | None:
        """Seal what there is, and let go.

        Raises:
            AuditError: as :meth:`look`.
        """
        try:
            self._follow()
            self._next_anchor = self._clock()
            return self._seal(self._sealed) if self._sealed is not None else None
        finally:
            self._lock.close()
            if self._sealed is not None:
                self._sealed.file.retire()
                self._sealed = None

    def _seal(self, sealed: SealedFile) -> Seal | None:
        now = self._clock()
        is_anchor = now >= self._next_anchor
        sealed.catch_up()
        with self._lock.held():
            seal = sealed.add_seal(_anchor_line() if is_anchor else b"")
        self._next_seal = now + SEAL_SECONDS
        if not is_anchor:
            return None
        self._next_anchor = now + ANCHOR_SECONDS
        _sync(sealed.file)  # what is told elsewhere must be here after a power cut
        return seal

    # -- rotation ---------------------------------------------------------------------------

    def _follow(self, *, rotated: bool = False) -> None:
        """Go on in the file that the name stands for."""
        if self._sealed is None:
            self._sealed = SealedFile(OpenFile(self.path), self._lock)
        elif self._is_moved(self._sealed.file, rotated=rotated):
            self._switch(self._sealed)

    def _is_moved(self, file: OpenFile, *, rotated: bool) -> bool:
        try:
            named = os.lstat(self.path)
        except OSError:
            now = self._clock()
            if self._nameless_since is None:
                self._nameless_since = now
            return rotated or now - self._nameless_since >= NAMELESS_SECONDS
        self._nameless_since = None
        return (named.st_dev, named.st_ino) != file.identity

    def _switch(self, old: SealedFile) -> None:
        """Seal the rest of the old file, unless somebody has gone on in the new one already."""
        new = OpenFile(self.path)
        try:
            old.catch_up()
            with self._lock.held():
                if not new.size():
                    old.add_seal()
                    new.append(b"", after=old.seal)
            self._sealed = SealedFile(new, self._lock, old.seal)
        except AuditError:
            new.retire()
            raise
        self._nameless_since = None
        _sync(old.file)
        old.file.retire()


def _sync(file: OpenFile) -> None:
    try:
        os.fdatasync(file.descriptor)
    except OSError as error:
        message = f"{file.path}: the seal may not have reached the disk: {error.strerror}"
        raise AuditError(message) from error


def _anchor_line() -> bytes:
    """Return a line that nobody can guess: what is sealed with it says nothing to whoever sees the seal alone."""
    line = {"event": "anchor", "time": _now(), "salt": secrets.token_hex(16)}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _now() -> str:
    return as_text(datetime.now(timezone.utc))
