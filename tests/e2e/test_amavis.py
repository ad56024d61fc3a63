"""Mail in Zimbra's shape: Postfix with the milter, amavisd behind it, Postfix again without milters.

What the milter did has to survive both hops: From, copies, and that nobody is told of a copy.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.amavis import Amavis
from tests.support.builders import account, domain, global_config
from tests.support.daemon import Daemon
from tests.support.directory_data import base_records
from tests.support.ports import free_port
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN, BOB, JOE = "ann@example.test", "bob@example.test", "joe@client.example.net"
VAULT, LEGAL, DEAD = "vault@example.test", "legal@example.test", "bounce-archive@example.test"


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
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
            ),
            *account(BOB, ldapMilterLegalReceivedBcc=LEGAL),
            *account(VAULT),
            *account(LEGAL),
            *account(DEAD),
        ]
    )
    back = free_port()
    with (
        Slapd(records) as slapd,
        Daemon(slapd) as daemon,
        Amavis(back) as amavis,
        Postfix(
            milters=daemon.socket,
            users={ANN: "a-password"},
            hosted=("example.test",),
            main_cf={"content_filter": f"smtp-amavis:[127.0.0.1]:{amavis.port}"},
            services=[
                "smtp-amavis unix - - n - 4 smtp -o smtp_send_xforward_command=yes -o smtp_dns_support_level=disabled",
                (
                    f"127.0.0.1:{back} inet n - n - - smtpd -o content_filter= -o smtpd_milters="
                    " -o mynetworks=127.0.0.0/8"
                    " -o smtpd_relay_restrictions=permit_mynetworks,reject"
                    " -o receive_override_options=no_unknown_recipient_checks,no_address_mappings"
                ),
            ],
        ) as started,
    ):
        yield started


def mailed(postfix: Postfix, sender: str, recipients: list[str], *, login: str | None = None) -> dict[str, list[bytes]]:
    """Send a message; return all that was delivered of it, and about it, by mailbox."""
    token = uuid.uuid4().hex
    message = f"From: {sender}\r\nMessage-ID: <{token}@client.test>\r\nSubject: minutes\r\n\r\nHello.\r\n".encode()
    sent = postfix.send(sender, recipients, message, login=login, password="a-password" if login else None)
    assert sent.accepted, sent
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
    assert f"to=<{DEAD}>" in postfix.log()


def test_a_recipient_that_bounces_is_told_of_by_contrast(postfix: Postfix) -> None:
    found = mailed(postfix, ANN, ["bounce@client.example.net"], login=ANN)
    (notice,) = found[ANN]
    assert b"bounce@client.example.net" in notice
    assert DEAD.encode() not in notice


def test_mail_from_outside_is_copied_once(postfix: Postfix) -> None:
    found = mailed(postfix, JOE, [BOB])
    assert {mailbox: len(messages) for mailbox, messages in found.items()} == {BOB: 1, LEGAL: 1}
    assert froms(found[BOB][0]) == [f"From: {JOE}".encode()]
