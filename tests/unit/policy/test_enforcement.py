"""May the sender use the From that the message has, what happens when not, and what is kept of it."""

from __future__ import annotations

from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.mailbox.reading import read_from
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, example
from tests.unit.policy.table import policy_table
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, Message, addresses, warnings_about

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value
    from tests.support.record import Record
    from tests.unit.policy.table import Row
    from tests.unit.policy.world import Options

ENFORCE: Final = "ldapMilterFromEnforce"
RULE: Final = "ldapMilterSenderFromRewrite"
WISH: Final = "ldapMilterRecipientFromRewrite"
CAROL: Final = "carol@example.com"
DAN: Final = "dan@example.com"
TEAM: Final = "team@example.com"
CREW: Final = "crew@example.com"
FOREIGN: Final = "boss@elsewhere.example"
OWN_FROM: Final = "Ann Able <ann@example.com>"
BY_WEBMAIL: Final = Message(login=None, sender=ANN, client=MAILBOX_SERVER)


def fields(*froms: str, **others: str) -> list[tuple[str, str]]:
    """Return header fields: a From for each text, and others by name."""
    return [*(("From", text) for text in froms), *((name.replace("_", "-"), text) for name, text in others.items())]


def decide(
    headers: Sequence[tuple[str, str]],
    values: Mapping[str, Mapping[str, Value]] | None = None,
    *more: Record,
    strictness: str = "rewrite",
    message: Message | None = None,
    options: Options | None = None,
) -> Decision:
    """Decide about a message of ann's, on whose account enforcement is set."""
    given: dict[str, dict[str, Value]] = {name: dict(attributes) for name, attributes in (values or {}).items()}
    given.setdefault(ANN, {}).setdefault(ENFORCE, strictness)
    world = example(given, *more, options=options)
    return world.decide(replace(message or Message(), headers=headers))


def is_untouched(decision: Decision) -> bool:
    return (decision.verdict, decision.from_change, decision.refusal, decision.header_changes) == (
        "accept",
        None,
        None,
        (),
    )


def new_from(decision: Decision) -> tuple[str, str]:
    """Return name and address of the From that enforcement puts."""
    assert decision.verdict == "accept"
    assert decision.refusal is None
    assert decision.from_change is not None
    assert decision.from_change.cause == "enforce"
    (only,) = read_from([decision.from_change.value]).mailboxes
    return only.display_name, only.address.text


def may_use(address: str, values: Mapping[str, Mapping[str, Value]] | None = None, *more: Record) -> bool:
    """Whether ann may write as an address, asked in both modes."""
    rewrite = decide(fields(f"Somebody <{address}>"), values, *more)
    reject = decide(fields(f"Somebody <{address}>"), values, *more, strictness="reject")
    assert (reject.verdict == "accept") == is_untouched(rewrite) == is_untouched(reject)
    assert reject.verdict in {"accept", "reject"}
    return is_untouched(rewrite)


# The three values.


def test_no_enforcement_by_default() -> None:
    decision = example({}).decide(Message(headers=fields(FOREIGN)))

    assert is_untouched(decision)
    assert decision.headers_needed == frozenset()


def test_off_lets_everything_pass_and_reads_no_header() -> None:
    world = example({ANN: {ENFORCE: "off"}})

    assert world.at_data(Message()).headers_needed == frozenset()
    assert is_untouched(decide(fields(FOREIGN), strictness="off"))


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_enforcement_waits_for_the_header(strictness: str) -> None:
    first = example({ANN: {ENFORCE: strictness}}).at_data(Message())

    assert first.headers_needed >= {"from", "sender"}
    assert is_untouched(first)


def test_rewrite_puts_the_own_from() -> None:
    decision = decide(fields(FOREIGN))

    assert new_from(decision) == ("Ann Able", ANN)
    assert decision.from_change is not None
    (reason,) = decision.from_change.reasons
    assert (reason.level, reason.attribute, reason.value) == ("account", ENFORCE, "rewrite")


def test_reject_refuses_and_names_the_address_to_use() -> None:
    decision = decide(fields(f"Boss <{FOREIGN}>"), strictness="reject")

    assert decision.verdict == decision.applied_verdict == "reject"
    assert decision.smtp_reply is not None
    assert decision.smtp_reply.startswith("550 5.7.1 ")
    assert ANN in decision.smtp_reply
    assert decision.smtp_reply.isascii()
    assert decision.smtp_reply.isprintable()
    assert decision.from_change is None
    assert decision.refusal is not None
    assert decision.refusal.address == FOREIGN
    (reason,) = decision.refusal.reasons
    assert (reason.level, reason.attribute, reason.value) == ("account", ENFORCE, "reject")


def test_a_refusal_names_the_canonical_address() -> None:
    decision = decide(
        fields(FOREIGN), {ANN: {"zimbraMailCanonicalAddress": "ann.able@brand.example"}}, strictness="reject"
    )

    assert decision.smtp_reply is not None
    assert "ann.able@brand.example" in decision.smtp_reply


