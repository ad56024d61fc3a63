"""Posts to lists through a real Postfix, a signing hop and amavisd: who gets what, once, and what still verifies."""

from __future__ import annotations

import email
import uuid
from dataclasses import dataclass
from email.utils import parseaddr
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mailbox.reading import read_text
from tests.support import audit_lines
from tests.support.amavis import Amavis
from tests.support.builders import account, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.dkim_signer import Keys, Signer
from tests.support.ports import free_port
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.smtp_client import RawSmtp
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

ANN, BOB, JOE = "ann@example.test", "bob@example.test", "joe@client.example.net"
AWAY, VAULT, BOUNCES = "away@elsewhere.example", "vault@keep.test", "returns@example.test"
STAFF, SALES, PLAIN = "staff@example.test", "sales@example.test", "plain@example.test"
SETTINGS: Final = {
    "ldapMilterListFrom": "foreign",
    "ldapMilterListHeaders": "TRUE",
    "ldapMilterListTag": "[staff]",
    "ldapMilterListBounces": BOUNCES,
}
ALIASES: Final = f"{{{STAFF} = {ANN}, {AWAY}}}, {{{SALES} = {BOB}, {AWAY}}}, {{{PLAIN} = {STAFF}}}"


@dataclass(frozen=True)
class Mail:
    """The mail system."""

    postfix: Postfix
    signer: Signer
    keys: Keys
    daemon: Daemon

    def post(
        self, sender: str, recipients: list[str], *fields: str, login: str | None = None, refused: bool = False
    ) -> dict[str, list[bytes]]:
        """Send a message; return all that was delivered of it by mailbox, without what delivery wrote."""
        token = uuid.uuid4().hex
        message = "\r\n".join([*fields, f"Message-ID: <{token}@client.test>", "", "Hello.", ""]).encode(
            "utf-8", "surrogateescape"
        )
        if sender == JOE:
            message = self.keys.signed(message, "client.example.net")
        sent = self.postfix.send(sender, recipients, message, login=login, password="a-password" if login else None)
        assert sent.accepted is not refused, sent
        self.postfix.queue_idle()
        return {
            mailbox: found
            for mailbox in self.postfix.recipients()
            if (found := [raw for raw in self.postfix.messages(mailbox) if token.encode() in raw])
        }


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *account(ANN, displayName="Ann", ldapMilterArchiveReceivedBcc=VAULT),
            *account(BOB, ldapMilterFromEnforce="reject"),
            *account(BOUNCES),
            *static_list(STAFF, [ANN, AWAY], displayName="Staff", **SETTINGS),
            *static_list(SALES, [BOB, AWAY], displayName="Sales", ldapMilterListFrom="foreign"),
            *static_list(PLAIN, [STAFF]),
        ]
    )
    back = free_port()
    keys = Keys("example.test", "client.example.net")
    checks = tmp_path_factory.mktemp("checks") / "milter_header_checks"
    with (
        Slapd(records) as slapd,
        Daemon(slapd, {"identity": {"reinjection_ports": str(back)}}) as daemon,
        Amavis(back) as amavis,
        Signer(keys, "example.test", back) as signer,
    ):
        checks.write_text(f"/^X-Original-From:/ FILTER smtp-amavis:[127.0.0.1]:{signer.port}\n")
        for folder in (checks, checks.parent, *checks.parent.parents[:2]):
            folder.chmod(0o755)
        with Postfix(
            milters=daemon.socket,
            users={ANN: "a-password", BOB: "a-password"},
            hosted=("example.test",),
            main_cf={
                "content_filter": f"smtp-amavis:[127.0.0.1]:{amavis.port}",
                "milter_header_checks": f"regexp:{checks}",
                "virtual_alias_maps": f"inline:{{ {ALIASES} }}",
                "local_header_rewrite_clients": "",
            },
            services=[
                "smtp-amavis unix - - n - 4 smtp -o smtp_dns_support_level=disabled",
                (
                    f"127.0.0.1:{back} inet n - n - - smtpd -o content_filter= -o milter_header_checks="
                    f" -o smtpd_milters={daemon.socket}"
                    " -o mynetworks=127.0.0.0/8"
                    " -o smtpd_relay_restrictions=permit_mynetworks,reject"
                    " -o receive_override_options=no_unknown_recipient_checks,no_address_mappings"
                ),
            ],
        ) as postfix:
            yield Mail(postfix, signer, keys, daemon)


def counts(found: dict[str, list[bytes]]) -> dict[str, int]:
    return {mailbox: len(messages) for mailbox, messages in found.items()}


def read(raw: bytes) -> Message:
    return email.message_from_bytes(raw)


