"""``[copy NAME] confidential``: the option alone says which copies are secret, whatever a class is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ldapmilter.audit.record import must_be_durable
from ldapmilter.daemon import decision_log
from ldapmilter.daemon.tally import Tally
from ldapmilter.message import HandledMessage
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, Message, World

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

JOURNAL: Final = {"confidential": "no", "sent_attributes": "journalTo", "invalid_value": "ignore"}
SECRET_ARCHIVE: Final = {"copy archive": {"confidential": "yes"}, "copy journal": JOURNAL}
"""A site whose archive is secret, and whose journal everybody may know of."""


def world(archive: str, journal: str) -> World:
    return example({ANN: {"ldapMilterArchiveBcc": archive, "journalTo": journal}}, options=SECRET_ARCHIVE)


def line_of(found: World, decision: Decision) -> str:
    message = HandledMessage(queue_id="4QID", envelope=Message().envelope)
    return decision_log.line(message, decision, found.config.policy, verbose=True) or ""


def counts_of(found: World, decision: Decision) -> dict[str, dict[str, int]]:
    tally = Tally()
    tally.decided(decision, found.config.policy.confidential)
    numbers = tally.numbers()
    return {"public": numbers["events"], "apart": numbers["confidential"]}


def test_a_visible_class_is_named_and_counted_and_a_secret_archive_is_not() -> None:
    found = world("vault@elsewhere.test", "journal@elsewhere.test")
    decision = found.decide()
    assert {copy.address.text for copy in decision.copies} == {"vault@elsewhere.test", "journal@elsewhere.test"}

    line = line_of(found, decision)
    assert "copy=journal@elsewhere.test" in line
    assert "vault" not in line
    assert "Archive" not in line
    counts = counts_of(found, decision)
    assert counts["public"]["copies"] == 1
    assert counts["apart"]["copies"] == 1


def test_the_audit_line_of_a_secret_archive_is_on_disk_first_and_that_of_a_visible_class_is_not() -> None:
    for archive, journal, durable in (("vault@elsewhere.test", "none", True), ("none", "j@elsewhere.test", False)):
        found = world(archive, journal)
        decision = found.decide()
        assert len(decision.copies) == 1
        assert must_be_durable(decision, found.config.policy) is durable


def test_an_invalid_value_of_a_secret_archive_is_told_to_nobody_and_that_of_a_visible_class_is() -> None:
    found = world("broken", "broken too")
    decision = found.decide()
    assert {notice.invalid_value_of: notice.confidential for notice in decision.warnings} == {
        "archive": True,
        "journal": False,
    }
    line = line_of(found, decision)
    assert "journalTo" in line
    assert "ldapMilterArchiveBcc" not in line
    counts = counts_of(found, decision)
    assert (counts["public"]["invalid_values"], counts["apart"]["invalid_values"]) == (1, 1)


def test_the_list_that_only_a_secret_archive_looks_at_is_not_named() -> None:
    limits = {**SECRET_ARCHIVE, "groups": {"max_members": "1"}, "policy": {"directory_failure": "accept"}}
    for attribute, secret in (("ldapMilterArchiveBcc", True), ("journalTo", False)):
        value = "vault@elsewhere.test with=group:team@example.com"
        found = example({ANN: {attribute: value}}, options=limits)
        decision = found.decide()
        about = [notice for notice in decision.warnings if "team@example.com" in notice.text]
        assert about
        assert {notice.confidential for notice in about} == {secret}
        assert ("team@example.com" not in line_of(found, decision)) is secret
