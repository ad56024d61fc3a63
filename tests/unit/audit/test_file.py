"""The audit file: refused where others could read it, whole lines whatever fails, followed when rotated."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit import file as audit_file
from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.followed_file import ROTATION_SECONDS, FollowedFile
from ldapmilter.audit.lock import AuditLock, lock_file
from ldapmilter.audit.seals import FIRST as BEGINNING
from ldapmilter.audit.seals import open_line
from ldapmilter.errors import AuditError
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ldapmilter.audit.waiting_line import WaitingLine


FIRST = 99


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
def lost() -> list[str]:
    """What became known of lines for which nobody waited any more."""
    return []


@pytest.fixture
def audit(path: Path, clock: Clock, lost: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditFile]:
    """Return an audit whose lines are waited for: its thread may be late on a busy machine."""
    monkeypatch.setattr(audit_file, "PATIENCE", 20.0)
    audit = AuditFile(path, lost=lambda error: lost.append(str(error)), clock=clock)
    audit.open()
    yield audit
    audit.close(HANG)


def opened(path: Path) -> AuditFile:
    audit = AuditFile(path)
    try:
        audit.open()
    except AuditError:
        audit.close()
        raise
    return audit


def numbered(number: int) -> dict[str, Any]:
    return {"n": number, "time": f"then {number}"}


def records_of(path: Path) -> list[dict[str, Any]]:
    """Return what stands there of messages, after the line that begins the file."""
    first, *others = [json.loads(line) for line in path.read_bytes().splitlines()] or [{"event": "open"}]
    assert first["event"] == "open"
    return others


def taken_back(path: Path) -> list[str]:
    """Return the times of the records that others take back."""
    return [record["takes_back"] for record in records_of(path) if "takes_back" in record]


def numbers(path: Path) -> list[int]:
    octets = path.read_bytes()
    assert octets.endswith(b"\n") or not octets
    return [record["n"] for record in records_of(path)]


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
        opened(path)


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch(mode=0o600)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    way_out = rf"belongs to user {uid}.*this daemon runs as user {uid + 1}: start it as the user"
    with pytest.raises(AuditError, match=way_out):
        opened(path)


def test_a_link_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(AuditError, match="is a symbolic link"):
        opened(path)
    assert not (path.parent / "elsewhere").exists()


def test_a_fifo_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(AuditError, match="no regular file"):
        opened(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="is a directory"):
        opened(tmp_path)


def test_a_missing_directory_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"none/audit\.jsonl: .*No such file.*install -d .*none"):
        opened(tmp_path / "none" / "audit.jsonl")


def test_no_descriptor_is_left_behind(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    path.touch(mode=0o644)
    path.chmod(0o644)
    for _ in range(5):
        with pytest.raises(AuditError):
            opened(path)
    path.chmod(0o600)
    audit = opened(path)
    for number in range(5):
        path.rename(path.with_name(f"{path.name}.{number}"))
        audit.open()
        audit.write({"n": number}, durable=True)
        audit.open()
    audit.close()
    audit.close()
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) == before, "the end of every file")


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
    assert path.read_bytes() == open_line(BEGINNING) + b'{"n":1}\n{"n":\n{"n":2}\n{"n":\n{"n":3}\n'


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
            audit.write(numbered(2), durable=True)
    audit.write({"n": 3}, durable=True)
    # What its message was told is in the file, too.
    assert numbers(path) == [1, 2, 2, 3]
    assert taken_back(path) == ["then 2"]


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_whoever_locks_the_file_itself_holds_up_nobody(path: Path, audit: AuditFile, kind: int) -> None:
    """A program for backups, or somebody's script: the lock of the writers is not that of the file."""
    with path.open("rb") as reader:
        fcntl.flock(reader, kind)
        audit.write({"n": 1}, durable=True)
    assert numbers(path) == [1]


