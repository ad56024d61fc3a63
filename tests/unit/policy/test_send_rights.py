"""Who may write as whom: grants where Zimbra looks for them, extensions, external accounts, Zimbra's own mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.directory.flush import flush_addresses, flush_domain
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import GLOBAL, example, example_records
from tests.unit.policy.table import policy_table
from tests.unit.policy.test_enforcement import (
    ANN_ID,
    BY_WEBMAIL,
    CAROL,
    CREW,
    DAN,
    ENFORCE,
    FOREIGN,
    RULE,
    TEAM,
    decide,
    fields,
    grant,
    is_untouched,
    may_use,
    new_from,
)
from tests.unit.policy.world import ANN, BOB, MAILBOX_SERVER, Message, addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.builders import Value
    from tests.support.record import Record
    from tests.unit.policy.table import Row

    Values = dict[str, dict[str, Value]]

DOMAIN: Final = "example.com"
CLUB: Final = "club@example.com"
OUTER: Final = "outer@example.com"
GMAIL: Final = "ann@gmail.test"
BOB_ID: Final = zimbra_id("account", BOB)
COPY: Final = "ldapMilterArchiveSentBcc"
RULED: Final[dict[str, dict[str, Value]]] = {ANN: {RULE: "* => legal@example.com", COPY: "v@x.test", ENFORCE: "off"}}
STRICT: Final[dict[str, dict[str, Value]]] = {ANN: {ENFORCE: "reject", COPY: "v@x.test"}}
CUSTOMER: Final = "customer@client.example.net"


def club(*members: str, **attributes: Any) -> list[Record]:
    return builders.static_list(CLUB, members, **attributes)


# Grants: where they stand.


@pytest.mark.parametrize("right", ["sendAs", "sendOnBehalfOf", "+sendAs", "SENDAS"])
def test_a_grant_on_the_domain_of_an_account(right: str) -> None:
    assert may_use(CAROL, {DOMAIN: {"zimbraACE": grant(right)}})
    assert may_use(CAROL, {}, *builders.global_grants(grant(right)))


@pytest.mark.parametrize("group", [TEAM, CREW])
def test_a_grant_on_the_domain_of_a_list(group: str) -> None:
    assert may_use(group, {DOMAIN: {"zimbraACE": grant("sendAsDistList")}})
    assert may_use(group, {}, *builders.global_grants(grant("sendOnBehalfOfDistList")))
    assert not may_use(group, {DOMAIN: {"zimbraACE": grant("sendAs")}})


@pytest.mark.parametrize(
    "ace", [grant("sendAsDistList"), grant("*sendAs"), grant("-sendAs"), grant("viewFreeBusy"), grant("sendAs", BOB_ID)]
)
def test_what_on_a_domain_is_no_grant_to_write_as_its_accounts(ace: str) -> None:
    assert not may_use(CAROL, {DOMAIN: {"zimbraACE": ace}})
    assert not may_use(CAROL, {}, *builders.global_grants(ace))


def test_a_grant_on_a_domain_is_for_its_own_accounts() -> None:
    assert not may_use(FOREIGN, {DOMAIN: {"zimbraACE": grant("sendAs")}})
    assert not may_use("keeper@catchall.example", {DOMAIN: {"zimbraACE": grant("sendAs")}})
    assert not may_use("nobody@example.com", {DOMAIN: {"zimbraACE": grant("sendAs")}})


def test_an_inherited_grant_is_for_the_main_address_too() -> None:
    offered: Values = {"vault@example.com": {"zimbraPrefAllowAddressForDelegatedSender": "safe@example.com"}}
    granted: Values = {DOMAIN: {"zimbraACE": grant("sendAs")}}

    assert not may_use("safe@example.com", granted)
    assert may_use("safe@example.com", {**granted, **offered})
    assert not may_use("vault@example.com", {**granted, **offered})


def test_a_grant_on_a_list_that_the_account_is_in() -> None:
    assert may_use(CAROL, {}, *club(CAROL, zimbraACE=grant("sendAs")))
    assert not may_use(BOB, {}, *club(CAROL, zimbraACE=grant("sendAs")))
    assert not may_use(CAROL, {}, *club(CAROL, zimbraACE=grant("sendAsDistList")))
    assert not may_use(CLUB, {}, *club(CAROL, zimbraACE=grant("sendAs")))


def test_a_grant_on_a_list_around_the_list() -> None:
    outer = builders.static_list(OUTER, [CLUB], zimbraACE=grant("sendAs"))

    assert may_use(CAROL, {}, *club(CAROL), *outer)
    assert may_use(CLUB, {}, *club(CAROL), *builders.static_list(OUTER, [CLUB], zimbraACE=grant("sendAsDistList")))


def test_a_grant_that_lists_inside_do_not_inherit() -> None:
    outer = builders.static_list(OUTER, [CLUB, DAN], zimbraACE=grant("^sendAs"))

    assert may_use(DAN, {}, *club(CAROL), *outer)
    assert not may_use(CAROL, {}, *club(CAROL), *outer)


def test_a_dynamic_group_gives_its_members_what_a_list_does() -> None:
    url = f"ldap:///??sub?(&(objectClass=zimbraAccount)(zimbraMailDeliveryAddress={CAROL}))"

    assert may_use(CAROL, {}, *builders.custom_group("smart@example.com", url, zimbraACE=grant("sendAs")))
    assert not may_use(DAN, {}, *builders.custom_group("smart@example.com", url, zimbraACE=grant("sendAs")))


def test_whom_a_member_forwards_to_inherits_nothing() -> None:
    values: Values = {BOB: {"zimbraPrefMailForwardingAddress": CAROL}}

    assert not may_use(CAROL, values, *club(BOB, zimbraACE=grant("sendAs")))


def test_whoever_is_in_a_list_by_a_catch_all_inherits_nothing() -> None:
    assert not may_use("keeper@example.com", {}, *club("anything@catchall.example", zimbraACE=grant("sendAs")))


def test_lists_that_contain_each_other() -> None:
    records = [*club(OUTER, CAROL, zimbraACE=grant("sendAs")), *builders.static_list(OUTER, [CLUB])]

    assert may_use(CAROL, {}, *records)


# Grants: to whom.


@pytest.mark.parametrize(
    "ace",
    [
        grant("sendAs", zimbra_id("domain", DOMAIN), "dom"),
        grant("sendAs", "00000000-0000-0000-0000-000000000000", "all"),
        grant("sendAs", "99999999-9999-9999-9999-999999999999", "pub"),
        grant("sendAs", "Ann@Example.com", "email"),
        grant("sendAs", "example.COM", "edom"),
    ],
)
def test_other_kinds_of_grantees(ace: str) -> None:
    assert may_use(CAROL, {CAROL: {"zimbraACE": ace}})
    assert may_use(CAROL, {DOMAIN: {"zimbraACE": ace}})


@pytest.mark.parametrize("holder", [CAROL, DOMAIN])
def test_a_grant_to_a_group_is_one_to_who_is_in_it(holder: str) -> None:
    ace: Values = {holder: {"zimbraACE": grant("sendAs", zimbra_id("list", CLUB), "grp")}}

    assert may_use(CAROL, ace, *club(ANN))
    assert not may_use(CAROL, ace, *club(BOB))
    assert not may_use(CAROL, ace, *club("ann@catchall.example"))


def test_a_grant_on_a_list_to_a_group() -> None:
    desk = builders.static_list("desk@example.com", [ANN])
    ace = grant("sendAs", zimbra_id("list", "desk@example.com"), "grp")

    assert may_use(CAROL, {}, *club(CAROL, zimbraACE=ace), *desk)


# Grants: which of several.

DENY: Final = grant("-sendAs")
TO_GROUP: Final = grant("sendAs", zimbra_id("list", CLUB), "grp")
DENY_GROUP: Final = grant("-sendAs", zimbra_id("list", CLUB), "grp")
TO_DOMAIN: Final = grant("sendAs", zimbra_id("domain", DOMAIN), "dom")
TO_ALL: Final = grant("sendAs", "00000000-0000-0000-0000-000000000000", "all")


@pytest.mark.parametrize(
    ("on_account", "on_domain", "on_all", "allowed"),
    [
        ([DENY], [grant("sendAs")], [], False),
        ([DENY], [], [grant("sendAs")], False),
        ([], [DENY], [grant("sendAs")], False),
        ([grant("sendAs")], [DENY], [DENY], True),
        ([], [grant("sendAs")], [DENY], True),
        ([DENY_GROUP], [grant("sendAs")], [], False),
        ([TO_GROUP], [DENY], [], True),
        ([DENY, grant("sendAs")], [], [], False),
        ([grant("sendAs"), DENY_GROUP], [], [], True),
        ([TO_GROUP, DENY], [], [], False),
        ([TO_GROUP, DENY_GROUP], [], [], False),
        ([TO_DOMAIN, DENY_GROUP], [], [], False),
        ([TO_ALL, grant("-sendAs", zimbra_id("domain", DOMAIN), "dom")], [], [], False),
        ([grant("-sendAs", BOB_ID)], [grant("sendAs")], [], True),
        ([grant("-*sendAs")], [grant("sendAs")], [], False),
        ([DENY], [grant("sendOnBehalfOf")], [], True),
        ([grant("-sendOnBehalfOf")], [grant("sendOnBehalfOf")], [], False),
    ],
)
def test_the_nearest_decides_and_there_a_deny(
    on_account: list[str | bytes], on_domain: list[str | bytes], on_all: list[str], *, allowed: bool
) -> None:
    values: Values = {CAROL: {"zimbraACE": on_account}, DOMAIN: {"zimbraACE": on_domain}}

    assert may_use(CAROL, values, *club(ANN), *builders.global_grants(*on_all)) == allowed


@pytest.mark.parametrize(
    ("on_account", "on_list", "on_other", "on_domain", "allowed"),
    [
        ([], [DENY], [], [grant("sendAs")], False),
        ([grant("sendAs")], [DENY], [], [], True),
        ([DENY], [grant("sendAs")], [], [], False),
        ([], [grant("sendAs")], [], [DENY], True),
        ([], [grant("sendAs")], [DENY], [], False),
        ([], [DENY], [grant("sendAs")], [], False),
    ],
)
def test_all_lists_together_are_one_level(
    on_account: list[str | bytes],
    on_list: list[str | bytes],
    on_other: list[str | bytes],
    on_domain: list[str | bytes],
    *,
    allowed: bool,
) -> None:
    values: Values = {CAROL: {"zimbraACE": on_account}, DOMAIN: {"zimbraACE": on_domain}}
    other = builders.static_list(OUTER, [CLUB], zimbraACE=on_other)

    assert may_use(CAROL, values, *club(CAROL, zimbraACE=on_list), *other) == allowed


@pytest.mark.parametrize(
    ("doubtful", "certain", "verdict"),
    [("-sendAs", "sendAs", "tempfail"), ("sendAs", "-sendAs", "reject"), ("sendAs", "sendAs", "accept")],
)
def test_a_group_that_is_not_known_whole_matters_where_it_decides(doubtful: str, certain: str, verdict: str) -> None:
    deep = builders.static_list("deep@example.com", [OUTER])
    aces: list[str | bytes] = [
        grant(doubtful, zimbra_id("list", "deep@example.com"), "grp"),
        grant(certain, zimbra_id("list", CLUB), "grp"),
    ]
    records = [*deep, *builders.static_list(OUTER, ["inner@example.com"]), *club(ANN)]
    records += builders.static_list("inner@example.com", [DAN])

    def decided(on_failure: str) -> str:
        options = {"groups": {"max_depth": "1"}, "policy": {"directory_failure": on_failure}}
        values: Values = {CAROL: {"zimbraACE": aces}, **STRICT}
        return decide(fields(CAROL), values, *records, options=options).verdict

    assert decided("tempfail") == verdict
    assert decided("accept") == ("reject" if verdict == "reject" else "accept")


@pytest.mark.parametrize(("on_failure", "verdict"), [("tempfail", "tempfail"), ("accept", "accept")])
def test_a_list_around_the_account_that_is_not_known_whole(on_failure: str, verdict: str) -> None:
    records = [
        *builders.static_list("deep@example.com", [OUTER], zimbraACE=grant("sendAs")),
        *builders.static_list(OUTER, ["inner@example.com"]),
        *builders.static_list("inner@example.com", [CAROL]),
    ]
    options = {"groups": {"max_depth": "1"}, "policy": {"directory_failure": on_failure}}

    assert decide(fields(CAROL), STRICT, *records, options=options).verdict == verdict


# Extensions.


@pytest.mark.parametrize(
    "address",
    [
        "ann+news@example.com",
        "ANN+News@Example.com",
        "a.able+x@example.com",
        "ann+x@example.org",
        "a.able+x+y@example.org",
        "ann+@example.com",
    ],
)
def test_own_addresses_with_an_extension(address: str) -> None:
    assert may_use(address)
    assert not may_use(address, {GLOBAL: {"zimbraMtaRecipientDelimiter": None}})


@pytest.mark.parametrize(
    "address",
    ["+ann@example.com", "bob+ann@example.com", "ann-x@example.com", "ann+x@elsewhere.example", "@example.com"],
)
def test_what_an_extension_does_not_make_the_users(address: str) -> None:
    assert not may_use(address)


def test_every_delimiter_counts() -> None:
    both: Values = {GLOBAL: {"zimbraMtaRecipientDelimiter": ["+", "-"]}}

    assert may_use("ann-x@example.com", both)
    assert may_use("ann+x-y@example.com", both)


def test_an_extended_address_that_somebody_has_is_theirs() -> None:
    assert not may_use("ann+news@example.com", {BOB: {"zimbraMailAlias": "ann+news@example.com"}})
    assert may_use("ann+news@example.com", {ANN: {"zimbraMailAlias": ["a.able@example.com", "ann+news@example.com"]}})


def test_an_extension_of_the_canonical_address() -> None:
    values: Values = {ANN: {"zimbraMailCanonicalAddress": "ann.able@example.com"}}

    assert may_use("ann.able+x@example.com", values)


def test_an_extension_is_not_granted() -> None:
    assert not may_use("carol+x@example.com", {CAROL: {"zimbraACE": grant("sendAs")}})


def test_an_allowed_address_outside_has_no_extension_here() -> None:
    assert not may_use("ann+x@partner.example", {ANN: {"zimbraAllowFromAddress": "ann@partner.example"}})


# External accounts.


def test_the_address_of_an_external_account_is_the_users() -> None:
    assert may_use(GMAIL, {}, *builders.data_source(ANN, "Ann@Gmail.test"))
    assert not may_use(GMAIL, {}, *builders.data_source(BOB, GMAIL))
    assert not may_use("other@gmail.test", {}, *builders.data_source(ANN, GMAIL))


def test_an_external_account_that_is_switched_off_counts_for_nothing() -> None:
    for enabled in (False, None):
        assert not may_use(GMAIL, {}, *builders.data_source(ANN, GMAIL, zimbraDataSourceEnabled=enabled))
    both = [
        *builders.data_source(ANN, GMAIL, name="off", zimbraDataSourceEnabled=False),
        *builders.data_source(ANN, GMAIL, name="on"),
    ]
    assert may_use(GMAIL, {}, *both)


@pytest.mark.parametrize(
    "address",
    [
        BOB,
        "nobody@example.com",
        "bob@example.org",
        "bob@localhost",
        "bob%example.com@localhost",
        "bob@mx1.example.com",
        "bob@[192.0.2.25]",
    ],
)
def test_nobody_gets_an_address_of_this_house_by_an_external_account(address: str) -> None:
    # Every user may make an external account, and write any address into it.
    assert not may_use(address, {}, *builders.data_source(ANN, address))


@pytest.mark.parametrize("address", ["", "gmail", "Ann <ann@gmail.test>", "@gmail.test"])
def test_an_external_account_without_an_address(address: str) -> None:
    assert not may_use(GMAIL, {}, *builders.data_source(ANN, address or " "))


def test_an_external_account_that_could_not_be_asked_for_is_no_reason_for_a_refusal() -> None:
    values: Values = {ANN: {ENFORCE: "reject"}}
    message = Message(headers=fields(GMAIL))
    for on_failure, verdict in (("tempfail", "tempfail"), ("accept", "accept")):
        world = example(values, options={"policy": {"directory_failure": on_failure}})
        world.at_data(message)
        world.goes_down()
        assert world.decide(message).verdict == verdict


# Mail of mailbox servers on somebody's behalf.


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize("sender", [ANN, "Ann <a.able@example.com>", "ann@example.org", "ann+x@example.com"])
@pytest.mark.parametrize("author", [BOB, "Boss <bob@example.org>", TEAM])
def test_a_mailbox_server_has_checked_on_whose_behalf(strictness: str, sender: str, author: str) -> None:
    headers = fields(author, Sender=sender)

    assert is_untouched(decide(headers, strictness=strictness, message=BY_WEBMAIL))
    assert not is_untouched(decide(headers, strictness=strictness))
    assert not is_untouched(decide(headers, strictness=strictness, message=Message(client=MAILBOX_SERVER)))


@pytest.mark.parametrize(
    ("author", "sender"),
    [
        (BOB, None),
        (BOB, ""),
        (BOB, "carol@example.com"),
        (BOB, f"{ANN}, carol@example.com"),
        (BOB, "Ann"),
        (FOREIGN, ANN),
        (f"{BOB}, {FOREIGN}", ANN),
        ("nobody@example.com", ANN),
        ("anything@catchall.example", ANN),
        ("Boss", ANN),
    ],
)
def test_what_is_not_on_the_behalf_of_an_account_here(author: str, sender: str | None) -> None:
    headers = fields(author) if sender is None else fields(author, Sender=sender)

    assert decide(headers, strictness="reject", message=BY_WEBMAIL).verdict == "reject"
    assert new_from(decide(headers, message=BY_WEBMAIL)) == ("Ann Able", ANN)


# Mail that is sent on.


def resent(*block: str, author: str = CUSTOMER) -> list[tuple[str, str]]:
    """Return a header: Resent fields as they stand, ``Name: value``, and the From of whoever wrote."""
    return [*((name, value) for name, _, value in (line.partition(": ") for line in block)), ("From", author)]


OWN_BLOCK: Final = ("Resent-Date: today", "Resent-From: Ann <ann@example.com>", "Resent-To: joe@client.example.net")
OTHER_BLOCK: Final = ("Resent-Date: before", f"Resent-From: {CUSTOMER}", f"Resent-Sender: {BOB}", f"Resent-To: {ANN}")
RESENT_BY_ANN: Final = {
    "one block": OWN_BLOCK,
    "an alias": ("Resent-From: a.able@example.org",),
    "a Resent-Sender": (f"Resent-From: {BOB}", f"Resent-Sender: {ANN}"),
    "a Resent-Sender alone": (f"Resent-Sender: {ANN}",),
    "above another's": (*OWN_BLOCK, *OTHER_BLOCK),
    "above another's behind a hop": (f"Resent-From: {ANN}", "Received: from x", f"Resent-Sender: {BOB}"),
    "below a hop": ("Received: from x", *OWN_BLOCK),
}
RESENT_BY_OTHERS: Final = {
    "another": (f"Resent-From: {BOB}",),
    "above the own": (*OTHER_BLOCK, *OWN_BLOCK),
    "above the own behind a hop": (f"Resent-From: {BOB}", "Received: from x", f"Resent-Sender: {ANN}"),
    "two in one": (f"Resent-From: {ANN}, {BOB}",),
    "unreadable": ("Resent-From: Ann",),
    "empty": ("Resent-From: ",),
    "no author": ("Resent-To: joe@client.example.net",),
}


@pytest.mark.parametrize("block", RESENT_BY_ANN.values(), ids=RESENT_BY_ANN.keys())
def test_what_the_user_sends_on_keeps_its_from(block: Sequence[str]) -> None:
    headers = resent(*block)

    ruled = decide(headers, RULED, message=BY_WEBMAIL)
    refused = decide(headers, STRICT, message=BY_WEBMAIL)

    assert is_untouched(ruled)
    assert is_untouched(refused)
    assert addresses(ruled) == addresses(refused) == ["v@x.test"]
    assert is_untouched(decide(headers, message=BY_WEBMAIL))


@pytest.mark.parametrize("block", RESENT_BY_OTHERS.values(), ids=RESENT_BY_OTHERS.keys())
def test_what_somebody_else_has_sent_on_is_like_any_other_mail(block: Sequence[str]) -> None:
    headers = resent(*block)

    assert decide(headers, RULED, message=BY_WEBMAIL).from_change is not None
    assert decide(headers, STRICT, message=BY_WEBMAIL).verdict == "reject"
    assert new_from(decide(headers, message=BY_WEBMAIL)) == ("Ann Able", ANN)
    assert is_untouched(decide(resent(*block, author=ANN), STRICT, message=BY_WEBMAIL))


@pytest.mark.parametrize("block", RESENT_BY_ANN.values(), ids=RESENT_BY_ANN.keys())
def test_whoever_logs_in_sends_nothing_on(block: Sequence[str]) -> None:
    headers = resent(*block)

    assert decide(headers, RULED).from_change is not None
    assert decide(headers, STRICT).verdict == "reject"


def test_the_resent_fields_are_judged_where_a_message_is_sent_on() -> None:
    decision = decide(resent(f"Resent-From: {FOREIGN}", f"Resent-Sender: {ANN}"), STRICT, message=BY_WEBMAIL)

    assert decision.refusal is not None
    assert decision.refusal.address == FOREIGN
    assert decision.smtp_reply is not None
    assert "The Resent-From address is not yours" in decision.smtp_reply


def test_what_is_sent_on_with_a_right_of_the_user() -> None:
    values: Values = {**STRICT, CAROL: {"zimbraACE": grant("sendAs")}}

    assert is_untouched(decide(resent(f"Resent-From: {CAROL}"), values, message=BY_WEBMAIL))


# Calendar mail.

CALENDAR: Final = [
    ("Content-Type", "text/calendar; method=REQUEST"),
    ("Content-Type", "TEXT/Calendar; charset=utf-8; method=REPLY"),
    ("Content-Type", "text/calendar"),
    ("Content-Type", "text/\r\n calendar;\r\n\tmethod=REQUEST"),
    ("Content-Type", "text(a comment)/calendar; method=CANCEL"),
    ("Content-Class", "urn:content-classes:calendarmessage"),
    ("content-class", "URN:Content-Classes:CalendarMessage"),
]
NO_CALENDAR: Final = [
    ("Content-Type", "text/plain; name=text/calendar"),
    ("Content-Type", "multipart/mixed; boundary=x"),
    ("Content-Type", "text/calendarx"),
    ("Content-Type", ""),
    ("Content-Class", "urn:content-classes:message"),
    ("Subject", "text/calendar"),
    ("Content-Type", "(" * 100_000),
]


@pytest.mark.parametrize("message", [Message(), BY_WEBMAIL], ids=["login", "mailbox server"])
@pytest.mark.parametrize("field", CALENDAR, ids=range(len(CALENDAR)))
def test_calendar_mail_keeps_its_from_and_is_copied(message: Message, field: tuple[str, str]) -> None:
    decision = decide([*fields(ANN), field], RULED, message=message)

    assert is_untouched(decision)
    assert addresses(decision) == ["v@x.test"]


@pytest.mark.parametrize("field", NO_CALENDAR, ids=range(len(NO_CALENDAR)))
@pytest.mark.parametrize("message", [Message(), BY_WEBMAIL], ids=["login", "mailbox server"])
def test_what_is_no_calendar_mail(message: Message, field: tuple[str, str]) -> None:
    assert decide([*fields(ANN), field], RULED, message=message).from_change is not None
    assert decide([*fields(FOREIGN), field], STRICT, message=message).verdict == "reject"


def test_two_content_types_that_differ_are_no_calendar() -> None:
    headers = [*fields(ANN), CALENDAR[0], ("Content-Type", "text/plain")]

    assert decide(headers, RULED).from_change is not None


@pytest.mark.parametrize("strictness", ["rewrite", "reject"])
@pytest.mark.parametrize("author", [BOB, CUSTOMER])
@pytest.mark.parametrize("field", CALENDAR, ids=range(len(CALENDAR)))
def test_anybody_acts_on_anybodys_calendar_where_zimbra_sends(
    strictness: str, author: str, field: tuple[str, str]
) -> None:
    headers = [*fields(author, Sender=ANN), field]

    assert is_untouched(decide(headers, strictness=strictness, message=BY_WEBMAIL))
    assert not is_untouched(decide(headers, strictness=strictness))


def test_the_recipients_from_does_not_change_calendar_mail_either() -> None:
    values: Values = {BOB: {"ldapMilterRecipientFromRewrite": "b@example.com"}, ANN: {ENFORCE: None}}
    message = Message(to=[BOB])

    assert decide(fields(ANN), values, message=message).from_change is not None
    assert is_untouched(decide([*fields(ANN), CALENDAR[0]], values, message=message))


def test_calendar_mail_of_a_login_with_a_rule_is_still_enforced() -> None:
    values: Values = {ANN: {RULE: "* => legal@example.com", ENFORCE: "reject"}}
    headers = [*fields(BOB), CALENDAR[0]]

    assert decide(headers, values).verdict == "reject"
    assert is_untouched(decide([*fields(ANN), CALENDAR[0]], values))
    values[ANN][ENFORCE] = "rewrite"
    assert new_from(decide([*fields(BOB, Sender=FOREIGN), CALENDAR[0]], values)) == ("Ann Able", ANN)


# Disposition notifications.

NOTIFICATION: Final = [
    "multipart/report; report-type=disposition-notification; boundary=x",
    'Multipart/Report; boundary="y"; Report-Type="Disposition-Notification"',
    "multipart/report;\r\n\treport-type=disposition-notification",
]


@pytest.mark.parametrize("value", NOTIFICATION)
def test_a_disposition_notification_keeps_its_from_and_is_copied(value: str) -> None:
    receipt = Message(sender="")

    decision = decide(fields(ANN, Content_Type=value), RULED, message=receipt)

    assert is_untouched(decision)
    assert addresses(decision) == ["v@x.test"]
    assert decide(fields(FOREIGN, Content_Type=value), STRICT, message=receipt).verdict == "reject"


@pytest.mark.parametrize(
    ("value", "sender"),
    [
        (NOTIFICATION[0], None),
        ("multipart/report; report-type=delivery-status", ""),
        ("multipart/report; report-type=disposition-notification-x", ""),
        ("multipart/mixed; report-type=disposition-notification", ""),
        ("multipart/report; x=report-type=disposition-notification", ""),
        ("text/plain", ""),
    ],
)
def test_what_is_no_disposition_notification(value: str, sender: str | None) -> None:
    message = Message(sender=sender)

    assert decide(fields(ANN, Content_Type=value), RULED, message=message).from_change is not None


# What is read for it.


def test_headers_are_read_only_where_they_decide() -> None:
    assert example({}).at_data(BY_WEBMAIL).headers_needed == frozenset()
    assert example({ANN: {COPY: "v@x.test"}}).at_data(BY_WEBMAIL).headers_needed == frozenset()
    assert "resent-from" not in example(STRICT).at_data(Message()).headers_needed
    assert "content-type" not in example(STRICT).at_data(Message()).headers_needed
    assert example(RULED).at_data(Message()).headers_needed == {"content-type", "content-class"}
    assert example(STRICT).at_data(BY_WEBMAIL).headers_needed >= {"resent-from", "resent-sender", "content-type"}


@pytest.mark.parametrize("message", [Message(login=None, sender=ANN), Message(login=None, sender="", client=None)])
def test_nobody_gets_anything_by_such_fields(message: Message) -> None:
    headers = [*resent(*OWN_BLOCK), *CALENDAR]

    assert is_untouched(decide(headers, RULED, message=message))
    assert addresses(decide(headers, RULED, message=message)) == []


def test_own_addresses_cost_no_search_and_refusals_cost_none_again() -> None:
    world = example(STRICT)
    own, foreign = Message(headers=fields("a.able@example.com")), Message(headers=fields(FOREIGN))

    world.decide(own)
    before = world.store.searches
    world.decide(own)
    assert world.store.searches == before
    assert world.decide(foreign).verdict == "reject"
    assert world.store.searches == before + 1
    assert world.decide(foreign).verdict == "reject"
    assert world.store.searches == before + 1


def test_a_grant_that_does_not_depend_on_lists_costs_what_the_entry_costs() -> None:
    world = example({**STRICT, CAROL: {"zimbraACE": grant("sendAs")}})
    world.decide(Message(headers=fields(ANN)))
    before = world.store.searches

    assert is_untouched(world.decide(Message(headers=fields(CAROL))))

    assert world.store.searches == before + 1


# Senders without an account of their own.


def test_a_hosted_sender_without_account_that_sends_on() -> None:
    values: Values = {DOMAIN: {RULE: "* => legal@example.com"}}
    ghost = replace(BY_WEBMAIL, sender="ghost@example.com")
    world = example(values)

    own = world.decide(replace(ghost, headers=resent("Resent-From: Ghost <ghost@example.com>")))
    other = world.decide(replace(ghost, headers=resent(f"Resent-From: {ANN}")))

    assert own.from_change is None
    assert other.from_change is not None


# What is remembered of rights.

CHANGES: Final = {
    "on the domain": ({DOMAIN: {"zimbraACE": grant("sendAs")}}, []),
    "on everybody": ({}, builders.global_grants(grant("sendAs"))),
    "on a list": ({}, club(CAROL, zimbraACE=grant("sendAs"))),
    "external account": ({}, builders.data_source(ANN, CAROL.replace("example.com", "gmail.test"))),
}


@pytest.mark.parametrize("forget", ["ttl", "address", "domain", "everything"])
@pytest.mark.parametrize("change", CHANGES)
def test_rights_are_forgotten_like_everything_else(change: str, forget: str) -> None:
    values, records = CHANGES[change]
    address = CAROL.replace("example.com", "gmail.test") if change == "external account" else CAROL
    message = Message(headers=fields(address))
    world = example(STRICT, *club(CAROL))
    before = [*club(CAROL)] if change != "on a list" else []
    changed = example_records({**STRICT, **values}, *before, *records)

    assert world.decide(message).verdict == "reject"
    world.replace(changed)
    assert world.decide(message).verdict == "reject"
    if forget == "ttl":
        world.clock.now += world.config.cache.ttl + 1
    elif forget == "address":
        flush_addresses(world.cache, [ANN], world.directory.present)
    elif forget == "domain":
        flush_domain(world.cache, DOMAIN)
    else:
        world.cache.flush()

    assert world.decide(message).verdict == "accept"


# The tables of the policy reference.


@pytest.mark.parametrize("row", policy_table("checked-by-server"), ids=str)
def test_the_table_of_what_a_mailbox_server_has_checked(row: Row) -> None:
    known_by = {"login": Message(), "mailbox server": BY_WEBMAIL}
    parted = (header.partition(": ") for header in row.values("header of the message"))
    headers = [(name, value) for name, _, value in parted]

    decision = decide(headers, strictness="reject", message=known_by[row.text("ann known by")])

    assert decision.verdict == {"passes": "accept", "refused": "reject"}[row.text("outcome")]


@pytest.mark.parametrize("row", policy_table("send-rights"), ids=str)
def test_the_table_of_send_rights(row: Row) -> None:
    grantees = {"ann": f"{ANN_ID} usr", "bob": f"{BOB_ID} usr", "crew": f"{zimbra_id('list', CLUB)} grp"}

    def aces(column: str) -> list[str | bytes]:
        said = (text.partition(" ") for text in row.values(column))
        return [f"{grantees[who]} {right}" for who, _, right in said]

    holders = {CAROL: "carol", "sub@example.com": "sub", TEAM: "team", DOMAIN: "example.com"}
    values: Values = {holder: {"zimbraACE": aces(column)} for holder, column in holders.items()}
    everybody = builders.global_grants(*[str(ace) for ace in aces("global grant")])

    assert may_use(CAROL, values, *club(ANN), *everybody) == (row.text("outcome") == "passes")


def test_the_global_grants_are_read_beside_a_search_base() -> None:
    options = {"ldap": {"search_base": "dc=com"}}
    granted = example(STRICT, *builders.global_grants(grant("sendAs")), options=options)
    external = example(STRICT, *builders.data_source(ANN, GMAIL), options=options)

    assert granted.decide(Message(headers=fields(CAROL))).verdict == "accept"
    assert external.decide(Message(headers=fields(GMAIL))).verdict == "accept"
