"""Every effect names the value that caused it, where it stands, and the way to it."""

from __future__ import annotations

from ldapmilter.policy.effect import CopyReason, Reason
from tests.support import builders
from tests.unit.policy.example import GLOBAL, example
from tests.unit.policy.world import ANN, BOB, JOE, Message, addresses, warnings_about


def test_a_sent_copy_from_a_cos() -> None:
    decision = example({"sales": {"ldapMilterArchiveBcc": "vault@example.net with=external ref=CASE-7"}}).decide()

    (copy,) = decision.copies
    assert copy.reasons == (
        CopyReason(
            level="cos",
            dn="cn=sales,cn=cos,cn=zimbra",
            attribute="ldapMilterArchiveBcc",
            value="vault@example.net with=external ref=CASE-7",
            copy_class="archive",
            direction="sent",
            ref="CASE-7",
        ),
    )


def test_a_received_copy_names_the_recipient_as_written() -> None:
    decision = example({ANN: {"ldapMilterLegalReceivedBcc": "vault@example.net"}}).decide(
        Message(login=None, to=["a.able@example.com"])
    )

    (copy,) = decision.copies
    assert copy.reasons == (
        CopyReason(
            level="account",
            dn="uid=ann,ou=people,dc=example,dc=com",
            attribute="ldapMilterLegalReceivedBcc",
            value="vault@example.net",
            recipient="a.able@example.com",
            copy_class="legal",
            direction="received",
        ),
    )


def test_a_received_copy_through_nested_lists_names_the_way() -> None:
    decision = example({"carol@example.com": {"ldapMilterArchiveBcc": "vault@example.net"}}).decide(
        Message(login=None, to=["team@example.com"])
    )

    (reason,) = decision.copies[0].reasons
    assert reason.recipient == "carol@example.com"
    assert reason.group_path == ("team@example.com", "sub@example.com")


def test_a_nested_list_gives_its_own_copies() -> None:
    decision = example({"sub@example.com": {"ldapMilterArchiveBcc": "vault@example.net"}}).decide(
        Message(login=None, to=["team@example.com"])
    )

    (reason,) = decision.copies[0].reasons
    assert (reason.level, reason.recipient) == ("group", "sub@example.com")
    assert reason.group_path == ("team@example.com",)


def test_a_received_copy_through_a_forward_names_the_way() -> None:
    decision = example({"carol@example.com": {"ldapMilterArchiveBcc": "vault@example.net"}}).decide(
        Message(login=None, to=["crew@example.com"])
    )

    (reason,) = decision.copies[0].reasons
    assert reason.recipient == "carol@example.com"
    assert reason.group_path == ("crew@example.com", "dan@example.com")


def test_a_forward_that_an_administrator_set_reaches_too() -> None:
    relay = builders.account("relay@example.com", zimbraMailForwardingAddress="carol@example.com")
    decision = example({"carol@example.com": {"ldapMilterArchiveBcc": "vault@example.net"}}, *relay).decide(
        Message(login=None, to=["relay@example.com"])
    )

    (reason,) = decision.copies[0].reasons
    assert reason.group_path == ("relay@example.com",)


def test_two_forwards_in_one_string_both_reach() -> None:
    relay = builders.account(
        "relay@example.com", zimbraPrefMailForwardingAddress="someone@home.example.net, carol@example.com"
    )
    decision = example({"carol@example.com": {"ldapMilterArchiveBcc": "vault@example.net"}}, *relay).decide(
        Message(login=None, to=["relay@example.com"])
    )

    assert addresses(decision) == ["vault@example.net"]


def test_whoever_is_reached_twice_gets_one_copy() -> None:
    decision = example({BOB: {"ldapMilterArchiveBcc": "vault@example.net"}}).decide(
        Message(login=None, to=["team@example.com", "big@example.com", BOB])
    )

    (copy,) = decision.copies
    ways = [(reason.recipient, reason.group_path) for reason in copy.reasons]
    assert (BOB, ()) in ways
    assert set(ways) <= {(BOB, ()), (BOB, ("team@example.com",)), (BOB, ("big@example.com",))}


