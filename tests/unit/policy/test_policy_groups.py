"""Groups that apply to their members: a level between the account and its COS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.policy.effect import CopyReason
from tests.support import builders
from tests.support.names import account_dn, cos_dn, group_dn, zimbra_id
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.test_tables import for_rows_of
from tests.unit.policy.world import ANN, BOB, JOE, Message, World, addresses, warnings_about

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value
    from tests.support.record import Record
    from tests.unit.policy.table import Row

TEAM: Final = "team@example.com"
SUB: Final = "sub@example.com"
BIG: Final = "big@example.com"
CREW: Final = "crew@example.com"
CAROL: Final = "carol@example.com"
DAN: Final = "dan@example.com"
VAULT: Final = "vault@example.net"
ARCHIVE: Final = "ldapMilterArchiveBcc"
APPLIES: Final = "ldapMilterAppliesToMembers"


def policy_group(value: Value = VAULT, attribute: str = ARCHIVE, *, applies: Value = True) -> dict[str, Any]:
    """Return the attributes of a group that has a value."""
    return {attribute: value, APPLIES: applies}


def received_by(world: World, *recipients: str) -> Decision:
    return world.decide(Message(login=None, sender=JOE, to=recipients))


def levels(decision: Decision) -> set[tuple[str, str]]:
    """Return level and DN of every reason for a copy."""
    return {(str(reason.level), reason.dn) for copy in decision.copies for reason in copy.reasons}


# -- the tables -----------------------------------------------------------------------------


@for_rows_of("policy-group-members")
def test_member(row: Row) -> None:
    world = example({row.value("group"): policy_group()})

    account = row.value("account")
    for decision in (world.decide(Message(login=account)), received_by(world, account)):
        # Mail to whoever forwards to a member gives the member's copies too.
        found = {
            reason.level for copy in decision.copies for reason in copy.reasons if reason.recipient in {None, account}
        }
        assert found == ({"policy-group"} if row.is_yes("its level") else set())


@for_rows_of("policy-group-values")
@pytest.mark.parametrize("inherit", ["override", "union"])
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_values(row: Row, inherit: str, direction: str) -> None:
    values: dict[str, Mapping[str, Value]] = {
        BOB: {ARCHIVE: row.values("account")},
        TEAM: policy_group(row.values("team")),
        BIG: policy_group(row.values("big")),
        "default": {ARCHIVE: row.values("COS")},
        "example.com": {ARCHIVE: row.values("domain")},
    }
    world = example(values, options={"copy archive": {"inherit": inherit}})

    decision = world.decide(Message(login=BOB)) if direction == "sent" else received_by(world, BOB)

    assert sorted(addresses(decision)) == sorted(row.values(f"`{inherit}`"))
    groups = {row.value("team"), row.value("big")}
    assert bool(warnings_about(decision, "none beside")) == ("none" in groups and "b@example.net" in groups)
    assert bool(warnings_about(decision, "invalid")) == ("not an address" in groups)


# -- who is a member ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    ["ann@example.com", "ANN@Example.COM", "a.able@example.com", "ann@example.org", "a.able@example.org"],
)
def test_a_member_in_whatever_spelling(spelling: str) -> None:
    watch = builders.static_list("watch@example.com", [spelling], **policy_group())
    world = example({}, *watch)

    assert levels(world.decide()) == {("policy-group", account_dn("watch@example.com"))}
    assert levels(received_by(world, "ann@example.org")) == {("policy-group", account_dn("watch@example.com"))}


def test_a_member_by_a_nested_list_in_an_alias_domain() -> None:
    watch = builders.static_list("watch@example.com", ["all@example.org"], **policy_group())

    assert addresses(example({}, *watch).decide(Message(login=CAROL))) == [VAULT]


def test_a_member_by_a_custom_search() -> None:
    url = "ldap:///ou=people,dc=example,dc=com??sub?(uid=ann)"
    watch = builders.custom_group("watch@example.com", url, **policy_group())
    world = example({}, *watch)

    assert levels(world.decide()) == {("policy-group", group_dn("watch@example.com"))}
    assert addresses(world.decide(Message(login=BOB))) == []


def test_a_dynamic_group_inside_a_policy_list() -> None:
    watch = builders.static_list("watch@example.com", [CREW], **policy_group())
    world = example({}, *watch)

    assert addresses(world.decide(Message(login=DAN))) == [VAULT]
    assert addresses(world.decide(Message(login=CAROL))) == []


def test_a_catch_all_makes_nobody_a_member_whose_mailbox_it_is_not() -> None:
    watch = builders.static_list("watch@example.com", ["joe@client.example.net"], **policy_group())

    for login in (ANN, BOB, "keeper@example.com"):
        assert addresses(example({}, *watch).decide(Message(login=login))) == []


def test_policy_lists_that_contain_each_other() -> None:
    ring = builders.static_list("ring@example.com", ["gnir@example.com", ANN], **policy_group("r@example.net"))
    gnir = builders.static_list("gnir@example.com", ["ring@example.com"], **policy_group("g@example.net"))
    decision = example({}, *ring, *gnir).decide()

    assert sorted(addresses(decision)) == ["g@example.net", "r@example.net"]
    assert not decision.warnings


@pytest.mark.parametrize("applies", [False, None])
@pytest.mark.parametrize("inherit", ["override", "union"])
def test_without_true_it_is_no_level(applies: Value, inherit: str) -> None:
    values = {TEAM: policy_group(applies=applies), CREW: policy_group(applies=applies)}
    world = example(values, options={"copy archive": {"inherit": inherit}})

    for account in (BOB, CAROL, DAN):
        assert addresses(world.decide(Message(login=account))) == []
        assert addresses(received_by(world, account)) == []


# -- how it stands to the other levels ------------------------------------------------------


def everywhere(**groups: Mapping[str, Value]) -> dict[str, Mapping[str, Value]]:
    return {
        "default": {ARCHIVE: "cos@example.net"},
        "example.com": {ARCHIVE: "domain@example.net"},
        GLOBAL: {ARCHIVE: "global@example.net"},
        **{f"{name}@example.com": values for name, values in groups.items()},
    }


def test_under_override_it_hides_what_is_above_and_the_account_hides_it() -> None:
    team = policy_group("team@example.net")

    assert addresses(example(everywhere(team=team)).decide(Message(login=BOB))) == ["team@example.net"]
    hidden = example(everywhere(team=team, bob={ARCHIVE: "own@example.net"}))
    assert addresses(hidden.decide(Message(login=BOB))) == ["own@example.net"]


def test_under_union_the_levels_stand_in_order() -> None:
    world = example(
        everywhere(team=policy_group("team@example.net"), bob={ARCHIVE: "own@example.net"}),
        options={"copy archive": {"inherit": "union"}},
    )

    reasons = [reason for copy in world.decide(Message(login=BOB)).copies for reason in copy.reasons]
    assert [reason.level for reason in reasons] == ["account", "policy-group", "cos", "domain", "global"]


def test_none_ends_inheritance_for_its_purpose_only() -> None:
    world = example(
        {
            TEAM: {"ldapMilterArchiveSentBcc": "none", "ldapMilterLegalBcc": "none", APPLIES: True},
            "default": {ARCHIVE: VAULT, "ldapMilterLegalBcc": "legal@example.net"},
        }
    )

    assert addresses(world.decide(Message(login=BOB))) == ["legal@example.net"]
    assert addresses(received_by(world, BOB)) == [VAULT, "legal@example.net"]


def test_each_direction_is_for_itself() -> None:
    world = example(
        {
            TEAM: {
                "ldapMilterLegalSentBcc": "s@example.net",
                "ldapMilterLegalReceivedBcc": "r@example.net",
                APPLIES: True,
            }
        }
    )

    assert addresses(world.decide(Message(login=BOB))) == ["s@example.net"]
    assert addresses(received_by(world, BOB)) == ["r@example.net"]


def test_a_personal_value_is_for_every_member_and_not_for_the_group() -> None:
    world = example({TEAM: policy_group("{localpart}@archive.example.net", "ldapMilterArchiveReceivedBcc")})

    decision = received_by(world, TEAM)

    assert sorted(addresses(decision)) == ["bob@archive.example.net", "carol@archive.example.net"]
    assert not decision.warnings


# -- the group as recipient -----------------------------------------------------------------


@pytest.mark.parametrize("applies", [True, False, None])
def test_the_group_itself_keeps_group_domain_global(applies: Value) -> None:
    empty = {
        "empty@example.com": policy_group("group@example.net", applies=applies),
        # Around it, a policy group is no level of a group.
        TEAM: policy_group("team@example.net"),
        SUB: policy_group("sub@example.net"),
    }
    around = builders.static_list("around@example.com", ["empty@example.com"], **policy_group("around@example.net"))
    world = World(example_records({**everywhere(), **empty}, *around), {"copy archive": {"inherit": "union"}})

    reasons = [reason for copy in received_by(world, "empty@example.com").copies for reason in copy.reasons]

    assert [reason.level for reason in reasons] == ["group", "domain", "global"]
    assert [reason.group_path for reason in reasons] == [(), (), ()]


def test_mail_to_the_group_names_the_group_and_its_members() -> None:
    decision = received_by(example({BIG: policy_group()}), BIG)

    (copy,) = decision.copies
    found = {(reason.level, reason.recipient, reason.group_path) for reason in copy.reasons}
    assert found == {("group", BIG, ()), ("policy-group", BOB, (BIG,))}


# -- From -----------------------------------------------------------------------------------


def test_a_senders_rule_of_a_policy_group() -> None:
    values = {
        TEAM: policy_group("* => team@example.com", "ldapMilterSenderFromRewrite"),
        "default": {"ldapMilterSenderFromRewrite": f"{JOE} => cos@example.com"},
    }
    world = example(values)

    for login in (BOB, CAROL):
        change = world.decide(Message(login=login)).from_change
        assert change is not None
        # The level decides first, how specific a rule is only within it.
        assert change.value == "team@example.com"
        assert {reason.level for reason in change.reasons} == {"policy-group"}
        assert {reason.dn for reason in change.reasons} == {account_dn(TEAM)}
    change = world.decide(Message(login=DAN)).from_change
    assert change is not None
    assert change.value == "cos@example.com"


def test_rules_of_several_policy_groups_compete_as_equals() -> None:
    values = {
        TEAM: policy_group("external => team@example.com", "ldapMilterSenderFromRewrite"),
        BIG: policy_group("client.example.net => big@example.com", "ldapMilterSenderFromRewrite"),
    }
    change = example(values).decide(Message(login=BOB)).from_change

    assert change is not None
    assert change.value == "big@example.com"


def test_a_recipients_from_is_for_members_in_the_envelope() -> None:
    world = example({TEAM: policy_group("team-from@example.com", "ldapMilterRecipientFromRewrite")})

    def written_as(*to: str) -> str | None:
        change = world.decide(Message(to=to)).from_change
        return change.value if change is not None else None

    assert written_as(BOB) == written_as("carol@example.org") == written_as(TEAM) == "team-from@example.com"
    # bob is reached through another list, carol through a forward.
    assert written_as(BIG) is None
    assert written_as(DAN) is None


# -- reasons --------------------------------------------------------------------------------


def test_a_reason_names_the_level_the_group_and_the_way() -> None:
    world = example({TEAM: policy_group(f"{VAULT} ref=CASE-7")})

    (copy,) = world.decide(Message(login=CAROL)).copies

    assert copy.reasons == (
        CopyReason(
            level="policy-group",
            dn=account_dn(TEAM),
            attribute=ARCHIVE,
            value=f"{VAULT} ref=CASE-7",
            group_path=(TEAM, SUB),
            copy_class="archive",
            direction="sent",
            ref="CASE-7",
        ),
    )
    (received,) = received_by(world, CAROL).copies
    assert [(reason.recipient, reason.group_path) for reason in received.reasons] == [(CAROL, (TEAM, SUB))]


def test_a_rule_names_the_group_and_the_recipient() -> None:
    decision = example({CREW: policy_group("external => c@example.com", "ldapMilterSenderFromRewrite")}).decide(
        Message(login=DAN)
    )

    assert decision.from_change is not None
    (reason,) = decision.from_change.reasons
    assert (reason.level, reason.dn, reason.recipient) == ("policy-group", group_dn(CREW), JOE)
    assert reason.group_path == (CREW,)


def test_one_address_from_two_groups_has_a_reason_for_each() -> None:
    world = example({TEAM: policy_group(), BIG: policy_group()})

    (copy,) = world.decide(Message(login=BOB)).copies

    assert levels(world.decide(Message(login=BOB))) == {
        ("policy-group", account_dn(TEAM)),
        ("policy-group", account_dn(BIG)),
    }
    assert {reason.group_path for reason in copy.reasons} == {(TEAM,), (BIG,)}


# -- bounds, failures and cost --------------------------------------------------------------


@pytest.mark.parametrize("directory_failure", ["tempfail", "accept"])
def test_a_policy_group_that_is_too_large_applies_and_holds_nobody_up(directory_failure: str) -> None:
    strangers = [f"m{number}@client.example.net" for number in range(4)]
    crowd = builders.static_list("crowd@example.com", [*strangers, BOB], **policy_group())
    options = {"groups": {"max_members": "3"}, "policy": {"directory_failure": directory_failure}}
    world = example({}, *crowd, options=options)

    for login, copies in ((ANN, []), (BOB, [VAULT])):
        decision = world.decide(Message(login=login))
        assert (decision.verdict, decision.incomplete, addresses(decision)) == ("accept", (), copies)


@pytest.mark.parametrize("directory_failure", ["tempfail", "accept"])
def test_whoever_may_be_in_one_that_is_too_large_waits(directory_failure: str) -> None:
    url = "ldap:///ou=people,dc=example,dc=com??sub?(objectClass=zimbraAccount)"
    crowd = builders.custom_group("crowd@example.com", url, **policy_group())
    options = {"groups": {"max_members": "1"}, "policy": {"directory_failure": directory_failure}}

    decision = example({}, *crowd, options=options).decide(Message(login=DAN))

    if directory_failure == "tempfail":
        assert decision.verdict == "tempfail"
        assert warnings_about(decision, "crowd@example.com", "max_members")
    else:
        assert decision.verdict == "accept"
        # The log shows it, and must not name whose policy it is.
        assert decision.incomplete == ("whether a policy group applies could not be known",)


def test_members_that_cannot_be_asked_for_are_no_absent_members() -> None:
    world = example({CREW: policy_group(attribute="ldapMilterLegalBcc")})
    world.goes_down(lambda search_filter: "zimbraMemberOf" in search_filter)

    assert addresses(world.decide(Message(login=DAN))) == [VAULT]  # he says himself that he is in it
    world.goes_down(lambda search_filter: "zimbraMailForwardingAddress" in search_filter or "MemberOf" in search_filter)
    assert world.decide(Message(login=ANN)).verdict == "tempfail"
    world.goes_down(lambda _search_filter: False)
    assert addresses(world.decide(Message(login=DAN))) == [VAULT]


def cost(world: World, login: str) -> int:
    return world.decide(Message(login=login)).searches


def test_they_are_found_without_a_search_for_each_message() -> None:
    people = [record for n in range(30) for record in builders.account(f"p{n}@example.com")]
    many = [
        record
        for n in range(30)
        for record in builders.static_list(f"g{n}@example.com", [f"p{n}@example.com", TEAM], **policy_group())
    ]
    values = {TEAM: policy_group("{localpart}@archive.example.net"), CREW: policy_group()}
    plain, world = example({}, *people), example(values, *people, *many)

    for one in (plain, world):
        assert cost(one, DAN) > 0  # whoever comes first pays for the site and the members
    # A second account costs itself, whatever groups there are; one that was met as a member not even that.
    assert cost(world, ANN) == cost(plain, ANN)
    assert cost(world, "keeper@example.com") == cost(plain, "keeper@example.com") == 1
    for login in (CAROL, BOB, "p7@example.com"):
        assert cost(world, login) <= cost(plain, login) == 1
    for login in (ANN, DAN, CAROL, BOB, "keeper@example.com", "p7@example.com"):
        assert cost(world, login) == 0
    reasons = [reason for copy in world.decide(Message(login=CAROL)).copies for reason in copy.reasons]
    assert len(reasons) == 1 + len(people)


def test_all_groups_together_cost_a_bounded_number_of_searches() -> None:
    def first(number: int) -> int:
        groups: list[Record] = []
        for n in range(number):
            groups += builders.static_list(f"s{n}@example.com", [BOB], **policy_group())
            groups += builders.dynamic_group(f"d{n}@example.com", **policy_group())
            url = "ldap:///ou=people,dc=example,dc=com??sub?(uid=bob)"
            groups += builders.custom_group(f"c{n}@example.com", url, **policy_group())
        return cost(example({}, *groups), ANN)

    assert first(20) == first(1)


def test_one_that_is_too_large_costs_a_number_of_searches_that_does_not_grow_with_the_recipients() -> None:
    crowd = [f"crowd{number}@example.com" for number in range(12)]
    watched = builders.static_list("watch@example.com", crowd[4:], **policy_group())
    accounts = [entry for address in crowd for entry in builders.account(address)]

    def searches(recipients: int) -> int:
        world = example({}, *accounts, *watched, options={"groups": {"max_members": "3"}})
        return world.decide(Message(login=None, sender=JOE, to=crowd[:recipients])).searches

    assert searches(12) <= searches(2)


# -- changes --------------------------------------------------------------------------------


def test_a_change_of_members_shows_after_the_time_to_live() -> None:
    world = example({CREW: policy_group()})
    assert addresses(world.decide(Message(login=ANN))) == []
    world.replace(example_records({CREW: policy_group(), ANN: {"zimbraMemberOf": zimbra_id("group", CREW)}}))
    assert addresses(world.decide(Message(login=ANN))) == []
    world.clock.now += world.config.cache.ttl + 1
    assert addresses(world.decide(Message(login=ANN))) == [VAULT]


def test_a_group_that_becomes_a_policy_group_shows_after_the_time_to_live() -> None:
    world = example({TEAM: policy_group(applies=False), "sales": {ARCHIVE: VAULT}})
    assert levels(world.decide(Message(login=BOB))) == set()
    world.replace(example_records({TEAM: policy_group()}))
    world.clock.now += world.config.cache.ttl + 1
    assert levels(world.decide(Message(login=BOB))) == {("policy-group", account_dn(TEAM))}
    assert cos_dn("sales") not in {dn for _, dn in levels(world.decide(Message(login=ANN)))}