@pytest.mark.parametrize(
    "hostile", ["b\r\n250 ok <x@elsewhere.example>", "x@elsewhere.example\r\nBcc: y@z.example", "\x00", "\udcff\udcfe"]
)
def test_nothing_of_the_header_breaks_out_into_the_reply(hostile: str) -> None:
    decision = decide(fields(hostile), strictness="reject")

    assert decision.smtp_reply is not None
    assert decision.smtp_reply.isprintable()
    assert "elsewhere" not in decision.smtp_reply


@pytest.mark.parametrize("text", ["REJECT", " reject ", "Reject"])
def test_case_and_blanks_of_a_value_do_not_matter(text: str) -> None:
    assert decide(fields(FOREIGN), strictness=text).verdict == "reject"


def test_an_invalid_value_is_said_aloud_and_the_next_level_shows() -> None:
    decision = decide(fields(FOREIGN), {"sales": {ENFORCE: "reject"}}, strictness="rejekt")

    assert decision.verdict == "reject"
    assert warnings_about(decision, ENFORCE, "rejekt")


def test_an_invalid_value_may_hold_the_mail_up() -> None:
    decision = decide(fields(ANN), strictness="rejekt", options={"from": {"invalid_value": "tempfail"}})

    assert decision.verdict == "tempfail"


# Levels.


@pytest.mark.parametrize("level", [ANN, "sales", "example.com", GLOBAL])
def test_every_level_of_the_sender_may_hold_it(level: str) -> None:
    decision = example({level: {ENFORCE: "reject"}}).decide(Message(headers=fields(FOREIGN)))

    assert decision.verdict == "reject"


def test_the_first_level_decides_even_when_it_is_laxer() -> None:
    stricter: dict[str, dict[str, Value]] = {"sales": {ENFORCE: "reject"}, "example.com": {ENFORCE: "reject"}}

    assert is_untouched(decide(fields(FOREIGN), stricter, strictness="off"))
    assert new_from(decide(fields(FOREIGN), stricter)) == ("Ann Able", ANN)


@pytest.mark.parametrize("holder", [BOB, TEAM])
def test_a_recipients_value_says_nothing_about_the_sender(holder: str) -> None:
    decision = example({holder: {ENFORCE: "reject"}}).decide(Message(to=[holder], headers=fields(FOREIGN)))

    assert is_untouched(decision)


def policy_list(address: str, strictness: str, members: Sequence[str] = (ANN,)) -> list[Record]:
    return builders.static_list(address, members, ldapMilterFromEnforce=strictness, ldapMilterAppliesToMembers=True)


@pytest.mark.parametrize(
    ("of_groups", "verdict", "changes"),
    [
        (["off"], "accept", False),
        (["off", "rewrite"], "accept", True),
        (["reject", "off", "rewrite"], "reject", False),
        (["rewrite", "reject"], "reject", False),
    ],
)
def test_the_strictest_of_several_policy_groups_wins(of_groups: list[str], verdict: str, *, changes: bool) -> None:
    lists = [
        entry
        for number, strictness in enumerate(of_groups)
        for entry in policy_list(f"rules-{number}@example.com", strictness)
    ]

    decision = example({"sales": {ENFORCE: "reject"}}, *lists).decide(Message(headers=fields(FOREIGN)))

    assert decision.verdict == verdict
    assert (decision.from_change is not None) == changes


def test_the_account_decides_before_its_policy_groups() -> None:
    decision = decide(fields(FOREIGN), {}, *policy_list("rules@example.com", "reject"), strictness="off")

    assert is_untouched(decision)


def test_a_policy_list_in_a_policy_list_reaches_the_account() -> None:
    inner = builders.static_list("inner@example.com", [ANN])
    outer = policy_list("outer@example.com", "reject", ["inner@example.com"])

    decision = example({}, *inner, *outer).decide(Message(headers=fields(FOREIGN)))

    assert decision.verdict == "reject"
    assert decision.refusal is not None
    (reason,) = decision.refusal.reasons
    assert reason.level == "policy-group"


# Rules beat it.


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize("froms", [(FOREIGN,), (), ("",), (ANN, FOREIGN)])
def test_a_rule_of_the_sender_beats_enforcement(strictness: str, froms: tuple[str, ...]) -> None:
    decision = decide(fields(*froms), {ANN: {RULE: "* => legal@example.com"}}, strictness=strictness)

    assert decision.verdict == "accept"
    assert decision.from_change is not None
    assert (decision.from_change.cause, decision.from_change.value) == ("rewrite", "legal@example.com")


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_a_wish_of_the_recipient_beats_enforcement(strictness: str) -> None:
    decision = decide(fields(FOREIGN), {BOB: {WISH: "b@example.com"}}, strictness=strictness, message=Message(to=[BOB]))

    assert decision.verdict == "accept"
    assert decision.from_change is not None
    assert (decision.from_change.cause, decision.from_change.value) == ("recipient", "b@example.com")


