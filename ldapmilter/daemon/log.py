"""Where log lines go, and a writer that no callback ever waits for.

A line is written whole, in one system call, so that the lines of several processes never mix. Under
systemd a line carries its priority (sd-daemon(3)); syslog gets the facility ``mail``. Both add the time;
a terminal, or a file of a supervisor, does not, so a line has time and severity of its own there.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import Literal

from ldapmilter.daemon import syslog
from ldapmilter.daemon.log_lines import lines_of
from ldapmilter.errors import LdapmilterError

LogTarget = Literal["stderr", "syslog"]

_WAITING_LINES = 10_000
"""Lines that may wait to be written; past it they are dropped and counted."""
_GATHERING = 0.05
"""Seconds in which lines gather before the writer looks for them again."""
_LAST_WORDS = 1.0
"""Seconds to write what is waiting at the end."""


class CannotLog(LdapmilterError):
    """The log cannot be written to; the text says why."""


def log_to(target: LogTarget, *, verbose: bool = False) -> None:
    """Send this process's log somewhere, at once and line by line; a start begins with this.

    Raises:
        CannotLog: there is no such log here now.
    """
    # Threads belong to libmilter, and naming them costs a third of the throughput. Nothing else that
    # logging finds out about each line is written either.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the switch that the logging HOWTO names
    handler = _handler(target)
    if isinstance(handler, syslog.Syslog):
        try:
            handler.connect()
        except OSError as error:
            message = (
                f"cannot log to syslog at {syslog.PLACE}: {error.strerror or error}; "
                "start the syslog daemon, or run with --log stderr"
            )
            raise CannotLog(message) from error
    _take_over(handler, logging.DEBUG if verbose else logging.INFO)


def _handler(target: LogTarget) -> logging.Handler:
    """Return what writes lines, and never fails for the log's sake: mail goes on without one."""
    stderr = _Stderr()
    return stderr if target == "stderr" else syslog.Syslog(syslog.PLACE, otherwise=stderr)


def _take_over(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers[:] = [handler]


class _Stderr(logging.Handler):
    """One ``write`` for each record."""

    def __init__(self) -> None:
        super().__init__()
        self._with_priority = _is_journal(2)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        head = f"<{syslog.PRIORITIES.get(record.levelno, 6)}>" if self._with_priority else _head(record)
        try:
            os.write(2, "".join(f"{head}{line}\n" for line in lines_of(record)).encode("utf-8", "backslashreplace"))
        except OSError:
            return  # there is no log to write that to


def _head(record: logging.LogRecord) -> str:
    """Return the local time and the severity of a record."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
    return f"{when} {record.levelname.lower()}: "


def _is_journal(descriptor: int) -> bool:
    """Whether a descriptor leads to systemd's journal (systemd.exec(5): ``$JOURNAL_STREAM``)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class LogWriter(logging.Handler):
    """Takes this process's log over and writes it from a thread of its own.

    A log that is stuck (a full disk, a stopped journal) must not hold mail up: past a bound lines are
    dropped and counted.
    """

    def __init__(self, target: LogTarget) -> None:
        super().__init__()
        self._target = _handler(target)
        self._waiting: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self.dropped = 0
        """How many lines were dropped so far."""
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        _take_over(self, logging.getLogger().level)

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand a record to the writing thread, without the lock that other handlers need."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the writing thread."""
        if self._waiting.qsize() < _WAITING_LINES:
            self._waiting.put(record)
        else:
            self.dropped += 1

    def _write(self) -> None:
        told = 0
        while (record := self._next()) is not None:
            try:
                # Not handle: its lock would be waited for at the end of a process whose log is stuck.
                self._target.emit(record)
            except Exception:  # noqa: BLE001 - one line that cannot be made must not be the last one
                self.dropped += 1
            if self.dropped > told:
                dropped, told = self.dropped - told, self.dropped
                text = f"{dropped} log lines were dropped: the log did not take them in time"
                self._target.emit(logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, (), None))

    def _next(self) -> logging.LogRecord | None:
        # A writer that is woken for every line takes the interpreter's lock away from a message each time.
        if self._waiting.empty():
            time.sleep(_GATHERING)
        return self._waiting.get()

    def close(self) -> None:
        """Write what is waiting, for a second at most."""
        self._waiting.put(None)
        self._thread.join(_LAST_WORDS)
        super().close()
