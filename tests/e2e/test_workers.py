"""The daemon as processes: reloads and flushes under load, workers that die or hang, peers that are no MTA."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ARCHIVE, HOLD, JOE, company
from tests.support.daemon import Daemon
from tests.support.other_user import OtherUser
from tests.support.ports import HANG, LOOPBACK, free_port, wait_until
from tests.support.processes import freeze, lives, thaw
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANN, BOB, KIM = "ann@example.test", "bob@example.test", "kim@example.test"
ANN_DN = "uid=ann,ou=people,dc=example,dc=test"
MESSAGE = Transaction(
    sender=ANN, login=ANN, recipients=[JOE], headers=[("From", ANN), ("Subject", "minutes")], body=b"Hello.\n"
)
PLAIN = Transaction(sender=BOB, login=BOB, recipients=["jane@example.test"], headers=[("From", BOB)])


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(company()) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(slapd: Slapd) -> Iterator[Daemon]:
    """One daemon with two workers; every test leaves it serving with this configuration."""
    sections = {
        "milter": {"workers": "2"},
        "metrics": {"listen": f"{LOOPBACK}:{free_port()}"},
        "ldap": {"lookup_deadline": "20"},  # a worker that is stopped is left alone for that long
    }
    with Daemon(slapd, sections) as running:
        wait_until(lambda: len(workers(running)) == 2, "both workers")
        yield running


def workers(daemon: Daemon) -> list[int]:
    """Return the pids of the workers that serve."""
    return [worker["pid"] for worker in status(daemon)["workers"]]


def status(daemon: Daemon) -> dict[str, Any]:
    done = daemon.cli("status", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "exit_status": done.returncode}


def reload(daemon: Daemon, sections: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Change the configuration, have it taken over, and wait until that is said."""
    daemon.configure(sections or {})
    before = len(daemon.log_lines("configuration reloaded in"))
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: len(daemon.log_lines("configuration reloaded in")) > before, "the reload")


def refuse(daemon: Daemon, text: str) -> str:
    """Have a configuration refused; return the line that says why."""
    good = daemon.config.read_text(encoding="utf-8")
    daemon.config.write_text(text, encoding="utf-8")
    before = len(daemon.log_lines("was not reloaded, the previous one stays in force"))
    os.kill(daemon.pid, signal.SIGHUP)
    try:
        wait_until(lambda: len(daemon.log_lines("was not reloaded, the previous one")) > before, "the refusal")
    finally:
        daemon.config.write_text(good, encoding="utf-8")
    return daemon.log_lines("was not reloaded, the previous one stays in force")[-1]


def run(daemon: Daemon, message: Transaction = MESSAGE) -> set[str]:
    """Pass a message on a connection of its own; return where its copies go."""
    with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
        outcome = client.run(message)
    assert outcome.verdict is Verdict.ACCEPT
    return {added.address for added in outcome.added_recipients}


def metrics(daemon: Daemon) -> dict[str, float]:
    """Return the samples of the metrics page by name and labels."""
    listen = daemon.config.read_text(encoding="utf-8").split("listen = ")[1].split("\n")[0]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=HANG) as response:
        text = response.read().decode()
    families = text_string_to_metric_families(text)
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


class Load:
    """Messages without a pause, on connections that stay and on ones made anew."""

    def __init__(self, daemon: Daemon, *, per_session: int = 5, threads: int = 4) -> None:
        self.taken = 0
        self.failed: list[str] = []
        self._address = parse_socket(daemon.socket)
        self._per_session = per_session
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:  # noqa: PYI034 - Self is younger than Python 3.10
        for thread in self._threads:
            thread.start()
        self.wait_for(20)
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.wait_for(20)
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, more: int) -> None:
        """Wait until so many more messages were taken."""
        goal = self.taken + more
        wait_until(lambda: self.taken >= goal, f"{more} more messages ({self.failed[-1:]})")

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                with MilterClient.connect(self._address, HANG) as client:
                    for _ in range(self._per_session):
                        outcome = client.run(MESSAGE)
                        right = outcome.verdict is Verdict.ACCEPT and len(outcome.added_recipients) == 2
                        self._count(None if right else f"{outcome.verdict} {outcome.reply}")
            except DaemonUnreachable as error:
                self._count(str(error))

    def _count(self, failure: str | None) -> None:
        with self._lock:
            self.taken += failure is None
            self.failed += [failure] if failure is not None else []


