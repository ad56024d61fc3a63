"""The audit's disk stops answering, without an error: legal mail gets 451 in time, other mail goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.company import ARCHIVE, HOLD, JOE
from tests.e2e.scene import Scene
from tests.support import audit_lines
from tests.support.ports import HANG, wait_until
from tests.support.stalling_disk import StallingDisk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.smtp_client import Sent

ANN = "ann@example.test"
"""She has a legal copy."""
HENRY = "henry@example.test"
"""He has an archive, and no more."""
BOB = "bob@example.test"
VAULT = "vault@example.test"
NOBODY = "someone@elsewhere.test"
SINCE = "the disk has not answered since "
AGAIN = "the audit can be written again"
RELOADED = "configuration reloaded in 2 workers"


@pytest.fixture(scope="module")
def disk() -> Iterator[StallingDisk]:
    with StallingDisk() as disk:
        yield disk


@pytest.fixture(scope="module")
def scene(disk: StallingDisk) -> Iterator[Scene]:
    options = {"milter": {"workers": "2"}, "ldap": {"lookup_deadline": "3"}}
    with Scene({"main": options}, under=disk.under) as company:
        wait_until(lambda: company.daemon.log().count("the directory answers") == 2, "the warm-up of both workers")
        legal_mail_passes(company)
        yield company
        assert "Traceback" not in company.daemon.log()


def audit_file(scene: Scene) -> Path:
    return scene.daemon.directory / "audit.jsonl"


def records(scene: Scene) -> list[dict[str, Any]]:
    return audit_lines.records(audit_file(scene))


def legal_mail_passes(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE])
    assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}


def legal_mail_passes_again(scene: Scene) -> str:
    """Return the queue id; the thread that waits for the disk may need a moment to see that it has answered."""
    tried: list[Sent] = []

    def passes() -> bool:
        tried.append(scene.mail(ANN, [JOE], login=ANN).sent)
        return tried[-1].accepted

    wait_until(passes, "the disk")
    return tried[-1].queue_id


@contextlib.contextmanager
def reloaded(scene: Scene) -> Iterator[None]:
    """Reload at the end of the block, and wait until the workers have taken it over."""
    before = len(scene.daemon.log_lines(RELOADED))
    yield
    os.kill(scene.daemon.pid, signal.SIGHUP)
    wait_until(lambda: len(scene.daemon.log_lines(RELOADED)) > before, "the reload", 60)


def is_said(scene: Scene) -> bool:
    status = scene.daemon.cli("status")
    return status.returncode == 1 and "PROBLEM   the audit cannot be written" in status.stdout


def is_said_no_more(scene: Scene) -> bool:
    status = scene.daemon.cli("status")
    return "listening" in status.stdout and "the audit cannot be written" not in status.stdout


def test_a_write_that_does_not_return_loses_no_line_and_holds_up_legal_mail_alone(
    scene: Scene, disk: StallingDisk
) -> None:
    before = len(records(scene))
    with disk.stalled("write"):
        archived = [scene.submit(HENRY, [BOB]) for _ in range(6)]
        for mailed in archived:
            assert VAULT in scene.delivered(mailed.token)
        assert scene.mail(ANN, [JOE], login=ANN).sent.code == 451
        assert scene.delivered(scene.submit(BOB, [NOBODY]).token).keys() == {NOBODY}
        assert len(records(scene)) == before
        with reloaded(scene):  # as a rotation does: no worker is replaced, with the lines in it
            pass
        assert not scene.daemon.log_lines("were replaced")
    passed = legal_mail_passes_again(scene)

    def of_henry() -> int:
        return sum(record["sender"] == HENRY for record in records(scene)[before:])

    # Each worker has a file of its own open, and the other one may be later.
    wait_until(lambda: of_henry() == len(archived), "the lines of the archive mail", HANG)
    wait_until(lambda: standing(records(scene)[before:]) == [passed], "all to be taken back but what passed in the end")


def standing(written: Sequence[dict[str, Any]]) -> list[str]:
    """Return the queue ids of Ann's lines that no other takes back."""
    left = [record for record in written if record["sender"] == ANN]
    taken_back = {record["takes_back"] for record in left}
    return [record["queue_id"] for record in left if record["takes_back"] is None and record["time"] not in taken_back]


