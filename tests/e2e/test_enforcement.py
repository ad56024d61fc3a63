"""Enforcement of From on mail that a real Postfix takes: what the client is told, what is delivered."""

from __future__ import annotations

from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.company import JOE, company
from tests.e2e.scene import Delivered, Scene
from tests.support.builders import account, data_source, domain, global_config, static_list
from tests.support.names import account_dn, domain_dn, zimbra_id
from tests.support.record import merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.record import Record

# Logins of the company whose accounts are others here.
REJECTED: Final = "many-0@example.test"
REWRITTEN: Final = "many-1@example.test"
RULED: Final = "many-2@example.test"
GRANTING: Final = "many-3@example.test"
EVERYBODYS: Final = "many-4@example.test"
SELLING: Final = "many-5@example.test"
GROUP: Final = "desk@example.test"
FOREIGN: Final = "boss@elsewhere.test"
OWN: Final = [f"Rita Write <{REWRITTEN}>".encode()]
OPTIONS: Final[dict[str, dict[str, dict[str, str]]]] = {
    "main": {},
    "extras": {"from": {"reply_to": "author", "original_from_header": "X-Original-From"}},
    "observe": {"from": {"mode": "observe"}},
    "mailbox": {"identity": {"mailbox_hosts": "127.0.0.0/8"}},
}


def records() -> list[Record]:
    replaced = {account_dn(address) for address in (REJECTED, REWRITTEN, RULED, GRANTING, EVERYBODYS, SELLING)}
    replaced |= {"cn=config,cn=zimbra", domain_dn("example.test")}
    grants = [
        f"{zimbra_id('account', REJECTED)} usr sendAs",
        f"{zimbra_id('list', GROUP)} grp sendOnBehalfOf",
        f"{zimbra_id('account', EVERYBODYS)} usr -sendAs",
    ]
    return merge(
        [
            *(record for record in company() if record.dn not in replaced),
            *account(
                REJECTED, aliases=["reject.me@example.test"], displayName="Ray Ject", ldapMilterFromEnforce="reject"
            ),
            *account(REWRITTEN, displayName="Rita Write", ldapMilterFromEnforce="rewrite"),
            *account(RULED, displayName="Rule D", ldapMilterSenderFromRewrite="* => Legal Dept. <legal@example.test>"),
            *account(GRANTING, zimbraACE=grants),
            *static_list(GROUP, [REWRITTEN]),
            *global_config(zimbraDefaultDomainName="example.test", zimbraMtaRecipientDelimiter="+"),
            *domain("example.test", zimbraACE=f"{zimbra_id('account', EVERYBODYS)} usr sendAs"),
            *account(EVERYBODYS, ldapMilterFromEnforce="reject"),
            *account(SELLING),
            *static_list("sales@example.test", [SELLING], zimbraACE=f"{zimbra_id('account', REJECTED)} usr sendAs"),
            *data_source(REJECTED, "ray@gmail.test"),
            *data_source(REWRITTEN, "rita@gmail.test", zimbraDataSourceEnabled=False),
        ]
    )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    smtpd = dict.fromkeys(OPTIONS, " -o mynetworks=127.0.0.0/8")
    with Scene(OPTIONS, smtpd=smtpd, records=records()) as running:
        yield running
        assert not any("Traceback" in daemon.log() for daemon in running.daemons.values())


def delivered(scene: Scene, author: str, header: str | bytes, *, through: str = "main") -> Delivered:
    """Submit a message and return it as it was delivered."""
    mailed = scene.submit(author, [JOE], header=header, through=through)
    found = scene.delivered(mailed.token)
    assert set(found) == {JOE}
    (message,) = found[JOE]
    assert message.body == b"Hello.\n"
    return message


def values(message: Delivered, name: str) -> list[str]:
    """Return the decoded values of the fields of a name, unfolded."""
    raw = [value.decode("ascii").replace("\n", "") for field_name, value in message.fields if field_name == name]
    return [str(make_header(decode_header(value))) for value in raw]


FORBIDDEN: Final = {
    "foreign": f"From: Boss <{FOREIGN}>",
    "a colleague": "From: bob@example.test",
    "empty": "From:",
    "unreadable": 'From: "Boss',
    "own and foreign": f"From: {{own}}\nFROM: {FOREIGN}",
    "two in one": f"From: {{own}}, {FOREIGN}",
    "group syntax": f"From: Us: {{own}}, {FOREIGN};",
    "eight bits": f"From: Bos\u00df <{FOREIGN}>",
}