# -- changes --------------------------------------------------------------------------------


def test_reloads_of_every_kind_under_load_lose_nothing(daemon: Daemon) -> None:
    control = daemon.directory / "other-control.sock"
    here = daemon.directory / "control.sock"
    listen = daemon.config.read_text(encoding="utf-8").split("listen = ")[1].split("\n")[0]
    counted = metrics(daemon)
    with Load(daemon) as load:
        for sections in (
            {"policy": {"max_copies": "99"}},
            {
                "copy archive": {
                    "sent_attributes": "ldapMilterArchiveBcc ldapMilterArchiveSentBcc zimbraAllowFromAddress"
                }
            },
            {"milter": {"workers": "4"}},
            {"milter": {"workers": "1"}},
            {"milter": {"workers": "3"}},
            {"milter": {"workers": "2", "socket_mode": "0660"}},
            {"milter": {"socket_mode": "0666", "socket_group": "postfix"}},
            {"control": {"socket": str(control)}},
            {"control": {"socket": str(here)}, "metrics": {"listen": f"{LOOPBACK}:{free_port()}"}},
            {"metrics": {"listen": listen}, "milter": {"socket_group": ""}},
            {},
        ):
            reload(daemon, sections)
            load.wait_for(10)
        for _ in range(20):
            os.kill(daemon.pid, signal.SIGHUP)
        load.wait_for(20)
        daemon.configure({"policy": {"max_copies": "98"}})
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "max_copies = 98" in daemon.cli("config", "--live").stdout, "the last of them")
    assert load.failed == []
    assert here.is_socket()
    assert not control.exists()
    assert len(workers(daemon)) == 2
    now = metrics(daemon)
    falling = [name for name, value in counted.items() if name.split(" ")[0].endswith("_total") and now[name] < value]
    assert falling == []
    assert now["ldapmilter_worker_restarts_total"] == 0


def test_another_socket_needs_a_restart(daemon: Daemon) -> None:
    good = daemon.config.read_text(encoding="utf-8")
    moved = re.sub("socket = unix:.*", f"socket = inet:{LOOPBACK}:{free_port()}", good)
    assert "a running daemon keeps its socket" in refuse(daemon, moved)
    assert run(daemon) == {ARCHIVE, HOLD}
    daemon.config.write_text(moved, encoding="utf-8")
    tried, shown = daemon.cli("check", "--config-only"), daemon.cli("config", "--live", "--non-default")
    assert (tried.returncode, shown.returncode) == (1, 0)
    assert "a running daemon keeps its socket" in tried.stdout
    assert f"socket = {daemon.socket}" in shown.stdout
    daemon.config.write_text(good, encoding="utf-8")
    assert "a reload would take it over" in daemon.cli("check", "--config-only").stdout
    reload(daemon)
    assert daemon.cli("status").returncode == 0


def test_mode_and_group_of_the_socket_are_changed_in_place(daemon: Daemon) -> None:
    before = daemon.socket_path.stat()
    reload(daemon, {"milter": {"socket_mode": "0600", "socket_group": "daemon"}})
    try:
        now = daemon.socket_path.stat()
        assert (now.st_ino, now.st_mode & 0o777, now.st_gid) == (before.st_ino, 0o600, grp.getgrnam("daemon").gr_gid)
        assert run(daemon) == {ARCHIVE, HOLD}
    finally:
        reload(daemon, {"milter": {"socket_mode": "0666", "socket_group": ""}})
    assert daemon.socket_path.stat().st_mode & 0o777 == 0o666


def test_modes_are_switched_and_said(daemon: Daemon) -> None:
    reload(daemon, {"policy": {"mode": "observe"}})
    try:
        assert run(daemon) == set()
        assert "NOT APPLIED" in daemon.cli("status").stdout
        assert metrics(daemon)["ldapmilter_parts_not_applied"] > 0
    finally:
        reload(daemon, {"policy": {"mode": "apply"}})
    assert run(daemon) == {ARCHIVE, HOLD}
    assert "NOT APPLIED" not in daemon.cli("status").stdout


