"""The daemon where its surroundings fail: no room, no names, no descriptors, files that are none, leftovers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ARCHIVE, HOLD, JOE, company
from tests.support.daemon import Daemon
from tests.support.ports import HANG, LOOPBACK, free_port, wait_until
from tests.support.processes import freeze, lives
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANN = "ann@example.test"
MESSAGE = Transaction(sender=ANN, login=ANN, recipients=[JOE], headers=[("From", ANN)], body=b"Hello.\n")
HALF_A_PACKET = b"\0\0\0\x0dO\0\0\0\x06"

# In a process of its own: what workers may not do, and whether they may be at all.
_SITE = """\
import errno
import os
import sys

child = False


def forked():
    global child
    child = True
    if os.path.exists({flag!r}):
        os._exit(1)


def watch(event, arguments):
    if not child:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    named = event == "socket.bind" and isinstance(arguments[1], str) and arguments[1]
    if event in {{"os.mkdir", "os.link", "os.symlink", "tempfile.mkdtemp", "tempfile.mkstemp"}} or writes or named:
        if "audit.jsonl" not in str(arguments) and "/proc/" not in str(arguments) and "/dev/" not in str(arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


os.register_at_fork(after_in_child=forked)
sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(company()) as server:
        yield server


@pytest.fixture
def hampered(slapd: Slapd, tmp_path: Path) -> Iterator[tuple[Daemon, Path]]:
    """A daemon whose workers find no room on any disk, and die at their start while a file is there."""
    flag = tmp_path / "no-workers"
    (tmp_path / "sitecustomize.py").write_text(_SITE.format(flag=str(flag)), encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with Daemon(slapd, environment={"PYTHONPATH": path}) as daemon:
        yield daemon, flag


def status(daemon: Daemon) -> dict[str, Any]:
    done = daemon.cli("status", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "exit_status": done.returncode}


def workers(daemon: Daemon) -> list[int]:
    return [worker["pid"] for worker in status(daemon)["workers"]]


def problems(daemon: Daemon) -> str:
    return "\n".join(line for line in daemon.cli("status").stdout.splitlines() if line.startswith("PROBLEM"))


def served(daemon: Daemon) -> bool:
    """Tell whether a message is decided."""
    try:
        with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
            outcome = client.run(MESSAGE)
    except DaemonUnreachable:
        return False
    if outcome.verdict is not Verdict.ACCEPT:
        return False  # a busy machine has not read the directory in time
    return {added.address for added in outcome.added_recipients} == {ARCHIVE, HOLD}


def connect(daemon: Daemon) -> socket.socket:
    kind, _, place = daemon.socket.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(HANG)
        connection.connect(place)
        return connection
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), HANG)


def hung_up_on(daemon: Daemon) -> bool:
    """Tell whether a connection ends at once, without an answer."""
    with connect(daemon) as connection:
        connection.settimeout(1)
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


# -- no room, no workers --------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced_where_nothing_can_be_written(hampered: tuple[Daemon, Path]) -> None:
    daemon, _ = hampered
    wait_until(lambda: served(daemon), "the first worker", HANG)
    (victim,) = workers(daemon)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: served(daemon), "the successor", HANG)
    assert victim not in workers(daemon)


def test_while_no_worker_serves_nobody_waits_for_one(hampered: tuple[Daemon, Path]) -> None:
    daemon, flag = hampered
    wait_until(lambda: served(daemon), "the first worker", HANG)
    (victim,) = workers(daemon)
    flag.touch()
    os.kill(victim, signal.SIGKILL)
    with connect(daemon) as waiting:  # since before it was known that nobody serves
        assert waiting.recv(1) == b""
        wait_until(lambda: hung_up_on(daemon), "a connection to be ended at once", HANG)
        assert "PROBLEM   no worker serves: connections are refused" in problems(daemon)
        assert status(daemon)["exit_status"] == 1
    flag.unlink()
    wait_until(lambda: served(daemon), "a worker again", HANG)
    wait_until(lambda: "no worker serves" not in problems(daemon), "word of it", HANG)


# -- names ----------------------------------------------------------------------------------


