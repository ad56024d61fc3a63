"""Posts whose header is not what a mail program writes: fields too many, blank, unreadable; parts in other modes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mailbox.reading import read_text
from ldapmilter.message import Headers
from ldapmilter.milter.header_fields import MAX_KEPT, HeaderFields
from ldapmilter.policy.decide import decide
from ldapmilter.policy.list_subject import tagged
from tests.unit.policy.test_lists import (
    BOUNCES,
    ENFORCED,
    FULL,
    POST,
    STAFF,
    changes,
    from_of,
    from_outside,
    sender_of,
    world,
)
from tests.unit.policy.world import ANN, JOE, TODAY, Message, warnings_about

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

RULE: Final = {"ldapMilterSenderFromRewrite": "* => Legal <legal@example.com>"}


def told(decision: Decision) -> list[tuple[str, str]]:
    """Return the Froms that nobody puts, each with its kind."""
    return [(one.kind, one.value or "") for one in decision.header_changes if one.name == "From"]


@pytest.mark.parametrize("mode", ["observe", "pass"])
@pytest.mark.parametrize(
    ("on_ann", "tells"),
    [(ENFORCED, ("from-enforce", f"Ann <{ANN}>")), (RULE, ("from-rewrite", "Legal <legal@example.com>"))],
)
def test_a_list_puts_the_from_that_another_part_would_only_have_put(
    mode: str, on_ann: dict[str, str], tells: tuple[str, str]
) -> None:
    """The message left with the author's own From: neither was carried out."""
    here = world({"ldapMilterListFrom": "always"}, ann=on_ann, options={"from": {"mode": mode}})
    decision = here.decide(Message(to=(STAFF,), headers=POST))
    assert decision.from_change is not None
    assert (decision.from_change.value, decision.from_change.mode) == (f"Joe via Staff <{STAFF}>", "apply")
    assert [one.value for one in decision.applied_headers if one.name == "From"] == [f"Joe via Staff <{STAFF}>"]
    assert told(decision) == [tells]
    assert changes(decision)["X-Original-From"] == f"Joe <{JOE}>"


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_enforcement_puts_the_from_where_the_list_would_only_have_put_one(mode: str) -> None:
    here = world({"ldapMilterListFrom": "always"}, ann=ENFORCED, options={"lists": {"mode": mode}})
    decision = here.decide(Message(to=(STAFF,), headers=POST))
    assert [one.value for one in decision.applied_headers] == [f"Ann <{ANN}>"]
    assert told(decision) == [("from-list", f"Ann via Staff <{STAFF}>")]


def test_where_nothing_is_carried_out_all_is_told_as_it_would_be() -> None:
    here = world({"ldapMilterListFrom": "always"}, ann=ENFORCED, options={"policy": {"mode": "observe"}})
    decision = here.decide(Message(to=(STAFF,), headers=POST))
    assert from_of(decision) == f"Ann via Staff <{STAFF}>"
    assert changes(decision)["X-Original-From"] == f"Ann <{ANN}>"
    assert decision.applied == ()


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (("a@b.example", "<<<"), "a@b.example"),
        (("<<<", "nobody"), f"Joe <{JOE}>"),
        (("A <a@b.example>, <<<", "", "A <A@b.example>, c@d.example"), "A <a@b.example>, c@d.example"),
        (("j\u00f6@b.example", "A <a@b.example>"), "j\u00f6@b.example,\n A <a@b.example>"),
    ],
)
def test_of_several_reply_to_fields_one_is_left(fields: tuple[str, ...], left: str) -> None:
    decision = world().decide(from_outside(*POST, *(("Reply-To", value) for value in fields)))
    assert changes(decision)["Reply-To"] == left


def test_of_more_reply_to_fields_than_one_can_hold_the_first_are_left() -> None:
    decision = world().decide(from_outside(*POST, *(("Reply-To", f"{i:0900}@b.example") for i in range(3))))
    assert changes(decision)["Reply-To"] == f"Joe <{JOE}>"  # no address is so long
    many = (("Reply-To", f'"{"ü" * 40}" <u{i}@b.example>') for i in range(900))
    (written,) = [one for one in world().decide(from_outside(*POST, *many)).header_changes if one.name == "Reply-To"]
    assert 100 < (written.value or "").count("@") < 900


