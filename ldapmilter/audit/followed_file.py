"""The file that the audit's name stands for, whoever rotates it.

The name is followed at every write. Once it stands for another file, that file is written to, with
or without SIGHUP. Where it stands for nothing, a rotation is under way and may be about to make the
new file: the old one is used for a moment longer, then the new one is made here. So it is where the new file
is empty: the process that seals the audit ends the old file and begins the new one (:mod:`.sealing`).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ldapmilter.audit.open_file import OpenFile
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ldapmilter.audit.batch_thread import BatchThread
    from ldapmilter.audit.lock import AuditLock

ROTATION_SECONDS = 1.0
"""How long a file that lost its name is still used before a new one is made, or an empty one begun."""

_ATTEMPTS = 20
_MODE = 0o600


class FollowedFile:
    """The file to write to, found by its name; used by the one thread that writes."""

    def __init__(self, path: Path, lock: AuditLock, clock: Callable[[], float]) -> None:
        """Prepare; nothing is opened yet.

        Args:
            path: the name; the file is made with mode 0600 where there is none.
            lock: the audit's lock, which is held for each write.
            clock: tells how long a rotation has been going on, in seconds.
        """
        self._path = path
        self._lock = lock
        self._clock = clock
        self._file: OpenFile | None = None
        self._rotating_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._file is not None

    @property
    def syncing(self) -> BatchThread[Callable[[str | None], None]] | None:
        """The thread that brings the file to disk; ``None``: none is open. For any thread."""
        file = self._file
        return file.syncing if file is not None else None

    def append(self, octets: bytes) -> OpenFile:
        """Append whole lines, all of them or nothing, to the file that the name stands for.

        Returns:
            the file that they stand in.

        Raises:
            AuditError: they could not be written in full; nothing of them is left.
        """
        for _ in range(_ATTEMPTS):
            file = self._file
            if file is not None:
                self._lock.take()
                try:
                    moved, size = self._look(file)
                    if not moved and file.append(octets, size):
                        return file
                finally:
                    self._lock.leave()
            # Rotated, or removed (even while the line was being written: that line is lost with it).
            self.open_anew()
        message = f"{self._path}: the audit file is replaced again and again; something beside ldapmilter writes there"
        raise AuditError(message)

    def open_anew(self) -> OpenFile:
        """Open the file by its name; one that was open by the same name stays in use.

        Raises:
            AuditError: it cannot be opened; what was open stays in use.
        """
        file, before = OpenFile(self._path), self._file
        self._rotating_since = None
        if before is not None and file.identity == before.identity:
            file.retire()
            return before
        self._file = file
        if before is not None:
            before.retire()
        return file

    def let_go(self) -> None:
        """Close what is open, as soon as what waits for the disk is there."""
        file, self._file = self._file, None
        if file is not None:
            file.retire()

    def _look(self, file: OpenFile) -> tuple[bool, int | None]:
        """Return whether another file is to be written to (see the module's text), and the size where it is known."""
        try:
            named = os.lstat(self._path)
        except OSError:
            return self._is_over(file), None
        if (named.st_dev, named.st_ino) == file.identity:
            self._rotating_since = None
            return False, named.st_size
        return not _is_to_be_begun(named) or self._is_over(file), None

    def _is_over(self, file: OpenFile) -> bool:
        """Whether a rotation that is under way has been waited for long enough."""
        now = self._clock()
        if self._rotating_since is None:
            self._rotating_since = now
        return file.is_removed() or now - self._rotating_since >= ROTATION_SECONDS


def _is_to_be_begun(found: os.stat_result) -> bool:
    """Whether a file is one that rotation has made for us, and nobody has written to."""
    return found.st_size == 0 and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == _MODE
