"""What the relay does with a copy, step by step, and what Postfix is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

import ldapmilter.relay.recording as recording_module
import ldapmilter.relay.taking as taking_module
from ldapmilter.errors import AuditError, DirectoryUnavailable, InvalidValue
from ldapmilter.relay.adoption import adopt
from ldapmilter.relay.answers import ServerAnswer
from ldapmilter.relay.commands import CommandRefused, Commands
from ldapmilter.relay.following import Following
from ldapmilter.relay.handling import Handling, Presented
from ldapmilter.relay.hops import Hops
from ldapmilter.relay.kept import KeepError, KeptCopy, Maildir
from ldapmilter.relay.replies import BUSY, DONE, LATER, NO_RECORD, UNKNOWN
from ldapmilter.relay.spool import Room, Spooled
from ldapmilter.relay.state import RelayState
from ldapmilter.relay.stored import StateError, StateReader
from ldapmilter.relay.taking import Taking
from tests.support.ports import HANG
from tests.support.relay import decision, new_token, relay_settings, utc, write_audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.outgoing import Outgoing
    from ldapmilter.relay.stored import KnownCopy

MESSAGE = b"Subject: one\r\n\r\ntext\r\n"
DAY = 86_400.0


class FakeHops:
    """Answers as told, and keeps what it was given."""

    def __init__(self) -> None:
        self.answer = ServerAnswer(server="smtp:[archive]:25", step="end", code=250, text="2.0.0 filed")
        self.given: list[tuple[str, bytes]] = []

    async def hand_on(self, hops: Sequence[NextHop], copy: Outgoing, until: float) -> ServerAnswer:
        return self.at_once(hops, copy, until)

    def at_once(self, hops: Sequence[NextHop], copy: Outgoing, _until: float) -> ServerAnswer:
        assert hops
        self.given.append((copy.target, b"".join(copy.chunks())))
        return self.answer

    def down(self) -> dict[str, str]:
        return {}


class Office:
    """A relay's innards in a directory."""

    def __init__(self, directory: Path) -> None:
        self.now = float(int(time.time()))  # the audit's files are of today
        self.directory = directory
        self.audit = directory / "audit.jsonl"
        self.audit.touch(mode=0o600)
        self.written: list[Mapping[str, Any]] = []
        self.writes = 0
        """How often the audit was written to, or tried."""
        self.audit_fails = False
        self.keeps_up = True
        """Whether the state catches up after each copy, as the relay has it do in a moment."""
        self.hops = FakeHops()
        self.threads = ThreadPoolExecutor(2)
        self.settings = relay_settings(directory, "smtp:[archive.example]:25")
        self.state = RelayState(self.settings.state)
        self.maildir = Maildir(self.settings.kept)
        self.maildir.prepare()
        self.handling = self.handler()

    def handler(self) -> Handling:
        return Handling(
            self.settings,
            state=self.state,
            following=Following(self.audit, self.state, lambda: self.now),
            maildir=self.maildir,
            write=self.write,
            host="mta1",
            clock=lambda: self.now,
        )

    def write(self, lines: Sequence[Mapping[str, object]]) -> list[AuditError | None]:
        self.writes += 1
        if self.audit_fails:
            return [AuditError("the disk has not answered")] * len(lines)
        self.written += lines
        write_audit(self.audit, *map(dict, lines))
        return [None] * len(lines)

    def decided(self, **more: Any) -> str:
        token = new_token(self.directory)
        write_audit(self.audit, decision([token], at=self.now, **more))
        return token

    def take(self, token: str, octets: bytes = MESSAGE) -> str:
        message = Spooled(Room(), self.directory)
        message.write(octets)
        taking = Taking(self.handling, self.hops, self.threads)  # type: ignore[arg-type]
        try:
            return asyncio.run(taking.take(token, message, 0.0))
        finally:
            taking.close()
            message.close()
            if self.keeps_up:
                self.handling.recording.catch_up()

    def commands(self) -> Commands:
        return Commands(self.handling, self.hops.at_once, sleep=lambda _seconds: None)

    def close(self) -> None:
        self.threads.shutdown()
        self.state.close()

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.settings.kept / "new").iterdir())


@pytest.fixture(name="office")
def open_office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


def server(step: str, code: int | None, text: str = "told") -> ServerAnswer:
    return ServerAnswer(server="smtp:[archive]:25", step=step, code=code, text=text)  # type: ignore[arg-type]