def test_cc_fields_that_were_not_all_kept_stay() -> None:
    fields = HeaderFields(frozenset({"from", "to", "cc"}))
    for name, value in (*POST, *(("Cc", f"u{number}@b.example") for number in range(MAX_KEPT + 9))):
        fields.take(name.lower(), value.encode())
    assert fields.headers().cut == {"cc"}
    here = world({"ldapMilterListReplyTo": "list"})
    message = from_outside()
    decision = decide(
        message.envelope, here.directory.for_message(), here.config.policy, today=TODAY, headers=fields.headers()
    )
    assert changes(decision) == {}
    assert warnings_about(decision, "Reply-To", "too many Cc fields")


def test_fields_that_were_all_kept_are_all_there() -> None:
    fields = HeaderFields(frozenset({"cc"}))
    for number in range(MAX_KEPT + 1):
        fields.take("cc", b"%d" % number)
    assert fields.headers() == Headers(fields=tuple(("cc", str(number)) for number in range(MAX_KEPT + 1)))


@pytest.mark.parametrize("at", ["@", "\uff20", "\ufe6b"])
def test_an_address_in_the_authors_name_loses_its_domain_whatever_its_at(at: str) -> None:
    came = f'"Joe joe{at}client.example.net {at}" <{JOE}>'
    assert from_of(world().decide(from_outside(("From", came), ("To", STAFF)))) == f"Joe joe via Staff <{STAFF}>"


@pytest.mark.parametrize("fields", [("", f"Joe <{JOE}>"), (f"Joe <{JOE}>", " ", "()")])
def test_a_blank_from_beside_the_authors_is_none(fields: tuple[str, ...]) -> None:
    decision = world().decide(from_outside(*(("From", value) for value in fields), ("To", STAFF)))
    assert from_of(decision) == f"Joe via Staff <{STAFF}>"
    assert changes(decision)["Reply-To"] == f"Joe <{JOE}>"


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ((" ", "Lunch"), "[staff] Lunch"),
        (("Lunch", "Dinner"), "[staff] Lunch"),
        (("[staff] Lunch", "Dinner"), "[staff] Lunch"),
        (("[staff] Lunch\r\n today", ""), "[staff] Lunch\n today"),
    ],
)
def test_of_several_subjects_the_first_that_says_anything_is_left(fields: tuple[str, ...], left: str) -> None:
    assert (
        changes(world().decide(from_outside(*POST[:2], *(("Subject", value) for value in fields))))["Subject"] == left
    )


@pytest.mark.parametrize(
    ("sender", "bounces", "unaligned"),
    [
        (JOE, BOUNCES, None),
        (JOE, "bounces@sub.example.com", None),
        (JOE, "bounces@else.example", "in another domain"),
        ("", BOUNCES, "envelope sender is empty"),
    ],
)
def test_an_envelope_sender_that_does_not_agree_with_the_from_is_told(
    sender: str, bounces: str, unaligned: str | None
) -> None:
    decision = world({**FULL, "ldapMilterListBounces": bounces}).decide(from_outside(sender=sender))
    assert sender_of(decision) == (bounces if sender else None)
    if unaligned is None:
        assert not warnings_about(decision, "unaligned")
    else:
        assert warnings_about(decision, "unaligned", unaligned)


def in_japanese(octets: bytes) -> str:
    return f"=?iso-2022-jp?B?{base64.b64encode(octets).decode('ascii')}?="


@pytest.mark.parametrize(
    ("octets", "tag"),
    [
        (b"\x1b(J[staff]\x1b(B \x1b$B2q\x1b(B", "[staff]"),
        (b"\x1b$B2q5D\x1b(B Lunch", "\u4f1a"),
        (b"\x1b$B!N\x1b(B[staff]", "\uff3b"),
    ],
)
def test_a_tag_in_a_charset_with_several_spellings_is_cut_off(octets: bytes, tag: str) -> None:
    came = in_japanese(octets)
    assert read_text(came).startswith(tag)
    changed = tagged(came, tag)
    assert changed is not None
    assert read_text(changed).count(tag) == 1
    assert read_text(changed).replace(" ", "") == read_text(came).replace(" ", "")


@pytest.mark.parametrize("marks", ["Fwd: Re: " * 100, "Fwd: " * 150])
def test_marks_are_folded(marks: str) -> None:
    changed = tagged(f"{marks}Lunch", "[staff]")
    assert changed is not None
    assert max(map(len, changed.split("\n"))) <= 76
    assert tagged(changed, "[staff]") in (None, changed)