@pytest.mark.parametrize("header", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_reject_tells_the_client_and_delivers_nothing(scene: Scene, header: str) -> None:
    mailed = scene.mail(REJECTED, [JOE, "bob@example.test"], login=REJECTED, header=header.format(own=REJECTED))
    assert (mailed.sent.stage, mailed.sent.code) == ("end", 550)
    assert mailed.sent.text.startswith("5.7.1 ")
    assert REJECTED in mailed.sent.text
    assert scene.delivered(mailed.token) == {}


def test_a_refused_message_spares_the_next_of_its_session(scene: Scene) -> None:
    with scene.session(REJECTED) as smtp:
        refused, first = scene.compose(REJECTED, f"From: {FOREIGN}")
        assert smtp.message(REJECTED, [JOE], first).code == 550
        taken, second = scene.compose(REJECTED, f"From: {REJECTED}")
        assert smtp.message(REJECTED, [JOE], second).code == 250
    assert scene.delivered(refused) == {}
    assert scene.counts(taken) == {JOE: 1}


@pytest.mark.parametrize("header", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_rewrite_delivers_with_the_own_from_once(scene: Scene, header: str) -> None:
    message = delivered(scene, REWRITTEN, header.format(own=REWRITTEN))
    assert message.froms == OWN
    assert values(message, "subject") == ["minutes"]


@pytest.mark.parametrize(("author", "name"), [(REWRITTEN, "Rita Write"), (REJECTED, "Ray Ject")])
def test_a_missing_from_becomes_the_own_one(scene: Scene, author: str, name: str) -> None:
    assert delivered(scene, author, "To: joe@specialcompany.com").froms == [f"{name} <{author}>".encode()]


@pytest.mark.parametrize(
    "own", [REJECTED, "MANY-0@Example.Test", "reject.me@example.test", "many-0@alias.test", "reject.me@alias.test"]
)
def test_every_own_address_passes_untouched(scene: Scene, own: str) -> None:
    message = delivered(scene, REJECTED, f"From: The  Boss\n\t<{own}>")
    assert message.froms == [f"The  Boss\n\t<{own}>".encode()]


@pytest.mark.parametrize("author", [REJECTED, REWRITTEN], ids=["granted to the user", "granted to a group"])
def test_a_granted_from_passes_untouched(scene: Scene, author: str) -> None:
    header = f"From: On Behalf <{GRANTING}>\nSender: <{author}>"
    message = delivered(scene, author, header)
    assert message.froms == [f"On Behalf <{GRANTING}>".encode()]
    assert values(message, "sender") == [f"<{author}>"]


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        (REJECTED, "Reject.Me+news@alias.test"),
        (REJECTED, "ray@gmail.test"),
        (REJECTED, SELLING),
        (EVERYBODYS, "bob@example.test"),
    ],
    ids=["extension", "external account", "a list that he is in", "the whole domain"],
)
def test_what_else_is_the_users_to_write_as(scene: Scene, author: str, shown: str) -> None:
    assert delivered(scene, author, f"From: <{shown}>").froms == [f"<{shown}>".encode()]


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        (EVERYBODYS, GRANTING),
        (EVERYBODYS, "nobody@example.test"),
        (REJECTED, "rita@gmail.test"),
        (REJECTED, "bob+x@example.test"),
    ],
    ids=["denied nearer", "nobody", "another's external account", "another's extension"],
)
def test_what_else_is_not(scene: Scene, author: str, shown: str) -> None:
    assert scene.mail(author, [JOE], login=author, header=f"From: <{shown}>").sent.code == 550


def test_an_external_account_that_is_switched_off(scene: Scene) -> None:
    assert delivered(scene, REWRITTEN, "From: rita@gmail.test").froms == OWN


CALENDAR: Final = "Content-Type: text/calendar; method=REQUEST"
OWN_MAIL: Final = {
    "sent on": f"Resent-Date: today\nResent-From: {REJECTED}\nFrom: {FOREIGN}",
    "sent on again": f"Resent-From: {REJECTED}\nReceived: from x\nResent-From: bob@example.test\nFrom: {FOREIGN}",
    "on behalf": f"From: bob@example.test\nSender: {REJECTED}",
    "another's calendar": f"From: bob@example.test\n{CALENDAR}",
    "external account": f"From: ray@gmail.test\nSender: {REJECTED}",
}


@pytest.mark.parametrize("header", OWN_MAIL.values(), ids=OWN_MAIL.keys())
def test_what_zimbra_sends_passes_untouched_and_a_login_gets_no_such_freedom(scene: Scene, header: str) -> None:
    mailed = scene.mail(REJECTED, [JOE], header=header, through="mailbox")
    assert mailed.sent.accepted, mailed.sent
    ((message,),) = scene.delivered(mailed.token).values()
    assert header.rpartition("From: ")[2].partition("\n")[0].encode() in message.froms
    if "gmail" not in header:
        assert scene.mail(REJECTED, [JOE], login=REJECTED, header=header, through="mailbox").sent.code == 550


