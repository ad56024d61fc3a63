"""A relay that serves, by LMTP, with an archive's server behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ldapmilter.delivery.token import TokenKey
from ldapmilter.errors import AuditError
from ldapmilter.relay import client as client_module
from ldapmilter.relay import serving as serving_module
from ldapmilter.relay import session as session_module
from ldapmilter.relay.outgoing import pieces
from ldapmilter.relay.replies import BUSY, DONE, LATER, NO_RECORD, UNKNOWN
from ldapmilter.relay.serving import Relay
from ldapmilter.relay.sole import SoleRelay
from ldapmilter.relay.spool import Spooled
from ldapmilter.relay.stored import StateError
from tests.support.archive_server import DROP, SILENT, ArchiveServer
from tests.support.ports import HANG, LOOPBACK, wait_until
from tests.support.relay import DOMAIN, decision, ends, new_token, relay_settings, write_audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from ldapmilter.delivery.settings import RelaySettings

MESSAGE = b"Subject: one\r\n\r\n.text\r\n"


class Running:
    """A relay in a thread of its own."""

    def __init__(self, directory: Path, settings: RelaySettings) -> None:
        self.directory = directory
        self.audit = directory / "audit.jsonl"
        self.audit.touch(mode=0o600)
        self.relay = Relay(settings, self.audit)
        self.listening = socket.create_server((LOOPBACK, 0))
        self.listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.port = self.listening.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.do(self.relay.serve(self.listening))

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(HANG)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.do(self.relay.drain(5))
        self.do(self.relay.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.listening.close()

    def reload(self, settings: RelaySettings) -> None:
        async def reloaded() -> None:
            self.relay.reload(settings)

        self.do(reloaded())

    def decided(self, count: int = 1) -> list[str]:
        tokens = [new_token(self.directory) for _ in range(count)]
        write_audit(self.audit, decision(tokens, at=time.time()))
        return tokens

    def client(self) -> smtplib.LMTP:
        client = smtplib.LMTP(LOOPBACK, self.port, "mta.example", timeout=HANG)
        client.ehlo()
        return client

    def send(self, tokens: list[str], message: bytes = MESSAGE) -> list[str]:
        """Send one message; return the reply to each recipient."""
        with self.client() as client:
            assert client.docmd("MAIL", "FROM:<ann@example.com> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ")[0] == 250
            for token in tokens:
                client.docmd("RCPT", f"TO:<{token}@{DOMAIN}> NOTIFY=NEVER ORCPT=rfc822;v@archive.example")
            assert client.docmd("DATA")[0] == 354
            client.send(b"".join(session_stuffed(message)))
            return [line(client) for _ in tokens]


def session_stuffed(message: bytes) -> Iterator[bytes]:
    from ldapmilter.relay.stuffing import stuffed  # noqa: PLC0415

    return stuffed([message])


def hold(moment: str, until: threading.Event) -> None:
    """Have the archive answer at the end of a message only once it may."""
    if moment == "end":
        until.wait(HANG)


def send_and_be_hung_up_on(relay: Running, token: str) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        relay.send([token])


def line(client: smtplib.LMTP) -> str:
    code, text = client.getreply()
    return f"{code} {text.decode()}"


@pytest.fixture(name="archive")
def running_archive() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


@pytest.fixture(name="relay")
def running_relay(tmp_path: Path, archive: ArchiveServer) -> Iterator[Running]:
    relay = Running(tmp_path, relay_settings(tmp_path, archive.next_hop))
    yield relay
    relay.close()


def test_an_archive_that_falls_silent_costs_no_copy(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "GREETING_SECONDS", 0.3)
    first, second = relay.decided(2)
    archive.answers = {"rcpt": SILENT}
    assert relay.send([first]) == [LATER]
    asked = len(archive.commands)
    assert relay.send([second]) == [LATER]
    assert len(archive.commands) == asked  # it is left alone for a while
    assert list(relay.relay.report()["down"].values()) == ["nothing came in time"]
    assert (ends(relay.audit), relay.relay.report()["counts"]["deferred"]) == ([], 2)
    archive.answers = {}
    monkeypatch.setattr(relay.relay._taking.hops, "_down", {})
    assert relay.send([first, second]) == [DONE, DONE]
    assert sorted(ends(relay.audit)) == sorted([(first, "accepted"), (second, "accepted")])
    assert len(archive.wait_filed(2)) == 2


def test_replies_to_commands_that_came_in_one_go_leave_in_one_go(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token,) = relay.decided()
    with relay.client() as client:
        written: list[bytes] = []
        write = asyncio.StreamWriter.write

        def note(self: asyncio.StreamWriter, octets: bytes) -> None:
            written.append(octets)
            write(self, octets)

        monkeypatch.setattr(asyncio.StreamWriter, "write", note)
        client.send(f"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<{token}@{DOMAIN}>\r\nRCPT TO:<x@{DOMAIN}>\r\nDATA\r\n")
        assert [line(client)[:3] for _ in range(5)] == ["250", "250", "250", "550", "354"]
        assert len(written) == 1
        client.send(b"".join(session_stuffed(MESSAGE)) + b"QUIT\r\n")
        assert [line(client)[:3] for _ in range(2)] == ["250", "221"]
    assert len(written) == 2


def test_what_it_offers(relay: Running) -> None:
    with relay.client() as client:
        assert client.does_esmtp
        assert set(client.esmtp_features) == {"pipelining", "8bitmime", "smtputf8", "enhancedstatuscodes", "dsn"}
        assert client.docmd("EHLO", "x")[0] == 500
        assert client.docmd("AUTH", "PLAIN")[0] == 500
        assert client.docmd("NOOP")[0] == 250
        assert client.docmd("RSET")[0] == 250


def test_a_message_comes_through(relay: Running, archive: ArchiveServer) -> None:
    (token,) = relay.decided()
    assert relay.send([token]) == [DONE]
    (filed,) = archive.filed
    assert (filed.recipient, filed.sender, filed.octets) == ("vault@archive.example", "", MESSAGE)
    assert ends(relay.audit) == [(token, "accepted")]
    assert relay.send([token]) == [DONE]
    assert len(archive.filed) == 1
    assert ends(relay.audit) == [(token, "accepted"), (token, "repeat")]


def test_each_recipient_has_its_answer_in_order(relay: Running, archive: ArchiveServer) -> None:
    fine, unknown, later = relay.decided()[0], new_token(relay.directory), new_token(relay.directory)
    write_audit(relay.audit, decision([later], at=time.time(), target="later@archive.example"))

    def choose(moment: str, who: str) -> str | None:
        if who.startswith("later"):
            return "451 4.2.1 later" if moment == "rcpt" else None
        if moment == "end":  # the same copy once more finds this one under way
            wait_until(lambda: relay.relay._handling.recording.counts["deferred"] == 3, "the others to be answered")
        return None

    archive.choose = choose
    assert relay.send([later, fine, unknown, fine]) in ([LATER, DONE, UNKNOWN, BUSY], [LATER, BUSY, UNKNOWN, DONE])
    assert len(archive.filed) == 1


def test_nobody_else_is_a_recipient(relay: Running) -> None:
    token = new_token(relay.directory)
    with relay.client() as client:
        client.docmd("MAIL", "FROM:<>")
        for nobody in (
            f"{token[:-1]}{(int(token[-1], 16) + 1) % 16:x}@{DOMAIN}",
            new_token(relay.directory, probe=True) + f"@{DOMAIN}",
            "postmaster",
            "",
            "vault@archive.example",
        ):
            assert client.docmd("RCPT", f"TO:<{nobody}>") == (550, b"5.1.1 no such copy")
        assert client.docmd("DATA")[0] == 503
        assert client.docmd("RCPT", f"TO:<{token.upper()}@{DOMAIN.upper()}>")[0] == 250


def test_a_copy_that_set_out_under_another_domain_of_the_relay_comes_through(
    tmp_path: Path, archive: ArchiveServer
) -> None:
    settings = replace(relay_settings(tmp_path, archive.next_hop), domain="other.invalid")
    with contextlib.closing(Running(tmp_path, settings)) as relay:
        tokens = relay.decided()
        assert relay.send(tokens) == [DONE]
        assert ends(relay.audit) == [(tokens[0], "accepted")]
        with relay.client() as client:
            client.docmd("MAIL", "FROM:<>")
            assert client.docmd("RCPT", f"TO:<nobody@{DOMAIN}>") == (550, b"5.1.1 no such copy")


def test_commands_out_of_order_and_malformed(relay: Running) -> None:
    with smtplib.LMTP(LOOPBACK, relay.port, timeout=HANG) as client:
        assert client.docmd("MAIL", "FROM:<>")[0] == 503
        assert client.docmd("LHLO")[0] == 501
        client.ehlo("x")
        assert client.docmd("RCPT", "TO:<a@b>")[0] == 503
        for bad in ("FROM:", "<>", "FROM:<a", "FROM:a@b"):
            assert client.docmd("MAIL", bad)[0] == 501
        assert client.docmd("MAIL", "FROM:<>")[0] == 250
        assert client.docmd("MAIL", "FROM:<>")[0] == 503
        assert client.docmd("RCPT", "TO:a@b")[0] == 501
        assert client.docmd("MAIL", "x" * 5000)[0] == 500


ODD = {
    "no octet": b"",
    "no header": b"\r\ntext\r\n",
    "no body": b"Subject: x\r\n",
    "8-bit without MIME": b"Subject: \xe9\r\n\r\n\xff\xfe\r\n",
    "998 octets": b"X: " + b"y" * 995 + b"\r\n\r\n" + b"z" * 998 + b"\r\n",
    "a line of 100,000 octets": b"\r\n" + b"z" * 100_000 + b"\r\n",
    "dots": b".\r\n..\r\n\r\n.\r\n...\r\n",
    "a lone CR, a lone LF, NUL": b"a\rb\nc\n.\nd\x00\r\n",
}


@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
def test_octets_as_they_are(relay: Running, archive: ArchiveServer, message: bytes) -> None:
    assert relay.send(relay.decided(), message) == [DONE]
    assert archive.filed[0].octets == message
    assert archive.filed[0].mail.endswith("BODY=8BITMIME") != message.isascii()


def test_commands_that_follow_the_final_dot_are_obeyed(relay: Running, archive: ArchiveServer) -> None:
    first, second = relay.decided(2)
    one = f"MAIL FROM:<>\r\nRCPT TO:<{first}@{DOMAIN}>\r\nDATA\r\n".encode()
    two = f"MAIL FROM:<>\r\nRCPT TO:<{second}@{DOMAIN}>\r\nDATA\r\n".encode()
    with socket.create_connection((LOOPBACK, relay.port), timeout=HANG) as connection:
        connection.sendall(b"LHLO x\r\n" + one + b"one\r\n.\r\n" + two + b"two\r\n.\r\nQUIT\r\n")
        told = b""
        while octets := connection.recv(4096):
            told += octets
    assert told.decode().splitlines()[-1].startswith("221")
    assert [filed.octets for filed in archive.filed] == [b"one\r\n", b"two\r\n"]
    assert told.decode().count(DONE) == 2


def test_a_client_that_goes_away_in_the_middle_of_a_message(relay: Running, archive: ArchiveServer) -> None:
    (token,) = relay.decided()
    with socket.create_connection((LOOPBACK, relay.port), timeout=HANG) as connection:
        connection.sendall(f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{token}@{DOMAIN}>\r\nDATA\r\nhalf".encode())
        connection.recv(10)
    wait_until(lambda: relay.relay.report()["sessions"] == 0, "the end of the session")
    wait_until(lambda: relay.relay.report()["octets"] == 0, "what it has sent to be let go of")
    assert relay.send([token]) == [DONE]
    assert len(archive.filed) == 1


def test_a_client_that_goes_away_before_its_answer_finds_the_copy_ended(relay: Running, archive: ArchiveServer) -> None:
    (token,) = relay.decided()
    may_answer = threading.Event()
    archive.choose = lambda moment, _: hold(moment, may_answer)
    with socket.create_connection((LOOPBACK, relay.port), timeout=HANG) as connection:
        connection.sendall(f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{token}@{DOMAIN}>\r\nDATA\r\nx\r\n.\r\n".encode())
        wait_until(lambda: "DATA" in archive.commands, "the archive to be at work")
    assert relay.send([token]) == [BUSY]
    may_answer.set()
    wait_until(lambda: ends(relay.audit) == [(token, "accepted")], "the end of the copy")
    wait_until(lambda: relay.send([token]) == [DONE], "the relay to be done with it")
    assert len(archive.filed) == 1


def test_a_full_house_defers(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    (token,) = relay.decided()
    monkeypatch.setattr(relay.relay._room, "lets_in", lambda: False)
    with relay.client() as client:
        client.docmd("MAIL", "FROM:<>")
        client.docmd("RCPT", f"TO:<{token}@{DOMAIN}>")
        assert client.docmd("DATA") == (451, BUSY[4:].encode())
    monkeypatch.undo()
    assert relay.send([token]) == [DONE]


def test_a_disk_that_holds_no_large_message_defers(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = relay.decided(2)
    large = b"x" * 998 + b"\r\n"
    monkeypatch.setattr(relay.relay._desk, "directory", relay.directory / "is-not-there")
    assert relay.send(tokens, large * 2000) == [NO_RECORD, NO_RECORD]
    assert relay.relay.report()["octets"] == 0
    monkeypatch.undo()
    assert relay.send(tokens, large * 2000) == [DONE, DONE]


def test_what_cannot_be_held_takes_no_room_until_its_end(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is full the state and the kept copies want it."""
    (token,) = relay.decided()
    monkeypatch.setattr(relay.relay._desk, "directory", relay.directory / "is-not-there")
    with relay.client() as client:
        client.docmd("MAIL", "FROM:<>")
        client.docmd("RCPT", f"TO:<{token}@{DOMAIN}>")
        client.docmd("DATA")
        client.send(b"x" * 1_000_000)
        wait_until(lambda: relay.relay.report()["octets"] == 1_000_000, "what lies in memory")
        client.send(b"x" * 1_000_000)
        wait_until(lambda: relay.relay.report()["octets"] == 0, "it to be let go of")
        client.send(b"\r\n.\r\n")
        assert line(client) == NO_RECORD