def test_an_accepted_copy_ends_once(office: Office) -> None:
    token = office.decided()
    office.now += 3
    assert office.take(token) == DONE
    assert office.hops.given == [("vault@archive.example", MESSAGE)]
    line = dict(office.written[0])
    assert line.pop("time") == utc(office.now)
    assert line == {
        "event": "copy",
        "host": "mta1",
        "token": token,
        "target": "vault@archive.example",
        "state": "accepted",
        "server": "smtp:[archive]:25",
        "code": 250,
        "reply": "2.0.0 filed",
        "attempts": 1,
        "seconds": 3.0,
        "why": "",
        "other_message_id": None,
        "takes_back": None,
    }
    copy = office.state.copy(token)
    assert copy is not None
    assert (copy.state, copy.fate, copy.queue_id, copy.classes) == ("ended", "accepted", "4F1", ("archive",))
    assert office.take(token) == DONE
    assert len(office.hops.given) == 1
    assert office.written[1]["state"] == "repeat"


@pytest.mark.parametrize(
    "answer", [server("connect", None), server("rcpt", 451), server("end", None), server("mail", 550)]
)
def test_what_is_not_through_waits(office: Office, answer: ServerAnswer) -> None:
    token = office.decided()
    office.hops.answer = answer
    assert office.take(token) == LATER
    assert office.take(token) == LATER
    assert office.written == []
    copy = office.state.copy(token)
    assert copy is not None
    assert (copy.state, copy.attempts, copy.code) == ("waiting", 2, answer.code)
    assert (copy.reply, copy.why) == (("told", "") if answer.code else ("", "told"))
    office.hops.answer = server("end", 250)
    assert office.take(token) == DONE
    assert office.written[0]["attempts"] == 3