def test_what_somebody_else_has_sent_on_is_refused(scene: Scene) -> None:
    header = f"Resent-From: bob@example.test\nReceived: from x\nResent-From: {REJECTED}\nFrom: {FOREIGN}"
    assert scene.mail(REJECTED, [JOE], header=header, through="mailbox").sent.code == 550


@pytest.mark.parametrize(
    ("sender", "content"),
    [(RULED, CALENDAR), ("", "Content-Type: multipart/report;\n report-type=disposition-notification; boundary=b")],
    ids=["calendar", "disposition notification"],
)
def test_no_rule_changes_the_from_that_the_body_repeats(scene: Scene, sender: str, content: str) -> None:
    mailed = scene.mail(sender, [JOE], login=RULED, header=f"From: {RULED}\nMIME-Version: 1.0\n{content}")
    assert mailed.sent.accepted, mailed.sent
    ((message,),) = scene.delivered(mailed.token).values()
    assert message.froms == [RULED.encode()]


def test_a_foreign_sender_is_taken_away_or_refused(scene: Scene) -> None:
    message = delivered(scene, REWRITTEN, f"From: <{REWRITTEN}>\nSender: {FOREIGN}\nSENDER: {FOREIGN}")
    assert message.froms == [f"<{REWRITTEN}>".encode()]
    assert values(message, "sender") == []
    refused = scene.mail(REJECTED, [JOE], login=REJECTED, header=f"From: {REJECTED}\nSender: {FOREIGN}")
    assert refused.sent.code == 550


def test_a_rule_leaves_the_author_in_reply_to_and_the_old_from(scene: Scene) -> None:
    header = f"From: R\u00fcla <{RULED}>\nfrom: second@example.test\nX-Original-From: forged@elsewhere.test"
    message = delivered(scene, RULED, header, through="extras")
    assert message.froms == [b"Legal Dept. <legal@example.test>"]
    assert values(message, "reply-to") == [f"Rule D <{RULED}>"]
    assert values(message, "x-original-from") == [f"R\u00fcla <{RULED}>, second@example.test"]


def test_a_reply_to_of_the_author_stays(scene: Scene) -> None:
    message = delivered(scene, RULED, f"From: {RULED}\nReply-To: desk@example.test", through="extras")
    assert values(message, "reply-to") == ["desk@example.test"]
    assert values(message, "x-original-from") == [RULED]


def test_enforcement_keeps_the_old_from_and_adds_no_reply_to(scene: Scene) -> None:
    message = delivered(scene, REWRITTEN, f"From: Boss <{FOREIGN}>", through="extras")
    assert message.froms == OWN
    assert values(message, "x-original-from") == [f"Boss <{FOREIGN}>"]
    assert values(message, "reply-to") == []


def test_observe_changes_and_refuses_nothing(scene: Scene) -> None:
    for author in (REJECTED, REWRITTEN):
        assert delivered(scene, author, f"From: {FOREIGN}", through="observe").froms == [FOREIGN.encode()]


@pytest.mark.parametrize("owner", [REJECTED, REWRITTEN])
def test_on_behalf_of_from_a_mailbox_server_passes_untouched(scene: Scene, owner: str) -> None:
    header = f"From: Owner <{owner}>\nSender: Bob <bob@example.test>\nX-Mailer: Zimbra"
    mailed = scene.mail(owner, [JOE], header=header, through="mailbox")
    assert mailed.sent.accepted
    ((message,),) = scene.delivered(mailed.token).values()
    assert message.froms == [f"Owner <{owner}>".encode()]
    assert values(message, "sender") == ["Bob <bob@example.test>"]


def test_automatic_mail_of_a_mailbox_server_passes_untouched(scene: Scene) -> None:
    header = f"From: {FOREIGN}\nX-Zimbra-Forwarded: {REJECTED}"
    mailed = scene.mail(REJECTED, [JOE], header=header, through="mailbox")
    assert mailed.sent.accepted
    ((message,),) = scene.delivered(mailed.token).values()
    assert message.froms == [FOREIGN.encode()]
    refused = scene.mail(REJECTED, [JOE], login=REJECTED, header=header, through="mailbox")
    assert refused.sent.code == 550


def test_mail_of_nobody_is_not_asked_about(scene: Scene) -> None:
    mailed = scene.mail(REJECTED, [JOE], header=f"From: {FOREIGN}")
    assert mailed.sent.accepted
    ((message,),) = scene.delivered(mailed.token).values()
    assert message.froms == [FOREIGN.encode()]