def test_a_rule_that_does_not_fire_leaves_it_to_enforcement() -> None:
    decision = decide(fields(FOREIGN), {ANN: {RULE: "internal => legal@example.com"}}, strictness="reject")

    assert decision.verdict == "reject"


# Whose addresses.


@pytest.mark.parametrize(
    "address",
    [
        ANN,
        "ANN@Example.COM",
        '"ann"@example.com',
        "a.able@example.com",
        "ann@example.org",
        "a.able@EXAMPLE.org",
        "old.ann@example.com",
        "old.ann@example.org",
        "ann.able@brand.example",
        "ann@partner.example",
    ],
)
def test_an_account_may_use_its_own_addresses(address: str) -> None:
    values: dict[str, Value] = {
        "zimbraOldMailAddress": "old.ann@example.com",
        "zimbraMailCanonicalAddress": "ann.able@brand.example",
        "zimbraAllowFromAddress": ["other@partner.example", "Ann@Partner.example"],
    }

    assert may_use(address, {ANN: values})


@pytest.mark.parametrize(
    "address",
    [
        BOB,
        FOREIGN,
        "nobody@example.com",
        "ann@catchall.example",
        "ann@example.com.elsewhere.example",
        "xann@example.com",
        "@example.com",
        TEAM,
        "boss@xn--exampl-gva.com",
        "\u212aen@example.com",
    ],
)
def test_an_account_may_not_use_others(address: str) -> None:
    assert not may_use(address)


def test_an_account_is_a_member_of_a_list_but_not_the_list() -> None:
    assert not may_use("us@example.com", {}, *builders.static_list("us@example.com", [ANN]))


def test_a_catch_all_makes_no_address_the_users() -> None:
    mine: dict[str, dict[str, Value]] = {ANN: {"zimbraMailCatchAllAddress": ["@catchall.example", "@example.com"]}}

    assert not may_use("anything@catchall.example", mine)
    assert not may_use("nobody@example.com", mine)


@pytest.mark.parametrize(
    ("on_account", "on_cos", "allowed"),
    [
        (None, None, False),
        (True, None, True),
        (None, True, True),
        (False, True, False),
        (True, False, True),
        (None, False, False),
    ],
)
def test_allow_any_from(*, on_account: bool | None, on_cos: bool | None, allowed: bool) -> None:
    values: dict[str, dict[str, Value]] = {
        ANN: {"zimbraAllowAnyFromAddress": on_account},
        "sales": {"zimbraAllowAnyFromAddress": on_cos},
    }

    assert may_use(FOREIGN, values) == allowed
    assert may_use(BOB, values) == allowed


def test_allow_any_from_of_another_cos_says_nothing() -> None:
    assert not may_use(FOREIGN, {"gold": {"zimbraAllowAnyFromAddress": True}})


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_any_from_is_still_one_that_can_be_read(strictness: str) -> None:
    decision = decide(fields("Boss"), {ANN: {"zimbraAllowAnyFromAddress": True}}, strictness=strictness)

    assert not is_untouched(decision)


# Grants.

ANN_ID: Final = zimbra_id("account", ANN)


def grant(right: str, grantee: str = ANN_ID, kind: str = "usr") -> str:
    return f"{grantee} {kind} {right}"


@pytest.mark.parametrize("right", ["sendAs", "sendOnBehalfOf", "SENDAS", "+sendAs"])
def test_a_grant_on_an_account(right: str) -> None:
    assert may_use(CAROL, {CAROL: {"zimbraACE": grant(right)}})


@pytest.mark.parametrize("group", [TEAM, CREW])
@pytest.mark.parametrize("right", ["sendAsDistList", "sendOnBehalfOfDistList"])
def test_a_grant_on_a_list_or_dynamic_group(group: str, right: str) -> None:
    assert may_use(group, {group: {"zimbraACE": [grant("viewFreeBusy"), grant(right)]}})


@pytest.mark.parametrize(
    ("target", "ace"),
    [
        (CAROL, grant("-sendAs")),
        (CAROL, grant("-sendOnBehalfOf")),
        (CAROL, grant("viewFreeBusy")),
        (CAROL, grant("sendToDistList")),
        (CAROL, grant("sendAsDistList")),
        (CAROL, grant("sendAsX")),
        (CAROL, grant("sendAs", zimbra_id("account", BOB))),
        (CAROL, grant("sendAs", kind="grp")),
        (CAROL, grant("sendAs", zimbra_id("list", TEAM), "grp")),
        (CAROL, f"{ANN_ID} sendAs"),
        (CAROL, "sendAs"),
        (TEAM, grant("sendAs")),
        (TEAM, grant("-sendAsDistList")),
        (TEAM, grant("sendToDistList")),
        (CREW, grant("sendOnBehalfOf")),
    ],
)
def test_what_is_no_grant(target: str, ace: str) -> None:
    assert not may_use(target, {target: {"zimbraACE": ace}})


def test_the_id_of_a_grantee_is_compared_without_case() -> None:
    assert may_use(CAROL, {CAROL: {"zimbraACE": grant("sendAs", ANN_ID.upper())}})