def as_sent(raw: bytes) -> bytes:
    """Return a delivered message as it travelled: without what delivery wrote in front, lines ending in CRLF."""
    lines = raw.split(b"\n")
    while lines[0].startswith((b"Return-Path:", b"X-Original-To:", b"Delivered-To:")):
        lines = lines[1:]
    return b"\r\n".join(lines)


def test_an_outsiders_post_is_signed_verifies_and_aligns_and_everybody_gets_it_once(mail: Mail) -> None:
    before = mail.signer.signed
    found = mail.post(JOE, [STAFF], f"From: Joe <{JOE}>", f"To: {STAFF}", "Subject: Lunch")
    assert counts(found) == {ANN: 1, AWAY: 1, VAULT: 1}
    assert mail.signer.signed == before + 1
    for (raw,) in found.values():  # the copy holds what the recipients got
        message = read(raw)
        assert message.get_all("From") == [f"Joe via Staff <{STAFF}>"]
        assert message.get_all("Reply-To") == [f"Joe <{JOE}>"]
        assert message.get_all("List-Id") == ["Staff <staff.example.test>"]
        assert message.get_all("Subject") == ["[staff] Lunch"]
        assert message.get_all("X-Original-From") == [f"Joe <{JOE}>"]
        assert "d=client.example.net" in message["X-Original-DKIM-Signature"]
        assert len(message.get_all("DKIM-Signature", [])) == 1
        assert message["Return-Path"] == f"<{BOUNCES}>"
        signed_by = mail.keys.verified(as_sent(raw))
        assert signed_by == parseaddr(message["From"])[1].rpartition("@")[2] == "example.test"


def test_the_message_once_more_is_left_as_it_is(mail: Mail) -> None:
    (first,) = mail.post(JOE, [STAFF], f"From: Joe <{JOE}>", f"To: {STAFF}", "Subject: Lunch")[AWAY]
    message = read(first)
    names = ("From", "To", "Subject", "Reply-To", "List-Id", "List-Post", "Precedence", "X-Original-From")
    again = mail.post(BOUNCES, [STAFF], *(f"{name}: {message[name]}" for name in names))
    assert counts(again) == {ANN: 1, AWAY: 1, VAULT: 1}
    for name in names:
        assert read(again[AWAY][0]).get_all(name) == [message[name]]


def test_a_post_of_ours_keeps_its_from(mail: Mail) -> None:
    found = mail.post(ANN, [STAFF], f"From: {ANN}", f"To: {STAFF}", login=ANN)
    assert counts(found) == {ANN: 1, AWAY: 1, VAULT: 1}
    message = read(found[AWAY][0])
    assert (message.get_all("From"), message["List-Id"]) == ([ANN], "Staff <staff.example.test>")
    assert message.get_all("Subject") == ["[staff]"]
    assert "Reply-To" not in message


def test_recipients_in_are_recipients_out(mail: Mail) -> None:
    found = mail.post(JOE, [STAFF, BOB, BOUNCES], f"From: {JOE}", f"To: {STAFF}, {BOB}", "Subject: Lunch")
    assert counts(found) == {ANN: 1, AWAY: 1, VAULT: 1, BOB: 1, BOUNCES: 1}
    assert read(found[BOB][0])["From"] == f"joe via Staff <{STAFF}>"
    assert mail.daemon.said("recipients beside staff@example.test")


def test_two_messages_on_one_connection_the_second_to_nobodys_list(mail: Mail) -> None:
    token = uuid.uuid4().hex
    with RawSmtp(mail.postfix.port) as smtp:
        assert smtp.command("EHLO client.test").code == 250
        for number, to in enumerate((STAFF, BOB)):
            head = f"From: Joe <{JOE}>\r\nTo: {to}\r\nSubject: Lunch\r\nMessage-ID: <{number}{token}@client.test>"
            assert smtp.message(JOE, [to], f"{head}\r\n\r\nHello.\r\n".encode()).code == 250
    mail.postfix.queue_idle()
    (raw,) = [one for one in mail.postfix.messages(BOB) if token.encode() in one]
    message = read(raw)
    assert (message["From"], message["Subject"], message["Return-Path"]) == (f"Joe <{JOE}>", "Lunch", f"<{JOE}>")
    assert "List-Id" not in message
    (posted,) = [one for one in mail.postfix.messages(AWAY) if token.encode() in one]
    assert read(posted)["From"] == f"Joe via Staff <{STAFF}>"


