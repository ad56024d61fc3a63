"""Syslog: its facility and lines, its absence at the start and later, its return."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import syslog
from ldapmilter.daemon.log import CannotLog, LogWriter, log_to
from ldapmilter.daemon.syslog import Syslog

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

_log = logging.getLogger(__name__)
_MAIL = 2 << 3


class Syslogd:
    """The other end."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place))
        self._socket.settimeout(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()
        self._place.unlink()

    def lines(self, number: int) -> list[str]:
        """Return the next lines, without what stands before each."""
        return [self.raw().split("]: ", 1)[1] for _ in range(number)]

    def raw(self) -> str:
        return self._socket.recv(1 << 20).decode()


class Kept(logging.Handler):
    """Keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    monkeypatch.setattr(syslog, "PLACE", path)
    return path


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.INFO, __file__, 0, text, (), None)


def test_the_facility_is_mail_and_every_line_a_datagram(place: Path) -> None:
    with Syslogd(place) as syslogd:
        log_to("syslog")
        _log.info("4QID: verdict=accept")
        _log.error("trouble\nand more")
        try:
            int("x")
        except ValueError:
            _log.exception("a traceback")
        logging.getLogger().handlers[0].close()
        assert [syslogd.raw() for _ in range(4)] == [
            f"<{_MAIL | 6}>ldapmilter[{os.getpid()}]: 4QID: verdict=accept",
            f"<{_MAIL | 3}>ldapmilter[{os.getpid()}]: trouble\\nand more",
            f"<{_MAIL | 3}>ldapmilter[{os.getpid()}]: a traceback",
            f"<{_MAIL | 3}>ldapmilter[{os.getpid()}]: Traceback (most recent call last):",
        ]


def test_a_start_without_a_syslog_says_so(place: Path) -> None:
    with pytest.raises(CannotLog, match=rf"{place}: No such file .*--log stderr"):
        log_to("syslog")


def test_a_start_with_a_syslog_that_refuses_says_so(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(place))
    with pytest.raises(CannotLog, match=rf"{place}: Connection refused"):
        log_to("syslog")


@pytest.mark.parametrize("refusing", [False, True])
def test_a_process_that_begins_while_syslog_is_gone_has_a_log(
    place: Path, capfd: pytest.CaptureFixture[str], *, refusing: bool
) -> None:
    if refusing:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
            gone.bind(str(place))
    writer = LogWriter("syslog")
    _log.info("into the night")
    writer.close()
    written = capfd.readouterr().err
    assert str(place) in written
    assert written.splitlines()[-1].endswith(" info: into the night")
    assert writer.dropped == 0


def test_lines_go_elsewhere_while_it_is_gone_and_it_is_told_when_it_is_back(place: Path) -> None:
    kept = Kept()
    handler = Syslog(place, otherwise=kept)
    with Syslogd(place) as syslogd:
        handler.emit(record("one"))
        assert syslogd.lines(1) == ["one"]
    for text in ("two", "three"):
        handler.emit(record(text))
    announced, *lines = kept.lines
    assert lines == ["two", "three"]
    assert str(place) in announced
    assert "until it can" in announced
    with Syslogd(place) as syslogd:
        handler.emit(record("four"))
        told, line = syslogd.lines(2)
    assert told.startswith("2 lines are missing here, ")
    assert line == "four"
    assert kept.lines[1:] == ["two", "three"]
    handler.close()


def test_a_restart_between_two_lines_costs_none(place: Path) -> None:
    kept = Kept()
    handler = Syslog(place, otherwise=kept)
    for text in ("one", "two"):
        with Syslogd(place) as syslogd:
            handler.emit(record(text))
            assert syslogd.lines(1) == [text]
    assert kept.lines == []
    handler.close()


def test_a_line_that_is_too_long_is_cut(place: Path) -> None:
    with Syslogd(place) as syslogd:
        handler = Syslog(place, otherwise=Kept())
        handler.emit(record("x" * 10_000_000))
        (line,) = syslogd.lines(1)
        handler.close()
    assert 30_000 < len(line) < 40_000


def test_a_syslog_that_takes_a_stream(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(place))
        listening.listen()
        listening.settimeout(20)
        handler = Syslog(place, otherwise=Kept())
        handler.emit(record("one"))
        handler.emit(record("two"))
        handler.close()
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as stream:
            lines = stream.read().split(b"\0")
    assert [line.partition(b"]: ")[2] for line in lines] == [b"one", b"two", b""]
