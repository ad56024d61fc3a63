"""The audit file: whole lines from many processes and threads, on disk when it matters, and no wait without a bound.

A disk that has stalled lets no system call return. So one thread of the process writes and another
brings to disk; whoever has a line waits for them, and no longer than the message may wait. Lines that
wait are bounded, in number and octets, not in time: they are written when the disk answers. Another process
that has the audit's lock, because its own disk does not answer, is waited for in the same way.

Every line is appended under the audit's lock, with all others that wait. A line that could not be written
in full is taken back, so that a full disk leaves no half line behind and the next line needs no restart. A
writer that was killed in mid-line can take nothing back: whoever comes next ends that line before its own.
A line that stands there although its message was told to wait in the end (the disk was too slow, or
reported an error) is taken back by a second one.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ldapmilter.audit.batch_thread import BatchThread
from ldapmilter.audit.followed_file import FollowedFile
from ldapmilter.audit.lock import AuditLock
from ldapmilter.audit.record import line, taken_back
from ldapmilter.audit.waiting_line import WaitingLine
from ldapmilter.errors import AuditError, AuditStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

PATIENCE = 1.0
"""For how many seconds a line waits that need not be on disk; once the disk owes an answer for longer, not at all."""
STALLED_SECONDS = 3.0
"""After how many seconds without an answer the disk is said to be stalled."""
OPEN_SECONDS = 5.0
"""How long it may take to open the file."""
LAST_LINES_SECONDS = 2.0
"""How long lines that wait may take at the end."""
WAITING_LINES = 10_000
WAITING_OCTETS = 64 * 1024 * 1024
"""What may wait to be written, or to be on disk; past it a line is not taken."""


class AuditFile:
    """The file that one process appends records to, whatever its threads.

    It is opened when it is first needed. Make one in each process: a fork's copy has no threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        lost: Callable[[AuditError], None] = lambda _error: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is opened yet, and nothing can hang.

        Args:
            path: the file; made with mode 0600 where there is none.
            lost: told, from another thread, of each line that no caller waited for any more and that
                could not be written in the end.
            clock: tells how long a rotation has been going on.
        """
        self.path = path
        self._lost = lost
        self._lock = AuditLock(path)
        self._file = FollowedFile(path, self._lock, clock)
        self._writing: BatchThread[WaitingLine] = BatchThread("audit-write", self._write_waiting, self._let_go)
        self._mutex = threading.Lock()
        """Over what is known of lines."""
        self._lines = self._octets = 0
        """What waits to be written or to be on disk."""

    # -- for whoever has a record -----------------------------------------------------------

    def write(self, record: Mapping[str, object], *, durable: bool, seconds: float = 10.0) -> None:
        """Append one record as one line.

        Args:
            record: what :func:`ldapmilter.audit.record.record` returns.
            durable: return only when the line is on disk (fdatasync(2)). Else it is handed to the
                kernel; while the disk is stalled it may wait in memory, and this returns at once.
            seconds: how long to wait at most.

        Raises:
            AuditError: it could not be written in full (nothing of it is left then); or it had to be on
                disk, and may not be: should it stand there all the same, another line takes it back.
            AuditStalled: because the disk did not answer in time.
        """
        mine = WaitingLine(line(record), durable=durable)
        self._take_in(mine, seconds)
        problem = self._outcome(mine, record, seconds if durable else min(seconds, self._patience()))
        if problem is not None:
            raise problem

    def write_all(self, records: Sequence[Mapping[str, object]], *, seconds: float) -> list[AuditError | None]:
        """Append several records, each as one line, and return when all are on disk: one step for all of them.

        Args:
            records: as :meth:`write` takes them.
            seconds: how long to wait at most.

        Returns:
            for each record ``None``, or what :meth:`write` would raise for it.
        """
        until = time.monotonic() + seconds
        waiting: list[WaitingLine | AuditError] = []
        for record in records:
            mine = WaitingLine(line(record), durable=True)
            try:
                self._take_in(mine, seconds)
            except AuditError as error:
                waiting.append(error)
            else:
                waiting.append(mine)
        return [
            self._outcome(mine, record, max(0.0, until - time.monotonic())) if isinstance(mine, WaitingLine) else mine
            for mine, record in zip(waiting, records, strict=True)
        ]

    def _outcome(self, mine: WaitingLine, record: Mapping[str, object], seconds: float) -> AuditError | None:
        """Wait for a line; return what is wrong with it. One that may stand there all the same is taken back."""
        in_time = mine.finished.acquire(timeout=seconds)
        problem, in_doubt = (mine.problem, mine.stands) if in_time else self._give_up(mine)
        if problem is None:
            return None
        if in_doubt:
            self._writing.put(WaitingLine(line(taken_back(record, time=datetime.now(timezone.utc))), takes_back=mine))
        return AuditError(problem) if in_time else AuditStalled(problem)

    def open(self, seconds: float = OPEN_SECONDS) -> None:
        """Open the file by its name, again where it was open: after a rotation (SIGHUP), or to see whether it can be.

        Lines being written go to the old file or the new one, whole.

        Raises:
            AuditError: it cannot be opened, is no regular file, or others may read it; one that
                was open stays in use.
            AuditStalled: the disk did not answer in time.
        """
        self._ask(WaitingLine(b"", durable=True), seconds)

    def try_out(self, seconds: float) -> None:
        """Find out whether lines can be written and brought to disk, without one.

        Raises:
            AuditError: they cannot.
        """
        self._ask(WaitingLine(b"", durable=True, is_trial=True), seconds)

    def _ask(self, asked: WaitingLine, seconds: float) -> None:
        self._writing.put(asked)
        in_time = asked.finished.acquire(timeout=seconds)
        problem = asked.problem if in_time else self._give_up(asked)[0]
        if problem is not None:
            raise AuditError(problem) if in_time else AuditStalled(problem)

    def close(self, seconds: float = LAST_LINES_SECONDS) -> None:
        """Write what waits and close the file.

        Raises:
            AuditError: the disk did not take what waits within so many seconds.
        """
        self._writing.end()
        if not self._writing.join(seconds):
            message = f"{self._no_answer()}; {self._lines} audit lines are lost, if it does not in the end"
            raise AuditError(message)

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to; one that could not be opened is tried again whenever it is needed."""
        return self._file.is_open

    def stall(self) -> str | None:
        """Say that the disk is stalled, and since when; ``None`` when it is not."""
        return self._no_answer() if self._busiest().busy_for() > STALLED_SECONDS else None

    # -- what waits -------------------------------------------------------------------------

    def _take_in(self, mine: WaitingLine, seconds: float) -> None:
        """Let a line wait for its turn, if there is room and hope.

        Raises:
            AuditError: there is none.
        """
        with self._mutex:
            octets = self._octets + len(mine.octets)
            if self._lines >= WAITING_LINES or (self._lines and octets > WAITING_OCTETS):
                message = f"{self._no_answer()}, and no more lines can wait for it"
                raise AuditStalled(message)
            if mine.durable and self._busiest().busy_for() >= seconds:
                raise AuditStalled(self._no_answer())
            self._lines, self._octets = self._lines + 1, octets
        self._writing.put(mine)

    def _give_up(self, mine: WaitingLine) -> tuple[str | None, bool]:
        """Wait for a line no longer: one that has to be on disk is not written at all, if that can be had.

        Returns:
            what is wrong for whoever waited, if anything; and whether the line may stand there all the same.
        """
        withdrawn = mine.durable and self._writing.withdraw(mine)
        with self._mutex:
            if mine.settled:  # just now
                return mine.problem, mine.stands
            mine.given_up = True
            if not mine.durable:
                return None, False  # it waits for its turn
            if withdrawn:
                self._forget(mine)
            return self._no_answer(), not withdrawn

    def _settle(self, lines: Iterable[WaitingLine], problem: str | None) -> None:
        """Note what became of lines, and let whoever waits go on."""
        for one in lines:
            with self._mutex:
                one.problem = problem
                self._forget(one)
                unheard = (one.given_up and not one.durable) or one.takes_back is not None
            if problem is not None and unheard:
                self._lost(AuditError(problem))
            one.finished.release()

    def _forget(self, one: WaitingLine) -> None:
        one.settled = True
        if one.counts:
            self._lines, self._octets = self._lines - 1, self._octets - len(one.octets)

    # -- a disk that is stalled --------------------------------------------------------------

    def _busiest(self) -> BatchThread[Any]:
        """Return the thread for which the disk has owed an answer for longest."""
        syncing = self._file.syncing
        threads: list[BatchThread[Any]] = [self._writing, *([syncing] if syncing is not None else [])]
        return max(threads, key=BatchThread.busy_for)

    def _patience(self) -> float:
        """Return for how many seconds a line waits that need not be on disk."""
        return 0.0 if self._writing.busy_for() > PATIENCE else PATIENCE

    def _no_answer(self) -> str:
        """Say since when the disk has owed an answer, in the same words as long as that lasts.

        To the minute: to the second it would name the message whose line it was, which may have a legal copy.
        """
        busiest = self._busiest()
        if busiest.busy_for() <= PATIENCE:
            return f"{self.path}: the disk takes too long"
        since = datetime.fromtimestamp(busiest.busy_since()).astimezone().isoformat(" ", "minutes")
        if busiest is self._writing and self._lock.is_awaited:
            return f"{self._lock.path}: another process, stopped or waiting for the disk, has kept it since {since}"
        return f"{self.path}: the disk has not answered since {since}"

    # -- the thread that writes --------------------------------------------------------------

    def _write_waiting(self, waiting: list[WaitingLine]) -> None:
        """Write the lines of all threads that wait, in one go: each step costs a turn at the interpreter's lock."""
        lines = [one for one in waiting if one.is_wanted]
        later: list[WaitingLine] = []
        problem: str | None = f"{self.path}: the audit line was not written"
        try:
            self._open_anew([one for one in waiting if not one.octets])
            if lines:
                file = self._file.append(b"".join(one.octets for one in lines))
                for one in lines:
                    one.stands = True
                if durable := [one for one in lines if one.durable]:
                    file.bring_to_disk(lambda problem: self._settle(durable, problem))
                    later = durable
            problem = None
        except AuditError as error:
            problem = str(error)
        finally:
            self._settle([one for one in waiting if one.octets and not (one.durable and later)], problem)

    def _open_anew(self, asked: list[WaitingLine]) -> None:
        if not asked:
            return
        later: list[WaitingLine] = []
        problem: str | None = f"{self.path}: the audit file was not opened"
        try:
            file = self._file.open_anew()
            if trials := [one for one in asked if one.is_trial]:
                file.check_room()
                file.bring_to_disk(lambda problem: self._settle(trials, problem))
                later = trials
            problem = None
        except AuditError as error:
            problem = str(error)
        finally:
            self._settle([one for one in asked if not (one.is_trial and later)], problem)

    def _let_go(self) -> None:
        self._file.let_go()
        self._lock.close()