def test_a_grant_works_one_way() -> None:
    # On ann's own account: bob may write as ann, which does not let ann write as bob.
    assert not may_use(BOB, {ANN: {"zimbraACE": grant("sendAs", zimbra_id("account", BOB))}})


def groups_with(member: str) -> list[Record]:
    return [
        *builders.static_list("static@example.com", [member]),
        *builders.static_list("nesting@example.com", ["middle@example.com"]),
        *builders.static_list("middle@example.com", ["static@example.com"]),
        *builders.custom_group(
            "custom@example.com", f"ldap:///??sub?(&(objectClass=zimbraAccount)(zimbraMailDeliveryAddress={member}))"
        ),
        *builders.dynamic_group("managed@example.com"),
    ]


def group_id(group: str) -> str:
    return zimbra_id("list" if group in {"static@example.com", "nesting@example.com"} else "group", group)


@pytest.mark.parametrize(
    "group", ["static@example.com", "nesting@example.com", "custom@example.com", "managed@example.com"]
)
@pytest.mark.parametrize(
    ("target", "right"),
    [(CAROL, "sendAs"), (CAROL, "sendOnBehalfOf"), (TEAM, "sendAsDistList"), (CREW, "sendAsDistList")],
)
def test_a_grant_to_a_group_that_the_user_is_in(group: str, target: str, right: str) -> None:
    ace = grant(right, group_id(group), "grp")
    member: dict[str, Value] = {"zimbraMemberOf": zimbra_id("group", "managed@example.com")}

    assert may_use(target, {target: {"zimbraACE": ace}, ANN: member}, *groups_with(ANN))
    assert not may_use(target, {target: {"zimbraACE": ace}}, *groups_with(BOB))


def test_a_member_by_an_alias_is_a_member() -> None:
    for spelling in ("a.able@example.com", "ann@example.org", "A.Able@Example.ORG"):
        records = builders.static_list("static@example.com", [spelling])
        assert may_use(CAROL, {CAROL: {"zimbraACE": grant("sendAs", group_id("static@example.com"), "grp")}}, *records)


def test_whom_a_member_forwards_to_is_not_in_the_group() -> None:
    records = builders.static_list("static@example.com", [BOB])
    values: dict[str, dict[str, Value]] = {
        BOB: {"zimbraPrefMailForwardingAddress": ANN},
        CAROL: {"zimbraACE": grant("sendAs", group_id("static@example.com"), "grp")},
    }

    assert not may_use(CAROL, values, *records)


def test_a_grant_to_a_group_that_is_gone() -> None:
    assert not may_use(CAROL, {CAROL: {"zimbraACE": grant("sendAs", zimbra_id("list", "gone@example.com"), "grp")}})


def test_groups_of_grants_that_contain_each_other() -> None:
    records = [
        *builders.static_list("static@example.com", ["nesting@example.com"]),
        *builders.static_list("nesting@example.com", ["static@example.com", ANN]),
    ]

    assert may_use(CAROL, {CAROL: {"zimbraACE": grant("sendAs", group_id("static@example.com"), "grp")}}, *records)


def test_a_deny_to_the_user_beats_a_grant_to_the_group() -> None:
    aces: list[str | bytes] = [grant("sendAs", group_id("static@example.com"), "grp"), grant("-sendAs")]

    assert not may_use(CAROL, {CAROL: {"zimbraACE": aces}}, *groups_with(ANN))


def test_a_deny_to_somebody_else_takes_nothing_away() -> None:
    aces: list[str | bytes] = [grant("-sendAs", zimbra_id("account", BOB)), grant("sendAs")]

    assert may_use(CAROL, {CAROL: {"zimbraACE": aces}})


@pytest.mark.parametrize(
    ("offered", "address", "allowed"),
    [
        (None, "vault@example.com", True),
        (None, "Vault@Example.COM", True),
        (None, "safe@example.com", False),
        ("safe@example.com", "safe@example.com", True),
        ("safe@example.com", "vault@example.com", False),
        (["vault@example.com", "safe@example.com"], "safe@example.com", True),
        (["vault@example.com", "safe@example.com"], "vault@example.com", True),
    ],
)
def test_which_address_of_a_granting_account(
    offered: str | list[str | bytes] | None, address: str, *, allowed: bool
) -> None:
    values: dict[str, Value] = {"zimbraACE": grant("sendAs"), "zimbraPrefAllowAddressForDelegatedSender": offered}

    assert may_use(address, {"vault@example.com": values}) == allowed


@pytest.mark.parametrize(
    ("offered", "address", "allowed"),
    [
        (None, TEAM, True),
        (None, "all@example.com", False),
        ("all@example.com", "all@example.com", True),
        ("all@example.com", TEAM, False),
    ],
)
def test_which_address_of_a_granting_list(offered: str | None, address: str, *, allowed: bool) -> None:
    values: dict[str, Value] = {
        "zimbraACE": grant("sendAsDistList"),
        "zimbraPrefAllowAddressForDelegatedSender": offered,
    }

    assert may_use(address, {TEAM: values}) == allowed


