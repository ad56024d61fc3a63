"""A copy whose address is in the envelope: it is made in that recipient's place, unless there is nothing to make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec import structs

from ldapmilter.policy.document import as_json
from tests.support import builders
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, JOE, Message

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Copy
    from ldapmilter.policy.model import Decision

VAULT: Final = "vault@example.com"
"""An account with the alias safe@example.com."""


def only(decision: Decision) -> Copy:
    (copy,) = decision.copies
    return copy


def test_every_spelling_that_the_envelope_has() -> None:
    world = example({ANN: {"ldapMilterLegalSentBcc": VAULT}})
    to = [JOE, "Vault@Example.COM", "safe@example.com", "vault@example.org", "VAULT@example.com", "vault@example.com.x"]
    copy = only(world.decide(Message(to=to)))
    assert set(copy.already) == set(to[1:5])
    assert copy.added
    assert world.decide(Message(to=to)).applied_copies == (copy,)


def test_programs_are_told() -> None:
    world = example({ANN: {"ldapMilterArchiveSentBcc": VAULT}})
    (copy,) = as_json(world.decide(Message(to=["Safe@example.com"])))["copies"]
    assert (copy["already_a_recipient"], copy["added"]) == (["Safe@example.com"], True)
    (copy,) = as_json(world.decide(Message()))["copies"]
    assert (copy["already_a_recipient"], copy["added"]) == ([], True)


@pytest.mark.parametrize("to", [VAULT, "SAFE@example.com", "vault@example.org"])
@pytest.mark.parametrize("attribute", ["ldapMilterArchiveBcc", "ldapMilterLegalBcc"])
def test_mail_to_the_archive_itself_is_its_own_copy(to: str, attribute: str) -> None:
    decision = example({"example.com": {attribute: VAULT}}).decide(Message(login=None, to=[to]))
    assert (only(decision).already, only(decision).added) == ((to,), False)
    assert decision.applied_copies == ()


def test_a_list_that_leads_to_the_archive_too_changes_nothing() -> None:
    crowd = builders.static_list("crowd@example.com", [VAULT])
    world = example({VAULT: {"ldapMilterLegalReceivedBcc": VAULT}}, *crowd)
    assert not only(world.decide(Message(login=None, to=["crowd@example.com", VAULT]))).added
    assert only(world.decide(Message(login=None, to=["crowd@example.com"]))).added


@pytest.mark.parametrize(
    "message",
    [
        Message(login=ANN, to=[VAULT]),
        Message(login=None, to=[VAULT, BOB]),
        Message(login=None, to=[BOB, "safe@example.com"]),
    ],
    ids=["its author is copied", "so is another recipient", "whatever the order and spelling"],
)
def test_what_others_ask_for_is_made(message: Message) -> None:
    copy = only(example({"example.com": {"ldapMilterLegalBcc": VAULT}}).decide(message))
    assert copy.already
    assert copy.added


def test_mail_of_sendmail_comes_to_all_or_nobody() -> None:
    world = example({BOB: {"ldapMilterLegalReceivedBcc": VAULT}})
    message = Message(login=None, client=None, to=[BOB, "SAFE@example.com"], submitted_locally=True)
    copy = only(world.decide(message))
    assert (copy.already, copy.added) == (("SAFE@example.com",), False)
    assert only(world.decide(structs.replace(message, to=[BOB]))).added


def test_one_who_is_copied_to_the_author_and_written_by_the_author() -> None:
    world = example({BOB: {"ldapMilterArchiveReceivedBcc": ANN}})
    copy = only(world.decide(Message(login=ANN, to=[BOB, ANN])))
    assert (copy.already, copy.added) == ((ANN,), True)


def test_copies_that_are_not_made_do_not_count_for_the_bound() -> None:
    world = example(
        {"example.com": {"ldapMilterArchiveBcc": [VAULT, "keeper@example.com"]}},
        options={"policy": {"max_copies": "1"}},
    )
    assert world.decide(Message(login=None, to=["keeper@example.com"])).verdict == "accept"
    assert world.decide(Message(login=None, to=[BOB])).verdict == "tempfail"