def test_a_wrong_configuration_is_refused_and_says_why_everywhere(daemon: Daemon) -> None:
    good = daemon.config.read_text(encoding="utf-8")
    with socket.create_server((LOOPBACK, 0)) as taken, Load(daemon) as load:
        port = taken.getsockname()[1]
        for text, word in (
            (good.replace("[policy]", "[polices]") if "[policy]" in good else good + "[polices]\nx = 1\n", "polices"),
            ("no section\n", "section"),
            (re.sub("uri = .*", "uri = ldif:none.ldif", good), "none.ldif"),
            (re.sub("listen = .*", f"listen = {LOOPBACK}:{port}", good), str(port)),
            (re.sub("socket = unix:.*", f"socket = inet:{LOOPBACK}:{port}", good), "restart"),
            (re.sub("socket = .*control.*", "socket = /nonexistent/control.sock", good), "/nonexistent"),
            (re.sub("socket_group = .*", "socket_group = nosuchgroup", good), "nosuchgroup"),
        ):
            assert word in refuse(daemon, text)
            load.wait_for(5)
    assert load.failed == []
    # The file is what it was: nothing is left to be mended, and the old error is not repeated.
    done = daemon.cli("status")
    assert (done.returncode, "PROBLEM" in done.stdout, "the file is the same" in done.stdout) == (0, False, True)
    daemon.config.write_text(re.sub("socket_group = .*", "socket_group = nosuchgroup", good), encoding="utf-8")
    done = daemon.cli("status")
    assert done.returncode == 1
    assert "PROBLEM   the configuration was not reloaded" in done.stdout
    assert "nosuchgroup" in done.stdout
    daemon.config.write_text(good, encoding="utf-8")
    assert metrics(daemon)["ldapmilter_reload_failed"] == 1
    reload(daemon)
    assert daemon.cli("status").returncode == 0
    assert metrics(daemon)["ldapmilter_reload_failed"] == 0


@pytest.mark.parametrize("mistake", ["[ldpa]\n", "no section\n", "[policy]\nmode = aply\n", "[ldap\n"])
def test_status_and_flush_work_beside_a_mistake(daemon: Daemon, mistake: str) -> None:
    good = daemon.config.read_text(encoding="utf-8")
    try:
        daemon.config.write_text(mistake + good, encoding="utf-8")
        flushed, shown = daemon.cli("cache", "flush", "--all"), daemon.cli("status")
        live = daemon.cli("explain", "--live", "--auth", ANN, "--rcpt", JOE)
    finally:
        daemon.config.write_text(good, encoding="utf-8")
    assert (flushed.returncode, flushed.stdout[:6]) == (0, "forgot")
    assert str(daemon.config) in flushed.stderr
    assert "the daemon goes on with the configuration that it has" in flushed.stderr
    assert (live.returncode, live.stdout[:8]) == (0, "identity")
    assert shown.returncode == 1
    assert "the file has been changed since and cannot be used" in shown.stdout
    assert "PROBLEM   a reload would be refused: " in shown.stdout
    assert daemon.cli("status").returncode == 0


def test_a_reload_while_the_directory_is_down_keeps_what_is_known(slapd: Slapd) -> None:
    with Daemon(slapd, {"milter": {"workers": "1"}, "cache": {"ttl": "1"}, "ldap": {"lookup_deadline": "6"}}) as daemon:
        assert run(daemon) == {ARCHIVE, HOLD}
        slapd.suspend()
        try:
            reload(daemon, {"policy": {"max_copies": "77"}})
            time.sleep(1.2)  # past the time to live
            assert run(daemon) == {ARCHIVE, HOLD}
        finally:
            slapd.resume()


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("copy archive", "sent_attributes", "ldapMilterArchiveBcc ldapMilterArchiveSentBcc zimbraAllowFromAddress"),
        ("ldap", "connections_per_worker", "3"),
        ("cache", "max_entries", "9999"),
        ("groups", "max_depth", "7"),
    ],
)
def test_a_reload_that_would_forget_all_while_the_directory_is_down_is_refused(
    slapd: Slapd, section: str, option: str, value: str
) -> None:
    options = {"cache": {"ttl": "1"}, "ldap": {"lookup_deadline": "6", "connect_timeout": "1"}}
    with Daemon(slapd, options) as daemon:
        assert run(daemon) == {ARCHIVE, HOLD}
        served_by = workers(daemon)
        slapd.suspend()
        try:
            daemon.configure({section: {option: value}})
            line = refuse(daemon, daemon.config.read_text(encoding="utf-8"))
            assert "the directory cannot be read with it, and the cache would be emptied (" in line
            time.sleep(1.2)  # past the time to live
            assert run(daemon) == {ARCHIVE, HOLD}
            assert workers(daemon) == served_by
            assert "reload again when it can be read, or restart" in daemon.cli("status").stdout
        finally:
            slapd.resume()
        reload(daemon)
        assert run(daemon) == {ARCHIVE, HOLD}
        assert daemon.cli("status").returncode == 0