def test_a_disk_that_does_not_answer_defers_large_messages_alone(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postfix has few sessions for all copies: large ones must not wait in all of them."""
    monkeypatch.setattr(session_module, "DISK_SECONDS", 0.0)
    first, second, small = relay.decided(3)
    large = (b"x" * 998 + b"\r\n") * 2000
    answers = threading.Event()
    calls: list[int] = []
    write = Spooled.write

    def hang(message: Spooled, octets: bytes) -> None:
        if message.would_touch_the_disk(len(octets)):
            calls.append(len(octets))
            assert answers.wait(HANG)
        write(message, octets)

    monkeypatch.setattr(Spooled, "write", hang)
    assert relay.send([first], large) == [NO_RECORD]
    assert relay.send([second], large) == [NO_RECORD]
    assert len(calls) == 1  # while it owes an answer it is not asked
    assert relay.send([small]) == [DONE]
    answers.set()
    wait_until(lambda: relay.relay.report()["octets"] == 0, "what was sent to be let go of")
    monkeypatch.setattr(session_module, "DISK_SECONDS", HANG)
    wait_until(lambda: relay.send([first, second], large) == [DONE, DONE], "the disk to be asked again")


def test_a_disk_that_has_the_state_and_does_not_answer_defers(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token,) = relay.decided()
    monkeypatch.setattr(session_module, "LATEST_SECONDS", 0.0)
    with relay.relay._state._lock:  # as whoever writes it has
        assert relay.send([token]) == [NO_RECORD]
        assert relay.send([token]) == [BUSY]
        assert archive.filed == []
    monkeypatch.setattr(session_module, "LATEST_SECONDS", HANG)
    wait_until(lambda: relay.send([token]) == [DONE], "the copy to be free again")
    assert (len(archive.filed), ends(relay.audit)[0]) == (1, (token, "accepted"))


def test_a_bug_defers(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    (token,) = relay.decided()
    monkeypatch.setattr(relay.relay._taking, "take", lambda *_: 1 / 0)
    assert relay.send([token, token]) == [BUSY, BUSY]
    monkeypatch.setattr(session_module.RelaySession, "smtp_NOOP", lambda *_: 1 / 0)
    with relay.client() as client:
        assert client.docmd("NOOP") == (451, BUSY[4:].encode())
    monkeypatch.undo()
    assert relay.send([token]) == [DONE]


def test_a_drain_lets_what_is_under_way_end(relay: Running, archive: ArchiveServer) -> None:
    (token,) = relay.decided()
    may_answer = threading.Event()
    archive.choose = lambda moment, _: hold(moment, may_answer)
    replies: list[str] = []
    sending = threading.Thread(target=lambda: replies.extend(relay.send([token])))
    sending.start()
    wait_until(lambda: "DATA" in archive.commands, "the archive to be at work")
    assert relay.do(relay.relay.drain(0.1)) is False
    may_answer.set()
    sending.join(HANG)
    assert replies == [DONE]
    wait_until(lambda: relay.do(relay.relay.drain(1)), "the end")
    with pytest.raises(OSError, match="refused"), socket.create_connection((LOOPBACK, relay.port), timeout=HANG):
        pass


def test_a_drain_hangs_up_on_nobody_who_has_a_reply_to_come(relay: Running) -> None:
    """Replies leave a moment after they are given: Postfix would come again with a copy that has ended."""
    with relay.client() as client:

        async def reply_and_drain() -> bool:
            (session,) = relay.relay._desk.sessions
            await session.push(DONE)  # type: ignore[attr-defined]
            return await relay.relay.drain(HANG)

        assert relay.do(reply_and_drain())
        assert line(client) == DONE


def test_a_copy_that_is_under_way_at_the_end_is_not_taken_after_it(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would record that it was."""
    (token,) = relay.decided()
    began, may_go_on = threading.Event(), threading.Event()

    async def held(copy: Any) -> AsyncIterator[bytes]:
        async for piece in pieces(copy):
            yield b"X-First: here\r\n"
            began.set()
            await asyncio.get_running_loop().run_in_executor(None, may_go_on.wait, HANG)
            yield piece

    monkeypatch.setattr(client_module, "pieces", held)
    sending = threading.Thread(target=send_and_be_hung_up_on, args=(relay, token))
    sending.start()
    assert began.wait(HANG)
    assert relay.do(relay.relay.drain(0.1)) is False
    relay.do(relay.relay.close())
    may_go_on.set()
    sending.join(HANG)
    wait_until(lambda: not archive._open, "the archive to be hung up on")
    assert archive.filed == []


def test_copies_that_wait_for_a_silent_archive_hold_up_no_other(tmp_path: Path, archive: ArchiveServer) -> None:
    with ArchiveServer() as silent:
        may_answer = threading.Event()
        silent.choose = lambda moment, _: hold(moment, may_answer)
        settings = relay_settings(tmp_path, archive.next_hop, next_hop_for=f"silent.example {silent.next_hop}")
        with contextlib.closing(Running(tmp_path, settings)) as relay:
            stuck = [new_token(tmp_path) for _ in range(40)]
            write_audit(relay.audit, decision(stuck, at=time.time(), target="v@silent.example"))
            replies: list[str] = []
            sending = threading.Thread(target=lambda: replies.extend(relay.send(stuck)))
            sending.start()
            wait_until(lambda: silent.commands.count("DATA") == 12, "as many as a server has at a time")
            assert relay.send(relay.decided()) == [DONE]
            may_answer.set()
            sending.join(HANG)
            assert replies == [DONE] * 40


@pytest.mark.parametrize("ends_now", [False, True])
def test_what_could_not_be_recorded_is_recorded_without_the_copy_and_at_the_end(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch, *, ends_now: bool
) -> None:
    """Postfix may come with it in an hour; another relay would know nothing of it, and hand it on again."""
    (token,) = relay.decided()
    monkeypatch.setattr(relay.relay._handling.recording, "_write", lambda lines: [AuditError("no space")] * len(lines))
    assert relay.send([token]) == [NO_RECORD]
    monkeypatch.undo()
    assert ends(relay.audit) == []
    if ends_now:
        relay.do(relay.relay.close())
        assert ends(relay.audit) == [(token, "accepted")]
        return
    looking_after = asyncio.run_coroutine_threadsafe(relay.relay.upkeep.run(), relay.loop)
    wait_until(lambda: ends(relay.audit) == [(token, "accepted")], "the end to be recorded")
    wait_until(lambda: relay.send([token]) == [DONE], "the copy to be free again")
    looking_after.cancel()
    assert len(archive.filed) == 1


def test_what_a_server_has_accepted_is_recorded_before_the_end(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "_LAST_ENDS_SECONDS", HANG)
    tokens = relay.decided(2)
    began, may_go_on = threading.Event(), threading.Event()
    write = relay.relay._handling.recording._write

    def slow(lines: Any) -> Any:
        began.set()
        assert may_go_on.wait(HANG)
        return write(lines)

    monkeypatch.setattr(relay.relay._handling.recording, "_write", slow)
    sending = [threading.Thread(target=send_and_be_hung_up_on, args=(relay, token)) for token in tokens]
    for one in sending:
        one.start()
    assert began.wait(HANG)
    archive.wait_filed(2)
    wait_until(lambda: len(relay.relay._taking._accepted._waiting) == 1, "the other one to wait")
    closing = asyncio.run_coroutine_threadsafe(relay.relay.close(), relay.loop)
    for one in sending:
        one.join(HANG)
    may_go_on.set()
    closing.result(HANG)
    assert sorted(ends(relay.audit)) == sorted((token, "accepted") for token in tokens)


def keep_one(relay: Running, archive: ArchiveServer) -> str:
    (token,) = relay.decided()
    archive.answers = {"rcpt": "550 5.1.1 nobody"}
    assert relay.send([token]) == [DONE]
    archive.answers = {}
    return token


def test_a_copy_that_is_sent_again_is_waited_for_at_the_end(relay: Running, archive: ArchiveServer) -> None:
    token = keep_one(relay, archive)
    may_answer = threading.Event()
    archive.choose = lambda moment, _: hold(moment, may_answer)
    request = {"action": "resend", "tokens": [token]}
    asked = asyncio.run_coroutine_threadsafe(relay.relay.command(request), relay.loop)
    wait_until(lambda: "DATA" in archive.commands, "the archive to be at work")
    assert relay.do(relay.relay.drain(0.1)) is False
    may_answer.set()
    assert asked.result(HANG)["results"][0]["state"] == "resent"
    assert relay.do(relay.relay.drain(HANG)) is True
    assert ends(relay.audit) == [(token, "refused"), (token, "resent")]


def test_a_copy_that_is_sent_again_at_the_end_is_not_taken_after_it(
    relay: Running, archive: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = keep_one(relay, archive)
    began, may_go_on = threading.Event(), threading.Event()

    async def held(copy: Any) -> AsyncIterator[bytes]:
        async for piece in pieces(copy):
            yield b"X-First: here\r\n"
            began.set()
            await asyncio.get_running_loop().run_in_executor(None, may_go_on.wait, HANG)
            yield piece

    monkeypatch.setattr(client_module, "pieces", held)
    request = {"action": "resend", "tokens": [token]}
    asked = asyncio.run_coroutine_threadsafe(relay.relay.command(request), relay.loop)
    assert began.wait(HANG)
    relay.do(relay.relay.close())
    may_go_on.set()
    (told,) = asked.result(HANG)["results"]
    assert (told["state"], told["why"]) == ("unchanged", "it was not accepted: the relay ends")
    wait_until(lambda: not archive._open, "the archive to be hung up on")
    assert archive.filed == []
    assert (relay.directory / "kept" / "new" / token).exists()


def test_the_next_server_in_order(tmp_path: Path, archive: ArchiveServer) -> None:
    with ArchiveServer("lmtp", path=tmp_path / "second") as second:
        relay = Running(tmp_path, relay_settings(tmp_path, f"{archive.next_hop} {second.next_hop}"))
        try:
            archive.answers = {"banner": DROP}
            assert relay.send(relay.decided()) == [DONE]
            assert len(second.filed) == 1
            assert list(relay.relay.report()["down"]) == [archive.next_hop]
            tried = archive.connections
            assert relay.send(relay.decided()) == [DONE]
            assert archive.connections == tried
        finally:
            relay.close()


def test_other_settings(relay: Running, tmp_path: Path, archive: ArchiveServer) -> None:
    archive.answers = {"rcpt": DROP}
    tokens = relay.decided()
    assert relay.send(tokens) == [LATER]
    with ArchiveServer() as other:
        relay.reload(relay_settings(tmp_path, other.next_hop, starttls="may"))
        assert relay.send(tokens) == [DONE]
        assert len(other.filed) == 1


def test_another_key_loses_no_copy(tmp_path: Path, archive: ArchiveServer) -> None:
    settings = relay_settings(tmp_path, archive.next_hop)
    archive.answers = {"rcpt": "451 4.2.1 later"}
    with contextlib.closing(Running(tmp_path, settings)) as relay:
        (before,) = relay.decided()
        (tmp_path / "relay.key").unlink()
        (after,) = relay.decided()  # by a milter that has the other key already
        forged, probe = TokenKey(b"x" * 32).new(), new_token(tmp_path, probe=True)
        with relay.client() as client:
            client.docmd("MAIL", "FROM:<>")
            for unknown in (forged, probe):
                assert client.docmd("RCPT", f"TO:<{unknown}@{DOMAIN}>") == (550, b"5.1.1 no such copy")
        assert relay.send([before, after]) == [LATER, LATER]
    archive.answers = {}
    with contextlib.closing(Running(tmp_path, settings)) as relay:
        assert relay.send([before, after]) == [DONE, DONE]
    assert len(archive.filed) == 2


def test_whether_a_token_of_another_key_is_one_may_not_be_known_now(relay: Running) -> None:
    relay.audit.unlink()
    with relay.client() as client:
        client.docmd("MAIL", "FROM:<>")
        assert client.docmd("RCPT", f"TO:<{TokenKey(b'x' * 32).new()}@{DOMAIN}>")[0] == 451
        assert client.docmd("RCPT", f"TO:<nobody@{DOMAIN}>")[0] == 550


def test_a_second_relay_on_the_same_files_is_refused(relay: Running, tmp_path: Path) -> None:
    settings = relay_settings(tmp_path)
    with pytest.raises(StateError, match=rf"state = .*: another copy relay \(process {os.getpid()}\) has it"):
        Relay(settings, relay.audit)
    other = replace(settings, state=tmp_path / "other" / "copies.sqlite")
    (settings.kept / "tmp" / "under-way").touch()
    with pytest.raises(StateError, match=r"kept = .*: another copy relay"):
        Relay(other, relay.audit)
    assert (settings.kept / "tmp" / "under-way").exists()
    assert relay.send(relay.decided()) == [DONE]
    relay.relay._sole.release()
    relay.do(Relay(other, relay.audit).close())


def test_one_that_ends_is_waited_for(tmp_path: Path) -> None:
    settings, now = relay_settings(tmp_path), [0.0]
    settings.kept.mkdir()

    def pass_time(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 3:
            first.release()

    first, second = SoleRelay(), SoleRelay(lambda: now[0], pass_time)
    first.take(settings)
    with pytest.raises(StateError, match="another copy relay"):
        second.take(settings, 2.0)
    second.release()
    now[0] = 0.0
    second.take(settings, 15.0)
    assert 3 < now[0] < 4
    second.release()