def test_an_offer_without_a_grant_is_nothing() -> None:
    values: dict[str, Value] = {"zimbraPrefAllowAddressForDelegatedSender": "safe@example.com"}

    assert not may_use("safe@example.com", {"vault@example.com": values})


def test_a_grant_of_a_catch_all_is_for_its_own_address_only() -> None:
    values: dict[str, dict[str, Value]] = {"keeper@example.com": {"zimbraACE": grant("sendAs")}}

    assert may_use("keeper@example.com", values)
    assert not may_use("anything@catchall.example", values)


# Forms of the header.


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_a_missing_from_gets_the_own_one_in_both_modes(strictness: str) -> None:
    assert new_from(decide(fields(), strictness=strictness)) == ("Ann Able", ANN)


UNREADABLE: Final = [
    "",
    " ",
    "\r\n ",
    ",",
    "<>",
    "Ann",
    "Team:;",
    f'"Ann <{ANN}>',
    f"Ann <{ANN}> junk",
    f"<{ANN}> <{FOREIGN}>",
    f"{ANN} {FOREIGN}",
    f"{FOREIGN}: {ANN};",
    f"{ANN} (Boss <{FOREIGN}>",
    f"<{ANN}, {FOREIGN}>",
    f"{ANN}\x00",
    '"' * 30_000,
    "," * 50_000,
]


