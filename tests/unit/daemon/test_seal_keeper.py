"""The thread that seals: what it says, when it stops, and who may not seal besides."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ldapmilter.audit.reading import files_of
from ldapmilter.audit.sole import SoleSealer, refuse_anothers
from ldapmilter.audit.verification import verify
from ldapmilter.daemon import seal_keeper
from ldapmilter.daemon.seal_keeper import SealKeeper
from ldapmilter.errors import AuditError
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def keeper(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealKeeper]:
    caplog.set_level(logging.INFO)  # before the first seal, which needs no word of the test's
    for patience in ("_LAST_SECONDS", "_ROTATED_SECONDS"):
        monkeypatch.setattr(seal_keeper, patience, HANG)
    keeper = SealKeeper(path)
    keeper.start()
    yield keeper
    keeper.stop()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text.removeprefix("audit seal ") for text in caplog.messages if text.startswith("audit seal ")]


def test_the_log_has_the_first_and_the_last_seal_as_verify_takes_them(
    keeper: SealKeeper, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.look_now()
    keeper.stop()
    found = verify(files_of(path), path)
    assert found.holds
    assert told(caplog)[-1] == str(found.ends)
    assert [text.partition(":")[0] for text in told(caplog)] == ["1", "2"]


def test_the_number_of_the_last_seal_and_when_it_was_made(keeper: SealKeeper) -> None:
    before = time.time()
    keeper.look_now()
    assert keeper.last is not None
    assert keeper.last.number == 1
    assert before <= keeper.last.at <= time.time()
    assert SealKeeper(None).last is None


@pytest.mark.parametrize("made", [True, False], ids=["create", "nocreate"])
def test_a_rotated_file_is_sealed_when_the_daemon_is_told(keeper: SealKeeper, path: Path, *, made: bool) -> None:
    keeper.look_now()
    path.rename(path.with_name("audit.jsonl.1"))
    if made:
        path.touch(0o600)
    keeper.look_now()
    assert path.read_bytes().startswith(b'{"event":"open","seal":2,')
    assert verify(files_of(path), path).holds


def test_another_process_may_not_seal_the_same_audit(keeper: SealKeeper, path: Path) -> None:
    text = (
        f"import pathlib; from ldapmilter.daemon.seal_keeper import SealKeeper; SealKeeper(pathlib.Path({str(path)!r}))"
    )
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert f"{path}: another ldapmilter (process {os.getpid()}) writes and seals this audit" in done.stderr
    keeper.stop()
    assert subprocess.run(command, check=False, capture_output=True, timeout=HANG).returncode == 0


TAKE_AND_FORK = """
import os, sys
from pathlib import Path
from ldapmilter.audit.sole import SoleSealer

sole = SoleSealer(Path(sys.argv[1]))
sole.take()
reading, writing = os.pipe()
if os.fork() == 0:  # a worker, which lives longer
    os.write(writing, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(reading, 1)
os.write(1, b"x")
os._exit(0)
"""


def test_a_worker_keeps_nobody_out_when_its_parent_is_gone(path: Path) -> None:
    command = [sys.executable, "-c", TAKE_AND_FORK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(1) == b"x"
        parent.wait(HANG)
        sole = SoleSealer(path)
        sole.take()
        sole.release()


def test_the_one_that_seals_may_reload(keeper: SealKeeper, path: Path) -> None:
    assert keeper is not None
    refuse_anothers(path)


def test_another_audit_is_sealed_after_a_reload(keeper: SealKeeper, path: Path) -> None:
    other = path.with_name("other.jsonl")
    keeper.look_now()
    keeper.follow(other)
    keeper.look_now()
    assert verify([path], path).holds
    assert verify([other], other).ends is not None
    keeper.follow(None)
    SoleSealer(path).take()


def test_what_cannot_be_sealed_is_said_once_and_sealed_later(
    keeper: SealKeeper, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.look_now()
    path.rename(path.with_name("audit.jsonl.1"))
    path.touch()
    path.chmod(0o644)
    for _ in range(3):
        keeper.look_now()
    assert sum("the audit cannot be sealed" in text for text in caplog.messages) == 1
    assert "chmod 0600" in caplog.text
    path.chmod(0o600)
    wait_until(lambda: "the audit can be sealed again" in caplog.text, "the next look")
    assert verify(files_of(path), path).holds


def test_without_an_audit_nothing_is_sealed() -> None:
    keeper = SealKeeper(None)
    keeper.start()
    keeper.look_now()
    keeper.stop()


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"none/\.audit\.jsonl\.sealer: cannot be used"):
        SealKeeper(tmp_path / "none" / "audit.jsonl")
