"""An outage of the directory while no mail comes: `status`, metrics and log tell it all the same."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.company import company
from tests.support.daemon import Daemon
from tests.support.ports import LOOPBACK, free_port, wait_until
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMIT = 120.0
"""Seconds that a guard against hangs allows."""


@contextlib.contextmanager
def quiet(*slapds: Slapd, **sections: dict[str, str]) -> Iterator[Daemon]:
    """Run a daemon of two workers that gets no mail, over servers that are all it has."""
    listen = f"{LOOPBACK}:{free_port()}"
    options = {
        "milter": {"workers": "2"},
        "metrics": {"listen": listen},
        "ldap": {"uri": " ".join(slapd.uri for slapd in slapds), "starttls": "no", "lookup_deadline": "4"},
        **sections,
    }
    with Daemon(slapds[0], options) as daemon:
        wait_until(lambda: all(up is True for up in told(daemon)[1].values()), "the first answers", _LIMIT)
        yield daemon
        assert "Traceback" not in daemon.log()
        assert not daemon.log_lines("verdict=")


def told(daemon: Daemon) -> tuple[int, dict[str, bool | None], dict[str, Any]]:
    """Return the exit status of `status`, whether each server is up, and all that is said."""
    done = daemon.cli("status", "--json")
    status = json.loads(done.stdout)
    return done.returncode, {server["uri"]: server["up"] for server in status["directory"]["servers"]}, status


def gauges(daemon: Daemon, name: str) -> dict[str, float]:
    """Return a metric by URI."""
    listen = daemon.config.read_text(encoding="utf-8").split("listen = ")[1].split("\n")[0]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=60) as response:
        page = response.read().decode()
    return {uri: float(value) for uri, value in re.findall(rf'^{name}{{uri="([^"]*)"}} (\S+)$', page, re.MULTILINE)}


def lines(daemon: Daemon) -> list[str]:
    """Return what begins and ends; that a server fails for another cause by now may be said in between."""
    return [line for line in daemon.log_lines("directory: ") if "still fails" not in line]


KINDS: dict[str, tuple[Callable[[Slapd], None], Callable[[Slapd], None]]] = {
    "hangs": (Slapd.suspend, Slapd.resume),
    "is gone": (Slapd.stop, Slapd.start),
}


@pytest.mark.parametrize(("kind", "mode"), [("hangs", "apply"), ("is gone", "pass")])
def test_a_directory_that_stops_and_comes_back(kind: str, mode: str) -> None:
    break_it, mend_it = KINDS[kind]
    with Slapd(company()) as slapd, quiet(slapd, policy={"mode": mode}) as daemon:
        assert told(daemon)[0] == 0
        assert gauges(daemon, "ldapmilter_directory_up") == {slapd.uri: 1}
        began = time.time()
        break_it(slapd)
        broken = time.time()
        try:
            wait_until(lambda: told(daemon)[1] == {slapd.uri: False}, "word of the outage", _LIMIT)
            wait_until(lambda: len(lines(daemon)) == 1, "the line", _LIMIT)
            for _ in range(5):  # it stays so: the last outcome counts
                code, up, status = told(daemon)
                assert (code, up) == (1, {slapd.uri: False})
                assert gauges(daemon, "ldapmilter_directory_up") == {slapd.uri: 0}
                time.sleep(0.5)
            (server,) = status["directory"]["servers"]
            assert server["failure"]
            assert began - 15 < server["failing_since"] < time.time()
            assert server["answered_at"] < server["failing_since"] + 1
            assert gauges(daemon, "ldapmilter_directory_last_answer_time_seconds")[slapd.uri] < broken + 1
            said = daemon.cli("status").stdout
            assert f"directory {slapd.uri} does not answer; last answer " in said
            assert re.search(rf"^PROBLEM   directory: {slapd.uri} fails since [\d:]+ \(\d.*\): .", said, re.MULTILINE)
            (line,) = lines(daemon)
            assert "no server answers since" in line
            assert slapd.uri in line
        finally:
            mend_it(slapd)
        wait_until(lambda: told(daemon)[:2] == (0, {slapd.uri: True}), "word of its end", _LIMIT)
        assert gauges(daemon, "ldapmilter_directory_up") == {slapd.uri: 1}
        wait_until(lambda: len(lines(daemon)) == 2, "the line", _LIMIT)
        assert re.search(rf"{slapd.uri} answers again, after (\d+ min )?\d+ s without any server", lines(daemon)[1])


def test_the_second_server_is_asked_too() -> None:
    """Mail asks the first one only: that the other is gone would be found out when it is needed."""
    with Slapd(company()) as first, Slapd(company()) as second, quiet(first, second) as daemon:
        second.stop()
        wait_until(lambda: told(daemon)[1] == {first.uri: True, second.uri: False}, "word of the outage", _LIMIT)
        wait_until(lambda: len(lines(daemon)) == 1, "the line", _LIMIT)
        assert f"{second.uri} fails since" in lines(daemon)[0]
        assert told(daemon)[0] == 1
        second.start()
        wait_until(lambda: len(lines(daemon)) == 2, "the line", _LIMIT)
        assert f"{second.uri} answers again, after" in lines(daemon)[1]


def test_a_daemon_that_starts_without_a_directory_says_so_once() -> None:
    with Slapd(company()) as slapd:
        slapd.stop()
        with Daemon(slapd, {"milter": {"workers": "2"}}) as daemon:
            wait_until(lambda: told(daemon)[0] == 1, "word of the outage", _LIMIT)
            wait_until(lambda: bool(lines(daemon)), "the line", _LIMIT)
            slapd.start()
            wait_until(lambda: told(daemon)[0] == 0, "word of its end", _LIMIT)
            wait_until(lambda: len(lines(daemon)) == 2, "the line", _LIMIT)
            assert "no server answers since" in lines(daemon)[0]
            assert "answers again" in lines(daemon)[1]
            assert not daemon.log_lines("directory unavailable")