@pytest.mark.parametrize("value", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_is_not_the_users(value: str) -> None:
    assert new_from(decide(fields(value))) == ("Ann Able", ANN)
    assert decide(fields(value), strictness="reject").verdict == "reject"


@pytest.mark.parametrize(
    "froms",
    [
        (ANN, FOREIGN),
        (FOREIGN, ANN),
        (f"{ANN}, {FOREIGN}",),
        (f"{FOREIGN}, {ANN}",),
        (f"Team: {ANN}, {FOREIGN};",),
        (ANN, ""),
        ("", ANN),
        (ANN, "Ann"),
        (*(ANN,) * 20, FOREIGN),
        (f"=?utf-8?q?ann=40example=2Ecom?= <{FOREIGN}>",),
        (f'"{ANN}" <{FOREIGN}>',),
        (f"{ANN} <{FOREIGN}>",),
        (f"({ANN}) {FOREIGN}",),
    ],
)
def test_every_address_in_every_from_counts(froms: tuple[str, ...]) -> None:
    assert new_from(decide(fields(*froms))) == ("Ann Able", ANN)
    assert decide(fields(*froms), strictness="reject").verdict == "reject"


@pytest.mark.parametrize(
    "froms",
    [
        (f"{ANN}, Ann <ann@example.org>",),
        (f"Me: {ANN}, a.able@example.com;",),
        (f"The Boss <{ANN}>",),
        (f'"{FOREIGN}" <{ANN}>',),
        (f"{ANN} ({FOREIGN})",),
        (f"Ann\r\n <{ANN}>",),
    ],
)
@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_own_addresses_in_any_form_pass(froms: tuple[str, ...], strictness: str) -> None:
    assert is_untouched(decide(fields(*froms), strictness=strictness))


def test_the_name_of_the_field_is_compared_without_case() -> None:
    for name in ("from", "FROM", "fRoM"):
        assert decide([(name, FOREIGN)], strictness="reject").verdict == "reject"


# Sender.


def test_a_foreign_sender_of_somebody_who_logged_in_is_refused() -> None:
    decision = decide(fields(ANN, Sender=f"Boss <{FOREIGN}>"), strictness="reject")

    assert decision.verdict == "reject"
    assert decision.refusal is not None
    assert decision.refusal.address == FOREIGN


def test_a_foreign_sender_of_somebody_who_logged_in_is_taken_away() -> None:
    decision = decide(fields(ANN, Sender=FOREIGN))

    assert decision.verdict == "accept"
    assert decision.from_change is None
    assert [(change.name.lower(), change.value) for change in decision.header_changes] == [("sender", None)]


def test_a_foreign_sender_beside_a_foreign_from() -> None:
    decision = decide(fields(BOB, Sender=FOREIGN))

    assert new_from(decision) == ("Ann Able", ANN)
    assert [(change.name.lower(), change.value) for change in decision.header_changes] == [("sender", None)]


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize("sender", [ANN, "Ann <a.able@example.com>", "ann@example.org"])
def test_an_own_sender_passes(strictness: str, sender: str) -> None:
    values: dict[str, dict[str, Value]] = {CAROL: {"zimbraACE": grant("sendOnBehalfOf")}}

    assert is_untouched(decide(fields(CAROL, Sender=sender), values, strictness=strictness))


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_on_behalf_of_from_a_mailbox_server_stays(strictness: str) -> None:
    decision = decide(fields(OWN_FROM, Sender="Bob <bob@example.com>"), strictness=strictness, message=BY_WEBMAIL)

    assert is_untouched(decision)


def test_the_from_of_a_mailbox_server_is_asked_about_all_the_same() -> None:
    assert decide(fields(FOREIGN), strictness="reject", message=BY_WEBMAIL).verdict == "reject"
    assert new_from(decide(fields(FOREIGN, Sender=BOB), message=BY_WEBMAIL)) == ("Ann Able", ANN)


# Whom it is not for.


@pytest.mark.parametrize(
    "exempting", [("Auto-Submitted", "auto-replied (zimbra; vacation)"), ("X-Zimbra-Forwarded", ANN)]
)
@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_automatic_mail_is_exempt_from_a_mailbox_server_only(exempting: tuple[str, str], strictness: str) -> None:
    values: dict[str, dict[str, Value]] = {ANN: {"ldapMilterArchiveSentBcc": "vault@example.net"}}
    headers = [*fields(FOREIGN), exempting]

    by_server = decide(headers, values, strictness=strictness, message=BY_WEBMAIL)
    by_login = decide(headers, values, strictness=strictness)
    by_login_there = decide(headers, values, strictness=strictness, message=Message(client=MAILBOX_SERVER))

    assert is_untouched(by_server)
    assert addresses(by_server) == ["vault@example.net"]
    assert not is_untouched(by_login)
    assert not is_untouched(by_login_there)


@pytest.mark.parametrize("value", ["no", "No", "NO ", "no; reason=none"])
def test_not_automatic_is_no_exemption(value: str) -> None:
    decision = decide(fields(FOREIGN, Auto_Submitted=value), strictness="reject", message=BY_WEBMAIL)

    assert decision.verdict == "reject"


@pytest.mark.parametrize(
    "message",
    [
        Message(login=None, sender=ANN),
        Message(login=None, sender=ANN, client=None),
        Message(login=None, sender=ANN, client=MAILBOX_SERVER, submitted_locally=True),
        Message(login=None, sender="", client=MAILBOX_SERVER),
        Message(login=None, sender=JOE),
        Message(login=None, sender=JOE, client=MAILBOX_SERVER),
    ],
    ids=["forged", "no client", "sendmail(1)", "null sender", "outsider", "redirect of an outsider's"],
)
@pytest.mark.parametrize("froms", [(FOREIGN,), (ANN,), (), ("",)])
def test_mail_without_identity_is_never_enforced(message: Message, froms: tuple[str, ...]) -> None:
    values: dict[str, dict[str, Value]] = {"example.com": {ENFORCE: "reject"}, GLOBAL: {ENFORCE: "reject"}}

    decision = decide(fields(*froms), values, strictness="reject", message=replace(message, to=[BOB]))

    assert is_untouched(decision)
    assert decision.headers_needed == frozenset()


# Modes and failures.


@pytest.mark.parametrize("section", ["policy", "from"])
@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_observe_and_pass_tell_and_do_nothing(section: str, mode: str) -> None:
    options = {section: {"mode": mode}}

    refused = decide(fields(FOREIGN), strictness="reject", options=options)
    changed = decide(fields(FOREIGN), options=options)
    sender = decide(fields(ANN, Sender=FOREIGN), options=options)

    assert (refused.verdict, refused.applied_verdict) == ("reject", "accept")
    assert refused.smtp_reply is not None
    assert refused.smtp_reply.startswith("550 5.7.1 ")
    assert changed.from_change is not None
    assert changed.applied == ()
    assert sender.header_changes
    assert sender.applied == ()


def test_from_may_be_applied_alone() -> None:
    decision = decide(
        fields(FOREIGN), strictness="reject", options={"policy": {"mode": "observe"}, "from": {"mode": "apply"}}
    )

    assert decision.applied_verdict == "reject"


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_a_directory_that_fails_at_the_second_look_up_holds_the_mail_up(strictness: str) -> None:
    world = example({ANN: {ENFORCE: strictness}, CAROL: {"zimbraACE": grant("sendAs")}})
    message = Message(headers=fields(CAROL))
    assert world.at_data(message).verdict == "accept"
    world.goes_down()

    decision = world.decide(message)

    assert (decision.verdict, decision.smtp_reply) == ("tempfail", world.decide(message).smtp_reply)
    assert decision.smtp_reply is not None
    assert decision.smtp_reply.startswith("451 4.3.0 ")
    assert decision.from_change is None


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
def test_own_addresses_need_no_second_look_up(strictness: str) -> None:
    world = example({ANN: {ENFORCE: strictness}})
    message = Message(headers=fields("a.able@example.com"))
    world.at_data(message)
    world.goes_down()

    assert is_untouched(world.decide(message))


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize("address", [FOREIGN, BOB])
def test_nobody_is_refused_by_a_directory_that_fails(strictness: str, address: str) -> None:
    world = example({ANN: {ENFORCE: strictness}})
    message = Message(headers=fields(address))
    world.at_data(message)
    world.goes_down()

    # An external account of ann's may have the one, the other may let her write as him.
    assert world.decide(message).unavailable


def test_what_could_not_be_asked_is_no_reason_for_a_refusal() -> None:
    values: dict[str, dict[str, Value]] = {ANN: {ENFORCE: "reject"}, CAROL: {"zimbraACE": grant("sendAs")}}
    world = example(values, options={"policy": {"directory_failure": "accept"}})
    message = Message(headers=fields(CAROL))
    world.at_data(message)
    world.goes_down()

    decision = world.decide(message)

    assert decision.verdict == "accept"
    assert decision.incomplete


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize(("on_failure", "verdict"), [("tempfail", "tempfail"), ("accept", "accept")])
def test_a_group_of_a_grant_that_is_too_deep_is_a_failure(strictness: str, on_failure: str, verdict: str) -> None:
    decision = decide(
        fields(CAROL),
        {CAROL: {"zimbraACE": grant("sendAs", group_id("nesting@example.com"), "grp")}},
        *groups_with(ANN),
        strictness=strictness,
        options={"groups": {"max_depth": "1"}, "policy": {"directory_failure": on_failure}},
    )

    assert decision.verdict == verdict
    errors = [notice.text for notice in decision.warnings if notice.error]
    assert [text for text in (*errors, *decision.incomplete) if "nesting@example.com" in text]


# What comes with it.


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ("Ann Able", ANN)),
        ({"displayName": None}, ("Able", ANN)),
        ({"displayName": None, "cn": None}, ("", ANN)),
        ({"zimbraMailCanonicalAddress": "ann.able@brand.example"}, ("Ann Able", "ann.able@brand.example")),
        ({"zimbraMailCanonicalAddress": "a.able@example.com", "displayName": None}, ("Able", "a.able@example.com")),
        ({"displayName": "J\u00fcrgen, \u00d6l <x@y.example>"}, ("J\u00fcrgen, \u00d6l <x@y.example>", ANN)),
    ],
)
def test_the_own_from(attributes: dict[str, Any], expected: tuple[str, str]) -> None:
    for froms in ((FOREIGN,), (), ("",), (FOREIGN, "", ANN)):
        assert new_from(decide(fields(*froms), {ANN: attributes})) == expected


