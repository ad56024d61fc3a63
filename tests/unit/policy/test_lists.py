"""Posts to lists: From, Reply-To, List fields, tag, signatures, envelope sender; the recipients stay what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from ldapmilter.directory.flush import flush_addresses
from tests.support.builders import account, alias_domain, cos, domain, global_config, static_list
from tests.unit.policy.world import ANN, JOE, MAILBOX_SERVER, Message, World, warnings_about

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

STAFF: Final = "staff@example.com"
BOUNCES: Final = "bounces@example.com"
AWAY: Final = "away@elsewhere.example"
FULL: Final = {
    "ldapMilterListFrom": "foreign",
    "ldapMilterListHeaders": "TRUE",
    "ldapMilterListTag": "[staff]",
    "ldapMilterListBounces": BOUNCES,
}
POST: Final = (("From", f"Joe <{JOE}>"), ("To", STAFF), ("Subject", "Lunch"))


def records(
    staff: Mapping[str, Any] | None = None,
    *,
    second: Mapping[str, Any] | None = None,
    ann: Mapping[str, Any] | None = None,
    on_domain: Mapping[str, Any] | None = None,
    members: tuple[str, ...] = (ANN, AWAY),
) -> list[Record]:
    return [
        *global_config(),
        *cos("default"),
        *domain("example.com", **(on_domain or {})),
        *alias_domain("example.org", "example.com"),
        *account(ANN, **{"displayName": "Ann", **(ann or {})}),
        *account(BOUNCES),
        *static_list(STAFF, members, **{"displayName": "Staff", **(FULL if staff is None else staff)}),
        *static_list("sales@example.com", [ANN, AWAY], **{"displayName": "Sales", **(second or {})}),
    ]


def world(
    staff: Mapping[str, Any] | None = None, *, options: Mapping[str, Mapping[str, str]] | None = None, **more: Any
) -> World:
    return World(records(staff, **more), options)


def from_outside(*headers: tuple[str, str], to: tuple[str, ...] = (STAFF,), sender: str = JOE) -> Message:
    return Message(to=to, login=None, sender=sender, headers=headers or POST)


def changes(decision: Decision) -> dict[str, str | None]:
    return {change.name: change.value for change in decision.header_changes}


def sender_of(decision: Decision) -> str | None:
    return decision.sender_change.address.text if decision.sender_change is not None else None


def from_of(decision: Decision) -> str | None:
    return decision.from_change.value if decision.from_change is not None else None


def test_a_post_from_outside_to_a_list_with_a_member_outside() -> None:
    decision = world().decide(from_outside(*POST, ("DKIM-Signature", "v=1;\n\tb=abc")))
    assert decision.from_change is not None
    assert (decision.from_change.value, decision.from_change.cause) == (f"Joe via Staff <{STAFF}>", "list")
    assert changes(decision) == {
        "X-Original-From": f"Joe <{JOE}>",
        "Reply-To": f"Joe <{JOE}>",
        "List-Id": "Staff <staff.example.com>",
        "List-Post": f"<mailto:{STAFF}>",
        "Precedence": "list",
        "Subject": "[staff] Lunch",
        "DKIM-Signature": None,
        "X-Original-DKIM-Signature": "v=1;\n\tb=abc",
    }
    assert sender_of(decision) == BOUNCES
    assert (decision.copies, decision.warnings, decision.verdict) == ((), (), "accept")
    for effect in decision.effects:
        (reason,) = effect.reasons
        assert (reason.level, reason.recipient, reason.attribute[:14]) == ("group", STAFF, "ldapMilterList")


def test_the_header_is_asked_for_at_data_and_nothing_is_decided_before() -> None:
    first = world().at_data(from_outside())
    assert {"from", "to", "cc", "subject", "dkim-signature", "list-id"} <= first.headers_needed
    assert (first.effects, first.list_post) == ((), None)


@pytest.mark.parametrize("values", [{}, {"ldapMilterListFrom": "keep"}, {"ldapMilterListHeaders": "FALSE"}])
def test_a_list_that_changes_nothing_costs_no_header(values: dict[str, str]) -> None:
    first = world(values).at_data(from_outside())
    assert (first.headers_needed, first.list_post) == (frozenset(), None)


def test_a_post_of_ours_keeps_its_from_and_gets_fields_and_tag() -> None:
    decision = world().decide(Message(to=(STAFF,), headers=(("From", ANN), ("To", STAFF), ("Subject", "Re: Lunch"))))
    assert from_of(decision) is None
    assert changes(decision) == {
        "List-Id": "Staff <staff.example.com>",
        "List-Post": f"<mailto:{STAFF}>",
        "Precedence": "list",
        "Subject": "Re: [staff] Lunch",
    }
    assert sender_of(decision) == BOUNCES  # its every recipient is the list
    assert decision.warnings == ()


@pytest.mark.parametrize(
    ("when", "members", "author", "changed"),
    [
        ("foreign", (ANN, AWAY), JOE, True),
        ("foreign", (ANN,), JOE, False),
        ("foreign", (ANN, AWAY), "forged@example.com", False),
        ("foreign", (ANN, AWAY), "forged@example.org", False),
        ("always", (ANN,), JOE, True),
        ("always", (ANN,), ANN, True),
        ("Always ", (ANN,), ANN, True),
        ("keep", (ANN, AWAY), JOE, False),
    ],
)
def test_when_the_from_changes(when: str, members: tuple[str, ...], author: str, *, changed: bool) -> None:
    """And where it does not although a value asks for it, the decision says why."""
    decision = world({"ldapMilterListFrom": when}, members=members).decide(
        from_outside(("From", author), ("To", STAFF))
    )
    assert (from_of(decision) is not None) == changed
    if when == "foreign":
        assert decision.list_post is not None
        assert (decision.list_post.from_stays is None) == changed


def test_a_member_that_forwards_to_outside_reaches_outside() -> None:
    forwards = {"zimbraPrefMailForwardingAddress": AWAY}
    assert from_of(world(members=(ANN,), ann=forwards).decide(from_outside())) == f"Joe via Staff <{STAFF}>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (JOE, "joe via Staff"),
        (f'"Joe, the <Boss>" <{JOE}>', '"Joe, the <Boss> via Staff"'),
        (f'"{JOE}" <{JOE}>', "joe via Staff"),
        (f'"Joe ({JOE})" <{JOE}>', '"Joe (joe) via Staff"'),
        (f"=?utf-8?Q?J=C3=B6?= <{JOE}>", "=?UTF-8?Q?J=C3=B6_via_Staff?="),
    ],
)
def test_how_the_author_is_called(value: str, shown: str) -> None:
    assert from_of(world().decide(from_outside(("From", value), ("To", STAFF)))) == f"{shown} <{STAFF}>"


@pytest.mark.parametrize("froms", [[], [f"{JOE}, x@else.example"], [JOE, JOE], ["broken <"], [""]])
def test_the_envelope_sender_stands_in_for_an_author(froms: list[str]) -> None:
    headers = [("From", value) for value in froms]
    decision = world().decide(from_outside(*headers, ("To", STAFF)))
    assert from_of(decision) == f"joe via Staff <{STAFF}>"
    assert changes(decision)["Reply-To"] == JOE
    assert changes(decision)["X-Original-From"]


def test_a_from_that_names_nobody_of_a_bounce_stays() -> None:
    decision = world().decide(from_outside(("To", STAFF), sender=""))
    assert from_of(decision) is None
    assert warnings_about(decision, "stays", "envelope sender is empty")
    assert sender_of(decision) is None
    assert "List-Id" in changes(decision)


@pytest.mark.parametrize("present", ["other@else.example", "A <a@b.example>, c@d.example"])
def test_a_reply_to_that_is_there_stays(present: str) -> None:
    assert "Reply-To" not in changes(world().decide(from_outside(*POST, ("Reply-To", present))))


def test_an_author_whose_address_is_not_ascii_is_answered_as_they_wrote() -> None:
    author = "J\u00f6 <j\u00f6@client.example.net>"
    decision = world().decide(from_outside(("From", author), ("To", STAFF)))
    assert from_of(decision) == f"=?UTF-8?Q?J=C3=B6_via_Staff?= <{STAFF}>"
    assert changes(decision)["Reply-To"] == author
    assert decision.warnings == ()


@pytest.mark.parametrize("present", ["", " ", "()"])
def test_an_empty_reply_to_is_none(present: str) -> None:
    assert changes(world().decide(from_outside(*POST, ("Reply-To", present))))["Reply-To"] == f"Joe <{JOE}>"


@pytest.mark.parametrize(
    ("cc", "expected"),
    [
        ([], f"Joe <{JOE}>"),
        ([""], f"Joe <{JOE}>"),
        ([f"x@y.example, {JOE}"], None),
        (["x@y.example"], f"Joe <{JOE}>,\n x@y.example"),
        (["Team: x@y.example"], f"Joe <{JOE}>,\n Team: x@y.example"),
        (['"x@y.example'], f'Joe <{JOE}>,\n "x@y.example'),
        (["x@y.example (a"], f"Joe <{JOE}>,\n x@y.example (a"),
        (["x@y.example,", "J\u00f6 <z@y.example>"], f"Joe <{JOE}>,\n x@y.example,\n J\u00f6 <z@y.example>"),
    ],
)
def test_replies_to_the_list_keep_the_author_in_cc(cc: list[str], expected: str | None) -> None:
    fields = [("Cc", value) for value in cc]
    decision = world({"ldapMilterListReplyTo": "list"}).decide(from_outside(*POST, *fields))
    assert changes(decision)["Reply-To"] == STAFF
    assert changes(decision).get("Cc") == expected


@pytest.mark.parametrize("unreadable", ["<<<", "a@b.example, c@d.example", 'x@y.example, "'])
@pytest.mark.parametrize("where", ["author", "list"])
def test_a_from_that_is_not_the_authors_stands_in_for_no_address(unreadable: str, where: str) -> None:
    """The author is the envelope sender then, whose address no field can hold."""
    decision = world({"ldapMilterListReplyTo": where}).decide(
        from_outside(("From", unreadable), ("To", STAFF), sender="j\u00f6@client.example.net")
    )
    assert changes(decision) == {}
    assert warnings_about(decision, "Reply-To", "stays")


def test_replies_to_the_list_whose_author_cannot_join_cc_stay_as_they_are() -> None:
    decision = world({"ldapMilterListReplyTo": "list"}).decide(from_outside(*POST, ("Cc", "J\udcf6 <z@y.example>")))
    assert changes(decision) == {}
    assert warnings_about(decision, "Reply-To", "stays")


def test_fields_of_other_lists_go_and_those_of_this_one_come() -> None:
    field = [
        "List-Unsubscribe: <mailto:leave@example.com>, <https://example.com/x>",
        "list-help: <https://example.com>",
    ]
    decision = world({"ldapMilterListHeaders": "TRUE", "ldapMilterListHeaderField": field}).decide(
        from_outside(
            *POST,
            ("List-Id", "<other.example.net>"),
            ("List-Unsubscribe", "<mailto:x@y.example>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("List-Archive", "<https://y.example>"),
            ("Precedence", "bulk"),
        )
    )
    assert changes(decision) == {
        "List-Id": "Staff <staff.example.com>",
        "List-Post": f"<mailto:{STAFF}>",
        "List-Help": "<https://example.com>",
        "List-Unsubscribe": "<mailto:leave@example.com>, <https://example.com/x>",
        "List-Unsubscribe-Post": None,
        "List-Archive": None,
    }


def test_one_click_of_another_list_goes_with_its_address() -> None:
    here = world({"ldapMilterListHeaderField": "List-Unsubscribe: <mailto:leave@example.com>"})
    fields = [("List-Unsubscribe", "<https://y.example>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
    assert changes(here.decide(from_outside(*POST, *fields, ("List-Id", "<other.example.net>")))) == {
        "List-Unsubscribe": "<mailto:leave@example.com>",
        "List-Unsubscribe-Post": None,
    }


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("ldapMilterListFrom", "sometimes"),
        ("ldapMilterListReplyTo", "me"),
        ("ldapMilterListHeaders", "yes"),
        ("ldapMilterListHeaderField", "List-Id: <x.example>"),
        ("ldapMilterListHeaderField", "Subject: <https://x.example>"),
        ("ldapMilterListHeaderField", "List-Help: <https://x.example>\nBcc: x@y.example"),
        ("ldapMilterListHeaderField", "List-Help: https://x.example"),
        ("ldapMilterListHeaderField", "List-Help: <https://x.example>, nobody"),
        ("ldapMilterListTag", "[a\nb]"),
        ("ldapMilterListTag", "=?utf-8?Q?x?="),
        ("ldapMilterListBounces", "nobody"),
        ("ldapMilterListBounces", "missing@example.com"),
        ("ldapMilterListBounces", STAFF),
        ("ldapMilterListBounces", "staff@example.org"),
    ],
)
def test_an_invalid_value_is_as_if_absent_and_mail_goes_on(attribute: str, value: str) -> None:
    decision = world({attribute: value}).decide(from_outside())
    assert warnings_about(decision, "invalid value", attribute)
    assert (decision.verdict, decision.effects) == ("accept", ())


def test_bounces_that_reach_the_list_are_invalid() -> None:
    forwards = {"zimbraPrefMailForwardingAddress": STAFF}
    decision = world({"ldapMilterListBounces": ANN}, ann=forwards, members=(AWAY,)).decide(from_outside())
    assert warnings_about(decision, "reaches the list itself")
    assert decision.sender_change is None


def test_a_list_in_bcc_beside_others_is_not_betrayed() -> None:
    decision = world().decide(from_outside(("From", JOE), ("To", ANN), to=(ANN, STAFF)))
    assert decision.effects == ()
    assert warnings_about(decision, STAFF, "neither To nor Cc")


def test_a_list_that_is_the_only_recipient_counts_wherever_it_stands() -> None:
    assert from_of(world().decide(from_outside(("From", JOE), ("To", "undisclosed-recipients:;"))))


@pytest.mark.parametrize("spelling", ["STAFF@Example.COM", "staff@example.org", f"The staff <{STAFF}>"])
def test_a_list_beside_others_stands_in_to_or_cc_by_any_of_its_names(spelling: str) -> None:
    decision = world().decide(from_outside(("From", JOE), ("To", ANN), ("Cc", spelling), to=(ANN, STAFF)))
    assert from_of(decision) == f"joe via Staff <{STAFF}>"
    assert warnings_about(decision, "recipients beside", STAFF)


def test_of_two_lists_the_one_that_stands_first_puts_the_from_and_nothing_else_applies() -> None:
    both = world(second={**FULL, "ldapMilterListTag": "[sales]"})
    decision = both.decide(
        from_outside(("From", JOE), ("To", f"sales@example.com, {STAFF}"), to=(STAFF, "sales@example.com"))
    )
    assert from_of(decision) == "joe via Sales <sales@example.com>"
    assert set(changes(decision)) == {"X-Original-From", "Reply-To"}
    assert warnings_about(decision, "several lists", STAFF, "sales@example.com")
    hidden = both.decide(from_outside(("From", JOE), ("To", ANN), to=(STAFF, "sales@example.com")))
    assert hidden.effects == ()


@pytest.mark.parametrize(
    "field",
    [("List-Id", "Staff <STAFF.example.com>"), ("List-Id", "staff.example.com"), ("List-Post", f"<mailto:{STAFF}>")],
)
def test_a_message_that_has_been_through_the_list_is_left_as_it_is(field: tuple[str, str]) -> None:
    decision = world().decide(from_outside(*POST, field))
    assert decision.effects == ()
    assert decision.list_post is not None
    assert decision.list_post.left_alone is not None


@pytest.mark.parametrize("values", [FULL, {"ldapMilterListFrom": "always"}, {"ldapMilterListTag": "[staff]"}])
def test_what_has_been_done_is_not_done_again(values: dict[str, str]) -> None:
    here = world(values)
    first = here.decide(from_outside())
    headers = dict(POST)
    headers.update({"From": from_of(first) or headers["From"]})
    headers.update({name: value for name, value in changes(first).items() if value is not None})
    again = here.decide(from_outside(*headers.items(), sender=BOUNCES))
    assert again.effects == ()


def test_an_automatic_message_gets_neither_tag_nor_reply_to() -> None:
    decision = world().decide(from_outside(*POST, ("Auto-Submitted", "auto-replied")))
    assert from_of(decision) == f"Joe via Staff <{STAFF}>"
    assert sender_of(decision) == BOUNCES
    assert not {"Subject", "Reply-To"} & set(changes(decision))


@pytest.mark.parametrize(("login", "changed"), [(None, True), (ANN, False)])
def test_a_calendar_message_with_an_identity_keeps_its_from(login: str | None, *, changed: bool) -> None:
    message = replace(from_outside(*POST, ("Content-Type", "text/calendar")), login=login)
    assert (from_of(world().decide(message)) is not None) == changed


ENFORCED: Final = {"ldapMilterFromEnforce": "rewrite"}


def test_enforcement_is_first_and_its_from_is_the_author() -> None:
    decision = world({"ldapMilterListFrom": "always"}, ann=ENFORCED).decide(Message(to=(STAFF,), headers=POST))
    assert decision.from_change is not None
    assert decision.from_change.value == f"Ann via Staff <{STAFF}>"
    assert [reason.attribute for reason in decision.from_change.reasons] == [
        "ldapMilterListFrom",
        "ldapMilterFromEnforce",
    ]
    assert changes(decision) == {"X-Original-From": f"Ann <{ANN}>", "Reply-To": f"Ann <{ANN}>"}


def test_a_post_that_enforcement_refuses_is_no_post() -> None:
    decision = world(ann={"ldapMilterFromEnforce": "reject"}).decide(Message(to=(STAFF,), headers=POST))
    assert (decision.verdict, decision.effects, decision.list_post) == ("reject", (), None)


def test_the_senders_rule_is_before_the_list() -> None:
    rule = {"ldapMilterSenderFromRewrite": "* => Legal <legal@example.com>"}
    decision = world({**FULL, "ldapMilterListFrom": "always"}, ann=rule).decide(Message(to=(STAFF,), headers=POST))
    assert decision.from_change is not None
    assert decision.from_change.cause == "rewrite"
    assert changes(decision)["Subject"] == "[staff] Lunch"


def test_a_reply_to_that_a_rule_leaves_to_the_author_stays() -> None:
    rule = {"ldapMilterSenderFromRewrite": "* => Legal <legal@example.com>"}
    here = world({"ldapMilterListReplyTo": "author"}, ann=rule, options={"from": {"reply_to": "author"}})
    assert changes(here.decide(Message(to=(STAFF,), headers=POST)))["Reply-To"] == f"Ann <{ANN}>"


def test_a_post_without_identity_and_bounces_is_unaligned() -> None:
    decision = world({"ldapMilterListFrom": "foreign"}).decide(from_outside())
    assert warnings_about(decision, "unaligned")
    assert sender_of(decision) is None


def test_a_tag_on_a_foreign_post_whose_from_stays_is_warned_of() -> None:
    decision = world({"ldapMilterListTag": "[staff]"}).decide(from_outside())
    assert warnings_about(decision, "breaks the signature", "client.example.net")


def test_settings_are_inherited_and_none_ends_it() -> None:
    assert from_of(world({}, on_domain={"ldapMilterListFrom": "always"}).decide(from_outside()))
    ended = world({"ldapMilterListFrom": "none"}, on_domain={"ldapMilterListFrom": "always"})
    assert ended.decide(from_outside()).effects == ()


def test_a_list_inside_a_plain_list_is_not_addressed() -> None:
    here = World(
        [
            *global_config(),
            *cos("default"),
            *domain("example.com"),
            *account(ANN),
            *static_list(STAFF, [ANN, AWAY], **{k: v for k, v in FULL.items() if k != "ldapMilterListBounces"}),
            *static_list("all@example.com", [STAFF]),
        ]
    )
    decision = here.decide(from_outside(("From", JOE), ("To", "all@example.com"), to=("all@example.com",)))
    assert decision.effects == ()


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_a_mode_that_applies_nothing_tells_all(mode: str) -> None:
    decision = world(options={"lists": {"mode": mode}}).decide(from_outside())
    assert from_of(decision)
    assert {effect.mode for effect in decision.effects} == {mode}
    assert decision.applied == ()


def test_mail_of_a_mailbox_server_is_posted_too() -> None:
    message = Message(to=(STAFF,), login=None, client=MAILBOX_SERVER, sender=ANN, headers=(("From", ANN),))
    assert changes(world().decide(message))["Subject"] == "[staff]"


def test_settings_are_remembered_and_read_again_after_a_flush() -> None:
    here = world()
    assert from_of(here.decide(from_outside())) is not None
    searches = here.store.searches
    assert from_of(here.decide(from_outside())) is not None
    assert here.store.searches == searches
    here.replace(records({"ldapMilterListTag": "[new]"}))
    flush_addresses(here.cache, [STAFF], here.directory.present)
    decision = here.decide(from_outside())
    assert from_of(decision) is None
    assert changes(decision) == {"Subject": "[new] Lunch"}


def test_an_address_for_bounces_that_goes_is_noticed_after_a_flush_of_it() -> None:
    here = world()
    assert sender_of(here.decide(from_outside())) == BOUNCES
    here.replace([one for one in records() if BOUNCES not in one.values("mail")])
    flush_addresses(here.cache, [BOUNCES], here.directory.present)
    decision = here.decide(from_outside())
    assert decision.sender_change is None
    assert warnings_about(decision, "does not exist")


MOST_AT_ONCE: Final = 65_535
"""Octets that libmilter sends of a field; it fails with more, and the message would be deferred for ever."""


@pytest.mark.parametrize(
    "fields",
    [
        [("DKIM-Signature", "ü" * 40_000)],
        [("Reply-To", ", ".join(f'"{"ü" * 30}" <{n}{i}@x.example>' for i in range(500))) for n in "ab"],
        [("Cc", "ü" * 40_000), ("Cc", "ü" * 40_000)],
        [("Subject", "ü" * 40_000)],
        [("Precedence", "ü" * 40_000), ("X-Original-From", "ü" * 40_000)],
    ],
    ids=lambda fields: str(fields[0][0]),
)
@pytest.mark.parametrize("reply_to", ["author", "list"])
def test_no_field_is_longer_than_can_be_sent(fields: list[tuple[str, str]], reply_to: str) -> None:
    decision = world({**FULL, "ldapMilterListReplyTo": reply_to}).decide(
        from_outside(*(one for one in POST if one[0] != fields[0][0]), *fields)
    )
    assert from_of(decision) is not None
    assert all(len((change.value or "").encode()) < MOST_AT_ONCE for change in decision.header_changes)


def test_what_is_written_as_it_is_has_no_line_that_a_server_would_break() -> None:
    """Postfix breaks lines at 998 octets, encoded words in the middle."""
    decision = world({**FULL, "ldapMilterListReplyTo": "list"}).decide(
        from_outside(
            ("From", f'"{"ü" * 500}" <{JOE}>'),
            ("To", STAFF),
            ("Cc", "x@y.example"),
            ("DKIM-Signature", "v=1; b=" + "é\udcff " * 900),
        )
    )
    verbatim = [change.value or "" for change in decision.header_changes if change.verbatim]
    assert len(verbatim) == 3
    assert max(len(line) for value in verbatim for line in value.split("\n")) <= 78


def test_what_enforcement_would_only_refuse_in_observe_is_a_post() -> None:
    decision = world(ann={"ldapMilterFromEnforce": "reject"}, options={"from": {"mode": "observe"}}).decide(
        Message(to=(STAFF,), headers=POST)
    )
    assert (decision.verdict, decision.applied_verdict) == ("reject", "accept")
    assert from_of(decision) == f"Joe via Staff <{STAFF}>"
    assert changes(decision)["Subject"] == "[staff] Lunch"


def test_of_enormous_fields_no_more_is_read_than_counts() -> None:
    """As of every From (``MAX_LENGTH``): 8,000,000 characters in 80 fields took a worker five seconds."""
    here = world({**FULL, "ldapMilterListReplyTo": "list"})
    unseen = ("From", "\u202e" * 65_536)
    decision = here.decide(from_outside(unseen, ("From", "Late <late@x.example>"), ("To", STAFF)))
    assert changes(decision)["X-Original-From"] == JOE
    decision = here.decide(from_outside(*POST, ("Cc", "," * 60_001)))
    assert "Cc" not in changes(decision)
    assert warnings_about(decision, "Cc is too long")
