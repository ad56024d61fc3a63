"""The audit file: whole lines from many processes and threads, on disk when it matters.

Every line is appended under the file's lock (flock), which belongs to an open file description: so
every process opens the file itself. A line that could not be written in full is taken back, so that
a full disk leaves no half line behind and the next line needs no restart. A writer that was killed
in mid-line can take nothing back: whoever comes next ends that line before its own.

The lines of all threads that wait are written in one go: every system call lets go of the
interpreter's lock, and getting it back costs more than the call.

The name is followed at every such write. Once it stands for another file, that file is written to, with
or without SIGHUP. Where it stands for nothing, a rotation is under way and may be about to make the
new file: the old one is used for a moment longer, then the new one is made here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ldapmilter.audit.open_file import Batch, OpenFile
from ldapmilter.audit.record import line
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LOCK_SECONDS = 5.0
"""How long a line may wait for others to finish theirs: a process stopped in mid-line holds them up."""
ROTATION_SECONDS = 1.0
"""How long a file that lost its name is still used before a new one is made."""

_ATTEMPTS = 20


class _Line:
    """One line that a thread wants written."""

    __slots__ = ("batch", "done", "durable", "file", "octets", "problem")

    def __init__(self, octets: bytes, *, durable: bool) -> None:
        self.octets = octets
        self.durable = durable
        self.done = False
        self.file: OpenFile | None = None
        """Where it stands; ``None``: nowhere."""
        self.batch: Batch | None = None
        """What brings it to disk, where it has to be there."""
        self.problem = "the audit line was not written"


class AuditFile:
    """The file that one process appends records to. Threads may share it; a fork opens it anew."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the file, or make it with mode 0600.

        Raises:
            AuditError: it cannot be opened, is no regular file, or somebody else may read it.
        """
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: deque[_Line] = deque()
        """What threads wait to have written."""
        self._nameless_since: float | None = None
        self._process = os.getpid()
        self._file = OpenFile(path)

    def write(self, record: Mapping[str, object], *, durable: bool) -> None:
        """Append one record as one line.

        Args:
            record: what :func:`ldapmilter.audit.record.record` returns.
            durable: return only when the line is on disk (fdatasync(2)); one sync serves the lines
                of all threads that were written before it began.

        Raises:
            AuditError: it could not be written in full (nothing of it is left then), or
                may not have reached the disk.
        """
        mine = _Line(line(record), durable=durable)
        deadline = time.monotonic() + LOCK_SECONDS
        self._lines.append(mine)
        try:
            with self._alone():
                if not mine.done:
                    self._write_lines(deadline)
        except AuditError:
            if self._withdrawn(mine):
                raise
        if mine.file is None:
            raise AuditError(mine.problem)
        if mine.batch is not None:
            mine.file.commit(mine.batch)

    def _write_lines(self, deadline: float) -> None:
        """Write the lines of all threads that wait, in one go: each step costs a turn at the interpreter's lock."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            file = self._append(b"".join(one.octets for one in lines), deadline)
            for one in lines:
                one.file, one.batch = file, file.join() if one.durable else None
        except AuditError as error:
            for one in lines:
                one.problem = str(error)
        finally:
            for one in lines:
                one.done = True

    def _withdrawn(self, mine: _Line) -> bool:
        """Take back a line whose turn did not come; ``False`` when another thread wrote it in the end."""
        with contextlib.suppress(ValueError):
            self._lines.remove(mine)
        return not mine.done

    def reopen(self) -> None:
        """Open the file by its name again, after a rotation (SIGHUP).

        Lines being written go to the old file or the new one, whole.

        Raises:
            AuditError: as when it is made; the old file stays in use.
        """
        with self._alone():
            self._replace()

    def close(self) -> None:
        """Close the file; write no more."""
        with self._alone():
            self._file.retire()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other threads of this process out, which share the file's lock."""
        # One may wait for the file's lock at most as long as this, one after the other.
        if not self._lock.acquire(timeout=2 * LOCK_SECONDS):
            message = f"{self.path}: the audit file is busy: another thread is not getting its line written"
            raise AuditError(message)
        try:
            yield
        finally:
            self._lock.release()

    def _append(self, octets: bytes, deadline: float) -> OpenFile:
        if self._process != os.getpid():
            # After a fork: the lock of an inherited descriptor would keep nobody out.
            self._process = os.getpid()
            self._replace(anew=True)
        for _ in range(_ATTEMPTS):
            file = self._file
            with file.locked(deadline):
                moved, size = self._look(file)
                if not moved and file.append(octets, size):
                    return file
            # Rotated, or removed (even while the line was being written: that line is lost with it).
            self._replace()
        message = f"{self.path}: the audit file is replaced again and again; something beside ldapmilter writes there"
        raise AuditError(message)

    def _look(self, file: OpenFile) -> tuple[bool, int | None]:
        """Return whether another file is to be written to (see the module's text), and the size where it is known."""
        try:
            named = os.lstat(self.path)
        except OSError:
            now = self._clock()
            if self._nameless_since is None:
                self._nameless_since = now
            return file.is_removed() or now - self._nameless_since >= ROTATION_SECONDS, None
        self._nameless_since = None
        return (named.st_dev, named.st_ino) != file.identity, named.st_size

    def _replace(self, *, anew: bool = False) -> None:
        file = OpenFile(self.path)
        self._nameless_since = None
        if file.identity == self._file.identity and not anew:
            file.retire()
            return
        self._file.retire()
        self._file = file
