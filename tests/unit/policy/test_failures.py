"""A directory that cannot be asked, and senders that cannot be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.errors import StillReading
from ldapmilter.policy.memory import Memory
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, Message, addresses, warnings_about

if TYPE_CHECKING:
    from tests.support.builders import Value

ACCEPT: Final = {"policy": {"directory_failure": "accept"}}
BOTH: Final[dict[str, dict[str, Value]]] = {
    ANN: {"ldapMilterArchiveBcc": "ann@archive.example.net"},
    BOB: {"ldapMilterArchiveBcc": "bob@archive.example.net"},
    "example.com": {"ldapMilterLegalBcc": "domain@legal.example.net"},
    GLOBAL: {"ldapMilterLegalBcc": "global@legal.example.net"},
}
NOBODY: Final = "nobody@example.com"


def test_silence_is_told_as_such() -> None:
    world = example(BOTH)
    world.goes_down()

    decision = world.decide()

    assert (decision.verdict, decision.unavailable, decision.still_reading) == ("tempfail", True, False)
    assert decision.copies == ()
    assert decision.from_change is None
    assert decision.smtp_reply is not None
    assert "example.net" not in decision.smtp_reply


@pytest.mark.parametrize("confidential", [False, True])
def test_a_group_that_is_still_being_read_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, *, confidential: bool
) -> None:
    error = StillReading("a list is being read")
    error.confidential = confidential

    def unread(*_: object) -> None:
        raise error

    monkeypatch.setattr(Memory, "recipients", unread)
    decision = example(BOTH).decide()

    assert (decision.verdict, decision.still_reading, decision.unavailable) == ("tempfail", True, False)
    assert [(notice.confidential, notice.of_list) for notice in decision.warnings] == [(confidential, not confidential)]


def test_silence_observed_holds_nothing_up() -> None:
    world = example(BOTH, options={"policy": {"mode": "observe"}})
    world.goes_down()

    decision = world.decide()

    assert (decision.verdict, decision.applied_verdict, decision.mode) == ("tempfail", "accept", "observe")


def test_nothing_is_marked_when_nothing_failed() -> None:
    decision = example(BOTH).decide(Message(to=[BOB]))

    assert (decision.unavailable, decision.stale, decision.incomplete) == (False, False, ())


@pytest.mark.parametrize("recipient", [BOB, "team@example.com", JOE])
def test_what_is_remembered_decides_while_the_directory_is_silent(recipient: str) -> None:
    world = example(BOTH)
    before = world.decide(Message(to=[recipient]))
    world.clock.now += 1000
    world.goes_down()

    decision = world.decide(Message(to=[recipient]))

    assert decision.verdict == "accept"
    assert decision.stale
    assert decision.copies == before.copies


def test_what_is_fresh_is_not_stale() -> None:
    world = example(BOTH)
    world.decide(Message(to=[BOB]))
    world.clock.now += 30
    world.goes_down()

    decision = world.decide(Message(to=[BOB]))

    assert (decision.verdict, decision.stale) == ("accept", False)


def test_what_is_remembered_is_not_served_while_the_directory_answers() -> None:
    world = example(BOTH)
    world.decide()
    world.replace(example_records({ANN: {"ldapMilterArchiveBcc": "new@archive.example.net"}}))
    world.clock.now += 1000

    assert addresses(world.decide()) == ["new@archive.example.net"]


def test_a_copy_address_that_cannot_be_looked_up() -> None:
    world = example({ANN: {"ldapMilterArchiveBcc": "vault@example.com"}})
    world.goes_down(lambda search_filter: "vault@example.com" in search_filter)

    assert world.decide().verdict == "tempfail"


def test_a_copy_address_that_cannot_be_looked_up_is_used_when_mail_goes_on() -> None:
    # What is known: the value is well-formed. A copy too many is better than one too few.
    world = example({ANN: {"ldapMilterArchiveBcc": ["vault@example.com", "other@example.net"]}}, options=ACCEPT)
    world.goes_down(lambda search_filter: "vault@example.com" in search_filter)

    decision = world.decide()

    assert decision.verdict == "accept"
    assert decision.incomplete
    assert "other@example.net" in addresses(decision)


def test_a_cos_that_cannot_be_read_is_not_replaced_by_another() -> None:
    own, default = zimbra_id("cos", "sales"), zimbra_id("cos", "default")
    assert own != default
    world = example(
        {
            "default": {"ldapMilterArchiveBcc": "default@archive.example.net"},
            "sales": {"ldapMilterArchiveBcc": "sales@archive.example.net"},
        },
        options=ACCEPT,
    )
    # Bob's COS is the default one: from now on it is remembered.
    assert addresses(world.decide(Message(login=BOB))) == ["default@archive.example.net"]
    world.goes_down(lambda search_filter: own in search_filter)

    decision = world.decide(Message(login=ANN))

    assert decision.verdict == "accept"
    assert decision.incomplete
    assert "default@archive.example.net" not in addresses(decision)


@pytest.mark.parametrize(
    "login", [NOBODY, "nobody", "nobody@example.org", "x@elsewhere.example.net", "a?b@example.com"]
)
def test_an_unknown_login_waits(login: str) -> None:
    decision = example(BOTH).decide(Message(login=login, to=[BOB]))

    assert decision.verdict == "tempfail"
    assert decision.smtp_reply is not None
    assert decision.smtp_reply.startswith("451 4.3.0 ")


@pytest.mark.parametrize("login", [NOBODY, "nobody", "nobody@example.org"])
def test_an_unknown_login_accepted_has_domain_and_global_level(login: str) -> None:
    values = {
        **BOTH,
        "example.com": {**BOTH["example.com"], "ldapMilterSenderFromRewrite": "* => {displayName} <{address}>"},
    }
    world = example(values, options={"identity": {"unknown_login": "accept"}})

    decision = world.decide(Message(login=login, to=[JOE]))

    assert decision.verdict == "accept"
    assert addresses(decision) == ["domain@legal.example.net", "global@legal.example.net"]
    assert {reason.level for copy in decision.copies for reason in copy.reasons} == {"domain", "global"}
    assert decision.from_change is not None
    assert decision.identity.dn is None


@pytest.mark.parametrize("login", ["x@elsewhere.example.net", "a?b@example.com"])
def test_a_strange_login_accepted_still_gives_the_recipients_copies(login: str) -> None:
    world = example(BOTH, options={"identity": {"unknown_login": "accept"}})

    decision = world.decide(Message(login=login, to=[BOB]))

    assert decision.verdict == "accept"
    assert "bob@archive.example.net" in addresses(decision)


def test_a_login_made_a_moment_ago_is_asked_for_again() -> None:
    world = example(BOTH)
    world.decide(Message(to=["new@example.com"]))  # remembered as absent
    new = builders.account("new@example.com", ldapMilterArchiveBcc="new@archive.example.net")
    world.replace(example_records(BOTH, *new))
    world.clock.now += 1

    decision = world.decide(Message(login="new@example.com"))

    assert decision.verdict == "accept"
    assert "new@archive.example.net" in addresses(decision)


def test_a_catch_all_is_no_login() -> None:
    decision = example().decide(Message(login="anything@catchall.example"))

    assert decision.verdict == "tempfail"


def test_a_catch_all_is_no_envelope_sender() -> None:
    world = example({"keeper@example.com": {"ldapMilterArchiveBcc": "keeper@archive.example.net"}})

    decision = world.decide(Message(login=None, sender="anything@catchall.example", client=MAILBOX_SERVER))

    assert decision.identity.dn is None
    assert addresses(decision) == []


def test_a_group_is_no_login() -> None:
    assert example().decide(Message(login="team@example.com")).verdict == "tempfail"


def test_two_entries_for_a_login_are_both_named() -> None:
    twin = builders.account("twin@example.com", aliases=[ANN])[0]

    decision = example(BOTH, twin).decide()

    assert (decision.verdict, decision.unavailable) == ("tempfail", True)
    assert warnings_about(decision, "uid=ann,ou=people,dc=example,dc=com", "uid=twin,ou=people,dc=example,dc=com")


def test_two_entries_for_an_envelope_sender_of_a_mailbox_server() -> None:
    twin = builders.account("twin@example.com", aliases=[ANN])[0]

    decision = example(BOTH, twin).decide(Message(login=None, sender=ANN, client=MAILBOX_SERVER))

    assert (decision.verdict, decision.unavailable) == ("tempfail", True)


def test_an_alias_of_a_login_in_two_domains_is_one_account() -> None:
    # The direct match wins over the alias domain's target: no two entries here.
    other = builders.account("other@example.com", aliases=["ann@example.org"])

    decision = example(BOTH, *other).decide(Message(login="ann@example.org"))

    assert decision.identity.dn == "uid=other,ou=people,dc=example,dc=com"


def test_searches_do_not_grow_with_the_recipients() -> None:
    people = [
        builders.account(f"p{number}@example.com", ldapMilterArchiveBcc=f"p{number}@archive.example.net")
        for number in range(60)
    ]
    records = [record for person in people for record in person]
    few = example({}, *records).decide(Message(to=["p0@example.com", "p1@example.com"]))
    many = example({}, *records).decide(Message(to=[f"p{number}@example.com" for number in range(60)]))

    assert len(many.copies) == 60
    assert many.searches == few.searches


def test_outsiders_cost_no_search_of_their_own() -> None:
    alone = example(BOTH).decide(Message(to=[BOB]))
    crowd = example(BOTH).decide(Message(to=[BOB, *(f"x{number}@client.example.net" for number in range(50))]))

    assert crowd.searches == alone.searches
