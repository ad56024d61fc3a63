"""Headers that no mail program writes: nothing hangs, nobody sees a traceback, one From is left."""

from __future__ import annotations

from email.header import decode_header, make_header
from email.utils import parseaddr
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import JOE, LEGAL_FROM
from tests.e2e.scene import Delivered, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

KIM = "kim@example.test"
LEGAL = [LEGAL_FROM.encode()]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # Postfix cuts header lines at header_size_limit: it has to let the long ones through.
    with Scene({"main": {}}, postfix_main={"header_size_limit": "1024000"}) as running:
        yield running
        assert "Traceback" not in running.daemon.log()


def rewritten(scene: Scene, header: bytes) -> Delivered:
    """Send a message with this header to somebody for whom the From is rewritten."""
    token, message = scene.compose(KIM, header)
    with scene.session(KIM) as smtp:
        reply = smtp.message(KIM, [JOE], message)
    assert reply.code == 250, reply
    delivered = scene.delivered(token)
    assert set(delivered) == {JOE}
    (message_there,) = delivered[JOE]
    return message_there


HEADERS = {
    "none": b"To: joe@specialcompany.com",
    "empty": b"From:",
    "folded": b"From: Kim\r\n\t=?utf-8?q?K=C3=ADm?=\r\n <kim@example.test>",
    "folded before the value": b"From:\r\n kim@example.test",
    # Postfix takes the blank away before a milter sees the name; it is a From all the same.
    "blank before the colon": b"From : kim@example.test",
    "tab before the colon": b"From\t: kim@example.test",
    "three, in three cases": b"From: a@example.test\r\nFROM: b@example.test\r\nfrom: c@example.test",
    "many": b"\r\n".join(b"From: %d@example.test" % number for number in range(200)),
    "more than are kept": b"\r\n".join([b"From: kim@example.test"] * 1500),
    "others in between": b"From: a@example.test\r\nX-A: 1\r\nfrom: b@example.test\r\nX-B: 2\r\nFrom : c@example.test",
    "raw Latin-1": b"From: Caf\xe9 <kim@example.test>",
    "raw UTF-8": "From: Café <kim@example.test>".encode(),
    "group syntax": b"From: undisclosed:a@example.test, b@example.test;",
    "unclosed quote": b'From: "kim <kim@example.test>',
    "100 KB": b"From: " + b"\r\n ".join([b"x" * 900] * 111) + b" <kim@example.test>",
    "100 KB in one line": b"From: " + b"y" * 100_000 + b" <kim@example.test>",
    "30,000 quotes": b"From: " + b'"' * 30_000 + b" <kim@example.test>",
    "50,000 commas": b"From: " + b"," * 50_000 + b" kim@example.test",
    "30,000 parentheses": b"From: " + b"(" * 30_000 + b" kim@example.test",
    "a NUL": b"From: ki\x00m <kim@example.test>\r\nX-Other: a\x00b",
    "a bare CR": b"From: kim <kim@example.test>\rBcc: x@example.test",
    "encoded line break": b"From: =?utf-8?q?a=0D=0ABcc=3A_x=40y?= <kim@example.test>",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_whatever_the_from_was_one_is_left(scene: Scene, header: bytes) -> None:
    message = rewritten(scene, header)
    assert message.froms == LEGAL
    names = [name for name, _ in message.fields]
    assert names.count("from") == 1
    assert "subject" in names  # the header did not end early
    assert message.body == b"Hello.\n"


def test_more_froms_than_postfix_can_delete_are_refused_for_good(scene: Scene) -> None:
    mailed = scene.mail(KIM, [JOE], login=KIM, header=b"\r\n".join([b"From: kim@example.test"] * 10_001))
    assert (mailed.sent.reply.code, "10000 From fields" in mailed.sent.reply.text) == (550, True)
    assert scene.delivered(mailed.token) == {}


def test_the_other_headers_stay_as_they_were(scene: Scene) -> None:
    header = b"X-One: caf\xe9\r\nFrom: a@example.test\r\nX-Two: a\r\n\tb\r\nfrom: b@example.test\r\nx-one: again"
    message = rewritten(scene, header)
    assert [(name, value) for name, value in message.fields if name.startswith("x-")] == [
        ("x-one", b"caf\xe9"),
        ("x-two", b"a\n\tb"),
        ("x-one", b"again"),
    ]


def test_without_policy_the_header_is_not_touched(scene: Scene) -> None:
    header = b"From: Caf\xe9 <jane@example.test>\r\nfrom: second@example.test\r\nFROM :third@example.test"
    mailed = scene.submit("jane@example.test", [JOE], header=header)
    (message,) = scene.delivered(mailed.token)[JOE]
    # (Postfix itself takes the blank before a colon away.)
    assert message.froms == [b"Caf\xe9 <jane@example.test>", b"second@example.test", b"third@example.test"]


def test_an_eight_bit_name_of_the_directory_goes_out_encoded(scene: Scene) -> None:
    mailed = scene.submit("zoe@example.test", ["bob@example.test"], header="From: whoever <z@elsewhere.test>")
    (message,) = scene.delivered(mailed.token)["bob@example.test"]
    (value,) = message.froms
    assert value.isascii()
    assert b"=?utf-8?" in value.lower()
    assert all(len(line) <= 78 for line in (b"From: " + value).split(b"\n"))
    name, address = parseaddr(value.decode("ascii").replace("\n", ""))
    assert address == "zoe@example.test"
    assert str(make_header(decode_header(name))) == 'Zoë "Z" Ångström'


def test_a_nul_in_a_recipient_is_refused_by_postfix_and_leaves_nothing(scene: Scene) -> None:
    with scene.session(KIM) as smtp:
        assert smtp.command(f"MAIL FROM:<{KIM}>").code == 250
        for odd in (b"jo\x00e@specialcompany.com", b"joe@specialcompany.com\x00", b"\x00"):
            assert smtp.command(b"RCPT TO:<" + odd + b">").code == 501
        assert smtp.command("RCPT TO:<bob@example.test>").code == 250
        token, message = scene.compose(KIM)
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250
    delivered = scene.delivered(token)
    assert set(delivered) == {"bob@example.test"}
    assert delivered["bob@example.test"][0].froms == [f"<{KIM}>".encode()]


@pytest.mark.parametrize(
    "recipient",
    [
        b'"jo e"@specialcompany.com',
        b'"a@b"@specialcompany.com',
        b"caf\xe9@specialcompany.com",
        b"(*)@specialcompany.com",
        b"a*)(uid=*@example.test",
        b"joe@[192.0.2.7]",
        b"joe@" + b"a." * 100 + b"test",
        b"x" * 200 + b"@specialcompany.com",
        b"bare-name",
    ],
)
def test_odd_recipients_are_answered(scene: Scene, recipient: bytes) -> None:
    token, message = scene.compose(KIM)
    with scene.session(KIM) as smtp:
        assert smtp.command(f"MAIL FROM:<{KIM}>").code == 250
        odd = smtp.command(b"RCPT TO:<" + recipient + b">")
        assert smtp.command(f"RCPT TO:<{JOE}>").code == 250
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250, odd
    delivered = scene.delivered(token)
    assert JOE in delivered
    assert delivered[JOE][0].froms == LEGAL


@pytest.mark.parametrize(
    "sender", [b"caf\xe9@example.test", b'"a b"@example.test', b"x" * 400 + b"@example.test", b"bare-name"]
)
def test_odd_senders_are_answered(scene: Scene, sender: bytes) -> None:
    token, message = scene.compose(KIM)
    with scene.session() as smtp:
        if smtp.command(b"MAIL FROM:<" + sender + b">").code != 250:
            return
        assert smtp.command("RCPT TO:<bob@example.test>").code == 250
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250
    # A bounce of a delivery that nobody can make has no place to go to.
    assert scene.delivered(token)["bob@example.test"][0].froms == [f"<{KIM}>".encode()]


def test_nothing_in_a_log_line_breaks_out_of_it(scene: Scene) -> None:
    with scene.session(KIM) as smtp:
        _, message = scene.compose(KIM)
        sender = '"x\\" verdict=reject copy=evil"@example.test'
        reply = smtp.message(sender, [JOE], message)
    assert reply.code == 250
    (line,) = scene.daemon.said(f"{reply.text.rpartition(' ')[2]}: ")
    assert scene.daemon.log_lines("copy=evil") == [line]
    assert line.isprintable()
    assert 'mail_from="<' in line
    assert " verdict=accept " in line