def test_a_refused_copy_is_kept_whole_and_sent_again(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("end", 554, "5.7.1 not you")
    assert office.take(token) == DONE
    assert (office.written[0]["state"], office.written[0]["code"]) == ("refused", 554)
    kept = office.maildir.read(token)
    assert kept is not None
    assert b"".join(kept.chunks()) == MESSAGE
    assert kept.fields["Target"] == "vault@archive.example"
    assert kept.fields["Reply"] == "554 5.7.1 not you"
    assert office.state.count(state="ended", fate="kept") == 1
    commands = office.commands()
    (told,) = commands.serve({"action": "resend", "tokens": [token]})["results"]
    assert (told["state"], told["code"], told["why"]) == ("unchanged", 554, "it was not accepted")
    office.hops.answer = server("connect", None, "Connection refused")
    (told,) = commands.serve({"action": "resend", "tokens": [token]})["results"]
    assert (told["why"], told["reply"]) == ("it was not accepted: Connection refused", "")
    office.hops.answer = server("end", 250)
    (told,) = commands.serve({"action": "resend", "tokens": [token], "to": "other@archive.example"})["results"]
    assert (told["state"], told["code"]) == ("resent", 250)
    assert office.hops.given[-1] == ("other@archive.example", MESSAGE)
    assert [line["state"] for line in office.written] == ["refused", "resent"]
    assert office.written[1]["target"] == "other@archive.example"
    assert office.kept() == []
    assert office.state.count(state="ended", fate="accepted") == 1
    known = office.state.copy(token)
    assert known is not None
    assert (known.target, known.why) == ("vault@archive.example", "sent to other@archive.example")
    assert office.take(token) == DONE
    assert office.written[-1]["state"] == "repeat"


def test_what_is_not_kept_is_not_sent_again_and_told_why(office: Office) -> None:
    waiting, ended, decided = office.decided(), office.decided(), office.decided()
    office.take(ended)
    office.hops.answer = server("connect", None, "Connection refused")
    office.take(waiting)
    told = office.commands().serve({"action": "resend", "tokens": [waiting, ended, decided, "beef"]})
    assert [one["why"] for one in told["results"]] == [
        "it is not kept, it waits in Postfix's queue: postqueue -f has Postfix come with it now",
        "it has ended: accepted",
        "it is not kept, Postfix has not come with it yet",
        "no such copy is known here",
    ]


def test_discarding_takes_a_reason_and_is_written_down(office: Office) -> None:
    token, waiting, ended = office.decided(), office.decided(), office.decided()
    office.take(ended)
    office.hops.answer = server("rcpt", 550)
    office.take(token)
    commands = office.commands()
    with pytest.raises(CommandRefused, match="--why"):
        commands.serve({"action": "discard", "tokens": [token], "why": " "})
    told = commands.serve({"action": "discard", "tokens": [token, waiting, ended, "beef"], "why": "a test"})
    assert [one["state"] for one in told["results"]] == ["discarded", "discarded", "unchanged", "unchanged"]
    assert [(line["state"], line["why"]) for line in office.written[2:]] == [("discarded", "a test")] * 2
    assert office.kept() == []
    assert office.take(waiting) == DONE
    assert len(office.hops.given) == 2


def test_what_is_overdue_is_tried_once_more_and_kept(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("connect", None, "Connection refused")
    office.now += 2 * DAY - 1
    assert office.take(token) == LATER
    office.now += 1
    assert office.take(token) == DONE
    assert (office.written[0]["state"], office.written[0]["attempts"]) == ("kept", 2)
    assert office.written[0]["why"] == "not through in time"
    assert office.kept() == [token]
    through = office.decided()
    office.now += 3 * DAY
    office.hops.answer = server("end", 250)
    assert office.take(through) == DONE
    assert office.kept() == [token]


def test_a_token_that_the_audit_lacks_waits_and_is_kept_in_the_end(office: Office) -> None:
    token = new_token(office.directory)
    assert office.take(token) == UNKNOWN
    office.now += 2 * DAY
    assert office.take(token) == UNKNOWN  # nobody has looked yet
    office.handling.following.lost.look()
    office.now += 4000
    assert office.take(token) == DONE
    assert office.hops.given == []
    assert office.written[0]["state"] == "kept"
    assert office.kept() == [token]
    (told,) = office.commands().serve({"action": "resend", "tokens": [token]})["results"]
    assert told["state"] == "unchanged"
    told = office.commands().serve({"action": "resend", "tokens": [token], "to": "v@archive.example"})
    assert told["results"][0]["state"] == "resent"


def test_what_another_host_knows_is_learnt(office: Office) -> None:
    token = new_token(office.directory)
    assert office.take(token) == UNKNOWN
    other = office.directory / "other.jsonl"
    write_audit(other, decision([token], at=office.now - 5, target="v@archive.example"), {"event": "seal"})
    assert office.commands().serve({"action": "learn", "file": str(other)}) == {"lines": 1}
    assert office.take(token) == DONE
    assert office.hops.given == [("v@archive.example", MESSAGE)]
    with pytest.raises(AuditError, match="No such file"):
        office.commands().serve({"action": "learn", "file": str(office.directory / "none")})


def test_nothing_is_settled_that_is_not_written_down(office: Office) -> None:
    accepted, refused = office.decided(), office.decided()
    office.audit_fails = True
    assert office.take(accepted) == NO_RECORD
    office.hops.answer = server("end", 554)
    assert office.take(refused) == NO_RECORD
    assert office.handling.recording.problem == "the disk has not answered"
    assert office.take(accepted) == NO_RECORD
    office.audit_fails = False
    assert office.take(accepted) == DONE
    assert office.take(refused) == DONE
    assert len(office.hops.given) == 2
    assert [line["state"] for line in office.written] == ["accepted", "refused"]
    assert office.kept() == [refused]
    assert office.handling.recording.problem is None


def test_a_crash_between_the_archive_and_the_audit_repeats_the_copy(office: Office) -> None:
    token = office.decided()
    office.audit_fails = True
    assert office.take(token) == NO_RECORD
    office.audit_fails, office.handling = False, office.handler()
    assert office.take(token) == DONE
    assert [octets for _, octets in office.hops.given] == [MESSAGE] * 2


def test_a_crash_between_the_maildir_and_the_audit_keeps_the_copy_once(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 550)
    office.audit_fails = True
    assert office.take(token) == NO_RECORD
    office.audit_fails, office.handling = False, office.handler()
    office.hops.answer = server("end", 250)
    assert office.take(token) == DONE
    assert [(line["state"], line["why"]) for line in office.written] == [("refused", "refused by the server")]
    assert (office.kept(), len(office.hops.given)) == ([token], 1)


@pytest.mark.parametrize(("answer", "crash"), [(250, False), (550, False), (550, True)])
def test_what_could_not_be_recorded_is_recorded_in_one_step(office: Office, answer: int, *, crash: bool) -> None:
    """One after another they would hold up everybody else, a wait for the disk each."""
    tokens = [office.decided() for _ in range(50)]
    office.hops.answer = server("end", answer)
    office.audit_fails = True
    assert {office.take(token) for token in tokens} == {NO_RECORD}
    office.audit_fails = False
    if crash:
        office.handling = office.handler()
    else:
        new = office.decided()
    writes = office.writes
    message = Spooled(Room(), office.directory)
    message.write(MESSAGE)
    presented = office.handling.presented([(token, message) for token in tokens])
    assert presented == [DONE] * len(tokens)
    assert office.writes == writes + 1
    assert [line["token"] for line in office.written] == tokens
    if not crash:
        assert isinstance(office.handling.presented([(new, message)])[0], Presented)
        assert office.writes == writes + 1
    message.close()


def test_a_message_that_cannot_be_read_waits(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    message = Spooled(Room(), office.directory)
    message.write(DECIDED)
    message.close()  # as at the relay's end
    token = office.decided()
    assert office.handling.presented([(token, message)]) == [NO_RECORD]
    assert "unexpected" not in caplog.text


def test_a_maildir_that_takes_nothing(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 550)
    (office.settings.kept / "tmp").rmdir()
    assert office.take(token) == NO_RECORD
    assert office.written == []
    assert "the copy cannot be kept" in str(office.handling.recording.problem)
    (office.settings.kept / "tmp").mkdir()
    assert office.take(token) == DONE
    assert office.kept() == [token]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_does_not_take_a_copy_to_keep(office: Office, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 550)

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    assert office.take(token) == NO_RECORD
    assert office.written == []
    assert [*(office.settings.kept / "tmp").iterdir(), *office.kept()] == []
    assert os.strerror(number) in str(office.handling.recording.problem)
    monkeypatch.undo()
    assert office.take(token) == DONE
    assert office.kept() == [token]


def test_a_kept_copy_that_a_mail_program_has_moved_is_found(office: Office) -> None:
    first, second = office.decided(), office.decided()
    office.hops.answer = server("rcpt", 550)
    office.take(first)
    office.take(second)
    cur, new = office.settings.kept / "cur", office.settings.kept / "new"
    os.utime(cur, (office.now - 60, office.now - 60))
    assert office.maildir.find("0" * 48) is None  # what is in cur/ is known now
    for token in (first, second):
        (new / token).rename(cur / f"{token}:2,S")
        assert office.maildir.find(token) == cur / f"{token}:2,S"
    os.utime(cur, (office.now - 60, office.now - 60))
    assert office.maildir.find(first) == cur / f"{first}:2,S"
    (cur / f"{first}:2,S").unlink()
    assert office.maildir.find(first) is None
    assert office.maildir.find(second) == cur / f"{second}:2,S"


def test_what_a_crash_left_half_written_is_no_copy(office: Office) -> None:
    token = office.decided()
    (office.settings.kept / "tmp" / token).write_bytes(b"X-Ldapmilter-Token: half")
    office.maildir.prepare()
    assert list((office.settings.kept / "tmp").iterdir()) == []
    office.hops.answer = server("rcpt", 550)
    assert office.take(token) == DONE
    assert [kept.token for kept in office.maildir.copies() if isinstance(kept, KeptCopy)] == [token]


def test_the_state_is_lost(office: Office) -> None:
    accepted, kept, waiting = office.decided(), office.decided(), office.decided()
    office.take(accepted)
    office.hops.answer = server("rcpt", 550)
    office.take(kept)
    office.hops.answer = server("rcpt", 450)
    office.take(waiting)
    office.settings.state.unlink()  # what SQLite has beside it stays
    assert office.take(waiting) == LATER
    assert office.take(accepted) == DONE
    assert [line["state"] for line in office.written] == ["accepted", "refused", "repeat"]
    assert [copy.token for copy in office.state.copies(fate="kept")] == [kept]
    assert [copy.token for copy in office.state.copies(state="waiting")] == [waiting]


@pytest.mark.parametrize("octets", [b"no database at all", b""])
def test_the_state_is_damaged(office: Office, octets: bytes) -> None:
    token = office.decided()
    office.take(token)
    office.state.close()
    for file in office.settings.state.parent.iterdir():
        file.unlink()
    office.settings.state.write_bytes(octets)
    office.state = RelayState(office.settings.state)
    office.handling = office.handler()
    assert office.take(token) == DONE
    assert len(office.hops.given) == 1


def test_a_state_that_cannot_be_written(office: Office) -> None:
    token = office.decided()
    office.state._connection.execute("PRAGMA query_only = ON")
    assert office.take(token) == NO_RECORD
    assert office.hops.given == []
    assert "relay's state cannot be written" in str(office.handling.recording.problem)
    office.state._connection.execute("PRAGMA query_only = OFF")
    assert office.take(token) == DONE


def test_a_copy_that_comes_again_before_the_state_has_its_end(office: Office) -> None:
    token = office.decided()
    office.keeps_up = False
    assert office.take(token) == DONE
    assert [copy.state for copy in office.state.copies()] == ["decided"]
    assert office.take(token) == DONE
    assert len(office.hops.given) == 1
    assert [line["state"] for line in office.written] == ["accepted", "repeat"]


def test_a_copy_that_takes_a_while_is_seen_to_wait(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    token = office.decided()
    seen: list[tuple[str, float | None]] = []

    async def slow(*_given: object) -> ServerAnswer:
        began = office.now
        office.now += 60
        for _ in range(2):
            office.handling.recording.catch_up()
            seen.extend((copy.state, copy.seen_at and copy.seen_at - began) for copy in office.state.copies())
        return server("end", 250)

    monkeypatch.setattr(office.hops, "hand_on", slow)
    assert office.take(token) == DONE
    assert seen == [("waiting", 0.0)] * 2
    assert [(copy.state, copy.fate) for copy in office.state.copies()] == [("ended", "accepted")]


def test_a_kept_copy_is_in_the_state_at_once(office: Office) -> None:
    token = office.decided()
    office.keeps_up = False
    office.hops.answer = server("rcpt", 550)
    assert office.take(token) == DONE
    assert [copy.token for copy in office.state.copies(fate="kept")] == [token]


def test_no_copy_is_handed_on_while_the_state_cannot_keep_up(office: Office) -> None:
    first, second = office.decided(), office.decided()
    office.handling.recording.catch_up()
    office.state._connection.execute("PRAGMA query_only = ON")
    assert office.take(first) == DONE
    assert "relay's state cannot be written" in str(office.handling.recording.problem)
    assert [office.take(first), office.take(second)] == [NO_RECORD, NO_RECORD]
    office.state._connection.execute("PRAGMA query_only = OFF")
    assert [office.take(first), office.take(second)] == [DONE, DONE]
    assert len(office.hops.given) == 2


def test_one_session_at_a_time(office: Office) -> None:
    token = office.decided()
    with office.handling.at_work.on(token):
        assert office.take(token) == BUSY
    assert office.take(token) == DONE


def test_a_target_without_a_way_waits(office: Office) -> None:
    token = office.decided()
    office.handling.settings = relay_settings(office.directory, "", next_hop_for="other.example smtp:[a.example]:25")
    office.hops = Hops(None)  # type: ignore[arg-type, assignment]
    assert office.take(token) == LATER
    copy = office.state.copy(token)
    assert copy is not None
    assert copy.why == "no next hop takes copies for its domain"


def test_a_decision_that_was_taken_back_is_forgotten(office: Office) -> None:
    token = new_token(office.directory)
    write_audit(office.audit, decision([token], at=office.now))
    office.handling.following.catch_up()
    assert office.state.copy(token) is not None
    write_audit(office.audit, decision([token], at=office.now + 1, takes_back=utc(office.now)))
    office.handling.following.catch_up()
    assert office.state.copy(token) is None


def test_the_decision_of_a_journaled_copy_stays_until_a_day_after_its_last_end(office: Office) -> None:
    tokens = [new_token(office.directory) for _ in range(2)]
    line = decision(tokens, at=office.now, delivery="journal")
    write_audit(office.audit, line)
    office.handling.following.catch_up()
    first, second = [copy for token in tokens if (copy := office.state.copy(token)) is not None]
    assert first.message == second.message is not None
    assert office.state.record(first.message) == line
    office.state.store_expansion(first.message or 0, "who")
    assert office.state.expansion(first.message) == "who"
    office.handling.recording.end(first, "accepted", server("end", 250))
    office.now += 2 * DAY
    office.take(office.decided())
    assert office.state.record(first.message) == line
    office.handling.recording.end(second, "accepted", server("end", 250))
    office.now += DAY
    office.take(office.decided())
    assert office.state.record(first.message) == line
    office.now += 1
    office.take(office.decided())
    assert office.state.record(first.message) is None


def test_a_journaled_copy_whose_end_is_taken_back_can_be_wrapped_again(office: Office) -> None:
    token = office.decided(delivery="journal")
    records: list[object] = []

    def wrap(copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Spooled:
        del last_chance, memory_only
        records.append(office.state.record(copy.message))
        return message

    office.handling._wrap = wrap
    assert office.take(token) == DONE
    line = dict(office.written[0])
    office.now += 60
    write_audit(office.audit, {**line, "time": utc(office.now), "takes_back": line["time"]})
    office.handling.following.catch_up()
    office.now += 2 * DAY
    office.take(office.decided())  # another one's end lets go of what nobody needs
    office.handling = office.handler()
    office.handling._wrap = wrap
    assert office.take(token) == DONE
    assert records[0] is not None
    assert records[2] == records[0]


def test_a_kept_copy_is_kept_still_when_a_later_end_is_taken_back(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 550)
    assert office.take(token) == DONE
    office.hops.answer = server("end", 250)
    office.now -= 3600  # the clock was set back
    (told,) = office.commands().serve({"action": "resend", "tokens": [token]})["results"]
    assert told["state"] == "resent"
    line = dict(office.written[-1])
    write_audit(office.audit, {**line, "time": utc(office.now + 20), "takes_back": line["time"]})
    office.handling.following.catch_up()
    copy = office.state.copy(token)
    assert copy is not None
    assert (copy.state, copy.fate, copy.ended_at) == ("ended", "kept", office.now + 3600)
    assert office.state.count(state="waiting") == 0


@pytest.mark.parametrize(
    "error", [DirectoryUnavailable("no decision"), InvalidValue("no header takes it"), ValueError("a bug")]
)
def test_what_can_never_be_wrapped_is_kept_as_it_came(office: Office, error: Exception) -> None:
    token = office.decided(delivery="journal")

    def wrap(copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Spooled:
        del copy, message, last_chance, memory_only
        raise error

    office.handling._wrap = wrap
    assert office.take(token) == LATER
    copy = office.state.copy(token)
    assert copy is not None
    assert str(error) in copy.why
    office.now += 2 * DAY
    assert office.take(token) == DONE
    assert (office.written[0]["state"], office.hops.given) == ("kept", [])
    assert str(error) in str(office.written[0]["why"])
    kept = office.maildir.read(token)
    assert kept is not None
    assert b"".join(kept.chunks()) == MESSAGE


def test_what_is_not_in_memory_is_waited_for_apart_from_other_copies(office: Office) -> None:
    tokens = [office.decided(delivery="journal") for _ in range(2)]
    asked: list[tuple[str, bool]] = []

    def wrap(copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Spooled:
        del last_chance
        asked.append((copy.token, memory_only))
        if memory_only and copy.token == tokens[0]:
            raise DirectoryUnavailable("not read yet")
        return message

    office.handling._wrap = wrap
    assert [office.take(token) for token in tokens] == [DONE] * 2
    assert asked == [(tokens[0], True), (tokens[0], False), (tokens[1], True)]


def test_copies_that_wait_for_the_directory_hold_up_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_module, "_DIRECTORY_THREADS", 2)
    waiting = [office.decided(delivery="journal") for _ in range(5)]
    others = [office.decided() for _ in range(3)]
    may_go_on = threading.Event()

    def wrap(copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Spooled:
        del last_chance
        if memory_only and copy.token in waiting:
            raise DirectoryUnavailable("not read yet")
        assert memory_only or may_go_on.wait(HANG)
        return message

    office.handling._wrap = wrap
    message = Spooled(Room(), office.directory)
    message.write(MESSAGE)

    async def scene() -> None:
        taking = Taking(office.handling, office.hops, office.threads)  # type: ignore[arg-type]
        slow = [asyncio.ensure_future(taking.take(token, message, 0.0)) for token in waiting]
        for _ in range(2):
            quick = asyncio.gather(*(taking.take(token, message, 0.0) for token in others))
            assert await asyncio.wait_for(quick, HANG / 4) == [DONE] * 3
        assert not any(one.done() for one in slow)
        may_go_on.set()
        assert await asyncio.gather(*slow) == [DONE] * 5
        taking.close()

    try:
        asyncio.run(scene())
    finally:
        may_go_on.set()
        message.close()


def test_a_bug_with_one_copy_costs_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = office.decided(), office.decided()
    message = Spooled(Room(), office.directory)
    message.write(MESSAGE)
    read, made = office.maildir.read, recording_module.end_line  # type: ignore[attr-defined]

    def reading(token: str) -> KeptCopy | None:
        if token == bad:
            raise ValueError("a bug")
        return read(token)

    monkeypatch.setattr(office.maildir, "read", reading)
    first, second = office.handling.presented([(bad, message), (good, message)])
    assert first == BUSY
    assert isinstance(second, Presented)

    def making(copy: KnownCopy, *more: Any, **named: Any) -> Any:
        if copy.token == bad:
            raise ValueError("a bug")
        return made(copy, *more, **named)

    monkeypatch.setattr(recording_module, "end_line", making)
    worse = replace(second.copy, token=bad)
    assert office.handling.accepted([(worse, office.hops.answer), (second.copy, office.hops.answer)]) == [BUSY, DONE]
    assert [line["token"] for line in office.written] == [good]
    message.close()


def test_no_message_has_the_number_of_one_that_is_gone(office: Office) -> None:
    token = office.decided(delivery="journal")
    office.handling.recording.catch_up()
    (gone,) = office.state.copies()
    back = utc(office.now)
    write_audit(office.audit, decision([token], at=office.now + 1, delivery="journal", takes_back=back))
    office.handling.recording.catch_up()
    assert office.state.copies() == []
    office.decided(delivery="journal")
    office.handling.recording.catch_up()
    (copy,) = office.state.copies()
    office.state.store_expansion(gone.message or 0, "of the one that is gone, found out late")
    assert copy.message != gone.message
    assert office.state.expansion(copy.message) is None


def test_who_was_found_is_in_the_file_with_whatever_is_written_next(office: Office) -> None:
    office.decided(delivery="journal")
    office.handling.recording.catch_up()
    (copy,) = office.state.copies()
    assert copy.message is not None
    office.state.store_expansion(copy.message, "who")
    with contextlib.closing(StateReader.open(office.settings.state)) as reader:  # type: ignore[type-var]
        assert reader is not None
        assert (office.state.expansion(copy.message), reader.expansion(copy.message)) == ("who", None)
        office.state._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StateError):
            office.state.seen(copy.token, office.now)
        assert office.state.expansion(copy.message) == "who"
        office.state._connection.execute("PRAGMA query_only = OFF")
        office.state.seen(copy.token, office.now)
        assert reader.expansion(copy.message) == "who"
    office.state.store_expansion(copy.message, "of the file that is gone")
    office.settings.state.unlink()
    office.handling.recording.catch_up()
    (again,) = office.state.copies()
    assert office.state.expansion(again.message) is None


def test_a_kept_copy_is_sent_again_after_the_clock_was_set_back(office: Office) -> None:
    resent, discarded = office.decided(), office.decided()
    office.hops.answer = server("rcpt", 550)
    office.take(resent)
    office.take(discarded)
    office.now -= 3600
    office.hops.answer = server("end", 250)
    commands = office.commands()
    commands.serve({"action": "resend", "tokens": [resent]})
    commands.serve({"action": "discard", "tokens": [discarded], "why": "a test"})
    fates = {copy.token: copy.fate for copy in office.state.copies()}
    assert fates == {resent: "accepted", discarded: "discarded"}
    office.settings.state.unlink()
    office.handling.following.catch_up()
    assert {copy.token: copy.fate for copy in office.state.copies()} == fates


def test_what_was_accepted_is_not_sent_again_while_the_audit_fails(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 550)
    office.take(token)
    office.hops.answer = server("end", 250)
    office.audit_fails = True
    commands = office.commands()
    for _ in range(2):
        (told,) = commands.serve({"action": "resend", "tokens": [token]})["results"]
        assert (told["state"], office.kept()) == ("unchanged", [token])
        assert "cannot be recorded" in told["why"]
    office.audit_fails = False
    (told,) = commands.serve({"action": "resend", "tokens": [token]})["results"]
    assert (told["state"], office.kept(), len(office.hops.given)) == ("resent", [], 2)
    assert [line["state"] for line in office.written] == ["refused", "resent"]


def test_a_copy_that_could_not_be_discarded_goes_on(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("rcpt", 450)
    assert office.take(token) == LATER
    office.audit_fails = True
    (told,) = office.commands().serve({"action": "discard", "tokens": [token], "why": "a test"})["results"]
    assert told["state"] == "unchanged"
    office.audit_fails = False
    office.hops.answer = server("end", 250)
    assert office.take(token) == DONE
    assert [line["state"] for line in office.written] == ["accepted"]


def test_a_file_in_the_maildir_that_is_no_copy_costs_no_other(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    lost, resent = office.decided(), office.decided()
    office.hops.answer = server("rcpt", 550)
    assert [office.take(token) for token in (lost, resent)] == [DONE, DONE]
    new = office.settings.kept / "new"
    left_over = (new / resent).read_bytes()
    office.hops.answer = server("end", 250)
    office.commands().serve({"action": "resend", "tokens": [resent]})
    (new / resent).write_bytes(left_over)  # the relay ended before it had removed it
    (new / "0-note").write_text("not ours\n")
    (new / f"{lost}-copied").write_text("X-Ldapmilter-Kept: without a token\n\n")
    (new / "1-another").write_bytes((new / lost).read_bytes())
    office.state._connection.execute("DELETE FROM copies WHERE token = ?", (lost,))
    adopt(office.maildir, office.state)
    assert [copy.token for copy in office.state.copies(fate="kept")] == [lost]
    assert sorted(office.kept()) == sorted(["0-note", "1-another", lost, f"{lost}-copied"])
    told = [record.getMessage() for record in caplog.records if "is no copy that the relay kept" in record.getMessage()]
    assert len(told) == 3
    assert sum(isinstance(kept, KeepError) for kept in office.maildir.copies()) == 3


# -- another message with a copy's token ------------------------------------------------------

DECIDED = b"Message-ID: <one@example.com>\r\nSubject: one\r\n\r\ntext\r\n"
NOTICE_ID = "<notice@filter.example>"
NOTICE = b"Message-ID: <notice@filter.example>\r\nSubject: BANNED contents in mail to you\r\n\r\nlook\r\n"


@pytest.mark.parametrize("octets", [DECIDED, DECIDED.replace(b"<one@", b"\r\n  <ONE@"), MESSAGE])
def test_the_message_that_was_decided_is_no_other(office: Office, octets: bytes) -> None:
    token = office.decided(message_id="<one@example.com>")
    assert office.take(token, octets) == DONE
    assert office.written[0]["other_message_id"] is None
    assert office.take(token, octets) == DONE
    assert [line["state"] for line in office.written] == ["accepted", "repeat"]


def test_a_filters_notice_does_not_take_the_place_of_the_copy(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    token = office.decided()
    assert office.take(token, NOTICE) == DONE
    assert (office.written[0]["state"], office.written[0]["other_message_id"]) == (
        "accepted",
        NOTICE_ID,
    )
    assert f"token {token}: the message that comes is not the one that was decided" in caplog.text
    assert office.take(token, NOTICE) == DONE
    assert office.take(token, DECIDED) == DONE
    assert office.take(token, DECIDED) == DONE
    assert [octets for _, octets in office.hops.given] == [NOTICE, DECIDED]
    assert [line["state"] for line in office.written] == ["accepted", "repeat", "accepted", "repeat"]
    assert office.written[2]["other_message_id"] is None
    copy = office.state.copy(token)
    assert copy is not None
    assert (copy.fate, copy.other_message_id) == ("accepted", None)


def test_a_copy_waits_visibly_although_a_notice_had_its_token(office: Office) -> None:
    token = office.decided()
    office.take(token, NOTICE)
    office.hops.answer = server("rcpt", 451)
    assert office.take(token, DECIDED) == LATER
    copy = office.state.copy(token)
    assert copy is not None
    assert (copy.state, copy.attempts, copy.code) == ("waiting", 2, 451)
    office.now += 3 * DAY
    assert office.take(token, DECIDED) == DONE
    assert office.written[-1]["state"] == "kept"
    kept = office.maildir.read(token)
    assert kept is not None
    assert b"".join(kept.chunks()) == DECIDED


def test_a_notice_that_was_kept_makes_room_for_the_copy(office: Office) -> None:
    token = office.decided()
    office.hops.answer = server("end", 554)
    assert office.take(token, NOTICE) == DONE
    assert (office.written[0]["state"], office.written[0]["other_message_id"]) == ("refused", NOTICE_ID)
    assert office.take(token, DECIDED) == DONE
    kept = office.maildir.read(token)
    assert kept is not None
    assert b"".join(kept.chunks()) == DECIDED
    assert (office.settings.kept / "other" / token).read_bytes().endswith(NOTICE)
    office.hops.answer = server("end", 250)
    (told,) = office.commands().serve({"action": "resend", "tokens": [token]})["results"]
    assert told["state"] == "resent"
    assert office.take(token, DECIDED) == DONE
    assert [line["state"] for line in office.written] == ["refused", "refused", "resent", "repeat"]


@pytest.mark.parametrize("adopted", [False, True])
def test_a_kept_notice_that_the_audit_does_not_know_of(office: Office, *, adopted: bool) -> None:
    token = office.decided()
    office.hops.answer = server("end", 554)
    office.take(token, NOTICE)
    # The relay ended before the line was written; with the audit the state is lost, too.
    office.audit.unlink()
    if adopted:
        office.audit.touch(mode=0o600)
    else:
        write_audit(office.audit, decision([token], at=office.now))
    office.state.close()
    office.settings.state.unlink()
    office.state = RelayState(office.settings.state)
    office.handling = office.handler()
    if adopted:
        adopt(office.maildir, office.state)
        write_audit(office.audit, decision([token], at=office.now))
    office.hops.answer = server("end", 250)
    assert office.take(token, DECIDED) == DONE
    assert [octets for _, octets in office.hops.given] == [NOTICE, DECIDED]
    assert office.kept() == []
    assert office.take(token, DECIDED) == DONE
    assert [line["state"] for line in office.written] == ["refused", "accepted", "repeat"]


def test_a_notice_whose_end_is_owed_does_not_end_the_copy(office: Office) -> None:
    token = office.decided()
    office.audit_fails = True
    assert office.take(token, NOTICE) == NO_RECORD
    assert office.take(token, DECIDED) == NO_RECORD
    office.audit_fails = False
    assert office.take(token, DECIDED) == DONE
    assert [octets for _, octets in office.hops.given] == [NOTICE, DECIDED]
    assert [line["other_message_id"] for line in office.written] == [NOTICE_ID, None]


def test_the_state_made_again_knows_which_message_ended_a_copy(office: Office) -> None:
    noticed, done = office.decided(delivery="journal"), office.decided()
    for token, octets in ((noticed, NOTICE), (done, NOTICE), (done, DECIDED)):
        office.take(token, octets)
        office.now += 10
    lines = [json.loads(line) for line in office.audit.read_text().splitlines()]
    other = RelayState(office.directory / "again.sqlite")
    for _ in range(2):
        other.take(lines)
    found = {token: other.copy(token) for token in (noticed, done)}
    assert [copy and (copy.state, copy.fate, copy.other_message_id) for copy in found.values()] == [
        ("ended", "accepted", NOTICE_ID),
        ("ended", "accepted", None),
    ]
    # The decision of the one whose message has not come is needed as long as it may come.
    later = {**lines[-1], "token": "beef", "time": utc(office.now + 3 * DAY)}
    other.take([later])
    copy = found[noticed]
    assert copy is not None
    assert other.record(copy.message) is not None
    other.close()
