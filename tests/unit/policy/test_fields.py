"""Header fields around From: empty ones, several of a name, Sender, and the words of a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.mailbox.reading import read_from
from tests.unit.policy.example import example
from tests.unit.policy.test_enforcement import (
    BY_RULE,
    CAROL,
    ENFORCE,
    FOREIGN,
    OWN_FROM,
    REPLY_TO,
    RULE,
    WISH,
    changes,
    decide,
    fields,
    grant,
    is_untouched,
)
from tests.unit.policy.world import ANN, BOB, JOE, Message, warnings_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value

SENDER: Final = {"from": {"sender": "author"}}
BLANK: Final = ("", " ", "\r\n\t", "()", " (nobody) ", ",")


def replies_to(decision: Decision) -> list[str]:
    """Return the addresses of the one Reply-To that is put."""
    (value,) = [change.value for change in decision.header_changes if change.name == "Reply-To"]
    assert value is not None
    return [mailbox.address.text for mailbox in read_from([value]).mailboxes]


# Reply-To.


@pytest.mark.parametrize("present", BLANK)
def test_an_empty_reply_to_counts_as_absent(present: str) -> None:
    assert replies_to(decide(fields(ANN, Reply_To=present), BY_RULE, options=REPLY_TO)) == [ANN]


@pytest.mark.parametrize("present", ["us:;", '"broken', "not an address"])
def test_a_reply_to_that_says_something_is_not_empty(present: str) -> None:
    assert changes(decide(fields(ANN, Reply_To=present), BY_RULE, options=REPLY_TO)) == {}


@pytest.mark.parametrize(
    ("present", "left"),
    [
        (["", JOE], [JOE]),
        ([f"Joe <{JOE}>", " "], [JOE]),
        ([JOE, f"Bob <{BOB}>"], [JOE, BOB]),
        ([f"{JOE}, {BOB}", JOE], [JOE, BOB]),
        (["", ""], [ANN]),
    ],
)
def test_of_several_reply_to_one_field_is_left(present: list[str], left: list[str]) -> None:
    headers = [*fields(ANN), *(("Reply-To", text) for text in present)]

    assert replies_to(decide(headers, BY_RULE, options=REPLY_TO)) == left


def test_several_reply_to_that_cannot_be_read_stay() -> None:
    headers = [*fields(ANN), ("Reply-To", JOE), ("Reply-To", "us:;")]

    assert changes(decide(headers, BY_RULE, options=REPLY_TO)) == {}


# Sender.


def test_sender_stays_by_default() -> None:
    decision = decide(fields(ANN, Sender=BOB), BY_RULE)

    assert decision.from_change is not None
    assert changes(decision) == {}


@pytest.mark.parametrize("present", [(), (BOB,), ("", BOB), (BOB, FOREIGN, ANN)])
def test_sender_names_the_author_after_a_rule(present: Sequence[str]) -> None:
    headers = [*fields(ANN), *(("Sender", text) for text in present)]

    assert changes(decide(headers, BY_RULE, options=SENDER)) == {"Sender": OWN_FROM}


def test_sender_names_the_author_after_a_wish() -> None:
    values: dict[str, dict[str, Value]] = {BOB: {WISH: "b@example.com"}, ANN: {ENFORCE: None}}

    decision = decide(fields(ANN), values, message=Message(to=[BOB]), options=SENDER)

    assert changes(decision) == {"Sender": OWN_FROM}


def test_no_sender_beside_a_from_that_names_the_author_itself() -> None:
    """RFC 5322 section 3.6.2: Sender is not used where it would be the same as From."""
    own: dict[str, dict[str, Value]] = {
        ANN: {"ldapMilterSenderFromRewrite": "* => Ann of Sales <{address}>", ENFORCE: None}
    }

    assert changes(decide(fields(FOREIGN), own, options=SENDER)) == {}
    assert changes(decide(fields(FOREIGN, Sender=BOB), own, options=SENDER)) == {"Sender": None}
    assert changes(decide(fields(FOREIGN), options=SENDER)) == {}
    assert changes(decide(fields(FOREIGN, Sender=BOB), options=SENDER)) == {"Sender": None}


def test_an_author_whose_address_no_field_can_hold_is_told() -> None:
    message = Message(login="\u00e9@example.com")
    world = example(
        {"example.com": {RULE: "* => legal@example.com"}},
        options={"from": {"sender": "author", "reply_to": "author"}, "identity": {"unknown_login": "accept"}},
    )

    decision = world.decide(replace(message, headers=fields(ANN)))

    assert decision.from_change is not None
    assert changes(decision) == {}
    assert warnings_about(decision, "no field names the author")


def test_sender_stays_where_from_stays() -> None:
    assert is_untouched(decide(fields(ANN, Sender=ANN), options=SENDER))


@pytest.mark.parametrize("present", BLANK)
@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_an_empty_sender_is_nobodys(strictness: str, present: str) -> None:
    assert is_untouched(decide(fields(ANN, Sender=present), strictness=strictness))


# From.


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_of_several_froms_that_are_all_the_users_one_is_left(strictness: str) -> None:
    values = {CAROL: {"zimbraACE": grant("sendAs")}}

    decision = decide(fields(f"C\u00e4rol <{CAROL}>", ANN), values, strictness=strictness)

    assert (decision.verdict, decision.refusal) == ("accept", None)
    assert decision.from_change is not None
    assert decision.from_change.cause == "enforce"
    (only,) = read_from([decision.from_change.value]).mailboxes
    assert (only.display_name, only.address.text) == ("C\u00e4rol", CAROL)


def test_several_own_mailboxes_of_one_from_stay() -> None:
    assert is_untouched(decide(fields(f"{ANN}, a.able@example.com")))


def test_an_account_that_may_use_any_address_leaves_with_one_from() -> None:
    decision = decide(fields(FOREIGN, JOE), {ANN: {"zimbraAllowAnyFromAddress": "TRUE"}})

    assert decision.from_change is not None
    assert decision.from_change.value == FOREIGN


def test_an_empty_from_leaves_nothing_in_the_original() -> None:
    options = {"from": {"original_from_header": "X-Original-From"}}

    assert changes(decide(fields("", FOREIGN, " "), BY_RULE, options=options)) == {"X-Original-From": FOREIGN}


# The words of a refusal.


def refused(text: str, *froms: str, **others: str) -> str:
    decision = decide(fields(*froms, **others), strictness="reject", options={"from": {"reject_text": text}})
    assert decision.verdict == "reject"
    assert decision.smtp_reply is not None
    return decision.smtp_reply


def test_a_refusal_speaks_in_the_words_of_the_site() -> None:
    text = "{from} is not yours, use {address}. 100% sure? https://help.example.com/from"

    assert refused(text, f"Boss <{FOREIGN}>") == (
        f"550 5.7.1 {FOREIGN} is not yours, use {ANN}. 100% sure? https://help.example.com/from"
    )
    assert refused("No {from}", ANN, Sender=BOB) == f"550 5.7.1 No {BOB}"
    assert refused("Never {from}", '"Boss') == "550 5.7.1 Never (unreadable)"


@pytest.mark.parametrize(
    "address", ["b\u00f6ss@elsewhere.example", f"{'x' * 60}@{'y.' * 90}example", '"{address}%s"@elsewhere.example']
)
def test_what_comes_from_mail_stays_one_short_line(address: str) -> None:
    reply = refused("a" * 290 + " {from} {address}", address)

    assert reply.isascii()
    assert reply.isprintable()
    assert len(reply) + len("\r\n") <= 512
    assert reply.endswith(f" {ANN}")
