"""Confidential copies whose address leads to the author, or to whom they are a copy of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.daemon import decision_log
from ldapmilter.message import HandledMessage
from ldapmilter.policy.document import as_json
from tests.support import builders
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, Message, addresses

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision, Notice
    from tests.unit.policy.world import Options, World

WATCH: Final = "watch@example.com"
KEEPER: Final = "keeping@example.com"


def world(
    attribute: str,
    *,
    target: str = WATCH,
    members: tuple[str, ...] = (ANN,),
    holder: str = ANN,
    options: Options | None = None,
) -> World:
    """Return a directory with a copy for a list of some members, or for an account that forwards to them."""
    values: dict[str, dict[str, Any]] = {holder: {attribute: target}}
    return example(
        values,
        *builders.static_list(WATCH, members),
        *builders.static_list("outer@example.com", [WATCH]),
        *builders.account(KEEPER, zimbraPrefMailForwardingAddress=list(members)),
        *builders.static_list("around@example.com", [KEEPER]),
        options=options,
    )


def errors(decision: Decision) -> list[Notice]:
    return [notice for notice in decision.warnings if notice.error]


@pytest.mark.parametrize(
    "target", [WATCH, "outer@example.com", KEEPER, "around@example.com", "watch@example.org", "watch+x@example.com"]
)
@pytest.mark.parametrize(
    "members",
    [(ANN,), ("a.able@example.com",), (BOB, "ann@example.org"), ("ann+x@example.com",), ("a.able+x@example.org",)],
)
def test_a_sent_copy_that_comes_to_the_author(target: str, members: tuple[str, ...]) -> None:
    decision = world("ldapMilterLegalSentBcc", target=target, members=members).decide()

    assert decision.verdict == "accept"
    assert addresses(decision) == [target]
    (error,) = errors(decision)
    assert error.confidential
    assert target in error.text
    assert members[-1] in error.text
    assert error.text in as_json(decision)["warnings"]


def test_neither_log_nor_verdict_tells() -> None:
    one = world("ldapMilterLegalSentBcc")
    decision = one.decide()
    message = HandledMessage(queue_id="1", envelope=Message().envelope)

    assert errors(decision)
    assert decision_log.line(message, decision, one.config.policy) is None


@pytest.mark.parametrize("recipient", [BOB, "bob@example.org", "bob+y@example.com", "team@example.com"])
@pytest.mark.parametrize("member", [BOB, "bob+x@example.org"])
def test_a_received_copy_that_comes_to_whom_it_is_about(recipient: str, member: str) -> None:
    decision = world("ldapMilterLegalReceivedBcc", members=(member,), holder=BOB).decide(Message(to=[recipient]))

    assert addresses(decision) == [WATCH]
    (error,) = errors(decision)
    assert "whom it is a copy of" in error.text


@pytest.mark.parametrize(
    "message", [Message(to=[BOB]), Message(to=[BOB], login=None, client=MAILBOX_SERVER, sender=ANN)]
)
def test_a_received_copy_that_comes_to_the_author(message: Message) -> None:
    decision = world("ldapMilterLegalReceivedBcc", holder=BOB).decide(message)

    (error,) = errors(decision)
    assert "the author" in error.text


def test_a_copy_that_a_catch_all_takes_comes_to_whose_it_is() -> None:
    members = ("anything@catchall.example",)
    keeper = Message(login="keeper@example.com")

    assert errors(world("ldapMilterLegalSentBcc", members=members, holder="keeper@example.com").decide(keeper))
    assert not errors(world("ldapMilterLegalSentBcc", members=members).decide())


def test_others_on_the_list_betray_nobody() -> None:
    assert not errors(world("ldapMilterLegalSentBcc", members=("carol@example.com", JOE)).decide())
    assert not errors(world("ldapMilterLegalReceivedBcc", holder=BOB).decide(Message(to=[BOB], login=None, sender=ANN)))


def test_a_class_that_is_no_secret_may_come_to_anybody() -> None:
    assert not errors(world("ldapMilterArchiveSentBcc").decide())


def test_a_copy_that_is_not_made_betrays_nobody() -> None:
    assert not errors(world("ldapMilterLegalSentBcc", target=f"{WATCH} with=internal").decide())


@pytest.mark.parametrize("on_failure", ["tempfail", "accept"])
def test_a_directory_that_fails_holds_nothing_up(on_failure: str) -> None:
    options = {"policy": {"directory_failure": on_failure}}
    there = world("ldapMilterLegalSentBcc", members=("carol@example.com",), options=options)
    there.goes_down(lambda search: "carol@example.com" in search)

    decision = there.decide()

    assert (decision.verdict, addresses(decision)) == ("accept", [WATCH])
    assert any("carol@example.com" in search for search in there.store.filters)
    assert (
        decision_log.line(HandledMessage(queue_id="1", envelope=Message().envelope), decision, there.config.policy)
        is None
    )


def test_a_message_to_which_nothing_applies_costs_nothing() -> None:
    listed = world("ldapMilterLegalSentBcc")
    listed.decide()

    assert listed.decide().searches == 0
