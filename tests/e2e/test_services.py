"""Logins of devices, the fields around From, and clients that nobody knows: on mail that a real Postfix takes."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.company import CARL_ARCHIVE, CARL_HOLD, JOE, PASSWORD, company
from tests.e2e.scene import Delivered, Scene
from tests.support.builders import account
from tests.support.names import account_dn
from tests.support.ports import wait_until
from tests.support.record import merge

if TYPE_CHECKING:
    from collections.abc import Iterator

# Logins of the company whose accounts are others here.
RULED: Final = "many-0@example.test"
REJECTED: Final = "many-1@example.test"
BROKEN: Final = "many-2@example.test"
RELAY: Final = "relay@mail2.client.test"
SENT_ARCHIVE: Final = "sent@keep.test"
OPTIONS: Final = {
    "identity": {"service_logins": f"scanner {RELAY}={RULED}"},
    "from": {
        "reply_to": "author",
        "sender": "author",
        "reject_text": "{from} is not yours, use {address}: 100% https://help.example.test/from",
    },
    "metrics": {"confidential": "yes"},
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    people = [
        *account(
            RULED,
            displayName="Rule D",
            ldapMilterSenderFromRewrite="* => Legal Dept. <legal@example.test>",
            ldapMilterArchiveSentBcc=SENT_ARCHIVE,
        ),
        *account(REJECTED, aliases=["reject.me@example.test"], displayName="Ray Ject", ldapMilterFromEnforce="reject"),
        *account(BROKEN, ldapMilterLegalBcc="no-address"),
    ]
    replaced = {account_dn(address) for address in (RULED, REJECTED, BROKEN)}
    records = merge([*(record for record in company() if record.dn not in replaced), *people])
    smtpd = {"main": " -o mynetworks=127.0.0.0/8"}
    logins = dict.fromkeys(("scanner", RELAY, "later"), PASSWORD)
    with Scene({"main": OPTIONS}, smtpd=smtpd, records=records, logins=logins) as running:
        yield running
        assert not any("Traceback" in daemon.log() for daemon in running.daemons.values())


def delivered(scene: Scene, author: str, header: str, *recipients: str, login: str | None = None) -> Delivered:
    """Submit a message and return it as its first recipient got it."""
    recipients = recipients or (JOE,)
    mailed = scene.mail(author, recipients, login=login or author, header=header)
    assert mailed.sent.accepted, mailed.sent
    (message,) = scene.delivered(mailed.token)[recipients[0]]
    return message


def values(message: Delivered, name: str) -> list[bytes]:
    return [value for field_name, value in message.fields if field_name == name]


def test_a_scanner_gets_the_policy_of_its_recipients(scene: Scene) -> None:
    mailed = scene.mail(RULED, ["carl@example.test"], login="scanner")

    assert mailed.sent.accepted
    assert set(scene.delivered(mailed.token)) == {"carl@example.test", CARL_ARCHIVE, CARL_HOLD}


def test_a_relay_stands_for_an_account(scene: Scene) -> None:
    mailed = scene.mail("bounces@client.test", [JOE], login=RELAY, header="From: poster@client.test")

    assert mailed.sent.accepted
    found = scene.delivered(mailed.token)
    assert set(found) == {JOE, SENT_ARCHIVE}
    assert found[JOE][0].froms == [b"Legal Dept. <legal@example.test>"]


def test_a_login_becomes_a_service_with_a_reload(scene: Scene) -> None:
    assert scene.mail("ann@example.test", [JOE], login="later").sent.code == 451
    scene.daemon.configure({"identity": {"service_logins": f"{OPTIONS['identity']['service_logins']} later"}})
    os.kill(scene.daemon.pid, signal.SIGHUP)
    wait_until(lambda: bool(scene.daemon.log_lines("configuration reloaded")), "the reload")

    assert scene.mail("ann@example.test", [JOE], login="later").sent.accepted


@pytest.mark.parametrize(
    "header",
    [
        f"From: {RULED}\nReply-To:\nSender: boss@elsewhere.test",
        f"From: {RULED}\nReply-To: (nobody)\nreply-to:\nSender:\nSENDER: x@elsewhere.test",
        f"From: {RULED}\nFrom: second@elsewhere.test",
    ],
    ids=["empty", "several", "absent"],
)
def test_a_new_from_leaves_one_author_in_reply_to_and_sender(scene: Scene, header: str) -> None:
    message = delivered(scene, RULED, header)

    author = [f"Rule D <{RULED}>".encode()]
    assert message.froms == [b"Legal Dept. <legal@example.test>"]
    assert values(message, "reply-to") == author
    assert values(message, "sender") == author


def test_of_two_froms_of_the_users_own_one_is_left(scene: Scene) -> None:
    message = delivered(scene, REJECTED, f"From: Ray <{REJECTED}>\nfrom: reject.me@example.test\nSender:")

    assert message.froms == [f"Ray <{REJECTED}>".encode()]


def test_a_refusal_has_the_words_of_the_site(scene: Scene) -> None:
    mailed = scene.mail(REJECTED, [JOE], login=REJECTED, header="From: B\u00f6ss <b\u00f6ss%s@elsewhere.test>")

    assert mailed.sent.code == 550
    shown = "b\\xf6ss%s@elsewhere.test"
    assert mailed.sent.text == f"5.7.1 {shown} is not yours, use {REJECTED}: 100% https://help.example.test/from"
    assert scene.delivered(mailed.token) == {}


def test_a_client_that_nobody_knows_is_counted(scene: Scene) -> None:
    for sender in ("ann@example.test", "bob@alias.test", "stranger@client.test"):
        assert scene.mail(sender, [JOE]).sent.accepted

    def clients() -> list[tuple[str, int]]:
        told = json.loads(scene.daemon.cli("status", "--json").stdout)
        return [(one["client"], one["messages"]) for one in told["unknown_clients"]]

    wait_until(lambda: clients() == [("127.0.0.1", 2)], "the report")
    assert "unknown   127.0.0.1: 2 messages" in scene.daemon.cli("status").stdout
    checked = json.loads(scene.daemon.cli("check", "--json").stdout)
    (found,) = [one for one in checked["findings"] if one["code"] == "identity-unknown-client"]
    assert found["text"].startswith("127.0.0.1: 2 messages")


def test_mail_that_waits_is_one_alarm(scene: Scene) -> None:
    for _ in range(2):
        for recipient in (JOE, "jane@example.test"):
            assert scene.mail(BROKEN, [recipient], login=BROKEN).sent.code == 451

    def waiting() -> list[tuple[str, int]]:
        told = json.loads(scene.daemon.cli("status", "--json").stdout)
        return [(one["cause"], one["messages"]) for one in told["waiting"]]

    cause = "an invalid value of copy class legal"
    wait_until(lambda: waiting() == [(cause, 2)], "the report")
    (line,) = [line for line in scene.daemon.cli("status").stdout.splitlines() if "legal" in line]
    assert f"2 messages wait for {cause}" in line
    checked = json.loads(scene.daemon.cli("check", "--json").stdout)
    (found,) = [one for one in checked["findings"] if one["code"] == "mail-waits"]
    assert found["text"].startswith(f"2 messages wait for {cause}")