def test_a_wrong_password_is_noticed_at_the_reload_that_brought_it(slapd: Slapd) -> None:
    with Daemon(slapd, {"ldap": {"lookup_deadline": "6"}}) as daemon:
        assert run(daemon) == {ARCHIVE, HOLD}
        secret = daemon.directory / "ldap.secret"
        right = secret.read_text(encoding="utf-8")
        secret.write_text("wrong-one\n", encoding="utf-8")
        tried = daemon.cli("check", "--config-only")
        assert "[config-reload-refused]" in tried.stdout
        line = refuse(daemon, daemon.config.read_text(encoding="utf-8"))
        for words in (f"[ldap] bind_password_file = {secret} holds another password", f"{slapd.bind_dn}"):
            assert words in line
            assert words in tried.stdout
            assert words in daemon.cli("status").stdout
        refuse(daemon, daemon.config.read_text(encoding="utf-8"))  # once more, as long as it is wrong
        secret.write_text(right, encoding="utf-8")
        reload(daemon)
        assert daemon.cli("status").returncode == 0
        for password in ("wrong-one", right.strip()):
            assert password not in daemon.log()


def test_a_reload_that_needs_no_directory_does_not_ask_it(slapd: Slapd) -> None:
    with Daemon(slapd, {"ldap": {"lookup_deadline": "6", "connect_timeout": "1"}}) as daemon:
        assert run(daemon) == {ARCHIVE, HOLD}
        slapd.suspend()
        try:
            pass_all = {"policy": {"mode": "pass"}, "copy archive": {"mode": "pass"}, "copy legal": {"mode": "pass"}}
            reload(daemon, {**pass_all, "from": {"mode": "pass"}, "cache": {"max_entries": "9999"}})
            assert run(daemon) == set()
        finally:
            slapd.resume()


def test_a_flush_under_load_acts_on_the_next_message_of_every_worker(daemon: Daemon, slapd: Slapd) -> None:
    def hold_at(address: str) -> None:
        slapd.modify(f"dn: {ANN_DN}\nchangetype: modify\nreplace: ldapMilterLegalBcc\nldapMilterLegalBcc: {address}\n")

    with Load(daemon) as load:
        try:
            for turn, arguments in enumerate(([ANN], ["--domain", "example.test"], ["--all"])):
                address = f"other-{turn}@counsel.test"
                hold_at(address)
                done = daemon.cli("cache", "flush", *arguments, "--json")
                assert done.returncode == 0
                told = json.loads(done.stdout)
                assert (told["workers"], told["killed"]) == (2, [])
                assert told["entries"] >= 2
                assert {frozenset(run(daemon)) for _ in range(30)} == {frozenset({ARCHIVE, address})}
        finally:
            hold_at(HOLD)
            assert daemon.cli("cache", "flush", "a.able@example.test").returncode == 0
    unknown = daemon.cli("cache", "flush", "--domain", "exmaple.test")
    assert (unknown.returncode, unknown.stdout[:6]) == (1, "forgot")
    assert "the directory has no domain 'exmaple.test'; did you mean example.test?" in unknown.stderr
    nobody = daemon.cli("cache", "flush", "nobody@exmaple.test")
    assert nobody.returncode == 1
    assert "no account or list 'nobody@exmaple.test'" in nobody.stderr
    assert load.failed == []
    assert run(daemon) == {ARCHIVE, HOLD}
    assert re.fullmatch(r"forgot \d+ answers? in 2 workers\n", daemon.cli("cache", "flush", "--cos", "sales").stdout)


