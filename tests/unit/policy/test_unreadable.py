"""Addresses that mail servers deliver and no directory holds: without their extension, else their domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.directory.backend.raw_entry import RawEntry
from tests.support import builders
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.world import ANN, MAILBOX_SERVER, Message, World, addresses, warnings_about

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

LEGAL: Final = "ldapMilterLegalBcc"
LEVELS: Final = {
    ANN: {LEGAL: "ann@vault.example.net"},
    "team@example.com": {LEGAL: "team@vault.example.net"},
    "example.com": {LEGAL: "domain@vault.example.net"},
    GLOBAL: {LEGAL: "global@vault.example.net"},
}
DOMAIN: Final = ["domain@vault.example.net", "global@vault.example.net"]
EXTENSIONS: Final = ["é", "\udcff", "\t", "x" * 300, "y" * 1500]
UNREADABLE: Final = ["é", "\udcff", '"a\tb"', "x" * 300, "nobody+é", '"\x7f"']


def to(*recipients: str) -> Decision:
    return example(LEVELS).decide(Message(login=None, to=recipients))


def unread(decision: Decision) -> list[str]:
    return warnings_about(decision, "cannot be looked up")


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    ("local", "copies"), [("ann", ["ann"]), ("A.Able", ["ann"]), ("team", ["team"]), (" ann", ["ann"])]
)
def test_whoever_it_leads_to_without_its_extension(local: str, copies: list[str], extension: str) -> None:
    for domain in ("example.com", "EXAMPLE.org."):
        decision = to(f'"{local}+{extension}"@{domain}')
        assert set(addresses(decision)) >= {*(f"{name}@vault.example.net" for name in copies), *DOMAIN}
        assert unread(decision) == []


@pytest.mark.parametrize("local", UNREADABLE)
@pytest.mark.parametrize("domain", ["example.com", "example.org"])
def test_else_its_domain_counts_and_a_warning_says_so(local: str, domain: str) -> None:
    decision = to(f"{local}@{domain}")
    assert sorted(addresses(decision)) == DOMAIN
    (warning,) = unread(decision)
    assert domain in warning
    assert "recipient" in warning
    assert not any(notice.confidential or notice.error for notice in decision.warnings)


@pytest.mark.parametrize("local", UNREADABLE)
def test_outside_it_is_one_of_many(local: str) -> None:
    decision = to(f"{local}@client.example.net")
    assert addresses(decision) == []
    assert decision.warnings == ()


def test_what_can_be_read_and_is_nobodys_needs_no_warning() -> None:
    decision = to("nobody@example.com", "nobody+x@example.com")
    assert sorted(addresses(decision)) == DOMAIN
    assert decision.warnings == ()


@pytest.mark.parametrize("local", ["é", "\udcff", '" "'])
def test_a_catch_all_takes_it(local: str) -> None:
    decision = example({"keeper@example.com": {LEGAL: "keeper@vault.example.net"}}).decide(
        Message(login=None, to=[f"{local}@catchall.example"])
    )
    assert addresses(decision) == ["keeper@vault.example.net"]
    assert unread(decision) == []


@pytest.mark.parametrize("extension", ["news", *EXTENSIONS])
def test_a_mailbox_that_sends_with_an_extension(extension: str) -> None:
    decision = example(LEVELS).decide(
        Message(login=None, client=MAILBOX_SERVER, sender=f'"ann+{extension}"@example.org', headers=())
    )
    assert sorted(addresses(decision)) == ["ann@vault.example.net", *DOMAIN]
    assert decision.identity.source == "mailbox-host"
    assert decision.identity.address is not None
    assert decision.identity.address.text == ANN
    assert decision.warnings == ()


@pytest.mark.parametrize("local", UNREADABLE)
def test_a_mailbox_that_cannot_be_read(local: str) -> None:
    decision = example(
        {**LEVELS, "example.com": {LEGAL: DOMAIN[0], "ldapMilterSenderFromRewrite": "* => Us <us@example.com>"}}
    ).decide(Message(login=None, client=MAILBOX_SERVER, sender=f"{local}@example.com", headers=()))
    assert sorted(addresses(decision)) == DOMAIN
    (warning,) = unread(decision)
    assert "sender" in warning
    assert decision.from_change is not None
    assert decision.from_change.value == "Us <us@example.com>"


@pytest.mark.parametrize("member", [f"ann+{'x' * 300}@example.com", "ann+é@example.org", " ann@example.com"])
@pytest.mark.parametrize("kind", ["list", "forward", "own forward"])
def test_who_is_behind_a_list_or_a_forward(member: str, kind: str) -> None:
    through = "through@example.com"
    forwards = {"forward": "zimbraMailForwardingAddress", "own forward": "zimbraPrefMailForwardingAddress"}
    more = (
        builders.static_list(through, [member])
        if kind == "list"
        else builders.account(through, **{forwards[kind]: member})
    )
    decision = example(LEVELS, *more).decide(Message(login=None, to=[through]))
    assert sorted(addresses(decision)) == ["ann@vault.example.net", *DOMAIN]


def test_a_member_that_cannot_be_read_is_named() -> None:
    through = "through@example.com"
    decision = example(LEVELS, *builders.static_list(through, ["é@example.com"])).decide(
        Message(login=None, to=[through])
    )
    assert len(unread(decision)) == 1


def test_an_entry_that_does_not_show_why_it_was_found_holds_the_mail() -> None:
    """To pass over it would be to say that there is no such person."""
    world = World(example_records(LEVELS))
    hidden = {"zimbramaildeliveryaddress", "zimbramailalias"}
    world.store.shows = lambda raw: RawEntry(
        raw.dn, {name: values for name, values in raw.attributes.items() if name not in hidden}
    )
    decision = world.decide(Message(login=None, to=[ANN]))
    assert decision.verdict == "tempfail"
    assert warnings_about(decision, "uid=ann,ou=people,dc=example,dc=com")
