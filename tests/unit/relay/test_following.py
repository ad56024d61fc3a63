"""Following the audit through growth, rotation, compression and loss."""

from __future__ import annotations

import gzip
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit.reading import files_of
from ldapmilter.errors import AuditError
from ldapmilter.relay import lost_tokens
from ldapmilter.relay.following import HORIZON, Following
from ldapmilter.relay.state import RelayState
from tests.support.ports import HANG
from tests.support.relay import decision, new_token, utc, write_audit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.relay.stored import FilePosition


class Desk:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = float(int(time.time()))
        self.audit = directory / "audit.jsonl"
        self.audit.touch(mode=0o600)
        self.state = RelayState(directory / "relay.sqlite")
        self.following = Following(self.audit, self.state, lambda: self.now)

    def decided(self, audit: Path | None = None) -> str:
        token = new_token(self.directory)
        write_audit(audit or self.audit, decision([token], at=self.now))
        return token

    def knows(self, *tokens: str) -> bool:
        self.following.catch_up()
        return all((copy := self.state.copy(token)) is not None and copy.is_known for token in tokens)


@pytest.fixture(name="desk")
def open_desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.state.close()


def test_what_grows_is_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desk.decided()
    assert desk.knows(first)
    taken: list[int] = []
    take = desk.state.take

    def counted(lines: list[dict[str, Any]], read: FilePosition | None = None) -> None:
        taken.append(len(lines))
        take(lines, read)

    monkeypatch.setattr(desk.state, "take", counted)
    second = desk.decided()
    assert desk.knows(first, second)
    assert taken == [1]
    assert desk.knows(first, second)
    assert taken == [1]


def test_a_line_under_way_is_left_for_later(desk: Desk) -> None:
    token = new_token(desk.directory)
    write_audit(desk.directory / "whole", decision([token], at=desk.now))
    octets = (desk.directory / "whole").read_bytes()
    with desk.audit.open("ab") as file:
        file.write(octets[:100])
    assert not desk.knows(token)
    with desk.audit.open("ab") as file:
        file.write(octets[100:])
    assert desk.knows(token)


def test_what_is_no_line_of_ours_is_passed_over(desk: Desk) -> None:
    with desk.audit.open("ab") as file:
        file.write(
            b'{"token":"torn\n\xff\n[{"token":"x"}]\n{"event":"seal","n":1}\n{"event":"copy","token":"beef","state":"new"}\n'
        )
    assert desk.knows(desk.decided())
    assert desk.state.count(state="ended", fate="accepted") == 0


def test_rotation_and_compression(desk: Desk) -> None:
    before = desk.decided()
    desk.following.catch_up()
    late = desk.decided()
    desk.audit.rename(desk.directory / "audit.jsonl.1")
    after = desk.decided()
    assert desk.knows(before, late, after)
    ended = {"event": "copy", "token": before, "target": "v@a.example", "state": "accepted", "time": utc(desk.now)}
    write_audit(desk.audit, ended)
    desk.following.catch_up()
    packed = desk.directory / "audit.jsonl.1.gz"
    packed.write_bytes(gzip.compress((desk.directory / "audit.jsonl.1").read_bytes()))
    (desk.directory / "audit.jsonl.1").unlink()
    newest = desk.decided()
    assert desk.knows(before, late, after, newest)
    copy = desk.state.copy(before)
    assert copy is not None
    assert copy.fate == "accepted"
    assert len(desk.state.positions()) == 2


def test_another_process_goes_on_where_one_was(desk: Desk) -> None:
    first = desk.decided()
    assert desk.knows(first)
    desk.state.close()
    desk.state = RelayState(desk.directory / "relay.sqlite")
    desk.following = Following(desk.audit, desk.state, lambda: desk.now)
    assert desk.knows(first, desk.decided())


def test_an_inode_that_is_used_again(desk: Desk) -> None:
    desk.knows(*[desk.decided() for _ in range(2)])
    token = new_token(desk.directory)
    line = decision([token], at=desk.now + 1, queue_id="9X9")
    desk.audit.write_bytes(b"")
    write_audit(desk.audit, line, decision([new_token(desk.directory)], at=desk.now), {"event": "seal"})
    assert desk.knows(token)