# -- workers that die or hang ---------------------------------------------------------------


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_load_is_shared_and_a_killed_worker_takes_only_its_own_with_it(daemon: Daemon) -> None:
    address = parse_socket(daemon.socket)
    for worker in workers(daemon):
        assert worker != daemon.pid
    before = metrics(daemon)
    with contextlib.ExitStack() as stack:
        victim, survivor = pids = workers(daemon)
        idle = {pid: descriptors(pid) for pid in pids}
        clients: list[MilterClient] = []

        def each_has_a_share() -> bool:
            clients.append(stack.enter_context(MilterClient.connect(address, HANG)))
            assert clients[-1].run(PLAIN).verdict is Verdict.ACCEPT
            assert len(clients) <= 500, "one worker takes every connection"
            return all(descriptors(pid) >= idle[pid] + 8 for pid in pids)

        wait_until(each_has_a_share, "connections at each worker", pause=0)
        os.kill(victim, signal.SIGKILL)
        lost = 0
        for client in clients:
            try:
                assert client.run(PLAIN).verdict is Verdict.ACCEPT
            except DaemonUnreachable:
                lost += 1
        assert 0 < lost < len(clients)
    wait_until(lambda: len(workers(daemon)) == 2 and victim not in workers(daemon), "the successor")
    assert survivor in workers(daemon)
    assert run(daemon) == {ARCHIVE, HOLD}
    after = metrics(daemon)
    assert after["ldapmilter_worker_restarts_total"] == before["ldapmilter_worker_restarts_total"] + 1
    # The last second of the one that was killed is lost; nothing that was ever shown is.
    assert [n for n, v in before.items() if n.split(" ")[0].endswith("_total") and after[n] < v] == []


def test_a_stopped_worker_holds_no_command_up(daemon: Daemon) -> None:
    victim, other = workers(daemon)
    freeze(victim)
    told = status(daemon)
    assert told["exit_status"] == 1
    assert {worker["pid"]: worker["silent_for"] > 3 for worker in told["workers"]} == {victim: True, other: False}
    thaw(victim)  # or it would be killed for its silence before the end of this test
    wait_until(lambda: status(daemon)["exit_status"] == 0, "its report")
    freeze(victim)
    shown = daemon.cli("cache", "show", ANN)
    assert shown.returncode == 1
    assert f"worker {victim}  does not answer" in shown.stdout
    thaw(victim)
    wait_until(lambda: status(daemon)["exit_status"] == 0, "its report")
    freeze(victim)
    done = daemon.cli("cache", "flush", "--all")
    assert done.returncode == 1
    assert f"worker {victim} did not confirm: it was killed" in done.stdout
    wait_until(lambda: len(workers(daemon)) == 2 and victim not in workers(daemon), "the successor")
    wait_until(lambda: status(daemon)["exit_status"] == 0, "its report")


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["cache", "stats"], ["cache", "show", ANN], ["cache", "flush", "--all"], ["explain", "--live"]],
    ids=" ".join,
)
def test_a_stopped_parent_is_named(daemon: Daemon, arguments: list[str]) -> None:
    rest = ["--auth", ANN, "--rcpt", JOE] if "explain" in arguments else []
    freeze(daemon.pid)
    try:
        done = daemon.cli(*arguments, *rest)
    finally:
        thaw(daemon.pid)
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert f"process {daemon.pid} is stopped; kill -CONT {daemon.pid} lets it go on" in line


def test_a_request_that_fills_the_socket_of_a_stopped_parent(daemon: Daemon) -> None:
    message = daemon.directory / "large.eml"
    message.write_bytes(b"From: ann@example.test\n" + b"X-Filler: and more of it\n" * 30_000 + b"\nHello.\n")
    freeze(daemon.pid)
    try:
        done = daemon.cli("explain", "--live", "--auth", ANN, "--rcpt", JOE, "--message", str(message))
    finally:
        thaw(daemon.pid)
    assert done.returncode == 4
    assert f"process {daemon.pid} is stopped" in done.stderr


def test_workers_whose_parent_is_killed_finish_and_go(slapd: Slapd) -> None:
    with Daemon(slapd, {"milter": {"workers": "2"}}) as daemon:
        pids = workers(daemon)
        with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
            assert client.run(PLAIN).verdict is Verdict.ACCEPT
            os.kill(daemon.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(lives, pids)), "the end of the workers")
        daemon.kill()
        daemon.start()
        assert run(daemon) == {ARCHIVE, HOLD}


