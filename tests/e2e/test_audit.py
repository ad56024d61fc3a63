"""The audit through real mail: what is kept, when it is on disk, and what happens when it cannot be."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.company import ARCHIVE, HOLD, JOE
from tests.e2e.scene import Scene
from tests.support import audit_lines
from tests.support.ports import wait_until
from tests.support.processes import workers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.daemon import Daemon

ANN = "ann@example.test"
BOB = "bob@example.test"
HENRY = "henry@example.test"
VAULT = "vault@example.test"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene({"main": {"milter": {"workers": "2"}}}) as company:
        yield company


def audit_file(daemon: Daemon) -> Path:
    return daemon.directory / "audit.jsonl"


def records(daemon: Daemon) -> list[dict[str, Any]]:
    return audit_lines.records(audit_file(daemon))


def test_a_legal_copy_is_in_the_audit_and_nowhere_else(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE])
    assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}
    kept = records(scene.daemon)[-1]
    assert kept["identity"]["address"] == ANN
    assert kept["offered"] == [JOE]
    assert {copy["address"] for copy in kept["copies"]} == {ARCHIVE, HOLD}
    assert kept["message_id"]
    assert kept["queue_id"] not in {"", "PROBE"}
    assert kept["from"]["old"]
    (line,) = scene.daemon.said(kept["queue_id"])
    assert line.startswith(f"{kept['queue_id']}: ")
    assert HOLD not in scene.daemon.log()
    assert audit_file(scene.daemon).stat().st_mode & 0o777 == 0o600

    found = scene.daemon.cli("audit", "find", "--message-id", kept["message_id"])
    assert found.returncode == 0
    assert HOLD in found.stdout
    by_address = scene.daemon.cli("audit", "find", "--address", HOLD, "--json")
    assert kept in [json.loads(line) for line in by_address.stdout.splitlines()]


def test_an_archived_message_is_found_by_each_of_its_message_ids(scene: Scene) -> None:
    """Nothing but the copy is done to it: the header is read for the audit alone."""
    other = "<second@client.test>"
    mailed = scene.submit(HENRY, [BOB], header=f"From: <{HENRY}>\nMessage-ID: {other}")
    assert VAULT in scene.delivered(mailed.token)
    queue_ids = set()
    for wanted in (other, f"{mailed.token}@client.test"):
        found = scene.daemon.cli("audit", "find", "--message-id", wanted, "--json")
        assert found.returncode == 0, found.stderr
        (record,) = map(json.loads, found.stdout.splitlines())
        assert [copy["address"] for copy in record["copies"]] == [VAULT]
        queue_ids.add(record["queue_id"])
    assert len(queue_ids) == 1
    missed = scene.daemon.cli("audit", "find", "--message-id", "none@client.test")
    assert missed.returncode == 1
    assert "nothing found" in missed.stderr


def test_mail_without_effect_leaves_nothing_and_a_probe_is_marked(scene: Scene) -> None:
    before = len(records(scene.daemon))
    mailed = scene.submit(BOB, ["someone@elsewhere.test"])
    scene.delivered(mailed.token)
    assert scene.daemon.probe("--auth", ANN, "--rcpt", JOE)["exit_status"] == 0
    (record,) = records(scene.daemon)[before:]
    assert record["probe"] is True
    assert scene.daemon.said("PROBE: ", "probe=yes")
    assert scene.daemon.log_lines(mailed.sent.queue_id) == []


def test_without_an_audit_a_legal_copy_waits_and_an_archive_copy_goes_on(scene: Scene) -> None:
    """The file is made unfit; the daemon notices, holds legal mail, and goes on once it is corrected."""
    file = audit_file(scene.daemon)
    moved = file.rename(file.with_suffix(".kept"))
    file.mkdir()
    try:
        held = scene.mail(ANN, [JOE], login=ANN)
        assert held.sent.code == 451
        assert scene.delivered(held.token) == {}
        (line,) = scene.daemon.said(ANN, "verdict=tempfail")
        assert line.endswith(f": verdict=tempfail identity=sasl:{ANN} mail_from=<{ANN}> nrcpt=1")

        workers = workers_of(scene.daemon.pid)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not {*workers} & {*workers_of(scene.daemon.pid)}, "the end of the workers")
        wait_until(lambda: "the audit cannot be written" in scene.daemon.cli("status").stdout, "their successors")
        assert scene.daemon.said("the audit cannot be written")
        assert scene.delivered(scene.submit(BOB, ["someone@elsewhere.test"]).token).keys() == {"someone@elsewhere.test"}
        assert scene.mail(ANN, [JOE], login=ANN).sent.code == 451
    finally:
        file.rmdir()
        moved.rename(file)
    mailed = scene.submit(ANN, [JOE])
    assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}


def test_rotation_and_hup(scene: Scene) -> None:
    file = audit_file(scene.daemon)
    before = sum(record["sender"] == ANN for record in records(scene.daemon))
    file.rename(file.with_name("audit.jsonl.1"))
    os.kill(scene.daemon.pid, signal.SIGHUP)
    wait_until(lambda: len(scene.daemon.log_lines("configuration reloaded")) == 1, "the reload")
    for _ in range(4):
        scene.submit(ANN, [JOE])
    assert len(records(scene.daemon)) == 4
    found = scene.daemon.cli("audit", "find", "--address", ANN, "--json")
    assert len(found.stdout.splitlines()) >= before + 4


def test_the_audit_is_whole_over_rotation_and_its_seals_are_in_the_log(scene: Scene) -> None:
    verified = json.loads(scene.daemon.cli("audit", "verify", "--json").stdout)
    assert verified["holds"], verified
    assert [Path(one["file"]).name for one in verified["files"]] == ["audit.jsonl.1", "audit.jsonl"]
    assert verified["files"][0]["unsealed"] == 0
    seal = scene.daemon.said("audit seal 1:")[0].rpartition("audit seal ")[2]
    assert scene.daemon.cli("audit", "verify", "--seal", seal).returncode == 0
    assert scene.daemon.cli("audit", "verify", "--seal", f"1:{'0' * 64}").returncode == 1


def test_an_audit_file_that_cannot_be_used_stops_the_start_and_the_reload(scene: Scene) -> None:
    daemon = scene.daemon
    file = audit_file(daemon)
    file.chmod(0o644)
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: bool(daemon.log_lines("not reloaded", str(file))), "the refusal")
    assert daemon.cli("status").returncode == 1
    file.chmod(0o600)
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: daemon.cli("status").returncode == 0, "the reload")
    daemon.stop()
    file.chmod(0o644)
    done = daemon.cli("run")
    assert done.returncode == 1
    assert str(file) in done.stderr
    file.chmod(0o600)
    daemon.start()
