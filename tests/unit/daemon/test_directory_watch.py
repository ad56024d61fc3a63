"""One line at the beginning of an outage, one at its end, few for a directory that comes and goes."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import directory_watch
from ldapmilter.daemon.directory_watch import DirectoryWatch, clock_time, over_workers
from ldapmilter.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ldapmilter.directory.backend.store import ServerState

ONE, OTHER = "ldap://one.test", "ldap://other.test"
START = 1000.0


def answers(at: float) -> ServerState:
    return {
        "up": True,
        "answered_at": at,
        "failing_since": None,
        "confirmed": False,
        "failure": "",
        "unreadable": None,
    }


def fails(since: float, *, confirmed: bool = True) -> ServerState:
    return {
        "up": False,
        "answered_at": since,
        "failing_since": since,
        "confirmed": confirmed,
        "failure": "no answer",
        "unreadable": None,
    }


UNKNOWN: ServerState = {
    "up": None,
    "answered_at": None,
    "failing_since": None,
    "confirmed": False,
    "failure": "",
    "unreadable": None,
}


class Log:
    """A watch that sees a second after the other, and what it says."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.watch = DirectoryWatch()
        self.now = START
        self._caplog = caplog
        caplog.set_level(logging.DEBUG)

    def passes(self, seconds: int, *workers: Callable[[float], Mapping[str, ServerState]]) -> list[tuple[int, str]]:
        """Let seconds pass in which each worker says something; return what was logged."""
        self._caplog.clear()
        for _ in range(seconds):
            self.now += 1
            self.watch.take([worker(self.now) for worker in workers], self.now)
        return [(record.levelno, record.getMessage()) for record in self._caplog.records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log(caplog)

    def local(moment: float | None = None) -> time.struct_time:
        return time.gmtime(10.0**9 + log.now if moment is None else moment)

    wall = SimpleNamespace(time=lambda: 10.0**9 + log.now, localtime=local, strftime=time.strftime)
    monkeypatch.setattr(directory_watch, "time", wall)
    return log


def at(moment: float) -> str:
    """Return a moment as it is told."""
    return time.strftime("%H:%M:%S", time.gmtime(10**9 + moment))


def up(now: float) -> Mapping[str, ServerState]:
    return {ONE: answers(now)}


def test_an_outage_has_two_lines_for_all_workers(log: Log) -> None:
    assert log.passes(60, up, up, up) == []
    since = log.now

    def down(_now: float) -> Mapping[str, ServerState]:
        return {ONE: fails(since)}

    ((level, text),) = log.passes(200, down, up, down)
    assert level == logging.ERROR
    assert text == f"directory: no server answers since {at(since)}: {ONE}: no answer"
    ((level, text),) = log.passes(300, up, up, up)
    assert level == logging.INFO
    assert text == f"directory: {ONE} answers again, after 3 min 21 s without any server"
    assert log.passes(3600, up, up, up) == []


def test_a_search_that_was_slow_is_no_outage(log: Log) -> None:
    log.passes(5, up)
    since = log.now
    assert log.passes(60, lambda _now: {ONE: fails(since, confirmed=False)}) == []
    assert log.watch.up is False  # it is the last outcome all the same
    assert log.passes(60, up) == []


def test_workers_that_know_nothing_yet_end_no_outage(log: Log) -> None:
    log.passes(5, lambda _now: {ONE: fails(START)})
    assert log.passes(100, lambda _now: {ONE: UNKNOWN}) == []
    assert log.passes(100) == []  # and none that is there at all
    ((_, text),) = log.passes(100, up)
    assert "answers again, after 3 min 2" in text


def test_a_directory_that_comes_and_goes_does_not_flood(log: Log) -> None:
    for period in (4, 30, 120):
        lines = []
        for _ in range(6 * 3600 // (2 * period)):
            since = log.now
            lines += log.passes(period, lambda _now: {ONE: fails(since)})  # noqa: B023 - called at once
            lines += log.passes(period, up)
        assert 1 <= len(lines) <= 12, (period, lines)
        log.passes(3600, up)
    log.passes(3600, up)
    ((_, text),) = log.passes(60, lambda _now: {ONE: fails(log.now - 5)})
    assert "no server answers" in text
    (end,) = log.passes(30, up)  # what is long past counts no more
    assert "answers again" in end[1]


def test_one_of_two_servers(log: Log) -> None:
    def both(now: float) -> Mapping[str, ServerState]:
        return {ONE: answers(now), OTHER: answers(now)}

    assert log.passes(10, both) == []
    first = log.now
    ((level, text),) = log.passes(60, lambda now: {ONE: answers(now), OTHER: fails(first)})
    assert level == logging.WARNING
    assert text == f"directory: {OTHER} fails since {at(first)}, others answer: no answer"
    second = log.now
    ((level, text),) = log.passes(60, lambda _now: {ONE: fails(second), OTHER: fails(first)})
    assert level == logging.ERROR
    assert f"no server answers since {at(second)}" in text
    assert f"{ONE}: no answer; {OTHER}: no answer" in text
    ((level, text),) = log.passes(60, lambda now: {ONE: answers(now), OTHER: fails(first)})
    assert text == f"directory: {ONE} answers again, after 1 min 1 s without any server"
    ((level, text),) = log.passes(60, both)
    assert (level, text) == (logging.INFO, f"directory: {OTHER} answers again, after 3 min 1 s")


def test_a_server_that_is_not_configured_any_more_is_forgotten(log: Log) -> None:
    log.passes(5, lambda now: {ONE: answers(now), OTHER: fails(START)})
    assert log.passes(60, up) == []
    assert log.watch.problems(log.now) == []


def test_another_cause_of_the_same_outage_is_said_once(log: Log) -> None:
    since = log.now

    def down(cause: str) -> Callable[[float], Mapping[str, ServerState]]:
        return lambda _now: {ONE: {**fails(since), "failure": cause}}

    assert len(log.passes(30, down("no answer"))) == 1
    line = (logging.WARNING, f"directory: {ONE} still fails: the certificate expired")
    assert log.passes(30, down("the certificate expired")) == [line]
    assert log.passes(30, down("no answer")) == []
    assert log.passes(30, down("the certificate expired")) == []
    assert len([text for cause in "abcdefgh" for text in log.passes(1, down(cause))]) == 3


def test_policy_that_is_hidden_has_a_line_when_that_begins_one_an_hour_and_one_at_the_end(log: Log) -> None:
    def hidden(now: float) -> Mapping[str, ServerState]:
        return {ONE: {**answers(now), "unreadable": "no rights"}}

    line = (logging.ERROR, f"directory: {ONE}: the policy cannot be read: no rights")
    assert log.passes(60, hidden, hidden, up) == [line]
    assert log.passes(3600, hidden, up) == [line]
    assert log.passes(60, up, up) == [(logging.INFO, f"directory: {ONE}: the policy can be read again")]
    assert log.passes(5, up, hidden) == [line]


def test_what_status_and_metrics_are_told(log: Log) -> None:
    since = log.now
    log.passes(30, lambda now: {ONE: answers(now)}, lambda _now: {ONE: fails(since, confirmed=False)})
    (server,) = log.watch.servers
    assert (server.up, server.answered_at, server.failing_since) == (False, log.now, since)
    (text,) = log.watch.problems(log.now)
    assert text == f"{ONE} fails since {at(since)} (30 s): no answer"
    hidden: ServerState = {**answers(log.now), "unreadable": "the schema lacks x"}
    log.passes(1, lambda now: {ONE: answers(now)}, lambda _now: {ONE: hidden})
    assert log.watch.problems(log.now) == [f"{ONE}: the schema lacks x"]
    assert log.watch.up is True
    assert over_workers([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (200.4, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_lengths(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_moment_of_another_day_has_its_date() -> None:
    now = time.monotonic()
    assert len(clock_time(now, now)) == len("08:15:02")
    assert len(clock_time(now - 3 * 86400, now)) == len("2026-11-28 08:15:02")
