"""What the log and the status say of an audit that cannot be written, and when they stop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ldapmilter.audit.lock import AuditLock
from ldapmilter.audit.reading import siblings
from ldapmilter.config import parse
from ldapmilter.daemon import audit_trail
from ldapmilter.daemon.audit_trail import AuditTrail
from ldapmilter.daemon.tally import Tally
from ldapmilter.errors import AuditError
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANNOT = "the audit cannot be written"
AGAIN = "the audit can be written again"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def trail(path: Path) -> Iterator[AuditTrail]:
    text = f"[ldap]\nuri = ldap://127.0.0.1:9\nstarttls = no\n[audit]\nfile = {path}\n"
    trail = AuditTrail(parse(text, path), Tally())
    yield trail
    trail.close()


def is_said(trail: AuditTrail) -> bool:
    """Whether status and metrics say that the audit cannot be written."""
    return trail.fails


def is_well(trail: AuditTrail) -> bool:
    trail.try_again()
    return not trail.fails


def full(*_: object) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("durable", [False, True])
def test_a_worker_without_further_mail_finds_out_that_there_is_room_again(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, durable: bool
) -> None:
    monkeypatch.setattr(audit_trail, "_OPEN_SECONDS", HANG)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        if durable:
            with pytest.raises(AuditError):
                trail.write({"n": 1}, durable=True, seconds=HANG)
        else:
            trail.write({"n": 1}, durable=False, seconds=HANG)
        trail.look()
        assert is_said(trail)
        for _ in range(3):
            trail.try_again()
        assert is_said(trail)
        trail.look()
        assert AGAIN not in caplog.text
    trail.try_again()
    assert not is_said(trail)
    assert caplog.messages.count(AGAIN) == 1
    said = caplog.text.count(CANNOT)
    trail.look()
    trail.try_again()
    assert caplog.text.count(CANNOT) == said == 2
    assert caplog.messages.count(AGAIN) == 1


def test_while_lines_keep_failing_nothing_is_said_to_be_well(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that fails now and then: lest the log say one thing and the other in turn."""
    monkeypatch.setattr(audit_trail, "_OPEN_SECONDS", HANG)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            trail.write({"n": 1}, durable=False, seconds=HANG)
        trail.look()
        trail.try_again()
        assert is_said(trail)
    assert AGAIN not in caplog.text
    trail.try_again()
    assert not is_said(trail)


def test_what_waited_for_another_process_is_written_and_the_audit_is_well_again(
    trail: AuditTrail, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one's disk did not answer; this worker gets no mail that needs the audit afterwards."""
    with AuditLock(path).held():
        with pytest.raises(AuditError):
            trail.write({"time": "then", "n": 1}, durable=True, seconds=0.01)
        trail.write({"n": 2}, durable=False, seconds=0.01)
        trail.look()
        assert is_said(trail)
        assert CANNOT in caplog.text
        trail.try_again()
        trail.try_again()
        assert is_said(trail)
    wait_until(lambda: '"n":2' in path.read_text(encoding="ascii"), "the line that waited")
    wait_until(lambda: is_well(trail), "the end of what fails")
    assert caplog.messages.count(AGAIN) == 1
    trail.look()
    assert not is_said(trail)
    assert "are missing in the audit" not in caplog.text


def test_a_reload_while_the_disk_stalls_is_no_reason_to_give_lines_up(
    trail: AuditTrail, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that refused it would be replaced, and the lines that wait in it would be lost."""
    monkeypatch.setattr(audit_trail, "_REOPEN_SECONDS", 0.01)
    config = parse(f"[ldap]\nuri = ldap://127.0.0.1:9\nstarttls = no\n[audit]\nfile = {path}\n", path)
    with AuditLock(path).held():
        trail.write({"n": 1}, durable=False, seconds=0.01)
        path.rename(path.with_name("audit.jsonl.1"))
        path.touch(0o600)
        trail.follow(config, config)
        trail.look()
        assert is_said(trail)
    # In the old file, as long as nobody has begun the new one.
    wait_until(lambda: any(b'"n":1' in file.read_bytes() for file in siblings(path)), "the line that waited")
    wait_until(lambda: is_well(trail), "the end of what fails")


def test_what_is_well_again_is_not_said_to_be_stalled(trail: AuditTrail, path: Path) -> None:
    with AuditLock(path).held():
        for _ in range(2):
            with pytest.raises(AuditError):
                trail.write({"time": "then", "n": 1}, durable=True, seconds=0.01)
            trail.look()
        with pytest.raises(AuditError):
            trail.write({"time": "then", "n": 1}, durable=True, seconds=0.01)
    wait_until(lambda: is_well(trail), "the end of what fails")
    trail.look()
    assert not is_said(trail)
