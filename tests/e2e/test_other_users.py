"""Who may run which verb where everything has the modes that `scripts/install` gives it.

The daemon runs with a group of its own; the configuration belongs to that group, the password to root,
the milter's socket to a group of Postfix's. A member of the daemon's group is in no other.
"""

from __future__ import annotations

import grp
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import ARCHIVE, HOLD, JOE, company
from tests.support.daemon import Daemon
from tests.support.other_user import OtherUser
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = "ann@example.test"
# Groups that every Debian has, and no user who is here is a member of.
DAEMONS, POSTFIXS = "games", "mail"


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(company()) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(slapd: Slapd) -> Iterator[Daemon]:
    own = grp.getgrnam(DAEMONS).gr_gid
    socket = {"socket_mode": "0660", "socket_group": POSTFIXS, "workers": "1"}
    with Daemon(slapd, {"milter": socket}, under=["setpriv", f"--regid={own}", "--clear-groups"]) as running:
        os.chown(running.config, 0, own)
        running.config.chmod(0o640)
        yield running


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """Yield a directory that anybody may enter; pytest closes its own whenever it begins."""
    with tempfile.TemporaryDirectory(prefix="others-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def member(open_folder: Path) -> OtherUser:
    """Return a user who has the daemon's group from whoever started him, as a monitoring agent has."""
    return OtherUser(open_folder / "member", "www-data", [grp.getgrnam(DAEMONS).gr_gid])


@pytest.fixture(scope="module")
def stranger(open_folder: Path) -> OtherUser:
    return OtherUser(open_folder / "stranger", "www-data")


def test_a_member_asks_the_daemon(daemon: Daemon, member: OtherUser) -> None:
    for verb in (
        ("status",),
        ("status", "--json"),
        ("cache", "flush", "--all"),
        ("cache", "stats"),
        ("cache", "show", ANN),
        ("explain", "--live", "--auth", ANN, "--rcpt", JOE),
    ):
        done = member.cli(daemon.config, *verb)
        assert (done.returncode, done.stderr) == (0, ""), verb
        assert done.stdout


def test_a_member_probes_by_way_of_the_daemon(daemon: Daemon, member: OtherUser) -> None:
    done = member.cli(daemon.config, "probe", "--json", "--auth", ANN, "--rcpt", JOE)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {copy["address"] for copy in told["copies"]} == {ARCHIVE, HOLD}
    assert told.keys() == daemon.probe("--auth", ANN, "--rcpt", JOE).keys() - {"exit_status", "stderr"}
    done = member.cli(
        daemon.config, "probe", "--nagios", "--auth", ANN, "--rcpt", JOE, "--warn", "60", "--timeout", "60"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("LDAPMILTER OK - accept, answered in ")
    # It counts as a probe, whoever carries it.
    assert daemon.said("PROBE:", " probe=yes ")


def test_what_binds_says_who_may(daemon: Daemon, member: OtherUser) -> None:
    for verb in (("explain", "--auth", ANN, "--rcpt", JOE), ("coverage",), ("check",)):
        done = member.cli(daemon.config, *verb)
        assert (done.returncode, done.stdout) == (2, ""), verb
        (line,) = done.stderr.splitlines()
        assert "[ldap] bind_password_file = " in line
        assert "user www-data may not read it: " in line
        assert "ldap.secret belongs to root:root, mode 0600; " in line
        assert line.endswith(
            "; do it as root (sudo); status, config, cache, trace, probe and explain --live do without it"
        )


def test_a_member_sees_of_a_message_what_the_log_says_and_root_sees_all(daemon: Daemon, member: OtherUser) -> None:
    assert daemon.probe("--auth", ANN, "--rcpt", JOE)["exit_status"] == 0
    whole = daemon.cli("trace", ANN, "--last", "1")
    assert whole.returncode == 0
    assert f"copy to     {HOLD} (legal)" in whole.stdout
    for what in ((), (ANN,), (JOE,)):
        done = member.cli(daemon.config, "trace", *what)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"copy={ARCHIVE}" in done.stdout
        assert HOLD not in done.stdout
        assert "LegalBcc" not in done.stdout
    assert member.cli(daemon.config, "trace", HOLD).returncode == 1
    unseen = daemon.cli("trace", "4NoSuchId")
    assert unseen.returncode == 1
    assert "no message of 4NoSuchId was seen since the daemon started at " in unseen.stdout


def test_the_audit_is_not_for_members(daemon: Daemon, member: OtherUser) -> None:
    assert daemon.probe("--auth", ANN, "--rcpt", JOE)["exit_status"] == 0
    done = member.cli(daemon.config, "audit", "find", "--address", JOE)
    assert done.returncode == 1
    assert "Permission denied; " in done.stderr
    assert "do it as root (sudo)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stranger_is_told_who_may(daemon: Daemon, stranger: OtherUser, open_folder: Path) -> None:
    done = stranger.cli(daemon.config, "status")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{daemon.config}: user www-data may not read it: " in line
    assert "do it as root (sudo)" in line
    # Who can read the configuration, or has one of his own, still cannot ask.
    own = open_folder / "own.ini"
    own.write_bytes(daemon.config.read_bytes())
    own.chmod(0o644)
    for verb in (("status",), ("cache", "flush", "--all"), ("probe", "--rcpt", JOE)):
        done = stranger.cli(own, *verb)
        assert (done.returncode, done.stdout) == (4, ""), verb
        assert "user www-data may not ask the daemon at " in done.stderr
        assert "do it as root (sudo)" in done.stderr