def test_descriptors_and_processes_do_not_pile_up(daemon: Daemon) -> None:
    def open_descriptors() -> list[int]:
        return [descriptors(pid) for pid in (daemon.pid, *workers(daemon))]

    run(daemon)
    before = open_descriptors()
    for _ in range(300):
        run(daemon, PLAIN)
    for _ in range(10):
        reload(daemon)
    wait_until(lambda: all(n <= m + 3 for n, m in zip(open_descriptors(), before, strict=True)), "few descriptors")
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="ascii").split()
    assert sorted(map(int, children)) == sorted(workers(daemon))


# -- peers that are no MTA ------------------------------------------------------------------


def test_hostile_peers_hold_nobody_up(slapd: Slapd) -> None:
    packets = (
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xffO",
        b"\0\0\0\0",
        b"\0\0\0\x0dO" + b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff" + b"\0\0\0\1E",  # the end before MAIL
        b"\0\0\0\x0dO" + b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff" + b"\0\0\0\x05M<a>\0",  # in mid-message
        (b"\0\0\0\x0dO" + b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff") * 2,
        os.urandom(2000),
    )
    with Daemon(slapd, {"milter": {"workers": "2"}}) as daemon, contextlib.ExitStack() as stack:
        for octets in packets * 12:
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(str(daemon.socket_path))
            with contextlib.suppress(BrokenPipeError):
                peer.sendall(octets)
        for _ in range(10):
            assert run(daemon) == {ARCHIVE, HOLD}
        assert status(daemon)["restarts"] == 0
        assert "Traceback (most recent call last)" not in daemon.log()
        stack.close()
        wait_until(lambda: sum(worker["in_flight"] for worker in status(daemon)["workers"]) == 0, "no message left")
        assert daemon.stop() == 0


def test_a_log_that_nobody_reads_holds_nothing_up(slapd: Slapd) -> None:
    daemon = Daemon(slapd, {"milter": {"workers": "1"}})
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    command = [sys.executable, "-m", "ldapmilter", "--config", str(daemon.config), "run"]
    process = subprocess.Popen(command, stderr=writing, start_new_session=True)
    try:
        wait_until(daemon.listens, "the daemon")
        assert run(daemon) == {ARCHIVE, HOLD}
        assert daemon.cli("status").returncode == 0
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(HANG) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG)
        os.close(reading)
        os.close(writing)
        daemon.close()


def test_ctrl_c_reaches_everybody_and_messages_finish(slapd: Slapd) -> None:
    with Daemon(slapd, {"milter": {"workers": "auto"}}) as daemon:
        wait_until(lambda: len(workers(daemon)) == len(os.sched_getaffinity(0)), "a worker for each core")
        run(daemon)
        pid = daemon.pid
        os.killpg(pid, signal.SIGINT)
        wait_until(lambda: bool(daemon.log_lines("stopped")), "its end")
        assert daemon.stop() in (0, -signal.SIGTERM)
        assert daemon.log_lines("died") == daemon.log_lines("Traceback") == []


# -- the verbs ------------------------------------------------------------------------------

ASKING = (
    ["status"],
    ["status", "--json"],
    ["cache", "stats"],
    ["cache", "show", ANN],
    ["cache", "flush", "--all"],
    ["explain", "--live", "--auth", ANN, "--rcpt", JOE],
)


