"""One open audit file, by its descriptor: whole lines under its lock, and on disk when asked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Batch:
    """Lines that one sync brings to disk, all or none."""

    __slots__ = ("done", "problem")

    def __init__(self) -> None:
        self.done = False
        self.problem: str | None = None


class OpenFile:
    """One file, by its descriptor, whatever its name is by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._retired = False
        self._end = -1
        """Where the last line of this process ended: where nobody else has written since, nothing has to be healed."""
        self._waiting = 0
        """How many threads wait for their line to be on disk: it stays open for them."""
        self._batch = Batch()
        """What the next sync brings to disk."""
        self._syncing = False
        self._synced = threading.Condition()
        try:
            self._descriptor = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise AuditError(_cannot_open(path, error)) from error
        try:
            self.identity = self._checked()
            _sync_directory(path)
        except BaseException:
            self.retire()
            raise

    def _checked(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            message = f"{self.path}: is no regular file; [audit] file has to name one"
            raise AuditError(message)
        if found.st_uid != os.geteuid():
            message = (
                f"{self.path}: belongs to user {found.st_uid}, who may read it;"
                f" the daemon runs as user {os.geteuid()} (chown {os.geteuid()} {self.path})"
            )
            raise AuditError(message)
        if found.st_mode & _OTHERS:
            message = (
                f"{self.path}: others may read or write it (mode {stat.S_IMODE(found.st_mode):04o}), and it names"
                f" legal copies; allowed is mode 0600 (chmod 0600 {self.path})"
            )
            raise AuditError(message)
        return found.st_dev, found.st_ino

    @contextlib.contextmanager
    def locked(self, deadline: float) -> Iterator[None]:
        """Keep the other processes out, or give up at the deadline (monotonic, seconds)."""
        try:
            mine = lock(self._descriptor, fcntl.LOCK_EX, deadline)
        except OSError as error:
            message = f"{self.path}: the audit file cannot be locked: {error.strerror}"
            raise AuditError(message) from error
        if not mine:
            message = f"{self.path}: the audit file stays locked by another process; is one of them stopped?"
            raise AuditError(message)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def is_removed(self) -> bool:
        """Whether no name leads to the file any more: what stands in it is lost."""
        return os.fstat(self._descriptor).st_nlink == 0

    def append(self, octets: bytes, size: int | None = None) -> bool:
        """Append all of the octets, or nothing. Call with the lock held.

        Args:
            octets: whole lines.
            size: how large the file is, where that is known already.

        Returns:
            whether a name still leads to the file; else what stands in it is lost.

        Raises:
            AuditError: they could not be written in full; nothing of them is left.
        """
        try:
            if size is None:
                size = os.fstat(self._descriptor).st_size
            if size and size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
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

    def join(self) -> Batch:
        """Return the batch of the lines written until now; a commit has to follow."""
        with self._synced:
            self._waiting += 1
            return self._batch

    def commit(self, batch: Batch) -> None:
        """Return when the lines of a batch are on disk.

        Whoever finds no sync under way does it for everybody whose line is written by then. A sync
        that fails fails them all: the kernel reports such an error once, and the next sync would
        succeed without them.
        """
        with self._synced:
            self._synced.wait_for(lambda: batch.done or not self._syncing)
            leads = not batch.done  # then nobody has closed the batch: it is the open one
            if leads:
                self._syncing = True
                self._batch = Batch()
        if leads:
            self._sync(batch)
        with self._synced:
            self._waiting -= 1
            self._close_when_done()
        if batch.problem is not None:
            message = f"{self.path}: the audit line may not have reached the disk: {batch.problem}"
            raise AuditError(message)

    def _sync(self, batch: Batch) -> None:
        problem: str | None = "interrupted"
        try:
            os.fdatasync(self._descriptor)
            problem = None
        except OSError as error:
            problem = _why(error)
        finally:
            with self._synced:
                batch.done, batch.problem, self._syncing = True, problem, False
                self._synced.notify_all()

    def retire(self) -> None:
        """Close the file as soon as nobody waits for a line in it to be on disk."""
        with self._synced:
            self._retired = True
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._retired and not self._waiting and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock(descriptor: int, operation: int, deadline: float) -> bool:
    """Lock a file; ``False`` when others have it until the deadline (monotonic, seconds)."""
    pause = 0.0001
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.005)
        else:
            return True


def _sync_directory(path: Path) -> None:
    """Make the name last, too: a file may be on disk and its name not."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
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
    remedy = {
        errno.ENOSPC: "make room on that file system",
        errno.EDQUOT: "raise the quota of the daemon's user",
        errno.EFBIG: "raise the limit of the file size (ulimit -f, LimitFSIZE)",
    }.get(error.errno or 0)
    return f"{error.strerror}; {remedy}" if remedy else str(error.strerror)
