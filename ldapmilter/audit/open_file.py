"""One open audit file, by its descriptor: whole lines, and on disk when asked.

Bringing lines to disk has a thread of its own: a line that need not be on disk does not
wait for fdatasync(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ldapmilter.audit.batch_thread import BatchThread
from ldapmilter.audit.seals import FIRST, latest_seal, open_line
from ldapmilter.durable import sync_directory
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ldapmilter.audit.seals import Seal

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_LINE_OCTETS = 4096
_NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EACCES, errno.EPERM}
"""How open(2) says that the file system, or the kernel, has no ``O_TMPFILE``, or that it is not for us."""
_ROOM_REMEDIES = {
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "raise the quota of the daemon's user",
    errno.EFBIG: "raise the limit of the file size (ulimit -f, LimitFSIZE)",
}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class OpenFile:
    """One file, by its descriptor, whatever its name is by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = -1
        """Where the last line of this process ended: if no other process has written since, that line is whole."""
        self.syncing: BatchThread[Callable[[str | None], None]] = BatchThread("audit-sync", self._sync, self._close)
        try:
            self._descriptor = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise AuditError(_cannot_open(path, error)) from error
        try:
            self.identity = self._checked()
            _sync_name(path)
        except BaseException:
            self._close()
            raise

    def _checked(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            message = f"{self.path}: is no regular file; [audit] file has to name one"
            raise AuditError(message)
        if found.st_uid != os.geteuid():
            message = (
                f"{self.path}: belongs to user {found.st_uid}, who may read it, and this daemon runs as user"
                f" {os.geteuid()}: start it as the user that the file belongs to, as the service does,"
                " or give it an [audit] file of its own"
            )
            raise AuditError(message)
        if found.st_mode & _OTHERS:
            message = (
                f"{self.path}: others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}), and it names"
                f" legal copies; allowed is mode 0600 (chmod 0600 {self.path})"
            )
            raise AuditError(message)
        return found.st_dev, found.st_ino

    def is_removed(self) -> bool:
        """Whether no name leads to the file any more: what stands in it is lost."""
        return os.fstat(self._descriptor).st_nlink == 0

    @property
    def descriptor(self) -> int:
        """The descriptor, to read by."""
        return self._descriptor

    def size(self) -> int:
        """Return how large the file is.

        Raises:
            AuditError: the disk is broken.
        """
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            message = f"{self.path}: the audit file cannot be looked at: {_why(error)}"
            raise AuditError(message) from error

    def append(self, octets: bytes, size: int | None = None, *, after: Seal | None = None) -> bool:
        """Append all of the octets, or nothing. Call with the audit's lock held.

        A file that is empty gets its first line besides: after which seal it goes on.

        Args:
            octets: whole lines.
            size: how large the file is, where that is known already.
            after: that seal, where it is known already.

        Returns:
            whether a name still leads to the file; else what stands in it is lost.

        Raises:
            AuditError: they could not be written in full; nothing of them is left.
        """
        try:
            if size is None:
                size = os.fstat(self._descriptor).st_size
            if not size:
                octets = open_line(after or latest_seal(self.path) or FIRST) + octets
            elif size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
                octets = b"\n" + octets  # a writer was killed in mid-line
            try:
                left = memoryview(octets)
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except BaseException:
                self._end = -1
                with contextlib.suppress(OSError):  # append-only inode (chattr +a): the next line heals it
                    os.ftruncate(self._descriptor, size)
                raise
            self._end = size + len(octets)
            return not self.is_removed()
        except OSError as error:
            message = f"{self.path}: the audit line cannot be written: {_why(error)}"
            raise AuditError(message) from error

    def check_room(self) -> None:
        """See whether a line could be appended, without one.

        As much is written to a file without a name in the same directory, as far from its start. Where the
        file system knows no such files, nothing is found out.

        Raises:
            AuditError: it cannot be: there is no room, or the disk is broken.
        """
        try:
            trial = os.open(self.path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.lseek(trial, os.fstat(self._descriptor).st_size, os.SEEK_SET)
                if os.write(trial, bytes(_LINE_OCTETS)) < _LINE_OCTETS:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(trial)
        except OSError as error:
            if error.errno not in _NO_NAMELESS_FILES:
                message = f"{self.path}: audit lines cannot be written: {_why(error)}"
                raise AuditError(message) from error

    def bring_to_disk(self, tell: Callable[[str | None], None]) -> None:
        """Have all that was written until now brought to disk; returns at once.

        One sync serves all that was written before it began. One that fails fails them all: the kernel
        reports such an error once, and the next sync would succeed without them.

        Args:
            tell: called from another thread, with why it may not be there, or ``None``.
        """
        self.syncing.put(tell)

    def retire(self) -> None:
        """Close the file as soon as what waits for the disk is there; returns at once."""
        self.syncing.end()

    def _sync(self, waiting: list[Callable[[str | None], None]]) -> None:
        problem: str | None = "interrupted"
        try:
            os.fdatasync(self._descriptor)
            problem = None
        except OSError as error:
            problem = f"{self.path}: the audit line may not have reached the disk: {_why(error)}"
        finally:
            for tell in waiting:
                tell(problem)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _sync_name(path: Path) -> None:
    """Make the name last, too: a file may be on disk and its name not."""
    try:
        sync_directory(path.parent)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync directories
            message = f"{path.parent}: the directory of the audit file cannot be read and synced: {_why(error)}"
            raise AuditError(message) from error


def _cannot_open(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{path}: is a symbolic link; [audit] file has to name the file itself"
    if error.errno == errno.EISDIR:
        return f"{path}: is a directory; [audit] file has to name a file in it"
    remedy = ""
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
        remedy = (
            f"; it has to lie in a directory of the daemon's user"
            f" (install -d -m 0700 -o USER {path.parent}); [audit] file = (empty) keeps no audit"
        )
    return f"{path}: the audit file cannot be opened: {error.strerror}{remedy}"


def _why(error: OSError) -> str:
    remedy = _ROOM_REMEDIES.get(error.errno or 0)
    return f"{error.strerror}; {remedy}" if remedy else str(error.strerror)
