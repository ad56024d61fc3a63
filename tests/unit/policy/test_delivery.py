"""How copies travel: by what asked for them, and by whether the target is a recipient already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.policy.document import as_json
from ldapmilter.policy.model import TEMPFAIL_REPLY
from tests.unit.policy.example import example, example_records
from tests.unit.policy.world import ANN, JOE, Message, World

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Copy
    from ldapmilter.policy.model import Decision

VAULT: Final = "vault@example.com"
OUTSIDE: Final = "keep@archive.test"
BOTH: Final = {ANN: {"ldapMilterArchiveSentBcc": OUTSIDE, "ldapMilterLegalSentBcc": OUTSIDE}}
RELAY: Final = {"listen": "unix:/run/relay.sock", "next_hop": "smtp:[archive.test]:25"}


def only(decision: Decision) -> Copy:
    (copy,) = decision.copies
    return copy


def world(values: dict[str, dict[str, str]], relay: dict[str, str] = RELAY, **deliveries: str) -> World:
    sections = {f"copy {name}": {"delivery": delivery} for name, delivery in deliveries.items()}
    return World(example_records(values), {**sections, "relay": relay})


def test_copies_go_directly_unless_told_otherwise() -> None:
    copy = only(example(BOTH).decide(Message()))
    assert (copy.delivery, copy.relayed, copy.relayed_as, copy.token) == ("direct", False, None, None)


@pytest.mark.parametrize("delivery", ["tracked", "journal"])
def test_the_class_says_how(delivery: str) -> None:
    copy = only(world({ANN: {"ldapMilterArchiveSentBcc": OUTSIDE}}, archive=delivery).decide(Message()))
    assert (copy.delivery, copy.relayed, copy.relayed_as) == (delivery, True, None)
    assert copy.told == (("copy", OUTSIDE), ("delivery", delivery))


@pytest.mark.parametrize(
    ("archive", "legal", "delivery"),
    [
        ("direct", "tracked", "tracked"),
        ("journal", "tracked", "journal"),
        ("tracked", "journal", "journal"),
        ("journal", "direct", "journal"),
    ],
)
def test_one_copy_for_two_classes_travels_so_that_each_has_what_it_asks_for(
    archive: str, legal: str, delivery: str
) -> None:
    assert only(world(BOTH, archive=archive, legal=legal).decide(Message())).delivery == delivery


def test_a_class_that_only_observes_says_nothing_on_a_copy_that_another_one_makes() -> None:
    options = {"copy legal": {"delivery": "journal", "mode": "observe"}, "relay": RELAY}
    copy = only(World(example_records(BOTH), options).decide(Message()))
    assert (copy.mode, copy.delivery) == ("apply", "direct")


def test_a_tracked_copy_to_a_recipient_goes_directly_in_its_place() -> None:
    site = world({ANN: {"ldapMilterArchiveSentBcc": VAULT}}, archive="tracked")
    copy = only(site.decide(Message(to=[JOE, "safe@example.com"])))
    assert (copy.delivery, copy.already, copy.replaces, copy.made) == (
        "direct",
        ("safe@example.com",),
        ("safe@example.com",),
        True,
    )


def test_a_journal_report_to_a_recipient_comes_beside_the_message() -> None:
    site = world({ANN: {"ldapMilterArchiveSentBcc": VAULT}}, archive="journal")
    copy = only(site.decide(Message(to=[JOE, VAULT])))
    assert (copy.delivery, copy.already, copy.replaces, copy.made) == ("journal", (VAULT,), (), True)


def test_a_report_is_made_of_mail_to_the_archive_itself() -> None:
    site = world({"example.com": {"ldapMilterArchiveBcc": VAULT}}, archive="journal")
    assert only(site.decide(Message(login=None, to=[VAULT]))).made


def test_a_target_without_next_hop_is_an_invalid_value() -> None:
    relay = {"listen": "unix:/run/relay.sock", "next_hop_for": "archive.test smtp:[archive.test]:25"}
    values = {ANN: {"ldapMilterArchiveSentBcc": "x@elsewhere.test", "ldapMilterLegalSentBcc": OUTSIDE}}
    site = world(values, relay, archive="tracked", legal="tracked")
    decision = site.decide(Message())
    assert only(decision).address.text == OUTSIDE
    (notice,) = decision.warnings
    assert notice.invalid_value_of == "archive"
    assert "x@elsewhere.test: the copy relay has no next hop for elsewhere.test ([relay] next_hop_for)" in notice.text
    assert only(world({ANN: {"ldapMilterArchiveSentBcc": "x@elsewhere.test"}}, relay).decide(Message())).made


@pytest.mark.parametrize("delivery", ["direct", "tracked"])
def test_a_target_in_the_relays_domain_is_an_invalid_value(delivery: str) -> None:
    site = world({ANN: {"ldapMilterArchiveSentBcc": "x@Copies.Invalid"}}, archive=delivery)
    decision = site.decide(Message())
    assert decision.copies == ()
    (notice,) = decision.warnings
    assert "x@copies.invalid is in the domain of the copy relay ([relay] domain)" in notice.text


def test_programs_are_told() -> None:
    (copy,) = as_json(world(BOTH, legal="journal").decide(Message()))["copies"]
    assert (copy["delivery"], copy["token"]) == ("journal", None)


@pytest.mark.parametrize("recipient", ["x@copies.invalid", f"{48 * '0'}@Copies.INVALID", "x@copies.invalid."])
@pytest.mark.parametrize("login", [ANN, None])
def test_nobody_writes_to_the_relay(recipient: str, login: str | None) -> None:
    decision = world(BOTH).decide(Message(login=login, to=[JOE, recipient]))
    assert (decision.verdict, decision.smtp_reply) == ("reject", "550 5.1.1 No such recipient")
    assert decision.applied_verdict == "reject"
    assert decision.effects == ()
    (notice,) = decision.warnings
    assert notice.text.startswith(f"{recipient} is a recipient, in the domain of the copy relay")


def test_a_relays_domain_that_is_hosted_by_mistake_has_its_mail_wait_and_not_bounce() -> None:
    decision = world({}, {**RELAY, "domain": "example.com"}).decide(Message(to=[JOE, VAULT]))
    assert (decision.verdict, decision.smtp_reply) == ("tempfail", TEMPFAIL_REPLY)
    assert decision.waits_for == ("a [relay] domain that is nobody's",)
    assert decision.waits_because == (
        f"{VAULT} is a recipient, and [relay] domain is hosted by this directory: give the relay another one",
    )


def test_without_a_relay_its_domain_is_as_any_other() -> None:
    assert example(BOTH).decide(Message(to=["x@copies.invalid"])).verdict == "accept"
    assert world(BOTH).decide(Message(to=["x@sub.copies.invalid"])).verdict == "accept"


def test_observe_refuses_nobody() -> None:
    site = World(example_records(BOTH), {"policy": {"mode": "observe"}, "relay": RELAY})
    decision = site.decide(Message(to=["x@copies.invalid"]))
    assert (decision.verdict, decision.applied_verdict) == ("reject", "accept")


def test_what_was_decided_before_keeps_its_recipients() -> None:
    site = World(example_records(BOTH), {"identity": {"own_relays": "198.51.100.0/24"}, "relay": RELAY})
    decision = site.decide(Message(to=[f"{48 * '0'}@copies.invalid"]))
    assert (decision.verdict, decision.decided_before) == ("accept", "from the relay 198.51.100.9")
