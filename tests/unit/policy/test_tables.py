"""The tables of docs/policy.md, row by row, run by the code that decides about mail."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.mailbox.reading import read_from
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, NAMES, example, example_records
from tests.unit.policy.scenarios import SCENARIOS, run_scenario
from tests.unit.policy.table import PAGE, policy_table, read_tables
from tests.unit.policy.world import (
    ANN,
    BOB,
    JOE,
    MAILBOX_SERVER,
    OUTSIDER,
    Message,
    World,
    addresses,
    read_config,
    warnings_about,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value
    from tests.unit.policy.table import Row

    Test = Callable[..., None]

SCHEMA: Final = Path(__file__).parents[3] / "schema" / "ldapmilter.ldif"
# The directory is what the others are run in; enforcement has tests of its own (test_enforcement.py).
_TESTED: Final = {
    "decided-before",
    "checked-by-server",
    "directory",
    "enforcement",
    "kept-from",
    "person",
    "policy-group-members",
    "policy-group-values",
    "send-rights",
}

BOTH_OVERRIDE: Final = {"copy archive": {"inherit": "override"}, "copy legal": {"inherit": "override"}}


def for_rows_of(name: str) -> Callable[[Test], Test]:
    """Run a test for every row of a table of the page."""
    _TESTED.add(name)

    def decorate(test: Test) -> Test:
        rows = policy_table(name)
        decorated: Test = pytest.mark.parametrize("row", rows, ids=[str(row) for row in rows])(test)
        return decorated

    return decorate


def test_every_named_table_of_the_page_is_run() -> None:
    assert set(read_tables(PAGE.read_text(encoding="utf-8"))) == _TESTED


def effects(decision: Decision) -> set[str]:
    """Return what a decision does, in the words of the table of attributes."""
    found = {f"{name} copy" for copy in decision.copies for name in copy.classes}
    if decision.from_change is not None:
        found.add("another From")
    return found


def from_address(decision: Decision) -> str:
    """Return the address of the From that a message leaves with; empty: it stays."""
    if decision.from_change is None:
        return ""
    (mailbox,) = read_from([decision.from_change.value]).mailboxes
    return mailbox.address.key


@for_rows_of("attributes")
def test_attribute(row: Row) -> None:
    attribute = row.value("attribute")
    value = {
        "ldapMilterSenderFromRewrite": "* => legal@example.com",
        "ldapMilterRecipientFromRewrite": "legal@example.com",
    }.get(attribute, "vault@example.net")
    world = example({ANN: {attribute: value}})

    sends = effects(world.decide(Message(login=ANN, to=[BOB])))
    receives = effects(world.decide(Message(login=BOB, to=[ANN])))

    assert sends == {row.text("on mail the entry sends")} - {"nothing"}
    assert receives == {row.text("on mail the entry receives")} - {"nothing"}


@for_rows_of("attributes")
def test_schema_has_the_attribute(row: Row) -> None:
    text = re.sub(r"\n ", "", SCHEMA.read_text(encoding="utf-8"))
    definition = re.search(rf"olcAttributeTypes: .*NAME '{row.value('attribute')}' .*", text)

    assert definition is not None
    assert ("SINGLE-VALUE" in definition[0]) == (row.text("values") == "one")


@for_rows_of("attributes")
def test_config_names_the_attribute_by_default(row: Row) -> None:
    assert row.value("attribute") in read_config({}).policy.attributes()


@for_rows_of("identity")
def test_identity(row: Row) -> None:
    message = Message(login=row.value("login") or None, client=row.value("client"), sender=row.value("envelope sender"))
    senders = {
        "ldapMilterArchiveSentBcc": "sent@example.net",
        "ldapMilterSenderFromRewrite": "* => from@example.com",
    }

    decision = example({ANN: senders, BOB: senders}).decide(message)

    if row.text("sent by") == "nobody":
        assert decision.identity.source == "none"
        assert decision.identity.address is None
        assert effects(decision) == set()
    else:
        assert decision.identity.source == ("sasl" if row.value("login") else "mailbox-host")
        assert decision.identity.address is not None
        assert decision.identity.address.text == row.value("sent by")
        assert effects(decision) == {"archive copy", "another From"}


@for_rows_of("copy-values")
def test_copy_value(row: Row) -> None:
    decision = example({ANN: {"ldapMilterArchiveBcc": row.value("value")}}).decide()

    expected = "" if row.text("copy to") == "nobody" else row.value("copy to")
    assert [copy.address.text for copy in decision.copies] == ([expected] if expected else [])
    told = [notice for notice in decision.warnings if notice.invalid_value_of == "archive"]
    assert bool(told) == (not row.is_yes("valid"))


@for_rows_of("copy-placeholders")
def test_copy_placeholders(row: Row) -> None:
    values: dict[str, Value] = {"ldapMilterArchiveReceivedBcc": row.value("value")}

    decision = example({"example.com": values}).decide(Message(login=None, to=[row.value("recipient")]))

    assert sorted(addresses(decision)) == sorted(row.values("copies"))
    assert not decision.warnings


@for_rows_of("until")
def test_until(row: Row) -> None:
    world = example({ANN: {"ldapMilterArchiveBcc": row.value("value")}})
    today = date.fromisoformat(row.value("day"))

    sent = world.decide(Message(today=today))
    received = world.decide(Message(login=None, to=[ANN], today=today))

    for decision in (sent, received):
        assert bool(decision.copies) == row.is_yes("counts")
        assert not decision.warnings


@for_rows_of("when")
def test_when_of_a_from_rule(row: Row) -> None:
    world = example({ANN: {"ldapMilterSenderFromRewrite": f"{row.value('WHEN')} => legal@example.com"}})

    decision = world.decide(Message(to=[row.value("recipient")]))

    assert bool(decision.from_change) == row.is_yes("matches")
    assert not decision.warnings


@for_rows_of("when")
def test_when_of_a_sent_copy(row: Row) -> None:
    world = example({ANN: {"ldapMilterLegalSentBcc": f"vault@example.net with={row.value('WHEN')}"}})

    decision = world.decide(Message(to=[row.value("recipient")]))

    assert bool(decision.copies) == row.is_yes("matches")
    assert not decision.warnings


@for_rows_of("match-members")
def test_match_members(row: Row) -> None:
    when = row.value("WHEN")
    values: dict[str, Value] = {
        "ldapMilterSenderFromRewrite": f"{when} => legal@example.com",
        "ldapMilterArchiveSentBcc": f"vault@example.net with={when}",
    }

    decision = example({ANN: values}, options={"from": {"match_members": "no"}}).decide(
        Message(to=[row.value("recipient")])
    )

    words = {True: "matches", False: "does not match"}
    assert words[bool(decision.from_change)] == row.text("From rule")
    assert words[bool(decision.copies)] == row.text("`with=` of a copy")


@for_rows_of("with")
def test_with(row: Row) -> None:
    others = row.values("to or from")
    values: dict[str, Value] = {"ldapMilterArchiveBcc": row.value("value")}
    if row.text("mail") == "sent":
        decision = example({ANN: values}).decide(Message(login=ANN, to=others))
    else:
        assert row.text("mail") == "received"
        (other,) = others
        login = other if other.endswith("@example.com") else None
        decision = example({BOB: values}).decide(Message(login=login, sender=other, to=[BOB]))

    assert bool(decision.copies) == row.is_yes("copied")
    assert not decision.warnings


@for_rows_of("levels")
def test_levels(row: Row) -> None:
    values: dict[str, dict[str, Value]] = {
        name: {"ldapMilterArchiveReceivedBcc": f"level{number}@example.net"}
        for number, name in enumerate([*NAMES, GLOBAL])
    }
    world = example(values, options={"copy archive": {"inherit": "union"}})

    decision = world.decide(Message(login=None, to=[row.value("recipient")]))

    subject = row.value("recipient")
    reasons = [
        reason for copy in decision.copies for reason in copy.reasons if not reason.group_path and reason.recipient
    ]
    assert all(reason.recipient == subject for reason in reasons)
    assert [reason.level for reason in reasons] == [
        level for level in row.text("levels").split(", ") if level != "none"
    ]


@for_rows_of("inheritance")
@pytest.mark.parametrize("inherit", ["override", "union"])
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_inheritance(row: Row, inherit: str, direction: str) -> None:
    values = {
        ANN: {"ldapMilterArchiveBcc": row.values("account")},
        "sales": {"ldapMilterArchiveBcc": row.values("COS")},
        "example.com": {"ldapMilterArchiveBcc": row.values("domain")},
        GLOBAL: {"ldapMilterArchiveBcc": row.values("global")},
    }
    message = Message(login=ANN, to=[JOE]) if direction == "sent" else Message(login=None, sender=JOE, to=[ANN])

    decision = example(values, options={"copy archive": {"inherit": inherit}}).decide(message)

    assert sorted(addresses(decision)) == sorted(row.values(f"`{inherit}`"))
    account = row.values("account")
    beside = "none" in account and any(value.startswith("a@example.net") and " " not in value for value in account)
    assert bool(warnings_about(decision, "none")) == beside


@for_rows_of("none")
def test_none(row: Row) -> None:
    above: dict[str, Value] = {
        "ldapMilterArchiveBcc": "archive@example.net",
        "ldapMilterLegalBcc": "legal@example.net",
        "ldapMilterSenderFromRewrite": "* => sender@example.com",
        "ldapMilterRecipientFromRewrite": "recipient@example.com",
    }
    named = row.value("`none` in")
    world = example({"example.com": above, ANN: {named: "none"} if named else {}}, options=BOTH_OVERRIDE)
    # Without sender's rules in the way.
    recipient_side = example(
        {"example.com": {**above, "ldapMilterSenderFromRewrite": None}, ANN: {named: "none"} if named else {}},
        options=BOTH_OVERRIDE,
    )

    sent = world.decide(Message(login=ANN, to=[JOE]))
    received = world.decide(Message(login=None, to=[ANN]))
    from_bob = recipient_side.decide(Message(login=BOB, to=[ANN]))

    found = {
        "archive, sent": "archive@example.net" in addresses(sent),
        "archive, received": "archive@example.net" in addresses(received),
        "legal, sent": "legal@example.net" in addresses(sent),
        "legal, received": "legal@example.net" in addresses(received),
        "sender's From": bool(sent.from_change),
        "recipient's From": bool(from_bob.from_change),
    }
    assert found == {column: row.is_yes(column) for column in found}
    assert not sent.warnings
    assert not received.warnings


@for_rows_of("cos")
def test_cos(row: Row) -> None:
    def cos_id(column: str) -> str | None:
        return zimbra_id("cos", row.value(column)) if row.value(column) else None

    names = [name for name, kind in NAMES.items() if kind == "COS"]
    records = example_records(
        {
            **{name: {"ldapMilterArchiveBcc": f"{name}@example.net"} for name in names},
            "example.com": {
                "zimbraDomainDefaultCOSId": cos_id("the domain's default"),
                "zimbraDomainDefaultExternalUserCOSId": cos_id("the domain's default for external"),
            },
            ANN: {
                "zimbraCOSId": cos_id("its COS"),
                "zimbraIsExternalVirtualAccount": row.text("account") == "external",
            },
        }
    )
    world = World(records)

    sent = world.decide(Message(login=ANN, to=[JOE]))
    received = world.decide(Message(login=None, to=[ANN]))

    assert addresses(sent) == [f"{row.value('COS that counts').lower()}@example.net"]
    assert addresses(received) == addresses(sent)


@for_rows_of("reach")
def test_reach(row: Row) -> None:
    people = [name for name, kind in NAMES.items() if "@" in name]
    world = example(
        {name: {"ldapMilterArchiveReceivedBcc": f"{name.partition('@')[0]}@archive.example.net"} for name in people}
    )

    decision = world.decide(Message(login=None, to=[row.value("recipient")]))

    expected = [f"{name.partition('@')[0]}@archive.example.net" for name in row.values("received copies of")]
    assert sorted(addresses(decision)) == sorted(expected)


@for_rows_of("one-copy")
def test_one_copy(row: Row) -> None:
    values: dict[str, Value] = {
        "ldapMilterArchiveSentBcc": row.values("archive values"),
        "ldapMilterLegalSentBcc": row.values("legal values"),
    }
    decision = example({ANN: values}).decide(Message(to=row.values("recipient")))

    assert sorted(addresses(decision)) == sorted(row.values("copies"))
    assert {text for copy in decision.copies for text in copy.already} == set(row.values("already a recipient"))
    assert all(copy.added for copy in decision.copies)
    assert not decision.warnings
    if len(decision.copies) == 1:
        asked = len(row.values("archive values")) + len(row.values("legal values"))
        assert len(decision.copies[0].reasons) == asked


@for_rows_of("own-address")
def test_own_address(row: Row) -> None:
    world = example({row.value("on"): {"ldapMilterArchiveBcc": row.value("value")}})

    decision = world.decide(Message(login=row.value("author"), to=[row.value("recipient")]))

    assert addresses(decision) == list(row.values("copies"))
    assert bool(warnings_about(decision, "own address")) == (not row.values("copies"))


@for_rows_of("mailbox")
def test_mailbox(row: Row) -> None:
    decision = example({ANN: {"ldapMilterSenderFromRewrite": f"* => {row.value('MAILBOX')}"}}).decide()

    told = [notice for notice in decision.warnings if notice.invalid_value_of == "from"]
    assert bool(told) == (not row.is_yes("valid"))
    assert_from(decision, row)


def assert_from(decision: Decision, row: Row) -> None:
    address = row.value("address")
    assert bool(decision.from_change) == bool(address)
    if decision.from_change is not None:
        assert decision.from_change.value.isascii()
        read = read_from([decision.from_change.value])
        assert [(mailbox.display_name, mailbox.address.text) for mailbox in read.mailboxes] == [
            (row.text("display name"), address)
        ]


@for_rows_of("mailbox")
def test_mailbox_of_a_recipient(row: Row) -> None:
    decision = example({BOB: {"ldapMilterRecipientFromRewrite": row.value("MAILBOX")}}).decide(Message(to=[BOB]))

    told = [notice for notice in decision.warnings if notice.invalid_value_of == "from"]
    assert bool(told) == (not row.is_yes("valid"))
    assert_from(decision, row)


@for_rows_of("placeholders")
def test_placeholders(row: Row) -> None:
    rule: dict[str, Value] = {"ldapMilterSenderFromRewrite": f"* => {row.value('MAILBOX')}"}
    header = row.value("From of the message")

    decision = example({ANN: rule, BOB: rule}).decide(
        Message(login=row.value("login"), headers=[("From", header)] if header else [])
    )

    assert_from(decision, row)


@for_rows_of("specificity")
def test_specificity(row: Row) -> None:
    world = example({ANN: {"ldapMilterSenderFromRewrite": row.values("rules")}})

    decision = world.decide(Message(to=row.values("recipients")))

    assert from_address(decision) == row.value("From")
    assert bool(decision.warnings) == row.is_yes("warning")


@for_rows_of("recipient-from")
def test_recipient_from(row: Row) -> None:
    attribute = "ldapMilterRecipientFromRewrite"
    world = example(
        {
            ANN: {"ldapMilterSenderFromRewrite": row.values("ann's rule")},
            BOB: {attribute: row.values("bob")},
            "team@example.com": {attribute: row.values("team")},
            "example.com": {attribute: row.values("domain")},
        }
    )

    decision = world.decide(Message(to=row.values("recipients")))

    assert from_address(decision) == row.value("From")
    assert bool(decision.warnings) == row.is_yes("warning")
    if decision.from_change is not None:
        by_rule = row.value("From").startswith("s@")
        assert decision.from_change.cause == ("rewrite" if by_rule else "recipient")


@for_rows_of("automatic")
def test_automatic_mail(row: Row) -> None:
    values: dict[str, Value] = {
        "ldapMilterSenderFromRewrite": "* => legal@example.com",
        "ldapMilterArchiveSentBcc": "vault@example.net",
    }
    parted = (header.partition(": ") for header in row.values("header of the message"))
    message = Message(login=ANN, headers=[(name, value) for name, _, value in parted])
    if row.text("ann known by") == "mailbox server":
        message = replace(message, login=None, sender=ANN, client=MAILBOX_SERVER)

    decision = example({ANN: values}).decide(message)

    assert (from_address(decision) or "stays") == row.text("From")
    assert addresses(decision) == ["vault@example.net"]


@for_rows_of("failure")
def test_failure(row: Row) -> None:
    run_scenario(row)


def test_every_failure_of_the_page_is_a_scenario() -> None:
    assert {row.text("what happens") for row in policy_table("failure")} == set(SCENARIOS)


@for_rows_of("modes")
def test_modes(row: Row) -> None:
    sections = [f"`{name}`" for name in ("[policy]", "[copy archive]", "[copy legal]", "[from]")]
    options = {section.strip("`[]"): {"mode": row.text(section)} for section in sections if row.text(section)}
    values: dict[str, Value] = {
        "ldapMilterArchiveBcc": "archive@example.net",
        "ldapMilterLegalBcc": "legal@example.net",
        "ldapMilterSenderFromRewrite": "* => from@example.com",
    }

    decision = example({ANN: values}, options=options).decide()

    assert sorted(addresses(decision)) == ["archive@example.net", "legal@example.net"]
    assert from_address(decision) == "from@example.com"
    done = {copy.address.key for copy in decision.applied_copies}
    words = {True: "applied", False: "told"}
    assert words["archive@example.net" in done] == row.text("archive copy")
    assert words["legal@example.net" in done] == row.text("legal copy")
    assert words["from" in decision.changed_fields] == row.text("From")
    assert decision.applied_verdict == "accept"


@for_rows_of("modes")
def test_modes_and_waiting(row: Row) -> None:
    sections = [f"`{name}`" for name in ("[policy]", "[copy archive]", "[copy legal]", "[from]")]
    options = {section.strip("`[]"): {"mode": row.text(section)} for section in sections if row.text(section)}
    silent = example(options=options)
    silent.goes_down()
    broken = example({ANN: {"ldapMilterLegalBcc": "broken"}}, options=options)

    words = {"tempfail": "waits", "accept": "goes on"}
    for world, column in ((silent, "directory silent"), (broken, "legal value invalid")):
        decision = world.decide()
        # What apply would do is told in any mode.
        assert decision.verdict == "tempfail"
        assert words[decision.applied_verdict] == row.text(column)


def test_the_outsider_of_the_page_is_no_mailbox_server() -> None:
    clients = {row.value("client") for row in policy_table("identity")}

    assert clients == {MAILBOX_SERVER, OUTSIDER}


def test_a_resource_is_an_account() -> None:
    room = builders.resource("room@example.com", ldapMilterArchiveBcc="room@archive.example.net")

    decision = example({}, *room).decide(Message(login=None, to=["room@example.com"]))

    assert [reason.level for copy in decision.copies for reason in copy.reasons] == ["account"]
