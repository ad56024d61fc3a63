"""What is said to a user who may not use a file: what refuses, and the ways to be let in."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

import pytest

from ldapmilter import who_may as module
from ldapmilter.who_may import READ, WRITE, who_may

if TYPE_CHECKING:
    from pathlib import Path

DAEMON = pwd.getpwnam("daemon")
MAIL = grp.getgrnam("mail")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "folder" / "file"
    found.parent.mkdir()
    found.write_text("x", encoding="ascii")
    return found


@pytest.fixture(autouse=True)
def bob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "user_name", lambda: "bob")


AS_ROOT, AS_DAEMON = "as root (sudo)", "as daemon (sudo -u daemon)"
AS_MEMBER = "as a member of the group mail (usermod --append --groups mail bob, and log in again)"
CASES = [
    (0, 0, 0o600, READ, "root:root, mode 0600", [AS_ROOT]),
    (0, MAIL.gr_gid, 0o640, READ, "root:mail, mode 0640", [AS_ROOT, AS_MEMBER]),
    (DAEMON.pw_uid, MAIL.gr_gid, 0o660, WRITE, "daemon:mail, mode 0660", [AS_ROOT, AS_DAEMON, AS_MEMBER]),
    (DAEMON.pw_uid, MAIL.gr_gid, 0o640, WRITE, "daemon:mail, mode 0640", [AS_ROOT, AS_DAEMON]),
    (54321, 54321, 0o400, READ, "54321:54321, mode 0400", [AS_ROOT, "as 54321 (sudo -u 54321)"]),
]


@pytest.mark.parametrize(("owner", "group", "mode", "wanted", "whose", "ways"), CASES)
def test_to_whom_it_belongs_and_who_may(
    file: Path, owner: int, group: int, mode: int, wanted: int, whose: str, ways: list[str]
) -> None:
    os.chown(file, owner, group)
    file.chmod(mode)
    assert who_may(file, wanted) == f"{file} belongs to {whose}; do it {', or '.join(ways)}"


def test_a_directory_that_may_not_be_entered_is_what_refuses(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, *_, **__: path != str(file.parent))
    os.chown(file.parent, DAEMON.pw_uid, MAIL.gr_gid)
    file.parent.chmod(0o710)
    assert who_may(file, READ) == (
        f"{file.parent} belongs to daemon:mail, mode 0710; do it {AS_ROOT}, or {AS_DAEMON}, or {AS_MEMBER}"
    )


def test_what_cannot_be_looked_at(file: Path) -> None:
    assert who_may(file / "none", READ) == "root may (sudo)"