def changes(decision: Decision) -> dict[str, str | None]:
    """Return the header fields that change, decoded; each is changed once."""
    found = {
        change.name: change.value and str(make_header(decode_header(change.value)))
        for change in decision.header_changes
    }
    assert len(found) == len(decision.header_changes)
    return found


REPLY_TO: Final = {"from": {"reply_to": "author"}}
ORIGINAL: Final = {"from": {"original_from_header": "X-Original-From"}}
BY_RULE: Final[dict[str, dict[str, Value]]] = {ANN: {RULE: "* => legal@example.com", ENFORCE: None}}


def test_reply_to_names_the_author_after_a_rule() -> None:
    decision = decide(fields(ANN), BY_RULE, options=REPLY_TO)

    assert list(changes(decision)) == ["Reply-To"]
    (value,) = [change.value for change in decision.header_changes]
    assert value is not None
    assert [mailbox.address.text for mailbox in read_from([value]).mailboxes] == [ANN]


@pytest.mark.parametrize(("values", "attribute"), [(BY_RULE, RULE), ({}, ENFORCE)], ids=["by a rule", "by enforcement"])
def test_every_other_field_that_changes_says_why(values: dict[str, dict[str, Value]], attribute: str) -> None:
    both = {"from": {"reply_to": "author", "original_from_header": "X-Original-From"}}
    decision = decide(fields(FOREIGN, Sender=BOB), values, options=both)

    assert decision.from_change is not None
    assert len(decision.header_changes) == 2
    for change in decision.header_changes:
        assert change.reasons == decision.from_change.reasons
        assert {reason.attribute for reason in change.reasons} == {attribute}


def test_reply_to_names_the_author_after_a_wish() -> None:
    decision = decide(
        fields(ANN), {BOB: {WISH: "b@example.com"}, ANN: {ENFORCE: None}}, message=Message(to=[BOB]), options=REPLY_TO
    )

    assert list(changes(decision)) == ["Reply-To"]


@pytest.mark.parametrize("present", [JOE, "Ann <a.able@example.com>"])
def test_a_reply_to_of_the_message_stays(present: str) -> None:
    decision = decide(fields(ANN, Reply_To=present), BY_RULE, options=REPLY_TO)

    assert decision.from_change is not None
    assert changes(decision) == {}


def test_enforcement_adds_no_reply_to() -> None:
    for froms in ((FOREIGN,), ()):
        decision = decide(fields(*froms), options=REPLY_TO)
        assert decision.from_change is not None
        assert changes(decision) == {}


def test_no_reply_to_and_no_original_by_default_or_without_a_change() -> None:
    both = {"from": {"reply_to": "author", "original_from_header": "X-Original-From"}}

    assert changes(decide(fields(FOREIGN), BY_RULE)) == {}
    assert changes(decide(fields(FOREIGN))) == {}
    assert is_untouched(decide(fields(ANN), options=both))
    assert is_untouched(decide(fields(FOREIGN), strictness="off", options=both))


