"""What the daemon tells systemd (sd_notify(3)), heard on a real notification socket."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.daemon import Daemon
from tests.support.ports import wait_until
from tests.support.processes import freeze, thaw, workers_of
from tests.support.service_manager import Notice, ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator

LDIF = Path(__file__).parents[2] / "examples" / "directory.ldif"
SECTIONS = {"ldap": {"uri": f"ldif:{LDIF}"}, "milter": {"workers": "2"}}
# Put into the daemon's interpreter: a worker goes no further than its fork until the gate is open.
GATE = """\
import os, time

_fork = os.fork


def fork():
    pid = _fork()
    while pid == 0 and not os.path.exists({gate!r}):
        time.sleep(0.01)
    return pid


os.fork = fork
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path / "notify") as listening:
        yield listening


def ready(notice: Notice) -> bool:
    return notice.get("READY") == "1"


def alive(notice: Notice) -> bool:
    return notice == {"WATCHDOG": "1"}


def reload(daemon: Daemon, manager: ServiceManager) -> Notice:
    """Have the daemon reload; return what it says at the end, after checking how it began."""
    manager.pending()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    os.kill(daemon.pid, signal.SIGHUP)
    first = manager.wait_for(lambda _: True)
    # Both in one datagram, as Type=notify-reload needs them, and taken after the signal.
    assert first.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert first["RELOADING"] == "1"
    assert before <= int(first["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    last = manager.wait_for(lambda _: True)
    assert ready(last), last
    return last


def test_from_start_to_stop(manager: ServiceManager) -> None:
    with Daemon(sections=SECTIONS, environment=manager.environment) as daemon:
        notice = manager.wait_for(ready)
        assert notice == {"READY": "1", "STATUS": "2 workers serve"}
        assert manager.heard == [notice]  # no watchdog was asked for
        assert daemon.cli("status").returncode == 0
        assert daemon.probe("--rcpt", "x@elsewhere.test")["exit_status"] == 0

        assert reload(daemon, manager)["STATUS"] == "2 workers serve"
        daemon.configure({"policy": {"mode": "aply"}})
        refused = reload(daemon, manager)["STATUS"]
        assert refused.startswith("2 workers serve; the configuration was not reloaded: ")
        assert "aply" in refused
        daemon.configure({"policy": {"mode": "apply"}, "milter": {"workers": "3"}})
        assert reload(daemon, manager)["STATUS"] == "3 workers serve"

        assert daemon.stop() == 0
        assert manager.pending() == [{"STOPPING": "1"}]


def test_ready_waits_for_the_workers(manager: ServiceManager, tmp_path: Path) -> None:
    """Nobody serves while every worker is held at a gate; one that dies there is waited for no longer."""
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(GATE.format(gate=str(gate)), encoding="utf-8")
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with Daemon(sections=SECTIONS, environment={**manager.environment, "PYTHONPATH": paths}) as daemon:
        wait_until(lambda: len(workers_of(daemon.pid)) == 2, "two workers")
        killed = workers_of(daemon.pid)[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: bool(daemon.log_lines(f"worker {killed} ended")), "the death to be noticed")
        wait_until(lambda: len(workers_of(daemon.pid)) == 2, "two workers again")
        assert manager.pending() == []
        gate.touch()
        assert manager.wait_for(lambda _: True) == {"READY": "1", "STATUS": "2 workers serve"}


def silent(daemon: Daemon) -> list[int]:
    """Ask the daemon which workers it has not heard of for too long; it waits five seconds for them."""
    workers = json.loads(daemon.cli("status", "--json").stdout)["workers"]
    return sorted(worker["pid"] for worker in workers if worker["silent_for"] > 3)


def test_the_watchdog_is_fed_while_somebody_serves(manager: ServiceManager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "1000000"}
    patient = {**SECTIONS, "ldap": {**SECTIONS["ldap"], "lookup_deadline": "20"}}  # with workers that are stopped
    with Daemon(sections=patient, environment=environment) as daemon:
        manager.wait_for(ready)
        began = time.monotonic()
        manager.pending()  # what has been said by now
        for _ in range(4):
            manager.wait_for(alive)
        assert time.monotonic() - began > 1  # every half second: not all at once

        workers = sorted(workers_of(daemon.pid))
        freeze(workers[0])
        for _ in range(8):  # past the time in which a worker must be heard
            manager.wait_for(alive)
        thaw(workers[0])

        for pid in workers:
            freeze(pid)
        assert silent(daemon) == workers
        manager.pending()
        assert manager.is_silent(alive, 2)  # four times as long as it takes while somebody serves
        thaw(workers[1])
        manager.wait_for(alive)
        thaw(workers[0])


def test_the_watchdog_of_another_process(manager: ServiceManager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    with Daemon(sections=SECTIONS, environment=environment) as daemon:
        manager.wait_for(ready)
        assert daemon.probe("--rcpt", "x@elsewhere.test")["exit_status"] == 0
        assert daemon.stop() == 0
        assert not any(alive(notice) for notice in manager.heard + manager.pending())
