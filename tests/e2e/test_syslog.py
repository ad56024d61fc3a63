"""The daemon in the mail log: real mail, and a syslog daemon that goes and comes back."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import HOLD, JOE
from tests.e2e.scene import Scene
from tests.support.daemon import Daemon
from tests.support.ports import wait_until
from tests.support.syslogd import Syslogd, with_log_at

if TYPE_CHECKING:
    from pathlib import Path

ANN = "ann@example.test"


def syslog_scene(place: Path) -> Scene:
    return Scene({"main": {}}, arguments=["--log", "syslog"], under=with_log_at(place))


def worker(daemon: Daemon) -> int:
    def found() -> list[int]:
        return [int(one["pid"]) for one in json.loads(daemon.cli("status", "--json").stdout)["workers"]]

    wait_until(lambda: len(found()) == 1, "one worker: its successor may not be there yet")
    return found()[0]


def wait_for_line(syslogd: Syslogd, *words: str) -> str:
    wait_until(lambda: syslogd.lines(*words) != [], f"a line with {words}")
    return syslogd.lines(*words)[-1]


def test_a_message_has_its_line_in_the_mail_log(tmp_path: Path) -> None:
    with Syslogd(tmp_path) as syslogd, syslog_scene(tmp_path) as scene:
        mail = 2 << 3
        started = f"<{mail | 6}>ldapmilter[{scene.daemon.pid}]: listening on {scene.daemon.socket}"
        assert wait_for_line(syslogd, "listening on") == started
        assert HOLD in scene.delivered(scene.submit(ANN, [JOE]).token)
        line = wait_for_line(syslogd, "verdict=accept")
        assert re.match(rf"<{mail | 6}>ldapmilter\[{worker(scene.daemon)}\]: [0-9A-Za-z]{{6,}}: verdict=accept ", line)
        os.kill(scene.daemon.pid, signal.SIGHUP)
        wait_for_line(syslogd, "configuration reloaded")
        assert scene.daemon.stop() == 0
        wait_for_line(syslogd, "stopped")
        assert scene.daemon.log() == ""


def test_mail_goes_on_while_syslog_is_gone_even_when_a_worker_dies(tmp_path: Path) -> None:
    with Syslogd(tmp_path) as syslogd, syslog_scene(tmp_path) as scene:
        daemon = scene.daemon
        wait_for_line(syslogd, "the directory answers")
        syslogd.stop()
        for lines, socket_is_there in enumerate((True, False), start=1):
            if not socket_is_there:
                (tmp_path / "log").unlink()
            victim = worker(daemon)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda dead=victim: worker(daemon) != dead, "the successor")  # type: ignore[misc]
            assert HOLD in scene.delivered(scene.submit(ANN, [JOE]).token)
            assert daemon.said(f"worker {victim} ended")
            wait_until(lambda count=lines: len(daemon.log_lines("verdict=accept")) == count, "the line")  # type: ignore[misc]
        assert json.loads(daemon.cli("status", "--json").stdout)["restarts"] == 2
        assert daemon.said(f"syslog cannot be reached at {tmp_path}/log", "lines go to stderr")
        assert "Traceback" not in daemon.log()
        before = daemon.log_lines("verdict=")
        syslogd.start()
        scene.submit(ANN, [JOE])
        wait_for_line(syslogd, f"ldapmilter[{worker(daemon)}]: ", "lines are missing here")
        wait_for_line(syslogd, f"ldapmilter[{worker(daemon)}]: ", "verdict=accept")
        assert daemon.log_lines("verdict=") == before


def test_a_start_without_syslog_is_refused(tmp_path: Path) -> None:
    options = {"ldap": {"uri": "ldap://127.0.0.1:9"}}
    daemon = Daemon(None, options, under=with_log_at(tmp_path), arguments=["--log", "syslog"])
    words = re.escape(f"ended with 1: ldapmilter: cannot log to syslog at {tmp_path}/log: No such file")
    with pytest.raises(RuntimeError, match=words):
        daemon.start()
    daemon.close()