def test_no_line_is_given_up_while_another_process_has_the_lock(
    path: Path, audit: AuditFile, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may not answer, for minutes: what waits for it is written then."""
    with AuditLock(path).held():
        audit.write({"n": 1}, durable=False, seconds=0.01)
        wait_until(lambda: audit._lock.is_awaited, "the line waits for the lock")
        later = time.monotonic() + 600
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: later)
            audit.write({"n": 2}, durable=False)
            with pytest.raises(AuditError, match=r"\.audit\.jsonl\.lock: another process, .* has kept it since 2"):
                audit.write({"n": 3}, durable=True, seconds=10)
            assert audit.stall() is not None
    written(path, audit, 2)
    audit.write({"n": 4}, durable=True)
    assert numbers(path) == [1, 2, 4]
    assert lost == []
    assert audit.stall() is None


def test_a_lock_that_was_removed_or_replaced_is_made_anew(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    lock = lock_file(path)
    lock.unlink()
    audit.write({"n": 2}, durable=False)
    other = lock.with_name("other")
    other.touch(mode=0o600)
    other.rename(lock)
    audit.write({"n": 3}, durable=False)
    with AuditLock(path).held():
        audit.write({"n": 4}, durable=False, seconds=0.01)
        assert numbers(path) == [1, 2, 3]
    audit.close()
    assert numbers(path) == [1, 2, 3, 4]
    assert lock.stat().st_mode & 0o7777 == 0o600


def test_a_lock_that_cannot_be_had_is_named_with_the_way_out(path: Path, audit: AuditFile) -> None:
    lock_file(path).symlink_to("elsewhere")
    with pytest.raises(AuditError, match=r"\.audit\.jsonl\.lock: the lock of the audit .*which is that of the service"):
        audit.write({"n": 1}, durable=True)
    lock_file(path).unlink()
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]


# -- several threads ----------------------------------------------------------------------------


@pytest.fixture
def together(path: Path, audit: AuditFile) -> Callable[..., list[Writer]]:
    """Have several threads write a line each, all of which wait until the last one has come."""

    def write(count: int, durable: Collection[int] = ()) -> list[Writer]:
        with AuditLock(path).held():
            first = Writer(audit, FIRST, durable=False)
            wait_until(lambda: audit._writing.busy_for() > 0, "the first line's turn")
            writers = [Writer(audit, number, durable=number in durable) for number in range(count)]
            wait_until(lambda: len(audit._writing._items) == count, "every thread waits for its turn")
        for writer in (first, *writers):
            writer.join(HANG)
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
    first, *others = numbers(path)
    assert (first, sorted(others)) == (FIRST, [0, 1, 2, 3])
    assert calls == ["write", "write", "fdatasync"]


def test_a_write_that_fails_fails_every_line_in_it(
    path: Path, audit: AuditFile, together: Callable[..., list[Writer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert all("No space left" in str(writer.error) for writer in together(3, durable=[1]))
    assert (audit._lines, audit._octets) == (0, 0)
    audit.write({"n": 3}, durable=True)
    assert numbers(path) == [3]


def test_a_bug_leaves_no_line_that_counts_as_written(
    path: Path, audit: AuditFile, together: Callable[..., list[Writer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(FollowedFile, "_look", broken)
        assert all("was not written" in str(writer.error) for writer in together(2, durable=(0, 1)))
    audit.write({"n": 3}, durable=True)
    assert numbers(path) == [3]


# -- group commit -------------------------------------------------------------------------------


class Disk:
    """A system call that waits until a test lets it finish."""

    def __init__(self, then: Callable[..., Any] = lambda *_: None) -> None:
        self._then = then
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.errors: list[OSError | None] = []
        self.syncs = 0

    def __call__(self, *given: object) -> object:
        self.syncs += 1
        self.began.release()
        assert self.may_end.acquire(timeout=HANG)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return self._then(*given)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk)
    return disk


class Writer(threading.Thread):
    """One line, and what came of it."""

    def __init__(self, audit: AuditFile, number: int, *, durable: bool = True, seconds: float = HANG) -> None:
        super().__init__(daemon=True)
        self.audit, self.number, self.durable, self.seconds = audit, number, durable, seconds
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.audit.write(numbered(self.number), durable=self.durable, seconds=self.seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test asks
            self.error = error


def written(path: Path, audit: AuditFile, count: int) -> None:
    """Wait until so many lines stand there, and nothing waits to be written."""
    wait_until(lambda: len(numbers(path)) == count and audit._writing.busy_for() == 0, f"{count} lines")


def test_a_durable_line_returns_only_when_it_is_on_disk(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    assert numbers(path) == [1]
    assert writer.is_alive()
    disk.may_end.release()
    writer.join(HANG)
    assert not writer.is_alive()


def test_a_line_that_need_not_be_durable_waits_for_no_disk(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    audit.write({"n": 2}, durable=False)
    assert numbers(path) == [1, 2]
    assert disk.syncs == 1
    disk.may_end.release()
    writer.join(HANG)


def test_one_sync_serves_all_that_were_written_before_it_and_none_after(
    path: Path, audit: AuditFile, disk: Disk
) -> None:
    first = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    others = [Writer(audit, number) for number in range(2, 8)]
    written(path, audit, 7)
    disk.may_end.release()
    first.join(HANG)
    assert not first.is_alive()
    # The first sync began before the others were written: it proves nothing about them.
    assert disk.began.acquire(timeout=HANG)
    assert all(other.is_alive() for other in others)
    disk.may_end.release()
    for other in others:
        other.join(HANG)
        assert not other.is_alive()
    assert disk.syncs == 2


def test_a_failing_sync_fails_every_line_it_was_for_and_no_other(path: Path, audit: AuditFile, disk: Disk) -> None:
    disk.errors = [None, OSError(5, "Input/output error"), None]
    first = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    others = [Writer(audit, number) for number in (2, 3, 4)]
    written(path, audit, 4)
    disk.may_end.release()
    assert disk.began.acquire(timeout=HANG)
    last = Writer(audit, 5)
    written(path, audit, 5)
    disk.may_end.release(2)
    for writer in (first, *others, last):
        writer.join(HANG)
        assert not writer.is_alive()
    assert first.error is None
    assert all("Input/output error" in str(other.error) for other in others)
    assert last.error is None


def test_several_lines_at_once_are_on_disk_together(path: Path, audit: AuditFile, disk: Disk) -> None:
    audit.open()
    told: list[object] = []
    writer = threading.Thread(
        target=lambda: told.extend(audit.write_all([numbered(1), numbered(2), numbered(3)], seconds=HANG))
    )
    writer.start()
    assert disk.began.acquire(timeout=HANG)
    written(path, audit, 3)
    assert told == []
    disk.may_end.release(3)
    writer.join(HANG)
    assert told == [None] * 3
    assert disk.syncs < 3


def test_each_of_several_lines_has_its_own_outcome(path: Path, audit: AuditFile, disk: Disk) -> None:
    disk.errors = [OSError(5, "Input/output error")]
    disk.may_end.release(3)
    first = audit.write_all([numbered(1)], seconds=HANG)
    assert "Input/output error" in str(first[0])
    assert audit.write_all([numbered(2), numbered(3)], seconds=HANG) == [None, None]
    assert numbers(path) == [1, 1, 2, 3]
    assert taken_back(path) == ["then 1"]
    assert audit.write_all([], seconds=HANG) == []


def test_lines_for_which_there_is_no_room_are_refused_alone(
    path: Path, audit: AuditFile, stalled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "WAITING_LINES", 2)
    problems = audit.write_all([numbered(1), numbered(2), numbered(3)], seconds=0.05)
    assert "no more lines can wait" in str(problems[2])
    assert all(isinstance(problem, AuditError) for problem in problems)
    stalled.may_end.release(1000)
    audit.close(HANG)
    assert set(numbers(path)) <= {1, 2}


def test_a_rotation_does_not_take_the_file_away_from_a_sync(path: Path, audit: AuditFile, disk: Disk) -> None:
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    old = audit._file._file
    assert old is not None
    path.rename(path.with_name("audit.jsonl.1"))
    audit.open()
    assert old._descriptor >= 0
    disk.may_end.release()
    writer.join(HANG)
    assert writer.error is None
    assert old.syncing.join(HANG)
    assert old._descriptor == -1


# -- a disk that stalls --------------------------------------------------------------------------


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Let no write return, and nobody wait for long; at the end all return."""
    monkeypatch.setattr(audit_file, "PATIENCE", 0.01)
    stalled = Disk(os.write)
    monkeypatch.setattr(os, "write", stalled)
    yield stalled
    stalled.may_end.release(1000)


def given_up_once_begun(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody give a line up before the disk has begun with it: on a busy machine that takes a while."""
    give_up = AuditFile._give_up

    def later(audit: AuditFile, mine: WaitingLine) -> tuple[str | None, bool]:
        assert disk.began.acquire(timeout=HANG)
        return give_up(audit, mine)

    monkeypatch.setattr(AuditFile, "_give_up", later)


def test_a_line_that_has_to_be_on_disk_waits_as_long_as_its_message_may(
    path: Path, audit: AuditFile, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up_once_begun(disk, monkeypatch)
    with pytest.raises(AuditError, match=r"audit\.jsonl: the disk"):
        audit.write(numbered(1), durable=True, seconds=0.01)
    audit.write({"n": 2}, durable=False)
    # It stands there although its message was deferred: the next line says so.
    assert numbers(path) == [1, 1, 2]
    assert taken_back(path) == ["then 1"]
    disk.may_end.release()


def test_a_write_that_does_not_return_holds_nobody_up(
    path: Path, audit: AuditFile, stalled: Disk, lost: list[str]
) -> None:
    audit.write({"n": 1}, durable=False)  # it waits a moment, and goes on
    assert stalled.began.acquire(timeout=HANG)
    with pytest.raises(AuditError, match="the disk"):
        audit.write({"n": 2}, durable=True, seconds=0.01)
    audit.write({"n": 3}, durable=False)
    assert numbers(path) == []
    stalled.may_end.release(1000)
    audit.write({"n": 4}, durable=True)
    # What nobody waited for is there; of what was deferred before its turn came, nothing is.
    assert numbers(path) == [1, 3, 4]
    assert taken_back(path) == []
    assert lost == []


def test_a_line_in_the_hands_of_a_disk_that_fails_in_the_end_is_not_taken_back(
    path: Path, audit: AuditFile, stalled: Disk, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled.errors = [OSError(5, "Input/output error")]
    given_up_once_begun(stalled, monkeypatch)
    with pytest.raises(AuditError, match="the disk"):
        audit.write(numbered(1), durable=True, seconds=0.01)
    stalled.may_end.release(1000)
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]
    assert lost == []


def test_a_line_that_nobody_waited_for_and_that_is_lost_is_told(
    path: Path, audit: AuditFile, stalled: Disk, lost: list[str]
) -> None:
    stalled.errors = [OSError(28, "No space left on device")]
    audit.write({"n": 1}, durable=False)
    assert stalled.began.acquire(timeout=HANG)
    assert lost == []
    stalled.may_end.release(1000)
    audit.write({"n": 2}, durable=False, seconds=HANG)
    audit.close()
    assert numbers(path) == [2]
    assert ["No space left" in text for text in lost] == [True]


def test_once_the_disk_has_owed_an_answer_for_too_long_lines_are_refused_at_once(
    audit: AuditFile, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads must not gather in front of it: each of them is a session of the MTA."""
    writer = Writer(audit, 1)
    assert disk.began.acquire(timeout=HANG)
    later = time.monotonic() + 30
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        texts = set()
        for _ in range(3):
            with pytest.raises(AuditError) as caught:
                audit.write({"n": 2}, durable=True, seconds=30)
            texts.add(str(caught.value))
        (text,) = texts  # one line in the log
        assert re.search(r"audit\.jsonl: the disk has not answered since \d{4}-\d\d-\d\d \d\d:\d\d\+", text)
        assert audit.stall() == text
        assert audit._lines == 1
    disk.may_end.release(2)
    writer.join(HANG)
    assert writer.error is None
    audit.write({"n": 3}, durable=True)
    assert audit.stall() is None


def test_what_waits_for_a_stalled_disk_is_bounded(
    path: Path, audit: AuditFile, stalled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "WAITING_LINES", 3)
    for number in range(3):
        audit.write({"n": number}, durable=False)
    for durable in (False, True):
        with pytest.raises(AuditError, match="no more lines can wait"):
            audit.write({"n": 3}, durable=durable)
    stalled.may_end.release(1000)
    written(path, audit, 3)
    audit.write({"n": 4}, durable=True)
    monkeypatch.setattr(audit_file, "WAITING_OCTETS", 5)
    audit.write({"n": 5}, durable=True)  # one line may be larger than all that may wait
    assert numbers(path) == [0, 1, 2, 4, 5]
    assert (audit._lines, audit._octets) == (0, 0)


def test_what_waits_is_bounded_in_octets(audit: AuditFile, stalled: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_file, "WAITING_OCTETS", 20)
    audit.write({"n": 1}, durable=False)
    audit.write({"n": 2}, durable=False)
    with pytest.raises(AuditError, match="no more lines can wait"):
        audit.write({"n": 3}, durable=False)
    stalled.may_end.release(1000)


def test_a_rotation_and_the_end_wait_for_a_stalled_disk_no_longer_than_they_may(
    path: Path, audit: AuditFile, stalled: Disk
) -> None:
    audit.write({"n": 1}, durable=False)
    with pytest.raises(AuditError, match="the disk"):
        audit.open(seconds=0.01)
    with pytest.raises(AuditError, match=r"the disk .*; 1 audit lines are lost, if it does not in the end"):
        audit.close(seconds=0.01)
    stalled.may_end.release(1000)
    audit.close()
    assert numbers(path) == [1]


def test_a_file_whose_opening_does_not_return_is_an_error_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = Disk(os.open)
    monkeypatch.setattr(os, "open", never)
    audit = AuditFile(path)
    with pytest.raises(AuditError, match="the disk"):
        audit.open(seconds=0.01)
    never.may_end.release(1000)
    audit.write({"n": 1}, durable=True)
    assert numbers(path) == [1]
    audit.close()


def test_a_line_after_the_end_is_written_all_the_same(path: Path, audit: AuditFile) -> None:
    """A message of before a reload may still have one for the file of before."""
    audit.close()
    assert not audit._file.is_open
    audit.write({"n": 1}, durable=True)
    assert numbers(path) == [1]
    assert audit._writing.join(HANG)
    assert not audit._file.is_open


# -- whether lines could be written again --------------------------------------------------------


def test_a_trial_leaves_nothing_behind(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    audit.try_out(HANG)
    assert numbers(path) == [1]
    assert {file.name for file in path.parent.iterdir()} == {path.name, lock_file(path).name}


def test_a_trial_finds_a_full_disk(path: Path, audit: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(AuditError, match=r"audit\.jsonl: .*No space left on device; make room"):
            audit.try_out(HANG)
        patch.setattr(os, "write", lambda _descriptor, octets: len(octets) - 1)
        with pytest.raises(AuditError, match=r"No space left"):
            audit.try_out(HANG)
    audit.try_out(HANG)
    assert numbers(path) == []


def test_a_trial_finds_the_limit_of_the_files_size(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with pytest.raises(AuditError, match=r"LimitFSIZE"):
            audit.try_out(HANG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    audit.try_out(HANG)


def test_a_trial_finds_a_disk_that_reports_errors(audit: AuditFile, disk: Disk) -> None:
    disk.errors = [OSError(5, "Input/output error")]
    disk.may_end.release(2)
    with pytest.raises(AuditError, match="Input/output error"):
        audit.try_out(HANG)
    audit.try_out(HANG)


def test_a_trial_where_files_cannot_be_nameless_is_that_of_the_file_alone(
    audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS knows no O_TMPFILE."""
    opened_as = os.open

    def unknown(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return opened_as(path, flags, mode)

    monkeypatch.setattr(os, "open", unknown)
    audit.try_out(HANG)


def test_a_trial_waits_for_a_stalled_disk_no_longer_than_it_may(audit: AuditFile, disk: Disk) -> None:
    with pytest.raises(AuditError, match="the disk"):
        audit.try_out(0.01)
    disk.may_end.release(1000)


# -- rotation -----------------------------------------------------------------------------------


def test_after_reopening_lines_go_to_the_new_file(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    path.rename(path.with_name("audit.jsonl.1"))
    audit.open()
    audit.write({"n": 2}, durable=False)
    assert numbers(path.with_name("audit.jsonl.1")) == [1]
    assert numbers(path) == [2]
    assert path.stat().st_mode & 0o7777 == 0o600


def test_reopening_what_was_not_rotated_changes_nothing(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    audit.open()
    audit.write({"n": 2}, durable=False)
    assert numbers(path) == [1, 2]


def test_a_new_file_is_followed_without_being_told(path: Path, audit: AuditFile) -> None:
    audit.write({"n": 1}, durable=False)
    path.rename(path.with_name("audit.jsonl.1"))
    other = opened(path)
    other.write({"n": 2}, durable=True)
    other.close()
    audit.write({"n": 3}, durable=True)
    assert numbers(path.with_name("audit.jsonl.1")) == [1]
    assert numbers(path) == [2, 3]


def test_a_new_file_that_nobody_has_begun_is_left_for_a_moment_to_who_seals_the_old_one(
    path: Path, audit: AuditFile, clock: Clock
) -> None:
    rotated = path.with_name("audit.jsonl.1")
    path.rename(rotated)
    path.touch(mode=0o600)
    audit.write({"n": 1}, durable=True)
    clock.now += ROTATION_SECONDS / 2
    audit.write({"n": 2}, durable=True)
    clock.now += ROTATION_SECONDS
    audit.write({"n": 3}, durable=True)
    assert numbers(rotated) == [1, 2]
    assert numbers(path) == [3]


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
        opened(path).close()
        clock.now += ROTATION_SECONDS
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
        audit.open()
    with pytest.raises(AuditError, match="chmod 0600"):
        audit.write({"n": 1}, durable=True)
    path.chmod(0o600)
    audit.open()
    audit.write({"n": 2}, durable=True)
    assert numbers(path) == [2]


def test_something_that_replaces_the_file_again_and_again_ends_in_an_error(
    audit: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(*_: Any) -> tuple[bool, None]:
        return True, None

    monkeypatch.setattr(FollowedFile, "_look", always)
    with pytest.raises(AuditError, match="replaced again and again"):
        audit.write({"n": 1}, durable=False)
