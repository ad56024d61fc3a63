"""Whether the relay may write its state and its Maildir, and what does not belong there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.checks import relay_files
from ldapmilter.checks.finding import Report
from ldapmilter.relay.kept import Maildir
from tests.unit.checks.scene import config_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.config import Config

NOBODY: Final = 65534
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look for another user")


class Office:
    """A relay's files, and the control socket, which says whose the daemon is."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self.directory = directory
        self.control = directory / "control.sock"
        self.control.touch()
        self.state, self.kept = directory / "lib" / "copies.sqlite", directory / "lib" / "kept"
        self.state.parent.mkdir()
        self.config: Config = config_of(
            directory,
            {
                "control": {"socket": str(self.control)},
                "relay": {
                    "listen": "inet:127.0.0.1:24",
                    "next_hop": "smtp:[192.0.2.1]:25",
                    "state": str(self.state),
                    "kept": str(self.kept),
                },
            },
        )

    def found(self) -> list[tuple[str, str]]:
        self.report = Report()
        relay_files.check(self.config, self.report)
        return [(finding.code, finding.text) for finding in self.report.findings]


@pytest.fixture(name="office")
def open_office() -> Iterator[Office]:
    with tempfile.TemporaryDirectory() as name:  # where any user may look
        yield Office(Path(name))


def test_what_is_in_order(office: Office) -> None:
    assert office.found() == []
    office.state.touch()
    Maildir(office.kept).prepare()
    Maildir(office.kept).keep("f" * 48, {}, [b"x"])
    assert office.found() == []


def test_what_is_not_there_and_cannot_be_made(office: Office) -> None:
    office.state.parent.rmdir()
    office.state.parent.symlink_to(office.directory / "gone" / "away")
    assert [code for code, _ in office.found()] == ["relay-not-writable"]


@ROOT_ONLY
def test_whose_the_files_are_not(office: Office) -> None:
    office.state.touch()
    Maildir(office.kept).prepare()
    os.chown(office.control, NOBODY, NOBODY)
    folders = [office.kept / name for name in ("tmp", "new", "cur")]
    concerned = [office.state, office.state.parent, office.kept, *folders]
    found = office.found()
    assert {code for code, _ in found} == {"relay-not-writable"}
    assert [text.partition(":")[0] for _, text in found] == [str(path) for path in concerned]
    for path in concerned:
        os.chown(path, NOBODY, NOBODY)
    assert office.found() == []


def test_what_is_no_copy(office: Office) -> None:
    Maildir(office.kept).prepare()
    for number in range(5):
        (office.kept / "cur" / f"note-{number}").write_text("not ours")
    found = office.found()
    assert {code for code, _ in found} == {"relay-kept-foreign"}
    assert (len(found), found[-1][1]) == (4, f"{office.kept}: and 2 more")


def test_without_a_daemon_it_is_not_known_for_whom_to_look(office: Office) -> None:
    office.control.unlink()
    assert office.found() == []
    assert office.report.not_looked_for == {"relay-not-writable", "relay-kept-foreign"}


def test_copies_that_a_relay_has_left_behind(office: Office) -> None:
    Maildir(office.kept).prepare()
    office.config = replace(office.config, relay=replace(office.config.relay, listen=None))
    assert office.found() == []
    Maildir(office.kept).keep("f" * 48, {}, [b"x"])
    assert office.found() == [("relay-kept-unserved", f"{office.kept}: 1 kept copy")]


def test_a_directory_that_the_daemons_user_cannot_enter(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, hidden = Path.stat, office.state.parent

    def denied(path: Path, **options: bool) -> os.stat_result:
        if hidden in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", denied)
    monkeypatch.setattr(os, "access", lambda path, *_: path != hidden)
    assert office.found() == [
        ("relay-not-writable", f"{hidden}: {relay_files._name(os.geteuid())} may not write there")
    ]