def test_a_socket_whose_name_is_removed_is_bound_anew(slapd: Slapd) -> None:
    with Daemon(slapd, {"milter": {"workers": "2"}}) as daemon:
        wait_until(lambda: served(daemon), "the workers", HANG)
        before = workers(daemon)
        with MilterClient.connect(parse_socket(daemon.socket), HANG) as staying:
            for _ in range(3):
                daemon.socket_path.unlink()
                wait_until(daemon.listens, "the name", HANG)
                assert all(served(daemon) for _ in range(8))
                assert staying.run(MESSAGE).verdict is Verdict.ACCEPT
        assert workers(daemon) == before  # with all that they know
        assert daemon.said(str(daemon.socket_path), "was removed, so that no mail came: bound anew")
        told = daemon.cli("status")
        assert "the socket had been removed, and was bound anew" in told.stdout
        assert told.returncode == 0
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(workers(daemon)) == 2 and before[0] not in workers(daemon), "the successor", HANG)
        assert all(served(daemon) for _ in range(8))


def test_a_control_socket_whose_name_is_removed_is_bound_anew(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        control = daemon.directory / "control.sock"
        control.unlink()
        wait_until(control.exists, "the name", HANG)
        assert daemon.said(str(control), "was removed: bound anew")
        assert daemon.cli("status").returncode == 0


def test_another_process_that_has_the_name_is_not_fought_over(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        with socket.socket(socket.AF_UNIX) as other:
            daemon.socket_path.unlink()
            other.bind(str(daemon.socket_path))
            other.listen(64)
            theirs = daemon.socket_path.stat().st_ino
            wait_until(lambda: f"(pid {os.getpid()}, " in problems(daemon), "the problem", HANG)
            assert daemon.said("the milter socket is not found under its name any more", f"pid {os.getpid()}")
            assert daemon.socket_path.stat().st_ino == theirs
            other.setblocking(False)  # noqa: FBT003 - the standard library's signature
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.accept()[0].close()
        wait_until(lambda: served(daemon), "the socket's return", HANG)  # nobody listens there any more
        wait_until(lambda: problems(daemon) == "", "word of it", HANG)


def test_a_file_in_the_place_of_the_socket_is_left_alone(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        daemon.socket_path.unlink()
        daemon.socket_path.write_text("precious", encoding="ascii")
        wait_until(lambda: "it exists and is not a socket" in problems(daemon), "the problem", HANG)
        assert daemon.socket_path.read_text(encoding="ascii") == "precious"
        daemon.socket_path.unlink()
        wait_until(lambda: served(daemon), "the socket's return", HANG)


# -- connections and descriptors ------------------------------------------------------------


def test_the_limit_of_descriptors_is_raised(slapd: Slapd) -> None:
    with Daemon(slapd, under=("prlimit", "--nofile=200:2048")) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        told = status(daemon)
        assert (told["descriptors"], told["most_connections"]) == (2048, 1920)
        assert problems(daemon) == ""
        limits = Path(f"/proc/{told['workers'][0]['pid']}/limits").read_text(encoding="ascii")
        assert "Max open files            2048" in limits


def test_connections_that_say_nothing_are_bounded_and_told(slapd: Slapd) -> None:
    with (
        Daemon(slapd, {"milter": {"workers": "2"}}, under=("prlimit", "--nofile=200:200")) as daemon,
        contextlib.ExitStack() as stack,
    ):
        wait_until(lambda: served(daemon), "the workers", HANG)
        assert "the limit of open files is 200, so a worker takes 150 connections only" in problems(daemon)
        staying = stack.enter_context(MilterClient.connect(parse_socket(daemon.socket), HANG))
        assert staying.run(MESSAGE).verdict is Verdict.ACCEPT
        with contextlib.ExitStack() as crowd:
            for _ in range(600):
                silent = crowd.enter_context(connect(daemon))
                with contextlib.suppress(OSError):
                    silent.sendall(HALF_A_PACKET)
            wait_until(lambda: hung_up_on(daemon), "the refusal", HANG)
            assert daemon.said("connections to one worker", "more are refused")
            told = status(daemon)
            assert told["exit_status"] == 1
            assert any("connections to one worker; more are refused" in text for text in told["own_problems"])
            assert 200 < told["connections"] < 400
            assert staying.run(MESSAGE).verdict is Verdict.ACCEPT
        wait_until(lambda: served(daemon), "room again", HANG)
        wait_until(lambda: "more are refused" not in problems(daemon), "that there is room", HANG)
        assert status(daemon)["restarts"] == 0


# -- files that are none --------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 32)


@pytest.mark.parametrize("make", [fifo, directory, endless, huge])
@pytest.mark.parametrize("what", ["config.ini", "ldap.secret", "ca.pem", "localconfig.xml", "export.ldif"])
def test_a_reload_waits_for_no_file(slapd: Slapd, what: str, make: Callable[[Path], None]) -> None:
    options = {"ca.pem": "ca_file", "localconfig.xml": "zimbra_localconfig"}
    with Daemon(slapd) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        path = daemon.directory / what
        path.unlink(missing_ok=True)
        if what in options:
            # Its servers are named there, so it has to be read; TLS asks for the authorities.
            uri = "" if what == "localconfig.xml" else slapd.uri.replace("ldap:", "ldaps:")
            daemon.configure({"ldap": {options[what]: str(path), "uri": uri}})
        elif what == "export.ldif":
            daemon.configure({"ldap": {"uri": f"ldif:{path}"}})
        make(path)
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: bool(daemon.log_lines("was not reloaded, the previous one")), "the refusal", HANG)
        assert str(path) in daemon.log_lines("was not reloaded, the previous one")[-1]
        assert served(daemon)


# -- leftovers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_a_restart_beside_a_hanging_worker_of_a_killed_parent(slapd: Slapd, kind: str) -> None:
    sections = {} if kind == "unix" else {"milter": {"socket": f"inet:{LOOPBACK}:{free_port()}"}}
    with Daemon(slapd, sections) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        (hanging,) = workers(daemon)
        freeze(hanging)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.forget()
        try:
            daemon.start()
            wait_until(lambda: served(daemon), "the new worker", HANG)
            wait_until(lambda: not lives(hanging), "the end of the old one", HANG)
            assert served(daemon)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(hanging, signal.SIGKILL)


def test_a_hanging_worker_is_replaced_after_the_deadline_of_a_look_up(slapd: Slapd) -> None:
    with Daemon(slapd, {"ldap": {"lookup_deadline": "4"}}) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        (hanging,) = workers(daemon)
        freeze(hanging)
        wait_until(lambda: served(daemon), "the successor", HANG)
        (line,) = daemon.said(f"worker {hanging} has not reported for", "killed")
        assert int(line.split("reported for ")[1].split(" s")[0]) in range(5, 20)  # with the longest deadline: 20


# -- storms ---------------------------------------------------------------------------------


def test_a_storm_of_reloads_deaths_and_lost_names(slapd: Slapd) -> None:
    with Daemon(slapd, {"milter": {"workers": "2"}}) as daemon:
        wait_until(lambda: len(workers(daemon)) == 2, "the workers", HANG)
        killed: set[int] = set()
        for turn in range(30):
            os.kill(daemon.pid, signal.SIGHUP)
            if turn % 5 == 0:
                daemon.socket_path.unlink(missing_ok=True)
            if turn % 3 == 0:
                told = [pid for pid in workers(daemon) if pid not in killed and lives(pid)]
                if told:
                    os.kill(told[turn % len(told)], signal.SIGKILL)
                    killed.add(told[turn % len(told)])
            wait_until(daemon.listens, "the socket", HANG)
        assert killed
        wait_until(lambda: status(daemon)["restarts"] == len(killed), "every death to be counted", HANG)
        wait_until(lambda: len(workers(daemon)) == 2 and served(daemon), "the workers", HANG)
        assert status(daemon)["restarts"] == len(killed)
        assert daemon.log_lines("Traceback") == []
        assert daemon.stop() == 0
    assert not daemon.directory.exists()


def test_sixty_restarts(slapd: Slapd) -> None:
    """By turns asked to stop and killed: each takes the place of the one before."""
    with Daemon(slapd) as daemon:
        for turn in range(60):
            if turn % 3 == 0:
                wait_until(lambda: served(daemon), "the worker", HANG)
            if turn % 2:
                assert daemon.stop() == 0
            else:
                daemon.kill()
            daemon.start()
        wait_until(lambda: served(daemon), "the last worker", HANG)
        names = {path.name for path in daemon.directory.iterdir() if path.is_socket()}
        assert names == {"milter.sock", "control.sock"}


def test_a_stopped_machine_kills_nobody(slapd: Slapd) -> None:
    """All of it stands still and goes on: nobody has been silent."""
    with Daemon(slapd, {"ldap": {"lookup_deadline": "4"}}) as daemon:
        wait_until(lambda: served(daemon), "the worker", HANG)
        before = workers(daemon)
        for _ in range(2):
            os.killpg(daemon.pid, signal.SIGSTOP)
            time.sleep(6)  # longer than a worker may be silent
            os.killpg(daemon.pid, signal.SIGCONT)
            wait_until(lambda: served(daemon), "an answer", HANG)
        assert workers(daemon) == before
