"""Findings about the configuration and the milter's socket."""

from __future__ import annotations

import os
import pwd
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import configuration, milter_socket
from ldapmilter.checks.finding import Report
from ldapmilter.milter.effects import ACTIONS
from ldapmilter.socket_address import parse_socket
from tests.support.ports import HANG
from tests.unit.checks.scene import codes, config_of, texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def report_on(directory: Path, sections: Mapping[str, Mapping[str, str]] | None = None) -> Report:
    report = Report()
    configuration.check(config_of(directory, sections), report)
    return report


def test_a_configuration_that_is_in_order(tmp_path: Path) -> None:
    report = report_on(tmp_path)
    assert report.findings == ()
    assert len(report.looked_at) == 1


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"policy": {"mode": "observe"}}, "config-not-applied"),
        ({"copy legal": {"mode": "pass"}}, "config-not-applied"),
        ({"policy": {"directory_failure": "accept"}}, "config-failure-accepted"),
        ({"ldap": {"uri": "ldif:export.ldif"}}, "config-embedded-directory"),
        ({"milter": {"socket": "inet:*:8800"}}, "config-socket-open"),
        ({"milter": {"socket_mode": "0666"}}, "config-socket-open"),
    ],
)
def test_what_a_valid_configuration_may_still_not_mean(
    tmp_path: Path, sections: dict[str, dict[str, str]], code: str
) -> None:
    assert codes(report_on(tmp_path, sections)) == {code}


def test_what_a_daemon_needs_at_its_start(tmp_path: Path) -> None:
    report = Report()
    sections = {"milter": {"socket_group": "no-such-group"}, "audit": {"file": str(tmp_path / "gone/audit.jsonl")}}
    configuration.check_start(config_of(tmp_path, sections), report)
    assert codes(report) == {"config-start-refused", "config-audit-nowhere"}
    assert texts(report, "config-start-refused") == ["[milter] socket_group = no-such-group: there is no such group"]
    report = Report()
    sections = {"milter": {"socket_group": ""}, "audit": {"file": str(tmp_path / "audit.jsonl")}}
    configuration.check_start(config_of(tmp_path, sections), report)
    assert report.findings == ()


def secret_in(directory: Path) -> Path:
    secret = directory / "ldap.secret"
    secret.write_text("secret\n")
    secret.chmod(0o640)
    return secret


def with_secret(secret: Path) -> dict[str, dict[str, str]]:
    return {"ldap": {"bind_dn": "uid=ldapmilter", "bind_password_file": str(secret)}}


def test_modes_of_the_secret(tmp_path: Path) -> None:
    secret = secret_in(tmp_path)
    assert report_on(tmp_path, with_secret(secret)).findings == ()
    secret.chmod(0o660)
    report = report_on(tmp_path, with_secret(secret))
    assert codes(report) == {"config-writable"}
    assert report.findings[0].remedy == f"chmod 0640 {secret}"


def test_an_export_needs_no_secret(tmp_path: Path) -> None:
    sections = {"ldap": {"uri": "ldif:export.ldif", "bind_password_file": str(tmp_path / "gone")}}
    assert codes(report_on(tmp_path, sections)) == {"config-embedded-directory"}


def test_owner_of_the_secret(tmp_path: Path) -> None:
    secret = secret_in(tmp_path)
    os.chown(secret, pwd.getpwnam("nobody").pw_uid, 0)
    assert codes(report_on(tmp_path, with_secret(secret))) == {"config-secret-owner"}


@pytest.mark.parametrize(("owner", "found"), [("games", set()), ("news", {"config-secret-owner"})])
def test_the_secret_as_it_is_installed_for_a_service_manager_that_hands_on_none(
    tmp_path: Path, owner: str, found: set[str]
) -> None:
    """As scripts/install does: config.ini is root's with the group of the daemon's user, whose secret is his own."""
    secret = secret_in(tmp_path)
    secret.chmod(0o600)
    user = pwd.getpwnam(owner)
    os.chown(secret, user.pw_uid, user.pw_gid)
    config = config_of(tmp_path, with_secret(secret))
    os.chown(config.file, 0, pwd.getpwnam("games").pw_gid)
    report = Report()
    configuration.check(config, report)
    assert codes(report) == found


