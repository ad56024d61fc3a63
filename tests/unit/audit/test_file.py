"""The audit file: refused where others could read it, whole lines whatever fails, followed when rotated."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit import file as audit_file
from ldapmilter.audit.file import ROTATION_SECONDS, AuditFile
from ldapmilter.errors import AuditError
from tests.support.ports import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audit(path: Path, clock: Clock) -> Iterator[AuditFile]:
    audit = AuditFile(path, clock=clock)
    yield audit
    audit.close()


def numbers(path: Path) -> list[int]:
    octets = path.read_bytes()
    assert octets.endswith(b"\n") or not octets
    return [json.loads(line)["n"] for line in octets.splitlines()]


def test_it_is_made_for_nobody_else(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    audit.write({"n": 2}, durable=True)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert numbers(path) == [1, 2]


def test_what_stands_in_it_stays(path: Path) -> None:
    for number in (1, 2):
        audit = AuditFile(path)
        audit.write({"n": number}, durable=True)
        audit.close()
    assert numbers(path) == [1, 2]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    path.touch()
    path.chmod(mode)
    with pytest.raises(AuditError, match=rf"audit\.jsonl: others may .*mode {mode:04o}.*chmod 0600"):
        AuditFile(path)


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch(mode=0o600)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(AuditError, match=rf"belongs to user {uid}.*chown {uid + 1} "):
        AuditFile(path)


def test_a_link_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(AuditError, match="is a symbolic link"):
        AuditFile(path)
    assert not (path.parent / "elsewhere").exists()


def test_a_fifo_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(AuditError, match="no regular file"):
        AuditFile(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="is a directory"):
        AuditFile(tmp_path)


def test_a_missing_directory_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"none/audit\.jsonl: .*No such file.*install -d .*none"):
        AuditFile(tmp_path / "none" / "audit.jsonl")


def test_no_descriptor_is_left_behind(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    path.touch(mode=0o644)
    path.chmod(0o644)
    for _ in range(5):
        with pytest.raises(AuditError):
            AuditFile(path)
    path.chmod(0o600)
    audit = AuditFile(path)
    for number in range(5):
        path.rename(path.with_name(f"{path.name}.{number}"))
        audit.reopen()
        audit.write({"n": number}, durable=True)
        audit.reopen()
    audit.close()
    audit.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- what fails ---------------------------------------------------------------------------------


def test_a_line_that_fails_halfway_is_taken_back(path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.write({"n": 1}, durable=False)
    write = os.write

    def full(descriptor: int, octets: memoryview) -> int:
        if len(octets) > 3:
            return write(descriptor, octets[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(AuditError, match=r"audit\.jsonl: .*No space left on device; make room"):
            audit.write({"n": 2}, durable=False)
    assert numbers(path) == [1]
    audit.write({"n": 3}, durable=False)
    assert numbers(path) == [1, 3]


def test_a_short_write_is_carried_on(path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, octets: write(descriptor, octets[:2]))
        audit.write({"n": 1}, durable=False)
    assert numbers(path) == [1]


def test_after_a_writer_that_was_killed_the_next_line_is_whole(path: Path, audit: AuditFile) -> None:
    for number in (1, 2):
        audit.write({"n": number}, durable=False)
        with path.open("ab") as killed:
            killed.write(b'{"n":')
    audit.write({"n": 3}, durable=False)
    assert path.read_bytes() == b'{"n":1}\n{"n":\n{"n":2}\n{"n":\n{"n":3}\n'


def test_where_a_line_cannot_be_taken_back_the_next_is_still_whole(
    path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(descriptor: int, octets: memoryview) -> int:
        if len(octets) > 3:
            return write(descriptor, octets[:3])
        raise OSError(28, "No space left on device")

    def append_only(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "ftruncate", append_only)
        with pytest.raises(AuditError, match="No space left"):
            audit.write({"n": 1}, durable=False)
    audit.write({"n": 2}, durable=False)
    assert path.read_bytes().splitlines()[-1] == b'{"n":2}'


def test_a_sync_that_fails_is_an_error(path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        audit.write({"n": 1}, durable=False)
        with pytest.raises(AuditError, match="may not have reached the disk: Input/output error"):
            audit.write({"n": 2}, durable=True)
    audit.write({"n": 3}, durable=True)
    assert numbers(path) == [1, 2, 3]


def test_a_file_that_stays_locked_is_an_error_not_a_hang(
    path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "LOCK_SECONDS", 0.05)
    with path.open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with pytest.raises(AuditError, match="stays locked by another process"):
            audit.write({"n": 1}, durable=True)
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]


# -- several threads ----------------------------------------------------------------------------


@pytest.fixture
def together(audit: AuditFile) -> Callable[..., list[Writer]]:
    """Have several threads write a line each, all of which wait until the last one has come."""

    def write(count: int, durable: Collection[int] = ()) -> list[Writer]:
        with audit._lock:
            writers = [Writer(audit, number, durable=number in durable) for number in range(count)]
            wait_until(lambda: len(audit._lines) == count, "every thread waits for its turn")
        for writer in writers:
            writer.join(10)
            assert not writer.is_alive()
        return writers

    return write


def test_the_lines_of_threads_that_wait_are_written_in_one_go(
    path: Path, together: Callable[..., list[Writer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        work: Callable[..., object] = getattr(os, name)

        def noted(*given: object) -> object:
            calls.append(name)
            return work(*given)

        return noted

    for name in ("write", "fdatasync"):
        monkeypatch.setattr(os, name, noting(name))
    assert all(writer.error is None for writer in together(4, durable=(1, 3)))
    assert sorted(numbers(path)) == [0, 1, 2, 3]
    assert calls[0] == "write"
    assert set(calls[1:]) == {"fdatasync"}


def test_a_write_that_fails_fails_every_line_in_it(
    path: Path, audit: AuditFile, together: Callable[..., list[Writer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert all("No space left" in str(writer.error) for writer in together(3, durable=[1]))
    assert audit._file._waiting == 0
    audit.write({"n": 3}, durable=True)
    assert numbers(path) == [3]


def test_a_bug_leaves_no_line_that_counts_as_written(
    together: Callable[..., list[Writer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AuditFile, "_append", broken)
    assert all(writer.error is not None for writer in together(2, durable=(0, 1)))


def test_a_line_whose_turn_does_not_come_is_not_written_later(
    path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "LOCK_SECONDS", 0.01)
    with audit._lock, pytest.raises(AuditError, match="busy"):
        audit.write({"n": 1}, durable=False)
    audit.write({"n": 2}, durable=False)
    assert numbers(path) == [2]


# -- group commit -------------------------------------------------------------------------------


class Disk:
    """fdatasync that waits until a test lets it finish."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.errors: list[OSError | None] = []
        self.syncs = 0

    def __call__(self, _descriptor: int) -> None:
        self.syncs += 1
        self.began.release()
        assert self.may_end.acquire(timeout=10)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk)
    return disk


