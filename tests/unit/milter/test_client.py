"""What the client sends, what it waits for, and what it makes of the answers: as Postfix would."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.dial import dial
from ldapmilter.mta.headers import HeaderModification
from ldapmilter.mta.replies import smtp_reply
from ldapmilter.mta.stream import ConnectError, ConnectionClosedError, ProtocolError, SilenceError
from ldapmilter.mta.transaction import (
    Client,
    EnvelopeAddress,
    RejectedRecipient,
    Transaction,
    TransactionOutcome,
    Verdict,
)
from ldapmilter.mta.wire import Protocol, Stage, packet
from ldapmilter.socket_address import SocketAddress
from tests.unit.milter.scripted import ScriptedMilter

NOTHING = Protocol(0)
NO_REPLY = Protocol.NR_CONN | Protocol.NR_HELO | Protocol.NR_MAIL | Protocol.NR_RCPT | Protocol.NR_HDR | Protocol.NR_EOH
MESSAGE = Transaction(
    sender="ann@example.test",
    recipients=["bob@example.test", EnvelopeAddress(address="<eve@example.test>", parameters=("NOTIFY=NEVER",))],
    headers=[("From", "Ann <ann@example.test>"), (b"Subject", b"caf\xe9")],
    body=b"one\ntwo\r\n.",
    sender_parameters=("SIZE=100",),
    queue_id="4QUEUE",
    daemon_name="mail.example.test",
)


def run(milter: ScriptedMilter, message: Transaction = MESSAGE) -> TransactionOutcome:
    return milter.client().run(message)


class TestWhatIsSent:
    def test_every_event_in_order(self) -> None:
        milter = ScriptedMilter()

        outcome = run(milter)

        assert milter.commands == b"CHMRRTLLNBE"  # the abort waits for the next message
        assert [packet for packet in milter.packets if packet[0] != b"D"] == [
            (b"C", b"localhost\x004\0\x00127.0.0.1\0"),
            (b"H", b"localhost\0"),
            (b"M", b"<ann@example.test>\0SIZE=100\0"),
            (b"R", b"<bob@example.test>\0"),
            (b"R", b"<eve@example.test>\0NOTIFY=NEVER\0"),
            (b"T", b""),
            (b"L", b"From\0Ann <ann@example.test>\0"),
            (b"L", b"Subject\0caf\xe9\0"),
            (b"N", b""),
            (b"B", b"one\r\ntwo\r\n.\r\n"),
            (b"E", b""),
        ]
        assert (outcome.verdict, outcome.stage, outcome.reply) == (Verdict.ACCEPT, Stage.EOM, None)
        assert outcome.replies_awaited == 11
        assert outcome.packets_sent == 23  # eleven events, as many macro packets, the abort

    def test_macros_come_where_postfix_sends_them(self) -> None:
        milter = ScriptedMilter()

        run(milter)

        assert milter.macros(b"C") == [
            {
                "j": "mail.example.test",
                "{daemon_name}": "mail.example.test",
                "{daemon_addr}": "127.0.0.1",
                "v": "Postfix",
                "_": "localhost [127.0.0.1]",
            }
        ]
        assert milter.macros(b"H") == [{}]
        assert milter.macros(b"M") == [
            {"{mail_addr}": "ann@example.test", "{mail_host}": "example.test", "{mail_mailer}": "smtp"}
        ]
        first, second = milter.macros(b"R")
        assert "i" not in first
        assert first["{rcpt_addr}"] == "bob@example.test"
        assert second["i"] == "4QUEUE"
        for command, count in ((b"T", 1), (b"L", 2), (b"N", 1), (b"B", 1), (b"E", 1)):
            assert milter.macros(command) == [{"i": "4QUEUE"}] * count

    def test_a_login_is_in_the_macros_of_mail_only(self) -> None:
        milter = ScriptedMilter()

        run(milter, Transaction(sender="a@b", recipients=["c@d"], login="ann"))

        assert milter.macros(b"M")[0] | {"{auth_type}": "PLAIN", "{auth_authen}": "ann"} == milter.macros(b"M")[0]
        assert "{auth_authen}" not in milter.macros(b"R")[0]

    def test_mail_of_sendmail_has_no_brackets_and_its_queue_id_at_once(self) -> None:
        milter = ScriptedMilter()

        run(milter, Transaction(sender="<>", recipients=["<c@d>"], bracketed=False, queue_id="Q1"))

        assert (b"M", b"\0") in milter.packets
        assert (b"R", b"c@d\0") in milter.packets
        assert milter.macros(b"M") == [{"i": "Q1", "{mail_addr}": ""}]
        assert milter.macros(b"R") == [{"i": "Q1", "{rcpt_addr}": "c@d"}]

    def test_the_null_sender_is_an_empty_pair_of_brackets(self) -> None:
        milter = ScriptedMilter()

        run(milter, Transaction(sender="", recipients=["c@d"]))

        assert (b"M", b"<>\0") in milter.packets

    @pytest.mark.parametrize(
        ("client", "payload"),
        [
            (Client(name="h.test", address="192.0.2.1", port=258), b"h.test\x004\x01\x02192.0.2.1\0"),
            (Client(name="h.test", address="2001:db8::1", port=1), b"h.test\x006\0\x012001:db8::1\0"),
            (Client(name="unknown", address="192.0.2.1"), b"[192.0.2.1]\x004\0\x00192.0.2.1\0"),
            (Client(name="unknown", address="unknown"), b"unknown\0U"),
        ],
    )
    def test_the_client_is_named_as_postfix_names_it(self, client: Client, payload: bytes) -> None:
        milter = ScriptedMilter()

        run(milter, Transaction(sender="a@b", recipients=["c@d"], client=client))

        assert (b"C", payload) in milter.packets

    def test_without_a_helo_none_is_sent(self) -> None:
        milter = ScriptedMilter()
        run(milter, Transaction(sender="a@b", recipients=["c@d"], client=Client(helo=None)))
        assert b"H" not in milter.commands

    def test_a_body_goes_in_chunks_and_an_empty_one_not_at_all(self) -> None:
        milter = ScriptedMilter()
        run(milter, Transaction(sender="a@b", recipients=["c@d"], body=b"x" * 70000))
        chunks = [payload for command, payload in milter.packets if command == b"B"]
        assert [len(chunk) for chunk in chunks] == [65535, 70002 - 65535]
        assert chunks[1].endswith(b"x\r\n")

        milter = ScriptedMilter()
        run(milter, Transaction(sender="a@b", recipients=["c@d"]))
        assert milter.commands == b"CHMRTNE"

    def test_a_nul_ends_a_header_and_is_refused_in_an_envelope(self) -> None:
        milter = ScriptedMilter()
        run(milter, Transaction(sender="a@b", recipients=["c@d"], headers=[("X", "a\0b")]))
        assert (b"L", b"X\0a\0") in milter.packets

        with pytest.raises(ValueError, match="NUL"):
            Transaction(sender="a\0@b", recipients=["c@d"])
        with pytest.raises(ValueError, match="needs a recipient"):
            Transaction(sender="a@b", recipients=[])

    def test_bytes_that_are_no_text_survive_as_surrogates(self) -> None:
        milter = ScriptedMilter()
        run(milter, Transaction(sender="a@b", recipients=["caf\udce9@d"]))
        assert (b"R", b"<caf\xe9@d>\0") in milter.packets


class TestObedience:
    def test_unwanted_events_are_not_sent_but_the_macros_of_the_envelope_are(self) -> None:
        unwanted = (Protocol.NOCONNECT | Protocol.NOHELO | Protocol.NOMAIL | Protocol.NORCPT | Protocol.NODATA) | (
            Protocol.NOHDRS | Protocol.NOEOH | Protocol.NOBODY
        )
        milter = ScriptedMilter(unwanted)

        outcome = run(milter)

        assert milter.commands == b"E"
        assert [payload[:1] for command, payload in milter.packets if command == b"D"] == [
            bytes([command]) for command in b"CHMRRTE"
        ]
        assert outcome.replies_awaited == 1

    @pytest.mark.parametrize(
        ("unwanted", "sent"),
        [(Protocol.NOHDRS, b"CHMRRTNBE"), (Protocol.NOEOH, b"CHMRRTLLBE"), (Protocol.NOBODY, b"CHMRRTLLNE")],
    )
    def test_unwanted_content_has_no_macros_either(self, unwanted: Protocol, sent: bytes) -> None:
        milter = ScriptedMilter(unwanted)
        run(milter)
        assert b"".join(payload[:1] for command, payload in milter.packets if command == b"D") == sent
        assert milter.commands == sent

    def test_sendmail_spares_those_macros(self) -> None:
        milter = ScriptedMilter(Protocol.NOHELO)
        with milter.as_sendmail() as client:
            client.run(MESSAGE)
        assert [payload[:1] for command, payload in milter.packets if command == b"D"] == [
            bytes([command]) for command in b"CMRRTNE"
        ]

    def test_events_without_reply_travel_in_one_write_with_the_next_that_has_one(self) -> None:
        milter = ScriptedMilter(NO_REPLY)

        outcome = run(milter)

        writes = [b"".join(command for command, _ in write if command != b"D") for write in milter.writes]
        assert writes == [b"O", b"CHMRRT", b"LLNB", b"E"]
        assert outcome.replies_awaited == 3

    def test_the_session_is_flushed_before_cleanup_takes_the_message(self) -> None:
        milter = ScriptedMilter(NO_REPLY | Protocol.NR_DATA)
        run(milter)
        writes = [b"".join(command for command, _ in write if command != b"D") for write in milter.writes]
        assert writes == [b"O", b"CHMRRT", b"LLNB", b"E"]

    def test_skip_ends_the_headers_and_the_body_of_one_message(self) -> None:
        skipping = {b"L": [packet(b"s")], b"B": [packet(b"s")]}
        milter = ScriptedMilter(answers=skipping)
        client = milter.client()
        long = Transaction(sender="a@b", recipients=["c@d"], headers=MESSAGE.headers, body=b"x" * 200_000)

        client.run(long)
        assert milter.commands == b"CHMRTLNBE"
        assert len(milter.macros(b"L")) == len(milter.macros(b"B")) == 1

        client.run(long)
        assert milter.commands == b"CHMRTLNBE" + b"A" + b"MRTLNBE"

    def test_progress_is_waited_through(self) -> None:
        milter = ScriptedMilter(answers={b"T": [packet(b"p"), packet(b"p"), packet(b"c")]})
        assert run(milter).verdict is Verdict.ACCEPT
        assert milter.commands.endswith(b"E")

    def test_a_milter_of_version_3_is_not_sent_data(self) -> None:
        milter = ScriptedMilter(version=3)
        run(milter)
        assert b"T" not in milter.commands
        assert milter.macros(b"T") == []

    def test_a_macro_list_of_the_milter_replaces_the_one_of_that_stage(self) -> None:
        lists = struct.pack("!I", 0) + b"{client_addr} client_port j nosuch\0" + struct.pack("!I", 6) + b"\0"
        milter = ScriptedMilter(symbols=lists)

        run(milter)

        assert milter.macros(b"C") == [{"{client_addr}": "127.0.0.1", "{client_port}": "0", "j": "mail.example.test"}]
        assert milter.macros(b"L") == [{}, {}]
        assert milter.macros(b"T") == [{"i": "4QUEUE"}]

    def test_more_macros_can_be_added_to_a_stage(self) -> None:
        milter = ScriptedMilter()
        run(
            milter,
            Transaction(
                sender="a@b",
                recipients=["c@d"],
                macros={Stage.CONNECT: {"{client_addr}": "192.0.2.9"}, Stage.DATA: {"x": ""}},
            ),
        )
        assert milter.macros(b"C")[0]["{client_addr}"] == "192.0.2.9"
        assert milter.macros(b"T")[0]["x"] == ""

    def test_a_milter_that_wants_the_leading_space_gets_and_writes_it(self) -> None:
        written = [packet(b"m", b"\0\0\0\1From\0 new\0"), packet(b"h", b"X\0bare\0"), packet(b"c")]
        milter = ScriptedMilter(Protocol.HDR_LEADSPC, {b"E": written})

        outcome = run(milter)

        assert (b"L", b"From\0 Ann <ann@example.test>\0") in milter.packets
        assert outcome.headers_after == ((b"From", b"new"), (b"Subject", b"caf\xe9"), (b"X", b"bare"))
        assert outcome.header_modifications[0].value == b" new"


class TestVerdicts:
    @pytest.mark.parametrize(
        ("answer", "verdict", "reply"),
        [
            (packet(b"a"), Verdict.ACCEPT, None),
            (packet(b"d"), Verdict.DISCARD, None),
            (packet(b"r"), Verdict.REJECT, "550 5.7.1 Command rejected"),
            (packet(b"t"), Verdict.TEMPFAIL, "451 4.7.1 Service unavailable - try again later"),
            (packet(b"y", b"451 4.3.0 later\0"), Verdict.TEMPFAIL, "451 4.3.0 later"),
            (packet(b"y", b"550-5.7.1 a\r\n550 5.7.1 b\0"), Verdict.REJECT, "550-5.7.1 a\r\n550 5.7.1 b"),
        ],
    )
    @pytest.mark.parametrize(
        ("command", "stage", "sent"),
        [
            (b"M", Stage.MAIL, b"CHM"),
            (b"T", Stage.DATA, b"CHMRRT"),
            (b"L", Stage.HEADER, b"CHMRRTL"),
            (b"N", Stage.EOH, b"CHMRRTLLN"),
            (b"B", Stage.BODY, b"CHMRRTLLNB"),
            (b"E", Stage.EOM, b"CHMRRTLLNBE"),
        ],
    )
    def test_a_verdict_ends_the_message_where_it_falls(
        self, answer: bytes, verdict: Verdict, reply: str | None, command: bytes, stage: Stage, sent: bytes
    ) -> None:
        milter = ScriptedMilter(answers={command: [answer]})
        client = milter.client()

        outcome = client.run(MESSAGE)

        assert (outcome.verdict, outcome.stage, outcome.reply) == (verdict, stage, reply)
        assert milter.commands == sent
        client.quit()
        assert milter.commands == sent + b"AAQ"  # smtpd resets at the end of the message, and at QUIT
        assert milter.closed

    @pytest.mark.parametrize("answer", [b"a", b"r", b"t", b"4"])
    @pytest.mark.parametrize(("command", "stage"), [(b"C", Stage.CONNECT), (b"H", Stage.HELO)])
    def test_a_verdict_on_the_connection_holds_for_the_session(
        self, answer: bytes, command: bytes, stage: Stage
    ) -> None:
        milter = ScriptedMilter(answers={command: [packet(answer)]})
        client = milter.client()

        first = client.run(MESSAGE)

        assert first.stage is stage
        assert milter.closed
        assert client.run(MESSAGE).verdict is first.verdict
        assert b"M" not in milter.commands
        client.quit()
        assert b"Q" not in milter.commands

    def test_a_discard_of_a_connection_is_no_verdict(self) -> None:
        assert run(ScriptedMilter(answers={b"C": [packet(b"d")]})).verdict is Verdict.ACCEPT

    def test_a_shutdown_closes_the_session(self) -> None:
        milter = ScriptedMilter(answers={b"R": [packet(b"4")]})
        outcome = run(milter)
        assert (outcome.verdict, outcome.stage) == (Verdict.TEMPFAIL, Stage.RCPT)
        assert (outcome.reply or "").startswith("421 4.7.0")
        assert milter.closed

    def test_a_refused_recipient_is_left_out_and_the_message_goes_on(self) -> None:
        milter = ScriptedMilter()
        milter.in_turn[b"R"] = [packet(b"y", b"550 5.1.1 no\0"), packet(b"c"), packet(b"t")]

        outcome = run(milter, Transaction(sender="a@b", recipients=["1@d", "2@d", "3@d"]))

        assert (outcome.verdict, outcome.stage) == (Verdict.ACCEPT, Stage.EOM)
        assert outcome.recipients_rejected == (
            RejectedRecipient(address="1@d", reply="550 5.1.1 no"),
            RejectedRecipient(address="3@d", reply="451 4.7.1 Service unavailable - try again later"),
        )
        assert ["i" in macros for macros in milter.macros(b"R")] == [False, False, True]

    def test_with_every_recipient_refused_there_is_no_message(self) -> None:
        milter = ScriptedMilter(answers={b"R": [packet(b"r")]})
        outcome = run(milter)
        assert (outcome.verdict, outcome.stage, outcome.reply) == (
            Verdict.REJECT,
            Stage.RCPT,
            "550 5.7.1 Command rejected",
        )
        assert len(outcome.recipients_rejected) == 2
        assert milter.commands == b"CHMRR"

    def test_an_accept_at_rcpt_takes_all_recipients(self) -> None:
        milter = ScriptedMilter(answers={b"R": [packet(b"a")]})
        assert run(milter).stage is Stage.RCPT
        assert milter.commands == b"CHMR"

    @pytest.mark.parametrize(
        ("text", "reply"),
        [("451 4.3.0 100%% sure", "451 4.3.0 100% sure"), ("451 4.3.0 a%b%", "451 4.3.0 ab"), ("550", None)],
    )
    def test_per_cent_signs_are_undone(self, text: str, reply: str | None) -> None:
        if reply is None:
            with pytest.raises(ValueError, match="not an SMTP reply"):
                smtp_reply(text.encode())
        else:
            assert smtp_reply(text.encode() + b"\0").reply == reply


class TestModifications:
    def test_everything_that_can_be_asked_for(self) -> None:
        asked = [
            packet(b"m", b"\0\0\0\1from\0Legal <legal@example.test>\0"),
            packet(b"m", b"\0\0\0\2From\0\0"),
            packet(b"i", b"\0\0\0\0X-Top\0t\0"),
            packet(b"h", b"X-End\0e\0"),
            packet(b"2", b"<vault@example.test>\0NOTIFY=NEVER ORCPT=rfc822;v\0"),
            packet(b"2", b"second@example.test\0"),
            packet(b"+", b"<third@example.test>\0"),
            packet(b"-", b"<bob@example.test>\0"),
            packet(b"e", b"<new@example.test>\0SIZE=1\0"),
            packet(b"b", b"new "),
            packet(b"b", b"body\r\n"),
            packet(b"q", b"looks odd\0"),
            packet(b"p"),
            packet(b"a"),
        ]

        outcome = run(ScriptedMilter(answers={b"E": asked}))

        assert outcome.added_recipients == (
            EnvelopeAddress(address="vault@example.test", parameters=("NOTIFY=NEVER", "ORCPT=rfc822;v")),
            EnvelopeAddress(address="second@example.test"),
            EnvelopeAddress(address="third@example.test"),
        )
        assert outcome.deleted_recipients == ("bob@example.test",)
        assert outcome.changed_sender == "new@example.test"
        assert outcome.replaced_body == b"new body\r\n"
        assert outcome.quarantine == "looks odd"
        assert outcome.header_modifications == (
            HeaderModification(kind="change", name=b"from", value=b"Legal <legal@example.test>", index=1),
            HeaderModification(kind="change", name=b"From", value=b"", index=2),
            HeaderModification(kind="insert", name=b"X-Top", value=b"t", index=0),
            HeaderModification(kind="add", name=b"X-End", value=b"e"),
        )
        assert outcome.headers_after == (
            (b"X-Top", b"t"),
            (b"from", b"Legal <legal@example.test>"),
            (b"Subject", b"caf\xe9"),
            (b"X-End", b"e"),
        )

    def test_a_message_that_is_refused_keeps_its_headers(self) -> None:
        outcome = run(ScriptedMilter(answers={b"E": [packet(b"h", b"X\0y\0"), packet(b"r")]}))
        assert outcome.headers_after == ((b"From", b"Ann <ann@example.test>"), (b"Subject", b"caf\xe9"))
        assert len(outcome.header_modifications) == 1

    def test_an_outcome_is_frozen(self) -> None:
        with pytest.raises(AttributeError, match="immutable"):
            run(ScriptedMilter()).reply = "x"  # type: ignore[misc]


class TestSession:
    def test_several_messages_share_one_greeting(self) -> None:
        milter = ScriptedMilter()
        with milter.client() as client:
            first = client.run(MESSAGE)
            second = client.run(MESSAGE)
        assert milter.commands == b"CHMRRTLLNBE" + b"A" + b"MRRTLLNBE" + b"AAQ"
        assert second.replies_awaited == first.replies_awaited - 2

    def test_the_abort_of_one_message_travels_with_the_next(self) -> None:
        milter = ScriptedMilter(NO_REPLY)
        client = milter.client()
        client.run(MESSAGE)
        client.run(MESSAGE)
        writes = [b"".join(command for command, _ in write if command != b"D") for write in milter.writes]
        assert writes == [b"O", b"CHMRRT", b"LLNB", b"E", b"AMRRT", b"LLNB", b"E"]

    def test_a_session_has_one_client(self) -> None:
        client = ScriptedMilter().client()
        client.run(MESSAGE)
        with pytest.raises(ValueError, match="one client"):
            client.run(Transaction(sender="a@b", recipients=["c@d"], client=Client(address="192.0.2.1")))

    def test_seconds_are_those_of_the_clock(self) -> None:
        now = iter(float(second) for second in range(1000))
        assert ScriptedMilter(NO_REPLY).client(clock=lambda: next(now) / 1000).run(MESSAGE).seconds > 0


class TestFailure:
    @pytest.mark.parametrize(
        ("command", "answer", "reason"),
        [
            (b"M", packet(b"Z"), "answered mail with b'Z'"),
            (b"M", packet(b"h", b"X\0y\0"), "answered mail with b'h'"),
            (b"M", packet(b"c", b"x"), "and 1 bytes"),
            (b"E", packet(b"f"), "answered eom with b'f'"),
            (b"E", packet(b"m", b"\0\0"), "cut off"),
            (b"E", packet(b"m", b"\0\0\0\1\0x\0"), "without a name"),
            (b"E", packet(b"i", b"\xff\xff\xff\xffX\0y\0"), "not a place"),
            (b"E", packet(b"2", b"a\0b\0c\0"), "strings"),
            (b"T", packet(b"y", b"250 fine\0"), "not an SMTP reply"),
            (b"T", packet(b"y", b"451 5.7.1 mixed\0"), "not an SMTP reply"),
        ],
    )
    def test_an_answer_outside_the_protocol_closes(self, command: bytes, answer: bytes, reason: str) -> None:
        milter = ScriptedMilter(answers={command: [answer]})
        client = milter.client()
        with pytest.raises(ProtocolError, match=reason):
            client.run(MESSAGE)
        assert milter.closed
        with pytest.raises(ConnectionClosedError, match="connect anew"):
            client.run(MESSAGE)

    def test_hanging_up_in_mid_message(self) -> None:
        milter = ScriptedMilter(answers={b"T": []})
        with pytest.raises(ConnectionClosedError, match="unix:/scripted: the milter closed the connection"):
            run(milter)
        assert milter.closed

    @pytest.mark.parametrize(
        "negotiation", [[packet(b"c")], [packet(b"O", b"\0")], [packet(b"O", struct.pack("!III", 9, 0, 0))]]
    )
    def test_a_negotiation_that_goes_wrong(self, negotiation: list[bytes]) -> None:
        milter = ScriptedMilter(negotiation=negotiation)
        with pytest.raises(ProtocolError, match="unix:/scripted: this is not the milter protocol"):
            milter.client()
        assert milter.closed

    def test_quitting_a_milter_that_is_gone_is_quiet(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(packet(b"O", struct.pack("!III", 6, 0, 0)))
            client = MilterClient(ours)
        client.quit()
        client.quit()

    def test_silence_in_a_run_ends_at_its_deadline(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(packet(b"O", struct.pack("!III", 6, 0, 0)))
            client = MilterClient(ours, timeout=0.02)
            with pytest.raises(SilenceError, match=r"0\.02 s"):
                client.run(MESSAGE)


class TestDialling:
    def test_a_socket_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectError, match="does not exist") as caught:
            dial(SocketAddress(kind="unix", path=str(tmp_path / "none")), 1.0)
        assert str(tmp_path / "none") in str(caught.value)
        assert isinstance(caught.value, DaemonUnreachable)

    def test_a_file_that_is_no_socket(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConnectError, match="not a socket"):
            dial(SocketAddress(kind="unix", path=str(tmp_path / "file")), 1.0)

    def test_a_stale_socket(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(tmp_path / "stale"))
        with pytest.raises(ConnectError, match="no process listens"):
            dial(SocketAddress(kind="unix", path=str(tmp_path / "stale")), 1.0)

    def test_a_socket_without_permission(self) -> None:
        nobody, was_root = 65534, os.geteuid() == 0
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            Path(directory).chmod(0o755)
            closed = Path(directory) / "closed"
            listener.bind(str(closed))
            closed.chmod(0)
            if was_root:  # root may connect to anything
                os.seteuid(nobody)
            try:
                with pytest.raises(ConnectError, match="permission denied"):
                    dial(SocketAddress(kind="unix", path=str(closed)), 1.0)
            finally:
                if was_root:
                    os.seteuid(0)

    def test_a_full_queue_does_not_hang(self, tmp_path: Path) -> None:
        address = SocketAddress(kind="unix", path=str(tmp_path / "full"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address.path)
            listener.listen(0)
            with dial(address, 1.0), pytest.raises(ConnectError, match="queue of the listener is full"):
                dial(address, 0.05)

    def test_a_port_on_which_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(ConnectError, match=f"inet:127.0.0.1:{port}: no process listens"):
            dial(SocketAddress(kind="inet", host="127.0.0.1", port=port), 1.0)

    def test_a_wildcard_is_reached_on_loopback(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = SocketAddress(kind="inet", host="0.0.0.0", port=server.getsockname()[1])
            with dial(address, 1.0) as sock:
                assert sock.getpeername() == server.getsockname()

    def test_a_host_without_an_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(ConnectError, match=r"inet:mta\.test:8800: no address for host 'mta\.test' \(Name or"):
            dial(SocketAddress(kind="inet", host="mta.test", port=8800), 1.0)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (PermissionError(13, "Permission denied"), "permission denied: connecting needs write permission"),
            (OSError(107, "odd"), "odd"),
        ],
    )
    def test_what_the_kernel_says_is_passed_on(
        self, error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(socket.socket, "connect", fail)
        for address in (
            SocketAddress(kind="unix", path="/run/m.sock"),
            SocketAddress(kind="inet", host="127.0.0.1", port=8800),
        ):
            with pytest.raises(ConnectError) as caught:
                dial(address, 1.0)
            assert str(caught.value).startswith(f"{address}: ")
            assert address.kind != "unix" or reason in str(caught.value)

    def test_something_else_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = SocketAddress(kind="inet", host="127.0.0.1", port=server.getsockname()[1])
            with pytest.raises(SilenceError, match=r"inet:127\.0\.0\.1:\d+: .* within 0\.05 s"):
                MilterClient.connect(address, 0.05)
