"""The program block of contrib/ under a real supervisord."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldapmilter.socket_address import parse_socket
from tests.support.daemon import Daemon
from tests.support.ports import HANG, wait_until
from tests.support.processes import processes, workers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BLOCK = ROOT / "contrib" / "supervisor" / "ldapmilter.conf"
LDIF = ROOT / "examples" / "directory.ldif"
SUPERVISORD, SUPERVISORCTL = "/usr/bin/supervisord", "/usr/bin/supervisorctl"


class Supervisor:
    """A supervisord of one's own that includes the block as it is shipped, but for paths and user."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._folder = daemon.directory / "supervisor"
        self._folder.mkdir()
        self._config = self._folder / "supervisord.conf"
        self.log = self._folder / "ldapmilter.log"
        self._config.write_text(
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile={self._folder}/supervisord.log\n"
            f"pidfile={self._folder}/pid\nchildlogdir={self._folder}\n"
            f"[unix_http_server]\nfile={self._folder}/ctl\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{self._folder}/ctl\n"
            f"[include]\nfiles = {self._folder}/conf.d/*.conf\n",
            encoding="ascii",
        )
        (self._folder / "conf.d").mkdir()
        (self._folder / "conf.d" / "ldapmilter.conf").write_text(self._block(), encoding="utf-8")
        self.process = subprocess.Popen(
            [SUPERVISORD, "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _block(self) -> str:
        text = BLOCK.read_text(encoding="utf-8")
        for shipped, here in (
            ("/opt/ldapmilter/bin/ldapmilter", str(ROOT / ".venv" / "bin" / "ldapmilter")),
            ("/etc/ldapmilter/config.ini", str(self._daemon.config)),
            ("user=ldapmilter\n", ""),
            ("/var/log/ldapmilter/ldapmilter.log", str(self.log)),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        return text

    def ctl(self, *arguments: str) -> str:
        """Run supervisorctl to its end; return what it says."""
        done = subprocess.run(
            [SUPERVISORCTL, "-c", str(self._config), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=90,
        )
        return done.stdout + done.stderr

    def pid(self) -> int:
        """Return the pid of the daemon that runs, 0 when none does."""
        found = re.search(r"RUNNING\s+pid (\d+)", self.ctl("status", "ldapmilter"))
        return int(found[1]) if found else 0

    def said(self, text: str) -> int:
        """Return how often the log has a text."""
        return self.log.read_text(encoding="utf-8").count(text) if self.log.exists() else 0

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(HANG)
        finally:
            self.process.kill()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    prepared = Daemon(sections={"ldap": {"uri": f"ldif:{LDIF}"}, "milter": {"workers": "2"}})
    yield prepared
    prepared.close()


@pytest.fixture
def supervisor(daemon: Daemon) -> Iterator[Supervisor]:
    running = Supervisor(daemon)
    yield running
    running.close()


def serves(daemon: Daemon) -> bool:
    """Send a message through: it must come out with the copy and the From that policy asks for."""
    told = daemon.probe("--auth", "ann@example.com", "--rcpt", "joe@specialcompany.com")
    if told["exit_status"] != 0:
        return False
    assert [copy["address"] for copy in told["copies"]] == ["legal@example.com"]
    assert told["from_after"] == ["Legal Dept. <legal@example.com>"]
    return True


def test_under_supervisord(daemon: Daemon, supervisor: Supervisor) -> None:
    wait_until(lambda: supervisor.pid() > 0, "the daemon to run")
    first = supervisor.pid()
    wait_until(lambda: serves(daemon), "the daemon to serve")

    # A reload: the same process, another configuration.
    daemon.configure({"milter": {"workers": "3"}})
    assert "signalled" in supervisor.ctl("signal", "HUP", "ldapmilter")
    wait_until(lambda: supervisor.said("configuration reloaded") == 1, "the reload")
    assert len(workers_of(first)) == 3
    assert supervisor.pid() == first
    assert serves(daemon)

    # The parent dies as in a crash: its workers end by themselves, its successor takes the socket over.
    orphans = workers_of(first)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not orphans_left(orphans), "the orphans' end")
    wait_until(lambda: supervisor.pid() not in {0, first}, "another daemon")
    wait_until(lambda: serves(daemon), "it to serve")

    # A stop drains, and leaves nothing behind.
    last = supervisor.pid()
    assert "stopped" in supervisor.ctl("stop", "ldapmilter")
    wait_until(lambda: supervisor.said("stopped") == 1, "its last line")
    assert not [process for process in processes() if last in {process.pid, process.parent, process.group}]
    assert not Path(parse_socket(daemon.socket).path).exists()


def orphans_left(pids: list[int]) -> list[int]:
    return [process.pid for process in processes() if process.pid in pids and process.state != "Z"]


def test_the_block_says_nothing_that_supervisord_ignores() -> None:
    """An option that is spelt wrong is passed over in silence there."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(BLOCK, encoding="utf-8")
    assert parser.sections() == ["program:ldapmilter"]
    known = subprocess.run(
        ["/usr/bin/python3", "-c", "import inspect, supervisor.options as o; print(inspect.getsource(o))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=HANG,
    ).stdout
    for option in parser["program:ldapmilter"]:
        name = option.removeprefix("stderr_").removeprefix("stdout_")
        assert f"'{option}'" in known or f"_{name}'" in known or f"'{name}'" in known, option