class Writer(threading.Thread):
    """One line, and what came of it."""

    def __init__(self, audit: AuditFile, number: int, *, durable: bool = True) -> None:
        super().__init__(daemon=True)
        self.audit, self.number, self.durable = audit, number, durable
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.audit.write({"n": self.number}, durable=self.durable)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test asks
            self.error = error


def waiting(audit: AuditFile, count: int) -> None:
    wait_until(lambda: audit._file._waiting == count, f"{count} threads wait for the disk")


def test_a_durable_line_returns_only_when_it_is_on_disk(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=10)
    assert numbers(path) == [1]
    assert writer.is_alive()
    disk.may_end.release()
    writer.join(10)
    assert not writer.is_alive()


def test_a_line_that_need_not_be_durable_waits_for_no_disk(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=10)
    audit.write({"n": 2}, durable=False)
    assert numbers(path) == [1, 2]
    assert disk.syncs == 1
    disk.may_end.release()
    writer.join(10)


def test_one_sync_serves_all_that_were_written_before_it_and_none_after(audit: AuditFile, disk: Disk) -> None:
    first = Writer(audit, 1)
    assert disk.began.acquire(timeout=10)
    others = [Writer(audit, number) for number in range(2, 8)]
    waiting(audit, 7)
    disk.may_end.release()
    first.join(10)
    assert not first.is_alive()
    # The first sync began before the others were written: it proves nothing about them.
    assert disk.began.acquire(timeout=10)
    assert all(other.is_alive() for other in others)
    disk.may_end.release()
    for other in others:
        other.join(10)
        assert not other.is_alive()
    assert disk.syncs == 2