SUBJECTS: Final = {
    "none": ((), "[staff]"),
    "eight bits": (("Subject: Gr\udcfc\udcdfe aus K\udcf6ln",), "[staff] Gr\u00fc\u00dfe aus K\u00f6ln"),
    "UTF-8": (("Subject: Gr\u00fc\u00dfe",), "[staff] Gr\u00fc\u00dfe"),
    "encoded, with the tag": (("Subject: =?utf-8?Q?[Staff]_Gr=C3=BC=C3=9Fe?=",), "[staff] Gr\u00fc\u00dfe"),
    "answers": (("Subject: Re: AW: [staff] Lunch",), "Re: [staff] Lunch"),
    "998 octets": (("Subject: " + "x" * 989,), "[staff] " + "x" * 989),
}


@pytest.mark.parametrize(("fields", "expected"), SUBJECTS.values(), ids=SUBJECTS.keys())
def test_subjects(mail: Mail, fields: tuple[str, ...], expected: str) -> None:
    found = mail.post(JOE, [STAFF], f"From: Joe <{JOE}>", f"To: {STAFF}", *fields)
    (raw,) = found[AWAY]
    (value,) = [value for name, value in read_fields(raw) if name == "subject"]
    assert read_text(value) == expected
    assert mail.keys.verified(as_sent(raw)) == "example.test"


def test_of_two_lists_the_first_in_to_puts_the_from(mail: Mail) -> None:
    found = mail.post(JOE, [STAFF, SALES], f"From: {JOE}", f"To: {SALES}, {STAFF}", "Subject: Lunch")
    assert set(found) == {ANN, BOB, AWAY, VAULT}
    message = read(found[AWAY][0])
    assert (message["From"], message["Reply-To"]) == (f"joe via Sales <{SALES}>", JOE)
    assert (message["Subject"], message["List-Id"]) == ("Lunch", None)


def test_a_list_in_bcc_is_not_betrayed_and_one_inside_another_is_not_addressed(mail: Mail) -> None:
    hidden = mail.post(JOE, [BOB, STAFF], f"From: {JOE}", f"To: {BOB}", "Subject: Lunch")
    assert counts(hidden) == {ANN: 1, AWAY: 1, VAULT: 1, BOB: 1}
    inside = mail.post(JOE, [PLAIN], f"From: {JOE}", f"To: {PLAIN}", "Subject: Lunch")
    assert counts(inside) == {ANN: 1, AWAY: 1, VAULT: 1}
    for raw in (*hidden[BOB], *hidden[AWAY], *inside[AWAY]):
        message = read(raw)
        assert (message["From"], message["Subject"]) == (JOE, "Lunch")
        assert b"staff" not in as_sent(raw).partition(b"\r\n\r\n")[0].replace(b"for <staff@example.test>", b"")


def test_what_enforcement_refuses_is_no_post(mail: Mail) -> None:
    found = mail.post(BOB, [STAFF], f"From: {ANN}", f"To: {STAFF}", login=BOB, refused=True)
    assert found == {}


def read_fields(raw: bytes) -> list[tuple[str, str]]:
    """Return name in lower case and value of each header field, octets that are not UTF-8 as surrogates."""
    head = as_sent(raw).partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t")
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    return [(name.lower(), value.removeprefix(" ")) for name, _, value in (line.partition(":") for line in lines)]


def test_explain_probe_audit_and_log_tell_of_a_post(mail: Mail, tmp_path: Path) -> None:
    mail.post(JOE, [STAFF], f"From: Joe <{JOE}>", f"To: {STAFF}", "Subject: Lunch")
    message = tmp_path / "post.eml"
    message.write_text(f"From: Joe <{JOE}>\nTo: {STAFF}\nSubject: Lunch\n\nHello.\n", encoding="utf-8")
    asked = ("--mail-from", JOE, "--rcpt", STAFF, "--message", str(message))
    explained = mail.daemon.explain("--client", "192.0.2.9", *asked)
    post = explained["list"]
    assert (explained["from"]["cause"], post["address"], post["envelope_sender"]) == ("list", STAFF, BOUNCES)
    assert post["from"]["value"] == f"Joe via Staff <{STAFF}>"
    assert {one["name"] for one in post["headers"]} >= {"Reply-To", "List-Id", "Subject", "X-Original-From"}
    assert all(one["reasons"] for one in (post["from"], *post["headers"]))
    probed = mail.daemon.probe("--client", "192.0.2.9", *asked)
    assert (probed["from_after"], probed["envelope_sender"]) == ([f"Joe via Staff <{STAFF}>"], BOUNCES)
    assert {"name": "Subject", "before": ["Lunch"], "after": ["[staff] Lunch"]} in probed["headers"]
    records = audit_lines.records(mail.daemon.directory / "audit.jsonl")
    kept = [one for one in records if one["offered"] == [STAFF] and one["list"] is not None]
    assert kept[-1]["list"] == post
    assert mail.daemon.said(f"envelope_sender={BOUNCES}")
