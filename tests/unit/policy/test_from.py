"""The From that a message leaves with: whose rule, of which text, from which sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mailbox.reading import read_from
from ldapmilter.policy.from_kept import AUTOMATIC_FIELDS, CONTENT_FIELDS, RESENT_FIELDS
from tests.support import builders
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, OUTSIDER, Message, addresses

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

RULE: Final = "ldapMilterSenderFromRewrite"
WISH: Final = "ldapMilterRecipientFromRewrite"


def mailbox(decision: Decision) -> tuple[str, str]:
    """Return name and address of the one mailbox in the new From."""
    assert decision.from_change is not None
    assert decision.from_change.value.isascii()
    assert decision.from_change.value.isprintable()
    (only,) = read_from([decision.from_change.value]).mailboxes
    return only.display_name, only.address.text


@pytest.mark.parametrize(
    "message",
    [
        Message(login=None, sender=ANN, client=OUTSIDER),
        Message(login=None, sender=JOE, client=OUTSIDER),
        Message(login=None, sender="", client=OUTSIDER),
        Message(login=None, sender=ANN, client=None),
        Message(login=None, sender=ANN, client=MAILBOX_SERVER, submitted_locally=True),
        Message(login=None, sender="", client=MAILBOX_SERVER),
    ],
    ids=["forged MAIL FROM", "outsider", "null sender", "no client", "sendmail(1)", "bounce of a mailbox server"],
)
def test_mail_without_identity_gets_recipient_side_copies_only(message: Message) -> None:
    world = example(
        {
            ANN: {RULE: "* => legal@example.com", "ldapMilterArchiveBcc": "ann@archive.example.net"},
            BOB: {WISH: "bob.team@example.com", "ldapMilterArchiveBcc": "bob@archive.example.net"},
            "example.com": {RULE: "* => d@example.com", WISH: "w@example.com"},
        }
    )
    forged = Message(
        login=message.login,
        sender=message.sender,
        client=message.client,
        submitted_locally=message.submitted_locally,
        to=[BOB],
        headers=[("From", f"Ann <{ANN}>")],
    )

    decision = world.decide(forged)

    assert decision.identity.source == "none"
    assert decision.from_change is None
    assert decision.headers_needed == frozenset()
    assert addresses(decision) == ["bob@archive.example.net"]


def test_an_outsider_behind_a_mailbox_server_is_none_of_our_users() -> None:
    # A filter redirects a message and keeps its envelope sender.
    world = example({BOB: {WISH: "bob.team@example.com"}})

    decision = world.decide(Message(login=None, sender=JOE, client=MAILBOX_SERVER, to=[BOB], headers=[]))

    assert decision.from_change is None


def test_the_from_header_is_not_the_sender() -> None:
    world = example({ANN: {RULE: "* => ann.rule@example.com"}, BOB: {RULE: "* => bob.rule@example.com"}})

    decision = world.decide(Message(login=ANN, headers=[("From", f"Bob <{BOB}>")]))

    assert mailbox(decision) == ("", "ann.rule@example.com")


def test_rules_of_a_level_hide_the_next_even_when_none_fires() -> None:
    world = example({ANN: {RULE: "client.example.net => a@example.com"}, "sales": {RULE: "* => c@example.com"}})

    assert world.decide(Message(to=[BOB])).from_change is None
    assert mailbox(world.decide(Message(to=[JOE]))) == ("", "a@example.com")


@pytest.mark.parametrize("level", [ANN, "sales", "example.com", "global"])
def test_every_level_may_hold_rules(level: str) -> None:
    decision = example({level: {RULE: "* => legal@example.com"}}).decide()

    assert mailbox(decision) == ("", "legal@example.com")


def test_none_ends_the_inheritance_of_rules() -> None:
    world = example({"sales": {RULE: "none"}, "example.com": {RULE: "* => d@example.com"}})

    assert world.decide().from_change is None
    assert mailbox(world.decide(Message(login=BOB))) == ("", "d@example.com")


def test_a_recipients_wish_is_for_the_envelope_only() -> None:
    world = example({"carol@example.com": {WISH: "c@example.com"}})

    assert world.decide(Message(to=["team@example.com"])).from_change is None
    assert world.decide(Message(to=["dan@example.com"])).from_change is None
    assert mailbox(world.decide(Message(to=["team@example.com", "carol@example.com"]))) == ("", "c@example.com")


def test_a_wish_of_one_of_two_entries_counts() -> None:
    twin = builders.account("twin@example.com", aliases=[BOB], **{WISH: "t@example.com"})[0]

    assert mailbox(example({}, twin).decide(Message(to=[BOB]))) == ("", "t@example.com")


def test_a_mailbox_server_is_believed_about_the_mailbox() -> None:
    world = example({ANN: {RULE: "* => {displayName} <legal@example.com>"}})

    decision = world.decide(Message(login=None, sender="a.able@example.com", client=MAILBOX_SERVER, headers=[]))

    assert decision.identity.source == "mailbox-host"
    assert mailbox(decision) == ("Ann Able", "legal@example.com")


def test_mailbox_hosts_may_be_networks() -> None:
    options = {"identity": {"mailbox_hosts": "203.0.113.0/24 2001:db8::/32"}}
    world = example({ANN: {RULE: "* => legal@example.com"}}, options=options)

    def source(client: str) -> str:
        return world.decide(Message(login=None, sender=ANN, client=client)).identity.source

    assert source("203.0.113.77") == "mailbox-host"
    assert source("2001:db8::1") == "mailbox-host"
    assert source("::ffff:203.0.113.77") == "mailbox-host"
    assert source(MAILBOX_SERVER) == "none"


# What has to be read before a decision is final.


def test_no_header_is_read_without_need() -> None:
    world = example({ANN: {RULE: "internal => {displayName} <legal@example.com>"}})

    assert world.at_data(Message(to=[JOE])).headers_needed == frozenset()
    assert world.at_data(Message(to=["carol@example.com"])).headers_needed == CONTENT_FIELDS


def test_from_name_needs_the_from() -> None:
    world = example({ANN: {RULE: "* => {fromName} <legal@example.com>"}})

    assert world.at_data(Message()).headers_needed == {"from", *CONTENT_FIELDS}
    assert world.decide(Message(headers=[])).headers_needed == frozenset()


def test_a_mailbox_server_may_send_automatic_mail() -> None:
    world = example({ANN: {RULE: ["internal => {fromName} <legal@example.com>", "external => legal@example.com"]}})

    def needed(recipient: str) -> frozenset[str]:
        message = Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[recipient])
        return world.at_data(message).headers_needed

    assert needed(JOE) == AUTOMATIC_FIELDS | CONTENT_FIELDS | RESENT_FIELDS
    assert needed("carol@example.com") == AUTOMATIC_FIELDS | CONTENT_FIELDS | RESENT_FIELDS | {"from"}


def test_mail_that_no_rule_is_for_needs_no_header() -> None:
    world = example({ANN: {RULE: "internal => legal@example.com", "ldapMilterArchiveBcc": "vault@example.net"}})

    decision = world.at_data(Message(login=None, sender=ANN, client=MAILBOX_SERVER))

    assert decision.headers_needed == frozenset()


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        ([("Auto-Submitted", "no"), ("Auto-Submitted", "auto-replied")], True),
        ([("AUTO-SUBMITTED", "auto-replied")], True),
        ([("Auto-Submitted", "\r\n auto-replied")], True),
        ([("Auto-Submitted", " no ")], False),
        ([("Auto-Submitted", "no; reason=none")], False),
        ([("X-Zimbra-Forwarded", "")], True),
        ([("X-Auto-Submitted", "auto-replied")], False),
    ],
)
def test_automatic_mail_of_a_mailbox_server(fields: list[tuple[str, str]], *, stays: bool) -> None:
    world = example({ANN: {RULE: "* => legal@example.com"}})

    decision = world.decide(Message(login=None, sender=ANN, client=MAILBOX_SERVER, headers=fields))

    assert (decision.from_change is None) == stays


def test_a_wish_of_the_recipient_spares_automatic_mail_too() -> None:
    world = example({BOB: {WISH: "b@example.com"}})
    headers = [("Auto-Submitted", "auto-replied")]

    automatic = world.decide(Message(login=None, sender=ANN, client=MAILBOX_SERVER, to=[BOB], headers=headers))
    by_login = world.decide(Message(login=ANN, to=[BOB], headers=headers))

    assert automatic.from_change is None
    assert mailbox(by_login) == ("", "b@example.com")


# What is written.


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("J\u00fcrgen \u00d6l", "J\u00fcrgen \u00d6l"),
        ("\u5c71\u7530 \u592a\u90ce", "\u5c71\u7530 \u592a\u90ce"),
        ("Able, Ann", "Able, Ann"),
        ('Ann "the" Able', 'Ann "the" Able'),
        ("Boss <boss@example.com>", "Boss <boss@example.com>"),
        ("Ann\r\nBcc: second@example.net", "Ann Bcc: second@example.net"),
        ("{fromName}", "{fromName}"),
        ("=?utf-8?q?Ann?=", "=?utf-8?q?Ann?="),
        ("\u202eelbA nnA", "elbA nnA"),
        ("A" * 900, "A" * 900),
    ],
)
def test_a_display_name_is_data(shown: str, expected: str) -> None:
    world = example({ANN: {RULE: "* => {displayName} <legal@example.com>", "displayName": shown}})

    assert mailbox(world.decide()) == (expected, "legal@example.com")


def test_no_name_at_all() -> None:
    world = example({ANN: {RULE: "* => {displayName} <legal@example.com>", "displayName": None, "cn": None}})

    decision = world.decide()

    assert decision.from_change is not None
    assert decision.from_change.value == "legal@example.com"


@pytest.mark.parametrize(
    "header",
    [
        '"Boss <boss@example.com>," <ann@example.com>',
        "=?utf-8?q?x=22_=3Cboss=40example=2Ecom=3E=2C_=22y?= <ann@example.com>",
        "=?utf-8?b?DQpCY2M6IHNlY29uZEBleGFtcGxlLm5ldA0K?= <ann@example.com>",
        "{address} {domain} <ann@example.com>",
        "a@example.com, b@example.com, c@example.com",
        '"' * 5000,
        "," * 5000,
        "\udcff\udcfe <ann@example.com>",
        "",
    ],
)
def test_a_name_from_the_header_is_data(header: str) -> None:
    world = example({ANN: {RULE: "* => {fromName} - {localpart} <legal@example.com>"}})

    decision = world.decide(Message(headers=[("From", header)]))

    name, address = mailbox(decision)
    assert address == "legal@example.com"
    assert name.endswith("- ann")


def test_a_local_part_that_needs_quotes() -> None:
    odd = builders.account(
        "a..able@example.com",
        **{RULE: "* => {localpart}@brand.example.net", "ldapMilterArchiveBcc": "{localpart}@archive.example.net"},
    )

    decision = example({}, *odd).decide(Message(login='"a..able"@example.com'))

    assert mailbox(decision) == ("", '"a..able"@brand.example.net')
    assert [copy.address.text for copy in decision.copies] == ['"a..able"@archive.example.net']


def test_a_local_part_that_looks_like_a_placeholder() -> None:
    odd = builders.account(
        "x{domain}@example.com",
        **{RULE: "* => {localpart}@brand.example.net", "ldapMilterArchiveBcc": "{localpart}@archive.example.net"},
    )

    decision = example({}, *odd).decide(Message(login="x{domain}@example.com"))

    assert mailbox(decision) == ("", "x{domain}@brand.example.net")
    assert addresses(decision) == ["x{domain}@archive.example.net"]


def test_a_placeholder_in_a_quoted_local_part() -> None:
    values = {"ldapMilterArchiveBcc": '"archive {localpart}"@example.net', RULE: '* => "for {localpart}"@example.com'}

    decision = example({ANN: values}).decide()

    assert [copy.address.text for copy in decision.copies] == ['"archive ann"@example.net']
    assert mailbox(decision) == ("", '"for ann"@example.com')


def test_a_personal_copy_is_not_for_a_group_that_sends() -> None:
    # A mailbox server may send in the name of a list.
    world = example({"example.com": {"ldapMilterArchiveBcc": "{localpart}@archive.example.net"}})

    decision = world.decide(Message(login=None, sender="empty@example.com", client=MAILBOX_SERVER))

    assert addresses(decision) == []


def test_a_personal_copy_is_not_for_a_sender_without_entry() -> None:
    world = example(
        {"example.com": {"ldapMilterArchiveBcc": ["{localpart}@archive.example.net", "all@archive.example.net"]}}
    )

    decision = world.decide(Message(login=None, sender="nobody@example.com", client=MAILBOX_SERVER))

    assert addresses(decision) == ["all@archive.example.net"]