def test_a_failing_sync_fails_every_line_it_was_for_and_no_other(audit: AuditFile, disk: Disk) -> None:
    disk.errors = [None, OSError(5, "Input/output error"), None]
    first = Writer(audit, 1)
    assert disk.began.acquire(timeout=10)
    others = [Writer(audit, number) for number in (2, 3, 4)]
    waiting(audit, 4)
    disk.may_end.release()
    assert disk.began.acquire(timeout=10)
    last = Writer(audit, 5)
    waiting(audit, 4)
    disk.may_end.release(2)
    for writer in (first, *others, last):
        writer.join(10)
        assert not writer.is_alive()
    assert first.error is None
    assert all("Input/output error" in str(other.error) for other in others)
    assert last.error is None


def test_a_rotation_does_not_take_the_file_away_from_a_sync(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=10)
    old = audit._file
    path.rename(path.with_name("audit.jsonl.1"))
    audit.reopen()
    assert old._descriptor >= 0
    disk.may_end.release()
    writer.join(10)
    assert writer.error is None
    assert old._descriptor == -1


# -- rotation -----------------------------------------------------------------------------------


def test_after_reopening_lines_go_to_the_new_file(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    path.rename(path.with_name("audit.jsonl.1"))
    audit.reopen()
    audit.write({"n": 2}, durable=False)
    assert numbers(path.with_name("audit.jsonl.1")) == [1]
    assert numbers(path) == [2]
    assert path.stat().st_mode & 0o7777 == 0o600


def test_reopening_what_was_not_rotated_changes_nothing(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    audit.reopen()
    audit.write({"n": 2}, durable=False)
    assert numbers(path) == [1, 2]


def test_a_new_file_is_followed_without_being_told(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    path.rename(path.with_name("audit.jsonl.1"))
    path.touch(mode=0o600)
    audit.write({"n": 2}, durable=True)
    assert numbers(path.with_name("audit.jsonl.1")) == [1]
    assert numbers(path) == [2]


def test_while_a_rotation_has_not_made_the_new_file_the_old_one_is_used(
    path: Path, audit: AuditFile, clock: Clock
) -> None:
    """logrotate renames, then creates: a file that we made in between would get in its way."""
    rotated = path.with_name("audit.jsonl.1")
    path.rename(rotated)
    audit.write({"n": 1}, durable=False)
    clock.now += ROTATION_SECONDS / 2
    audit.write({"n": 2}, durable=False)
    assert not path.exists()
    clock.now += ROTATION_SECONDS
    audit.write({"n": 3}, durable=False)
    assert numbers(rotated) == [1, 2]
    assert numbers(path) == [3]


def test_each_rotation_has_its_own_moment(path: Path, audit: AuditFile, clock: Clock) -> None:
    for turn in range(3):
        path.rename(path.with_name(f"audit.jsonl.{turn}"))
        audit.write({"n": turn}, durable=False)
        assert not path.exists()
        path.touch(mode=0o600)
        audit.write({"n": turn}, durable=False)
        assert numbers(path) == [turn]
        clock.now += 10 * ROTATION_SECONDS


def test_a_file_that_was_removed_is_made_anew_at_once(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    path.unlink()
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]


def test_a_file_removed_while_a_line_is_written_takes_no_line_with_it(
    path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def removing(descriptor: int, octets: memoryview) -> int:
        monkeypatch.setattr(os, "write", write)
        path.unlink()
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", removing)
    audit.write({"n": 1}, durable=True)
    assert numbers(path) == [1]


def test_a_rotation_to_a_file_that_others_may_read_is_an_error_and_recovers(path: Path, audit: AuditFile) -> None:
    path.rename(path.with_name("audit.jsonl.1"))
    path.touch()
    path.chmod(0o640)
    with pytest.raises(AuditError, match="chmod 0600"):
        audit.reopen()
    with pytest.raises(AuditError, match="chmod 0600"):
        audit.write({"n": 1}, durable=True)
    path.chmod(0o600)
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]


def test_a_fork_opens_the_file_anew(path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an inherited descriptor the lock would be one and the same, and keep nobody out."""
    inherited = audit._file
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    audit.write({"n": 1}, durable=False)
    assert audit._file is not inherited
    again = audit._file
    audit.write({"n": 2}, durable=False)
    assert audit._file is again
    assert numbers(path) == [1, 2]


def test_something_that_replaces_the_file_again_and_again_ends_in_an_error(
    audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(*_: Any) -> tuple[bool, None]:
        return True, None

    monkeypatch.setattr(AuditFile, "_look", always)
    with pytest.raises(AuditError, match="replaced again and again"):
        audit.write({"n": 1}, durable=False)
