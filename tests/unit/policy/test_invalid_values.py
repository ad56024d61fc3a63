"""Values that cannot be used are never used, and never passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, Message, addresses

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

COPIES: Final = {
    "grammar": "vault@example.net on=friday",
    "option twice": "vault@example.net ref=a ref=b",
    "bad WHEN": "vault@example.net with=interal",
    "bad day": "vault@example.net until=2026-02-30",
    "placeholder": "{user}@example.net",
    "none with more": "none with=internal",
    "no address": "vault",
    "no domain": "vault@",
    "two addresses": "vault@example.net,second@example.net",
    "not ASCII": "g\u00e4rtner@example.net",
    "line break": "vault@example.net\r\nRCPT TO:<second@example.net>",
    "NUL": "vault@example.net\x00",
    "nobody there": "nobody@example.com",
    "nobody there, alias domain": "nobody@example.org",
    "nobody there, delimiter": "nobody+ann@example.com",
    "nobody there, for this account": "{localpart}-archive@example.com",
    "domain is no domain": "vault@exa_mple..net",
    "refused late": "-vault@example.net",
    "refused late, quoted": '"-the vault"@example.net',
    "refused late, digits": "vault@192.0.2.1",
    "refused late, for this account": "-{localpart}@example.net",
}

RULES: Final = {
    "no arrow": "* legal@example.com",
    "wrong arrow": "* -> legal@example.com",
    "no WHEN": "=> legal@example.com",
    "bad WHEN": "interal => legal@example.com",
    "no mailbox": "* =>",
    "no address": "* => Legal Dept.",
    "two addresses": "* => a@example.com, b@example.com",
    "placeholder": "* => {nickname} <legal@example.com>",
    "name in the address": "* => {fromName}@example.com",
    "not ASCII": "* => B\u00fcro <b\u00fcro@example.com>",
    "line break": "* => legal@example.com\nBcc: second@example.net",
}


def told_about(decision: Decision, part: str) -> list[str]:
    return [notice.text for notice in decision.warnings if notice.invalid_value_of == part]


@pytest.mark.parametrize("value", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_an_invalid_legal_value_holds_the_mail_up(value: str, direction: str) -> None:
    world = example({ANN: {"ldapMilterLegalBcc": [value, "hold@example.net"]}})
    message = Message(login=ANN, to=[BOB]) if direction == "sent" else Message(login=None, to=[ANN])

    decision = world.decide(message)

    assert decision.verdict == "tempfail"
    assert list(decision.waits_because) == told_about(decision, "legal") != []
    assert addresses(decision) == ["hold@example.net"]


@pytest.mark.parametrize("value", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_an_invalid_archive_value_is_told_and_passed_over(value: str, direction: str) -> None:
    world = example({ANN: {"ldapMilterArchiveBcc": [value, "vault@example.net"]}})
    message = Message(login=ANN, to=[BOB]) if direction == "sent" else Message(login=None, to=[ANN])

    decision = world.decide(message)

    assert decision.verdict == "accept"
    assert told_about(decision, "archive")
    assert addresses(decision) == ["vault@example.net"]


@pytest.mark.parametrize("value", COPIES.values(), ids=COPIES)
def test_an_invalid_value_is_as_if_absent(value: str) -> None:
    world = example({ANN: {"ldapMilterArchiveBcc": value}, "sales": {"ldapMilterArchiveBcc": "cos@example.net"}})

    assert addresses(world.decide()) == ["cos@example.net"]


@pytest.mark.parametrize("value", RULES.values(), ids=RULES)
def test_an_invalid_rule_is_told_and_passed_over(value: str) -> None:
    decision = example(
        {
            ANN: {"ldapMilterSenderFromRewrite": value},
            "sales": {"ldapMilterSenderFromRewrite": "* => cos@example.com"},
        }
    ).decide()

    assert decision.verdict == "accept"
    assert told_about(decision, "from")
    assert decision.from_change is not None
    assert decision.from_change.value == "cos@example.com"


@pytest.mark.parametrize("value", RULES.values(), ids=RULES)
def test_an_invalid_rule_can_hold_the_mail_up(value: str) -> None:
    world = example({ANN: {"ldapMilterSenderFromRewrite": value}}, options={"from": {"invalid_value": "tempfail"}})

    assert world.decide().verdict == "tempfail"


def test_an_invalid_wish_of_a_recipient() -> None:
    decision = example({BOB: {"ldapMilterRecipientFromRewrite": "nonsense"}}).decide(Message(to=[BOB]))

    assert decision.verdict == "accept"
    assert decision.from_change is None
    assert told_about(decision, "from")


def test_nobody_learns_from_a_warning_who_is_under_a_legal_copy() -> None:
    decision = example({ANN: {"ldapMilterLegalBcc": "broken", "ldapMilterArchiveBcc": "broken too"}}).decide()

    confidential = {notice.invalid_value_of: notice.confidential for notice in decision.warnings}
    assert confidential == {"legal": True, "archive": False}


def test_a_broken_value_that_has_expired_is_absent() -> None:
    decision = example({ANN: {"ldapMilterLegalBcc": "nobody@example.com until=2026-01-01"}}).decide()

    assert (decision.verdict, decision.warnings) == ("accept", ())


def test_a_value_of_nobody_on_this_message_is_no_matter() -> None:
    decision = example({BOB: {"ldapMilterLegalBcc": "broken"}}).decide()

    assert (decision.verdict, decision.warnings) == ("accept", ())


def test_one_broken_value_is_told_once() -> None:
    decision = example({"example.com": {"ldapMilterArchiveBcc": "broken"}}).decide(
        Message(to=[BOB, "carol@example.com", "team@example.com"])
    )

    assert len(told_about(decision, "archive")) == 1


def test_invalid_values_of_an_observed_class_hold_nothing_up() -> None:
    world = example({ANN: {"ldapMilterLegalBcc": "broken"}}, options={"copy legal": {"mode": "observe"}})

    decision = world.decide()

    assert (decision.verdict, decision.applied_verdict) == ("tempfail", "accept")


def test_a_further_class_waits_by_default() -> None:
    world = example({ANN: {"description": "broken"}}, options={"copy journal": {"sent_attributes": "description"}})

    assert world.decide().verdict == "tempfail"


# -- attributes with options ----------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["ldapMilterArchiveBcc", "ldapMilterLegalBcc"])
def test_a_value_with_an_option_is_as_if_absent_and_told(attribute: str) -> None:
    values = {ANN: {f"{attribute};lang-en": "tagged@example.net"}, "sales": {attribute: "cos@example.net"}}

    decision = example(values).decide(Message(to=[BOB]))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["cos@example.net"]
    (notice,) = decision.warnings
    assert notice.text.startswith(f"{attribute} at uid=ann,")
    assert notice.text.endswith(" has values with an option (;lang-en), which are never used")
    assert notice.confidential == (attribute == "ldapMilterLegalBcc")
    assert notice.invalid_value_of is None


def test_a_value_beside_one_with_an_option_counts() -> None:
    both = {"ldapMilterArchiveBcc": "vault@example.net", "ldapMilterArchiveBcc;x-old": "tagged@example.net"}

    decision = example({ANN: both}).decide()

    assert addresses(decision) == ["vault@example.net"]
    assert len(decision.warnings) == 1


@pytest.mark.parametrize(
    ("who", "attribute", "value"),
    [
        (ANN, "ldapMilterSenderFromRewrite", "* => tagged@example.com"),
        (BOB, "ldapMilterRecipientFromRewrite", "tagged@example.com"),
        (ANN, "ldapMilterFromEnforce", "reject"),
    ],
)
def test_a_from_value_with_an_option_is_told_and_does_nothing(who: str, attribute: str, value: str) -> None:
    decision = example({who: {f"{attribute};lang-en": value}}).decide(Message(to=[BOB]))

    assert (decision.verdict, decision.from_change) == ("accept", None)
    assert [attribute in notice.text for notice in decision.warnings] == [True]


def test_options_of_other_attributes_are_nobodys_business() -> None:
    assert example({ANN: {"displayName;lang-de": "\u00c4nn"}}).decide().warnings == ()
