"""The log: written from a thread of its own, bounded, with priorities for the journal."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import log
from ldapmilter.daemon.log import LogWriter, log_to
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Callable


_log = logging.getLogger(__name__)


class Slow(logging.Handler):
    """A log that takes a line in only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.busy.set()
        self.go_on.wait(HANG)
        self.lines.append(record.getMessage())


class _Untouchable:
    """A lock that nobody may take."""

    def acquire(self) -> None:
        pytest.fail("the lock was taken")

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_exception: object) -> None:
        """Never come to."""

    def release(self) -> None:
        """Never come to."""


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Slow:
    target = Slow()
    monkeypatch.setattr(log, "_handler", lambda _target: target)
    monkeypatch.setattr(log, "_WAITING_LINES", 5)
    monkeypatch.setattr(log, "_LAST_WORDS", 10.0)
    return target


def test_a_log_that_is_stuck_holds_nobody_up_and_what_it_missed_is_counted(stuck: Slow) -> None:
    writer = LogWriter("stderr")
    _log.info("first")
    assert stuck.busy.wait(HANG)
    for number in range(12):
        _log.info("line %d", number)
    assert writer.dropped == 7
    stuck.go_on.set()
    writer.close()
    assert stuck.lines == [
        "first",
        "7 log lines were dropped: the log did not take them in time",
        *(f"line {number}" for number in range(5)),
    ]


def test_the_end_does_not_wait_for_a_log_that_is_stuck(stuck: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_LAST_WORDS", 0.1)
    writer = LogWriter("stderr")
    for number in range(20):
        _log.info("line %d", number)
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    closing.join(HANG)
    assert not closing.is_alive()
    stuck.go_on.set()


def test_the_writer_is_not_woken_for_every_line(stuck: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck.go_on.set()
    rests, goes_on = threading.Event(), threading.Event()

    def rest(_seconds: float) -> None:
        rests.set()
        goes_on.wait(HANG)

    monkeypatch.setattr(log, "time", SimpleNamespace(sleep=rest))
    writer = LogWriter("stderr")
    assert rests.wait(HANG)
    for number in range(3):
        _log.info("line %d", number)
    assert stuck.lines == []
    goes_on.set()
    writer.close()
    assert stuck.lines == ["line 0", "line 1", "line 2"]


def test_a_message_takes_no_lock_of_the_log(stuck: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck.go_on.set()
    writer = LogWriter("stderr")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "lock", _Untouchable())
        _log.info("line")
    writer.close()
    assert stuck.lines == ["line"]


def test_last_words_are_written(stuck: Slow) -> None:
    stuck.go_on.set()
    writer = LogWriter("stderr")
    _log.error("the end")
    writer.close()
    assert stuck.lines == ["the end"]
    assert writer.dropped == 0


def test_a_line_that_cannot_be_made_does_not_end_the_log(stuck: Slow) -> None:
    stuck.go_on.set()
    writer = LogWriter("stderr")
    _log.info("%d", "no number")
    _log.info("afterwards")
    writer.close()
    assert "afterwards" in stuck.lines
    assert writer.dropped == 1


# -- where it goes --------------------------------------------------------------------------


def written_to_stderr(work: Callable[[], None]) -> str:
    """Return what a function writes to descriptor 2."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    try:
        work()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()


def test_a_line_on_stderr_has_local_time_and_severity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    moment = time.mktime((2026, 3, 1, 3, 4, 5, 0, 0, -1))

    def work() -> None:
        log_to("stderr")
        (handler,) = logging.getLogger().handlers
        for level, text in ((logging.WARNING, "café \udcff"), (logging.INFO, "well")):
            record = logging.LogRecord(__name__, level, __file__, 0, text, (), None)
            record.created = moment
            handler.emit(record)

    assert written_to_stderr(work) == ("2026-03-01 03:04:05 warning: café \\udcff\n2026-03-01 03:04:05 info: well\n")


def test_every_line_of_a_traceback_has_them_and_debug_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    def work() -> None:
        log_to("stderr")
        _log.debug("not shown")
        try:
            int("no")
        except ValueError:
            _log.exception("it failed")

    lines = written_to_stderr(work).splitlines()
    assert lines[0].endswith(" error: it failed")
    assert " error: ValueError: " in lines[-1]
    assert {re.sub("[0-9]", "0", line[: len("0000-00-00 00:00:00 error: ")]) for line in lines} == {
        "0000-00-00 00:00:00 error: "
    }


def test_the_journal_gets_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        status = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log_to("stderr", verbose=True)
        _log.debug("a")
        _log.info("b")
        _log.warning("c")
        _log.error("d\ne")

    assert written_to_stderr(work) == "<7>a\n<6>b\n<4>c\n<3>d\\ne\n"