def test_a_reload_and_a_rotation_are_refused_in_time(scene: Scene, disk: StallingDisk) -> None:
    daemon = scene.daemon
    with disk.stalled("open"):
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: bool(daemon.log_lines("not reloaded", "audit.jsonl: the disk ")), "the refusal", 60)
        legal_mail_passes(scene)  # with the file that is open
    with reloaded(scene):
        pass
    legal_mail_passes(scene)


def test_another_disk_is_taken_over_without_a_restart(scene: Scene, disk: StallingDisk) -> None:
    daemon, elsewhere = scene.daemon, scene.daemon.directory / "elsewhere.jsonl"
    with disk.stalled("write", "fdatasync"):
        assert scene.mail(ANN, [JOE], login=ANN).sent.code == 451
        with reloaded(scene):
            daemon.configure({"audit": {"file": str(elsewhere)}})
        legal_mail_passes(scene)
        assert '"legal"' in elsewhere.read_text(encoding="ascii")
    with reloaded(scene):
        daemon.configure({"audit": {"file": str(audit_file(scene))}})
    legal_mail_passes(scene)


def test_whoever_locks_the_audit_holds_nothing_up(scene: Scene) -> None:
    with audit_file(scene).open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        legal_mail_passes(scene)


def test_a_sync_that_does_not_return_holds_up_legal_mail_alone(scene: Scene, disk: StallingDisk) -> None:
    """After those above, since it waits for the full minute of a worker."""

    def is_well_again() -> bool:
        return len(scene.daemon.log_lines(AGAIN)) > again

    before, again = len(records(scene)), len(scene.daemon.log_lines(AGAIN))
    with disk.stalled("fdatasync"):
        # More than there are workers: each of them meets the disk, and then does not try any more.
        for _ in range(6):
            assert scene.mail(ANN, [JOE], login=ANN).sent.code == 451
        archived = scene.submit(HENRY, [BOB])
        assert VAULT in scene.delivered(archived.token)
        assert scene.delivered(scene.submit(BOB, [NOBODY]).token).keys() == {NOBODY}
        # Within a minute, lest the time tell which message it was.
        wait_until(lambda: is_said(scene), "status", 120)
        assert scene.daemon.said(
            f"the audit cannot be written, so mail that needs it is deferred: {audit_file(scene)}: {SINCE}"
        )
    # Without mail: a worker that gets no more learns it as well.
    wait_until(is_well_again, "a disk that answers", 120)
    wait_until(lambda: is_said_no_more(scene), "both workers", 120)
    passed = legal_mail_passes_again(scene)
    wait_until(lambda: standing(records(scene)[before:]) == [passed], "all to be taken back but what passed in the end")
    ann = [record for record in records(scene)[before:] if record["sender"] == ANN]
    taken_back = [record["takes_back"] for record in ann if record["takes_back"] is not None]
    done = [record for record in ann if record["takes_back"] is None]
    assert taken_back
    assert len(taken_back) == len(done) - 1
    found = scene.daemon.cli("audit", "find", "--queue-id", done[0]["queue_id"])
    assert found.returncode == 0
    assert found.stdout.count("TAKES BACK") == 1


def test_the_daemon_ends_although_the_disk_does_not_answer(scene: Scene, disk: StallingDisk) -> None:
    """Last, since it is started anew."""
    with disk.stalled("write", "fdatasync"):
        archived = [scene.submit(HENRY, [BOB]) for _ in range(4)]
        assert scene.daemon.terminate() == 0
        assert scene.daemon.log_lines("audit lines are lost, if it does not in the end")
    assert len(archived) == 4
    scene.daemon.kill()
    scene.daemon.start()
    legal_mail_passes_again(scene)