def test_the_verbs_without_a_daemon_and_without_a_control_socket(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    for arguments in ASKING:
        done = daemon.cli(*arguments)
        assert (done.returncode, done.stdout) == (4, "")
        (line,) = done.stderr.splitlines()
        assert str(daemon.directory / "control.sock") in line
    daemon.configure({"control": {"socket": ""}})
    for arguments in ASKING[-2:]:
        done = daemon.cli(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "[control] socket is empty" in done.stderr
    daemon.close()


def test_explain_live_is_explain(daemon: Daemon) -> None:
    for arguments in (
        ["--auth", ANN, "--rcpt", JOE, BOB],
        ["--mail-from", BOB, "--client", "192.0.2.1", "--rcpt", BOB],
    ):
        live, own = daemon.explain("--live", *arguments), daemon.explain(*arguments)
        assert {**live, "searches": 0} == {**own, "searches": 0}


def test_what_is_shown(daemon: Daemon) -> None:
    run(daemon)
    shown = json.loads(daemon.cli("cache", "show", "A.Able@EXAMPLE.test", "--json").stdout)
    held = [answer for worker in shown["workers"] for answer in worker["answers"]]
    assert ANN_DN in {dn for answer in held for dn in answer["dns"]}
    stats = json.loads(daemon.cli("cache", "stats", "--json").stdout)
    assert stats["entries"] > 0
    assert stats["workers"] == 2
    told = daemon.cli("status")
    assert told.returncode == 0
    for word in (str(daemon.pid), daemon.socket, "workers   2 of 2", "answers, and the policy can be read"):
        assert word in told.stdout


def test_a_user_who_may_not_ask(daemon: Daemon) -> None:
    """The configuration can be read, the control socket not connected to."""
    config = daemon.directory / "others.ini"
    config.write_text(f"[ldap]\nuri = ldif:x\n[control]\nsocket = {daemon.directory}/control.sock\n", encoding="ascii")
    done = OtherUser(daemon.directory, "www-data").cli(config, "status")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "user www-data may not ask the daemon at " in line
    assert "do it as root (sudo)" in line
    assert "does ldapmilter run" not in line


def test_a_start_beside_it_is_refused_before_anything_is_touched(daemon: Daemon) -> None:
    beside = daemon.directory / "beside.ini"
    text = re.sub("file = .*audit.*", "file = /nowhere/audit.jsonl", daemon.config.read_text(encoding="utf-8"))
    assert "/nowhere/" in text
    beside.write_text(text, encoding="utf-8")
    done = daemon.cli("run", "--config", str(beside))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"another process is listening there (pid {daemon.pid}" in line
    assert "where that is ldapmilter already, " in line
    assert run(daemon) == {ARCHIVE, HOLD}


def test_probe_for_monitoring(daemon: Daemon) -> None:
    def nagios(*arguments: str) -> tuple[int, str]:
        done = daemon.cli("probe", "--nagios", "--auth", ANN, "--rcpt", JOE, *arguments)
        (line,) = done.stdout.splitlines()
        assert done.stderr == ""
        return done.returncode, line

    code, line = nagios("--warn", "20")
    assert code == 0
    assert re.fullmatch(r"LDAPMILTER OK - accept, answered in [\d.]+ ms \| time=[\d.]+s;20;30;0 copies=2;;;0", line)
    wait_until(lambda: bool(daemon.log_lines("PROBE:", " probe=yes ")), "the line")
    wait_until(lambda: metrics(daemon)["ldapmilter_probes_total"] >= 1, "the count")
    code, line = nagios("--warn", "0")
    assert (code, line[:21]) == (1, "LDAPMILTER WARNING - ")
    done = daemon.cli("probe", "--nagios", "--auth", "erin@example.test", "--rcpt", BOB)
    assert done.returncode == 2
    assert done.stdout.startswith("LDAPMILTER CRITICAL - tempfail: 451 4.3.0")
    good = daemon.config.read_text(encoding="utf-8")
    daemon.config.write_text("[ldap\n", encoding="ascii")
    try:
        code, line = nagios()
        assert (code, line[:21]) == (3, "LDAPMILTER UNKNOWN - ")
    finally:
        daemon.config.write_text(good, encoding="utf-8")


def test_probe_for_monitoring_without_a_daemon(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    done = daemon.cli("probe", "--nagios", "--rcpt", BOB)
    assert done.returncode == 2
    assert done.stdout.startswith("LDAPMILTER CRITICAL - ")
    assert len(done.stdout.splitlines()) == 1
    daemon.close()


def test_one_line_for_a_message_with_an_effect_and_none_otherwise(daemon: Daemon) -> None:
    def lines(queue_id: str) -> list[str]:
        return [line for line in daemon.log().splitlines() if line.startswith(f"{queue_id}: ")]

    def message(login: str, rcpt: str, queue_id: str) -> Transaction:
        return Transaction(sender=login, login=login, recipients=[rcpt], headers=[("From", login)], queue_id=queue_id)

    run(daemon, message(BOB, "jane@example.test", "4Nothing"))
    run(daemon, message(ANN, JOE, "4Effect"))
    wait_until(lambda: len(lines("4Effect")) == 1, "the line")
    assert HOLD not in daemon.log()
    assert lines("4Nothing") == []