def test_old_files_are_read_when_a_token_asks_for_them(desk: Desk) -> None:
    old, lost = desk.directory / "audit.jsonl-20200101", desk.following.lost
    tokens = [desk.decided(old) for _ in range(2)]
    os.utime(old, (desk.now - HORIZON - 1, desk.now - HORIZON - 1))
    assert not desk.knows(*tokens)
    missing = new_token(desk.directory)
    assert [lost.stands_nowhere(token) for token in (*tokens, missing)] == [False] * 3
    lost.look()
    assert desk.knows(*tokens)
    assert lost.stands_nowhere(missing)


def test_all_files_are_read_once_in_a_while_whatever_is_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(audit: Path) -> list[Path]:
        read.append(audit)
        return files_of(audit)

    monkeypatch.setattr(lost_tokens, "files_of", counted)
    lost, tokens = desk.following.lost, [new_token(desk.directory) for _ in range(1000)]
    lost.look()
    assert not read
    assert [lost.stands_nowhere(token) for token in tokens] == [False] * 1000
    lost.look()
    assert all(lost.stands_nowhere(token) for token in tokens)
    lost.look()
    assert len(read) == 1
    later = new_token(desk.directory)
    assert not lost.stands_nowhere(later)
    desk.now += 59
    lost.look()
    assert len(read) == 1
    desk.now += 1
    lost.look()
    assert (len(read), lost.stands_nowhere(later)) == (2, True)
    write_audit(desk.audit, decision([tokens[0]], at=desk.now))
    desk.now += 4000  # Postfix comes again: it was looked for, and is once more
    assert lost.stands_nowhere(tokens[0])
    lost.look()
    assert not lost.stands_nowhere(tokens[0])
    assert desk.state.copy(tokens[0])


def test_who_asks_for_a_lost_token_waits_for_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, may_end = threading.Event(), threading.Event()

    def slow(audit: Path) -> list[Path]:
        reading.set()
        may_end.wait(HANG)
        return files_of(audit)

    monkeypatch.setattr(lost_tokens, "files_of", slow)
    lost, token = desk.following.lost, new_token(desk.directory)
    assert not lost.stands_nowhere(token)
    looking = threading.Thread(target=lost.look)
    looking.start()
    assert reading.wait(HANG)
    assert not lost.stands_nowhere(token)
    assert desk.knows(desk.decided())
    may_end.set()
    looking.join(HANG)
    assert lost.stands_nowhere(token)


def test_what_cannot_be_read_is_looked_for_again(desk: Desk) -> None:
    lost, token = desk.following.lost, desk.decided()
    assert not lost.stands_nowhere(token)
    desk.audit.rename(desk.directory / "away")
    with pytest.raises(AuditError):
        lost.look()
    (desk.directory / "away").rename(desk.audit)
    assert not lost.stands_nowhere(token)
    desk.now += 60
    lost.look()
    assert desk.state.copy(token)


def test_what_is_old_is_forgotten_and_what_is_kept_stays(desk: Desk) -> None:
    tokens = [desk.decided() for _ in range(4)]
    ends = ["accepted", "refused", "discarded"]
    for token, end in zip(tokens, ends, strict=False):
        write_audit(desk.audit, {"event": "copy", "token": token, "state": end, "time": utc(desk.now)})
    assert desk.knows(*tokens)
    assert desk.state.forget(desk.now - 1) == 0
    assert desk.state.forget(desk.now + 1) == 3
    assert [copy.token for copy in desk.state.copies()] == [tokens[1]]


def test_no_audit_is_not_an_empty_one(desk: Desk) -> None:
    desk.audit.unlink()
    with pytest.raises(AuditError, match="there is no audit file"):
        desk.following.catch_up()
    assert desk.knows(desk.decided())


def test_an_end_that_was_taken_back(desk: Desk) -> None:
    token = desk.decided()
    end = {"event": "copy", "token": token, "target": "v@a.example", "state": "accepted", "time": utc(desk.now)}
    write_audit(desk.audit, end, {**end, "time": utc(desk.now + 1), "takes_back": utc(desk.now)})
    assert desk.knows(token)
    copy = desk.state.copy(token)
    assert copy is not None
    assert (copy.state, copy.fate) == ("waiting", "")
    write_audit(desk.audit, {**end, "time": utc(desk.now + 2)})
    desk.following.catch_up()
    assert desk.state.count(state="ended", fate="accepted") == 1
