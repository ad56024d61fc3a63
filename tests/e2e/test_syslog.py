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
from tests.support.syslogd import Syslogd, can_have_own_dev, under_own_dev

if TYPE_CHECKING:
    from pathlib import Path

ANN = "ann@example.test"

pytestmark = pytest.mark.skipif(not can_have_own_dev(), reason="no mount namespace may be made here")


def syslog_scene(place: Path) -> Scene:
    return Scene({"main": {}}, arguments=["--log", "syslog"], under=under_own_dev(place))


def worker(daemon: Daemon) -> int:
    (found,) = json.loads(daemon.cli("status", "--json").stdout)["workers"]
    return int(found["pid"])


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
        for socket_is_there in (True, False):
            if not socket_is_there:
                (tmp_path / "log").unlink()
            victim = worker(daemon)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda dead=victim: worker(daemon) != dead, "the successor")  # type: ignore[misc]
            assert HOLD in scene.delivered(scene.submit(ANN, [JOE]).token)
            assert daemon.log_lines(f"worker {victim} ended")
        assert json.loads(daemon.cli("status", "--json").stdout)["restarts"] == 2
        assert daemon.log_lines("syslog cannot be reached at /dev/log", "lines go to stderr")
        assert daemon.log_lines("verdict=accept")
        assert "Traceback" not in daemon.log()
        before = daemon.log_lines("verdict=")
        syslogd.start()
        scene.submit(ANN, [JOE])
        wait_for_line(syslogd, f"ldapmilter[{worker(daemon)}]: ", "lines are missing here")
        wait_for_line(syslogd, f"ldapmilter[{worker(daemon)}]: ", "verdict=accept")
        assert daemon.log_lines("verdict=") == before


def test_a_start_without_syslog_is_refused(tmp_path: Path) -> None:
    options = {"ldap": {"uri": "ldap://127.0.0.1:9"}}
    daemon = Daemon(None, options, under=under_own_dev(tmp_path), arguments=["--log", "syslog"])
    with pytest.raises(RuntimeError, match=r"ended with 1: ldapmilter: cannot log to syslog at /dev/log: No such file"):
        daemon.start()
    daemon.close()