def test_a_refusal_changes_nothing_else() -> None:
    decision = decide(fields(FOREIGN, Sender=BOB), strictness="reject", options=ORIGINAL)

    assert decision.verdict == "reject"
    assert (decision.from_change, decision.header_changes) == (None, ())


@pytest.mark.parametrize("values", [BY_RULE, {}], ids=["by a rule", "by enforcement"])
@pytest.mark.parametrize(
    ("froms", "kept"),
    [
        ((f"Boss <{FOREIGN}>",), f"Boss <{FOREIGN}>"),
        ((f"B\u00f6ss <{FOREIGN}>",), f"B\u00f6ss <{FOREIGN}>"),
        ((f"Boss\r\n\t<{FOREIGN}>",), f"Boss <{FOREIGN}>"),
        ((f"A <{FOREIGN}>", "b@elsewhere.example"), f"A <{FOREIGN}>, b@elsewhere.example"),
    ],
)
def test_the_old_from_is_kept(values: dict[str, dict[str, Value]], froms: tuple[str, ...], kept: str) -> None:
    decision = decide(fields(*froms), values, options=ORIGINAL)

    assert decision.from_change is not None
    assert changes(decision) == {"X-Original-From": kept}
    for change in decision.header_changes:
        assert change.value is not None
        assert change.value.isascii()
        assert change.value.isprintable()


@pytest.mark.parametrize("froms", [("J\udcfcrgen <x@y.example>",), ("a\x00b\r\nBcc: x@y.example",), ("\u202e" * 50,)])
def test_an_old_from_is_data_whatever_it_holds(froms: tuple[str, ...]) -> None:
    for change in decide(fields(*froms), BY_RULE, options=ORIGINAL).header_changes:
        assert change.value is None or (change.value.isascii() and change.value.isprintable())


def test_a_field_that_calls_itself_the_original_is_replaced() -> None:
    headers = fields(FOREIGN, X_Original_From="forged@elsewhere.example")

    for values in (BY_RULE, {}):
        assert changes(decide(headers, values, options=ORIGINAL)) == {"X-Original-From": FOREIGN}


def test_a_field_that_calls_itself_the_original_goes_where_there_was_no_from() -> None:
    headers = fields(X_Original_From="forged@elsewhere.example")

    for values in (BY_RULE, {}):
        assert changes(decide(headers, values, options=ORIGINAL)) == {"X-Original-From": None}


def test_a_missing_from_leaves_nothing_to_keep() -> None:
    for values in (BY_RULE, {}):
        decision = decide(fields(), values, options=ORIGINAL)
        assert decision.from_change is not None
        assert changes(decision) == {}


def test_both_extras_come_together() -> None:
    both = {"from": {"reply_to": "author", "original_from_header": "X-Original-From"}}

    assert set(changes(decide(fields(FOREIGN), BY_RULE, options=both))) == {"Reply-To", "X-Original-From"}


# The tables of the policy reference.


@pytest.mark.parametrize("row", policy_table("enforcement"), ids=str)
def test_the_table_of_enforcement(row: Row) -> None:
    values: dict[str, dict[str, Value]] = {
        ANN: {ENFORCE: row.value("value") or None, "zimbraAllowFromAddress": "ann@partner.example.net"},
        CAROL: {"zimbraACE": grant("sendAs")},
        TEAM: {"zimbraACE": grant("sendOnBehalfOfDistList")},
        "vault@example.com": {
            "zimbraACE": grant("sendAs"),
            "zimbraPrefAllowAddressForDelegatedSender": "safe@example.com",
        },
    }
    known_by = {"login": Message(), "mailbox server": BY_WEBMAIL, "nobody": Message(login=None, sender=ANN)}
    headers = [*fields(*row.values("From of the message")), *(("Sender", text) for text in row.values("Sender"))]

    decision = decide(
        headers, values, *builders.data_source(ANN, "ann@gmail.test"), message=known_by[row.text("ann known by")]
    )

    changed = [(change.name, change.value) for change in decision.header_changes]
    outcome = row.text("outcome")
    assert (decision.verdict == "reject") == (outcome == "refused")
    assert (decision.from_change is not None) == (outcome == "own From")
    assert changed == ([("Sender", None)] if outcome == "without Sender" else [])
    assert is_untouched(decision) == (outcome == "passes")
    if outcome == "own From":
        assert new_from(decision) == ("Ann Able", ANN)


@pytest.mark.parametrize("row", policy_table("kept-from"), ids=str)
def test_the_table_of_what_is_kept(row: Row) -> None:
    name, _, value = row.value("setting").partition(" = ")
    headers = [
        (field, text) for field, _, text in (line.partition(": ") for line in row.values("header of the message"))
    ]
    values = {"rule": BY_RULE, "enforcement": {}}[row.text("changed by")]

    decision = decide(headers, values, options={"from": {name: value}} if name else None)

    assert {f"{field}: {text}" for field, text in changes(decision).items()} == set(row.values("added"))
