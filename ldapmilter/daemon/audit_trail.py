"""The audit of one worker: every line is written or known to be missing, and the log says which.

The log says so once a minute, and not when a message needs the audit: beside the line of that message
it would tell that there is a legal copy. That lines can be written again is found out without a message:
a worker may get none that needs the audit for long.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.sole import refuse_anothers
from ldapmilter.errors import AuditError, AuditStalled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ldapmilter.config import Config
    from ldapmilter.daemon.tally import Tally

_log = logging.getLogger(__name__)

_OPEN_SECONDS = 0.5
"""For which a worker waits for its audit file to be opened; mail that needs no audit goes on without."""
_REOPEN_SECONDS = 5.0
"""For which a reload waits for the same file to be opened anew; a disk that stalls does not hold it up."""


def try_audit(config: Config) -> None:
    """See whether the audit file that a configuration names, if any, can be opened; that takes seconds at most.

    Raises:
        AuditError: it cannot, another user may read it, or another daemon writes it.
    """
    if config.audit is None:
        return
    refuse_anothers(config.audit)
    audit = AuditFile(config.audit)
    try:
        audit.open()
    finally:
        with contextlib.suppress(AuditError):
            audit.close()


class AuditTrail:
    """The audit file that the configuration in force names, if any, and what went wrong with it."""

    def __init__(self, config: Config, tally: Tally) -> None:
        """Open it; to be made in the process that serves, whose threads write it.

        An audit file that cannot be opened stops the daemon's start, but not a worker that takes
        another one's place: mail that needs no audit goes on.
        """
        self._tally = tally
        self._file = self._file_of(config)
        self._problem: str | None = None
        """Why the last line could not be written."""
        self._stalled: str | None = None
        """That the disk did not answer a line in time since the last full minute."""
        self._lines_lost = 0
        """How many lines could not be written of mail that went on, since the last full minute."""
        self._lock = threading.Lock()
        self._failed = False
        """Whether a line could not be written since the audit was last tried."""
        self.fails = False
        """Whether it could not be written at the last full minute, nor since."""
        self._try_to_open()

    @property
    def is_kept(self) -> bool:
        """Whether there is an audit."""
        return self._file is not None

    def write(self, record: Mapping[str, Any], *, durable: bool, seconds: float) -> None:
        """Write a line, if there is an audit.

        Args:
            record: the line.
            durable: whether it has to be on disk before the message goes on.
            seconds: how long a durable line may take.

        Raises:
            AuditError: a durable line could not be written; others are counted as lost.
        """
        file = self._file
        if file is None:
            return
        try:
            file.write(record, durable=durable, seconds=seconds)
        except AuditError as error:
            if durable:
                self._note_failure(error)
                raise
            self._lose(error)
        else:
            self._problem = None

    def follow(self, before: Config, config: Config) -> None:
        """Open the file of another configuration, or the same anew after its rotation.

        Raises:
            AuditError: it cannot be opened; the previous file stays open.
        """
        if self._file is not None and config.audit == before.audit:
            try:
                self._file.open(_REOPEN_SECONDS)
            except AuditStalled as error:
                # Each line follows the name. To refuse would have this worker replaced, and its lines lost.
                self._stalled = str(error)
                return
        else:
            new = self._file_of(config)
            if new is not None:
                new.open()
            old, self._file = self._file, new
            _close(old)
        self._problem, self._stalled, self.fails = None, None, False

    def look(self) -> None:
        """Say that the audit cannot be written; for every minute."""
        self._try_to_open()
        stalled, self._stalled = self._stalled, None
        problem = (self._file.stall() if self._file is not None else None) or stalled or self._problem
        if problem is not None:
            _log.error("the audit cannot be written, so mail that needs it is deferred: %s", problem)
            self.fails = True
        with self._lock:
            lost, self._lines_lost = self._lines_lost, 0
        if lost:
            _log.error("%d lines of mail that went on are missing in the audit: they could not be written", lost)

    def try_again(self) -> None:
        """Say that the audit can be written again, once it can; for every few seconds, with or without mail."""
        failed, self._failed = self._failed, False
        if self._file is None or not self.fails or failed or self._file.stall() is not None:
            return
        try:
            self._file.try_out(_OPEN_SECONDS)
        except AuditError as error:
            self._problem = str(error)
        else:
            self._problem, self._stalled, self.fails = None, None, False
            _log.warning("the audit can be written again")

    def close(self) -> None:
        """Let go of the file as soon as what waits for it is written."""
        _close(self._file)

    def _file_of(self, config: Config) -> AuditFile | None:
        return AuditFile(config.audit, lost=self._lose) if config.audit is not None else None

    def _try_to_open(self) -> None:
        """Open the file if it is not open yet."""
        if self._file is not None and not self._file.is_open:
            try:
                self._file.open(_OPEN_SECONDS)
            except AuditError as error:
                self._problem = str(error)
            else:
                self._problem = None

    def _note_failure(self, error: AuditError) -> None:
        self._tally.happened("audit_failures")
        self._failed = True
        if isinstance(error, AuditStalled):
            self._stalled = str(error)
        else:
            self._problem = str(error)

    def _lose(self, error: AuditError) -> None:
        """Take note of a line that is missing, of mail that went on; also called by the audit's own thread."""
        self._note_failure(error)
        with self._lock:
            self._lines_lost += 1


def _close(audit: AuditFile | None) -> None:
    if audit is not None:
        try:
            audit.close()
        except AuditError as error:
            _log.error("%s", error)
