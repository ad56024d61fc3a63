"""Why settings of a list change nothing in a message: the nearest value first, and what was in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.policy.test_lists import AWAY, BOUNCES, FULL, POST, STAFF, from_outside, world
from tests.unit.policy.world import ANN, BOB, JOE, Message

if TYPE_CHECKING:
    from ldapmilter.policy.not_applied import NotApplied
    from tests.unit.policy.world import World

FOREIGN = {"ldapMilterListFrom": "foreign"}


def told(here: World, message: Message) -> list[tuple[str, str, str]]:
    """Return cause, attribute and text of every setting that does not count."""
    of_lists = [one for one in here.explain(message)[1] if one.way == "list"]
    assert len(of_lists) <= 1
    return [(one.cause, one.reason.attribute, one.text) for by in of_lists for one in by.values]


def only(here: World, message: Message) -> tuple[str, str]:
    ((cause, _, text),) = told(here, message)
    return cause, text


def test_where_every_setting_counts_nothing_is_told() -> None:
    assert told(world(), from_outside()) == []


@pytest.mark.parametrize("message", [from_outside(), Message(to=(BOB,)), Message(to=(JOE,))])
def test_without_settings_nothing_is_told(message: Message) -> None:
    assert told(world({}), message) == []


@pytest.mark.parametrize(
    ("settings", "more", "message", "expected"),
    [
        (FOREIGN, {"members": (ANN,)}, from_outside(), ("no-match", "the list reaches no address outside")),
        (
            FOREIGN,
            {},
            Message(to=(STAFF,), headers=(("From", ANN), ("To", STAFF))),
            ("no-match", "the author's domain example.com is hosted here"),
        ),
        (
            {"ldapMilterListFrom": "keep"},
            {"on_domain": {"ldapMilterListFrom": "always"}},
            from_outside(),
            ("hidden", "hidden by the value of the group level"),
        ),
        (
            {"ldapMilterListFrom": "keep", "ldapMilterListTag": "[x]"},
            {},
            from_outside(),
            ("off", "keep: a post keeps its From"),
        ),
        (
            {"ldapMilterListHeaders": "FALSE", "ldapMilterListTag": "[x]"},
            {},
            from_outside(),
            ("off", "FALSE: no List fields are added"),
        ),
        (
            {"ldapMilterListTag": "[x]"},
            {},
            from_outside(*POST, ("Auto-Submitted", "auto-replied")),
            ("exempt", "an automatic message (Auto-Submitted)"),
        ),
        (
            {"ldapMilterListTag": "[x]"},
            {},
            from_outside(*POST[:2], ("Subject", "[x] Lunch")),
            ("already", "the Subject has it already, or is too long for it"),
        ),
        (
            {"ldapMilterListReplyTo": "author"},
            {},
            from_outside(*POST, ("Reply-To", AWAY)),
            ("already", "Reply-To has an address already"),
        ),
        (
            {"ldapMilterListBounces": BOUNCES},
            {},
            from_outside(*POST, to=(STAFF, BOB)),
            ("no-match", "the From stays, and there are recipients beside the list"),
        ),
        (
            {"ldapMilterListBounces": BOUNCES},
            {},
            from_outside(sender=""),
            ("exempt", "the envelope sender is empty: it asks for no bounces"),
        ),
        (
            FOREIGN,
            {},
            from_outside(("From", JOE), ("To", BOB), to=(BOB, STAFF)),
            ("not-addressed", f"{STAFF} stands in neither To nor Cc, and is not the only recipient"),
        ),
        (
            FOREIGN,
            {},
            from_outside(*POST, ("List-Post", f"<mailto:{STAFF}>")),
            ("already", "it carries this list's List-Id or List-Post already"),
        ),
        (FOREIGN, {"options": {"lists": {"mode": "observe"}}}, from_outside(), ("mode", "[lists] is in mode observe")),
        (
            {"ldapMilterListFrom": "always"},
            {"ann": {"ldapMilterSenderFromRewrite": "* => Legal <legal@example.com>"}},
            Message(to=(STAFF,), headers=POST),
            ("outranked", "a rewrite value comes first"),
        ),
    ],
)
def test_the_setting_that_does_not_count(
    settings: dict[str, str], more: dict[str, Any], message: Message, expected: tuple[str, str]
) -> None:
    assert only(world(settings, **more), message) == expected


def test_a_nearer_value_and_none_hide_those_of_the_domain() -> None:
    here = world({"ldapMilterListFrom": "none"}, on_domain={"ldapMilterListFrom": "always"})
    assert [(cause, text) for cause, _, text in told(here, from_outside())] == [
        ("none", "none ends inheritance here"),
        ("hidden", "hidden by the value of the group level"),
    ]


def test_a_value_that_cannot_be_used() -> None:
    ((cause, attribute, text),) = told(world({"ldapMilterListFrom": "sometimes"}), from_outside())
    assert (cause, attribute) == ("invalid", "ldapMilterListFrom")
    assert "sometimes" in text


def test_of_two_lists_each_setting_that_does_not_count() -> None:
    here = world(second={"ldapMilterListFrom": "always"})
    both = from_outside(("From", JOE), ("To", f"sales@example.com, {STAFF}"), to=(STAFF, "sales@example.com"))
    found = told(here, both)
    assert {(cause, attribute) for cause, attribute, _ in found} == {("outranked", name) for name in FULL}
    assert {text for *_, text in found} == {"sales@example.com decides: it stands first in To, then Cc"}


def test_a_post_that_is_refused_has_no_answer() -> None:
    here = world({"ldapMilterListTag": "[x]", "ldapMilterListFrom": "keep"}, ann={"ldapMilterFromEnforce": "reject"})
    assert told(here, Message(to=(STAFF,), headers=POST)) == []


def test_enforcement_that_is_only_told_of_is_told_although_the_list_puts_the_from() -> None:
    here = world(
        {"ldapMilterListFrom": "always"},
        ann={"ldapMilterFromEnforce": "rewrite"},
        options={"from": {"mode": "observe"}},
    )
    explained = here.explain(Message(to=(STAFF,), headers=POST))[1]
    ways: list[NotApplied] = [one for one in explained if one.way is not None]
    assert [(one.way, one.cause, one.text) for one in ways] == [("enforce", "mode", "[from] is in mode observe")]
