"""Mail in Zimbra's shape: Postfix with the milter, amavisd behind it, Postfix again without milters.

What the milter did has to survive both hops: From, copies, and that nobody is told of a copy.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.amavis import Amavis
from tests.support.archive_server import ArchiveServer
from tests.support.builders import account, domain, global_config
from tests.support.daemon import Daemon
from tests.support.journal_readers import strictly
from tests.support.ports import free_port
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN, BOB, JOE = "ann@example.test", "bob@example.test", "joe@client.example.net"
REGISTER = "register@archive.test"
PROGRAM = """\
MIME-Version: 1.0\r
Content-Type: application/octet-stream; name="setup.exe"\r
Content-Disposition: attachment; filename="setup.exe"\r
\r
MZ\r
"""
VAULT, LEGAL, DEAD = "vault@example.test", "legal@example.test", "bounce-archive@example.test"


@pytest.fixture(scope="module")
def archive() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


@pytest.fixture(scope="module")
def amavis() -> Iterator[Amavis]:
    with Amavis(free_port()) as filtering:
        yield filtering


@pytest.fixture(scope="module")
def postfix(archive: ArchiveServer, amavis: Amavis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    folder, port = tmp_path_factory.mktemp("relay"), free_port()
    sections = {
        "copy register": {
            "sent_attributes": "ldapMilterArchiveReceivedBcc",
            "received_attributes": "",
            "delivery": "journal",
        },
        "relay": {
            "listen": f"inet:127.0.0.1:{port}",
            "postfix_dir": str(folder / "unknown"),
            "key_file": str(folder / "key"),
            "state": str(folder / "state"),
            "kept": str(folder / "kept"),
            "next_hop": archive.next_hop,
        },
    }
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *account(
                ANN,
                ldapMilterArchiveBcc=[VAULT, DEAD],
                ldapMilterLegalSentBcc=LEGAL,
                ldapMilterSenderFromRewrite="client.example.net => Sales <sales@example.test>",
                ldapMilterArchiveReceivedBcc=REGISTER,
            ),
            *account(BOB, ldapMilterLegalReceivedBcc=LEGAL),
            *account(VAULT),
            *account(LEGAL),
            *account(DEAD),
        ]
    )
    with (
        Slapd(records) as slapd,
        Daemon(slapd, sections) as daemon,
        Postfix(
            milters=daemon.socket,
            users={ANN: "a-password"},
            hosted=("example.test",),
            main_cf={
                "content_filter": f"smtp-amavis:[127.0.0.1]:{amavis.port}",
                "transport_maps": f"inline:{{ {{ copies.invalid = lmtp:inet:127.0.0.1:{port} }} }}",
            },
            services=[
                "smtp-amavis unix - - n - 4 smtp -o smtp_send_xforward_command=yes -o smtp_dns_support_level=disabled",
                (
                    f"127.0.0.1:{amavis.forward} inet n - n - - smtpd -o content_filter= -o smtpd_milters="
                    " -o mynetworks=127.0.0.0/8"
                    " -o smtpd_relay_restrictions=permit_mynetworks,reject"
                    " -o receive_override_options=no_unknown_recipient_checks,no_address_mappings"
                ),
            ],
        ) as started,
    ):
        yield started


def mailed(
    postfix: Postfix, sender: str, recipients: list[str], *, login: str | None = None, content: str = "\r\nHello.\r\n"
) -> dict[str, list[bytes]]:
    """Send a message; return all that was delivered of it, and about it, by mailbox."""
    token = uuid.uuid4().hex
    message = f"From: {sender}\r\nMessage-ID: <{token}@client.test>\r\nSubject: minutes\r\n{content}".encode()
    sent = postfix.send(sender, recipients, message, login=login, password="a-password" if login else None)
    assert sent.accepted, sent
    return delivered(postfix, token)


def delivered(postfix: Postfix, token: str) -> dict[str, list[bytes]]:
    """Return all that was delivered with a word in it, by mailbox."""
    postfix.queue_idle()
    return {
        mailbox: found
        for mailbox in postfix.recipients()
        if (found := [raw for raw in postfix.messages(mailbox) if token.encode() in raw])
    }


def head(message: bytes) -> bytes:
    return message.partition(b"\n\n")[0]


def froms(message: bytes) -> list[bytes]:
    return [line for line in head(message).split(b"\n") if line.lower().startswith(b"from:")]


def test_from_and_copies_survive_and_nobody_is_told(postfix: Postfix) -> None:
    found = mailed(postfix, ANN, [JOE], login=ANN)
    # One each; the archive that does not exist tells nobody.
    assert {mailbox: len(messages) for mailbox, messages in found.items()} == {JOE: 1, VAULT: 1, LEGAL: 1}
    for (message,) in found.values():
        assert b"amavis" in head(message)
        assert froms(message) == [b"From: Sales <sales@example.test>"]
    (told,) = found[JOE]
    for secret in (VAULT, LEGAL, DEAD):
        assert secret.encode() not in told
    assert postfix.said(f"to=<{DEAD}>")


def test_a_recipient_that_bounces_is_told_of_by_contrast(postfix: Postfix) -> None:
    found = mailed(postfix, ANN, ["bounce@client.example.net"], login=ANN)
    (notice,) = found[ANN]
    assert b"bounce@client.example.net" in notice
    assert DEAD.encode() not in notice


def test_mail_from_outside_is_copied_once(postfix: Postfix) -> None:
    found = mailed(postfix, JOE, [BOB])
    assert {mailbox: len(messages) for mailbox, messages in found.items()} == {BOB: 1, LEGAL: 1}
    assert froms(found[BOB][0]) == [f"From: {JOE}".encode()]


@pytest.mark.parametrize("count", [1, 60])
def test_one_report_comes_through_the_filter(postfix: Postfix, archive: ArchiveServer, count: int) -> None:
    recipients = [f"r{number}@client.example.net" for number in range(count)]
    archive.filed.clear()
    mailed(postfix, ANN, recipients, login=ANN)
    (filed,) = archive.wait_filed(1)
    assert filed.recipient == REGISTER
    journal = strictly(filed.octets)
    assert journal.recipients == tuple(f"Bcc: {recipient}" for recipient in recipients)
    assert b"amavis" in journal.original.partition(b"\r\n\r\n")[0].lower()
    assert b"Sales" in journal.original


def test_a_banned_file_is_reported_when_it_is_released(
    postfix: Postfix, amavis: Amavis, archive: ArchiveServer
) -> None:
    archive.filed.clear()
    # The filter tells every recipient, and a copy's recipient is one; nobody gets the message.
    told = mailed(postfix, ANN, [JOE], login=ANN, content=PROGRAM)
    for recipient in (JOE, VAULT, LEGAL):
        (notice,) = told[recipient]
        assert b"Subject: BANNED contents" in head(notice)
    (filed,) = archive.wait_filed(1)
    assert b"X-MS-Journal-Report" not in filed.octets
    assert b"Subject: BANNED contents" in filed.octets
    # Released, it comes as any other, and the notice has not taken the place of the report.
    (file,) = amavis.quarantine.iterdir()
    assert amavis.release(file).startswith("setreply=250 ")
    postfix.queue_idle()
    _, filed = archive.wait_filed(2)
    assert filed.recipient == REGISTER
    journal = strictly(filed.octets)
    assert journal.recipients == (f"Bcc: {JOE}",)
    assert b'filename="setup.exe"' in journal.original
    assert any(b'filename="setup.exe"' in message for message in postfix.messages(JOE))