def test_a_directory_in_which_anybody_can_replace_the_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert codes(report_on(tmp_path)) == {"config-writable"}
    tmp_path.chmod(0o1777)
    assert report_on(tmp_path).findings == ()


def test_a_secret_among_the_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_in(tmp_path).chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = config_of(tmp_path, {"ldap": {"bind_dn": "uid=ldapmilter", "bind_password_file": "ldap.secret"}})
    assert configuration.secret_file(config) == tmp_path / "ldap.secret"


def test_nobody_listens(tmp_path: Path) -> None:
    report = Report()
    milter_socket.check(parse_socket(f"unix:{tmp_path / 'milter.sock'}"), report)
    assert codes(report) == {"socket-unreachable"}
    assert not report.daemon_reached


@pytest.mark.parametrize(
    ("actions", "protocol", "text"),
    [
        (0x01, 0x00, "does not ask for ADDRCPT, DELRCPT, CHGHDRS, ADDRCPT_PAR"),
        (0x1FF, 0x200, "does not want to see or answer DATA"),
        (0x1FF, 0x10000, "does not want to see or answer DATA"),
        (0x1FF, 0x08, "does not want to see or answer RCPT"),
        (0x1FF, 0x01, "neither by CONNECT nor by the macro {client_addr}"),
    ],
)
def test_another_milter_listens(tmp_path: Path, actions: int, protocol: int, text: str) -> None:
    path = tmp_path / "milter.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                payload = struct.pack("!III", 6, actions, protocol)
                connection.sendall(struct.pack("!I", len(payload) + 1) + b"O" + payload)
                connection.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        report = Report()
        path.chmod(0o666)
        milter_socket.check(parse_socket(f"unix:{path}"), report)
        thread.join(HANG)
    assert "socket-wrong-milter" in codes(report)
    assert text in texts(report, "socket-wrong-milter")[0]


def test_what_the_daemon_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    milter_socket.check_daemon(config_of(tmp_path, {"control": {"socket": ""}}), report)
    asked = config_of(tmp_path, {"control": {"socket": str(tmp_path / "control.sock")}})
    milter_socket.check_daemon(asked, report)  # nobody is there, which is another finding
    assert report.findings == ()
    monkeypatch.setattr(milter_socket, "ask", lambda *_: {"own_problems": ["no worker serves", "few descriptors"]})
    milter_socket.check_daemon(asked, report)
    assert texts(report, "socket-daemon-troubled") == ["no worker serves", "few descriptors"]


def test_a_directory_that_postfix_may_not_enter(tmp_path: Path) -> None:
    place = tmp_path / "private"
    place.mkdir()
    path = place / "milter.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        for parent in (tmp_path, *tmp_path.parents[:-1]):
            parent.chmod(parent.stat().st_mode | 0o011)
        report = Report()
        place.chmod(0o711)
        milter_socket._for_postfix(path, report)
        assert report.findings == ()
        place.chmod(0o700)
        milter_socket._for_postfix(path, report)
        assert texts(report, "socket-postfix-denied") == [f"{place} (mode 0700): the user postfix may not enter it"]
        place.chmod(0o711)
        path.chmod(0o600)
        report = Report()
        milter_socket._for_postfix(path, report)
        assert texts(report, "socket-postfix-denied") == [f"{path} (mode 0600): the user postfix may not write to it"]
        os.chown(path, -1, pwd.getpwnam("postfix").pw_gid)
        path.chmod(0o660)
        report = Report()
        milter_socket._for_postfix(path, report)
        assert report.findings == ()


def test_the_actions_that_are_looked_for_are_those_that_the_session_asks_for() -> None:
    assert int(milter_socket.NEEDED_ACTIONS) == ACTIONS