def test_one_copy_keeps_everything_that_asked_for_it() -> None:
    decision = example(
        {
            ANN: {"ldapMilterArchiveBcc": "vault@example.net ref=a", "ldapMilterLegalBcc": "VAULT@example.net ref=b"},
            BOB: {"ldapMilterLegalBcc": "vault@example.net ref=c"},
            GLOBAL: {"ldapMilterLegalBcc": "vault@example.net ref=d"},
        }
    ).decide(Message(to=[BOB]))

    (copy,) = decision.copies
    assert copy.classes == ("archive", "legal")
    assert {(reason.ref, reason.direction) for reason in copy.reasons} == {
        ("a", "sent"),
        ("b", "sent"),
        ("c", "received"),
        ("d", "sent"),
        ("d", "received"),
    }


def test_a_from_rule_names_the_member_and_the_way() -> None:
    rule = "carol@example.com => legal@example.com"
    decision = example({"sales": {"ldapMilterSenderFromRewrite": rule}}).decide(Message(to=["team@example.com"]))

    assert decision.from_change is not None
    assert decision.from_change.cause == "rewrite"
    assert decision.from_change.reasons == (
        Reason(
            level="cos",
            dn="cn=sales,cn=cos,cn=zimbra",
            attribute="ldapMilterSenderFromRewrite",
            value=rule,
            recipient="carol@example.com",
            group_path=("team@example.com", "sub@example.com"),
        ),
    )


def test_a_recipients_from_names_the_recipient_as_written() -> None:
    decision = example({"example.com": {"ldapMilterRecipientFromRewrite": "d@example.com"}}).decide(
        Message(to=[JOE, "bob@example.org"])
    )

    assert decision.from_change is not None
    assert decision.from_change.reasons == (
        Reason(
            level="domain",
            dn="dc=example,dc=com",
            attribute="ldapMilterRecipientFromRewrite",
            value="d@example.com",
            recipient="bob@example.org",
        ),
    )


def test_a_conflict_names_both_values() -> None:
    rules = ["client.example.net => y@example.com", "example.com => z@example.com"]
    decision = example({ANN: {"ldapMilterSenderFromRewrite": rules}}).decide(Message(to=[JOE, BOB]))

    assert warnings_about(decision, *rules)


def test_a_site_may_use_attributes_of_its_own() -> None:
    options = {"copy legal": {"sent_attributes": "zimbraInterceptAddress", "received_attributes": ""}}
    world = example(
        {
            ANN: {"ZIMBRAINTERCEPTADDRESS": "vault@example.net", "ldapMilterLegalBcc": "unused@example.net"},
            BOB: {"zimbraInterceptAddress": "bob.vault@example.net"},
        },
        options=options,
    )

    decision = world.decide(Message(to=[BOB]))

    assert addresses(decision) == ["vault@example.net"]
    assert decision.copies[0].reasons[0].attribute == "zimbraInterceptAddress"


def test_a_further_copy_class_needs_no_code() -> None:
    options = {"copy journal": {"sent_attributes": "description", "inherit": "union"}}
    world = example(
        {ANN: {"description": "one@example.net"}, "sales": {"description": "two@example.net"}}, options=options
    )

    decision = world.decide()

    assert addresses(decision) == ["one@example.net", "two@example.net"]
    assert {copy.classes for copy in decision.copies} == {("journal",)}


def test_status_takes_no_copy_away() -> None:
    closed = {"zimbraAccountStatus": "closed", "zimbraMailStatus": "disabled"}
    world = example(
        {
            ANN: {"ldapMilterArchiveBcc": "ann@archive.example.net", **closed},
            "empty@example.com": {
                "ldapMilterArchiveBcc": "empty@archive.example.net",
                "zimbraMailStatus": "disabled",
            },
        }
    )

    assert addresses(world.decide()) == ["ann@archive.example.net"]
    assert addresses(world.decide(Message(login=None, to=[ANN, "empty@example.com"]))) == [
        "ann@archive.example.net",
        "empty@archive.example.net",
    ]
