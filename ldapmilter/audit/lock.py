"""The lock between the writers of one audit, in any process.

It is a file of its own beside the audit: readers and backup programs that lock the audit itself do not
stop the writers. It stays the same when the audit is rotated.

A writer waits for it as it waits for the disk: without a bound, in the thread that writes. The disk of its
holder may be stalled, and a line given up meanwhile would be lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_ATTEMPTS = 20


def lock_file(audit: Path) -> Path:
    """Return where the lock of an audit file lies: not under a name that a rotated file could have."""
    return audit.with_name(f".{audit.name}.lock")


class AuditLock:
    """The lock, for one thread at a time. Make one in each process: a fork's copy excludes no other process."""

    def __init__(self, audit: Path) -> None:
        """Prepare; nothing is opened yet."""
        self.path = lock_file(audit)
        self.is_awaited = False
        """Whether another process has it, and this one waits."""
        self._descriptor = -1
        self._identity = (0, 0)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the other processes out.

        Raises:
            AuditError: it cannot be opened.
        """
        self.take()
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Let the other processes in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def take(self) -> None:
        """Keep the other processes out, until :meth:`leave`.

        Raises:
            AuditError: it cannot be opened.
        """
        for _ in range(_ATTEMPTS):
            try:
                if self._descriptor < 0:
                    self._descriptor = os.open(self.path, _FLAGS, 0o600)
                    self._identity = _identity(os.fstat(self._descriptor))
                self._wait_for_it()
                if self._is_the_one_of_that_name():
                    return
            except OSError as error:
                self.close()
                message = (
                    f"{self.path}: the lock of the audit file cannot be used: {error.strerror}; it and its directory"
                    " have to belong to the user that the daemon runs as, which is that of the service"
                )
                raise AuditError(message) from error
            self.close()  # it was removed or replaced: others may have another one by now
        message = f"{self.path}: is replaced again and again; something beside ldapmilter is at work there"
        raise AuditError(message)

    def _wait_for_it(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.is_awaited = True
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            finally:
                self.is_awaited = False

    def _is_the_one_of_that_name(self) -> bool:
        try:
            return _identity(os.lstat(self.path)) == self._identity
        except FileNotFoundError:
            return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def no_line_under_way(audit: Path, seconds: float) -> Iterator[None]:
    """Exclude writers while the file's size is read, if that can be had within so many seconds.

    For this moment only: no reader may hold the daemon up.
    """
    try:
        descriptor = os.open(lock_file(audit), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield  # no daemon has written here: a copy of the files, perhaps
        return
    try:
        with contextlib.suppress(OSError):
            _lock_for_reading(descriptor, time.monotonic() + seconds)
        yield
    finally:
        os.close(descriptor)


def _lock_for_reading(descriptor: int, deadline: float) -> None:
    """Lock a file, or give up when others have it until the deadline (monotonic, seconds)."""
    pause = 0.0001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(pause)
            pause = min(2 * pause, 0.005)
        else:
            return
