"""What a decision becomes at libmilter: which calls, in which order, with which text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.address import make_address
from ldapmilter.message import Identity
from ldapmilter.milter import effects
from ldapmilter.policy.model import Copy, Decision, FromChange, Reason

if TYPE_CHECKING:
    from ldapmilter.policy.model import Mode

Call = tuple[object, ...]


class Recorder:
    """libmilter's context at the end of a message."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> object:
        def record(*arguments: object) -> None:
            self.calls.append((name, *arguments))

        return record

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        self.calls.append(("chgheader", name, index, value))

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        self.calls.append(("addrcpt", recipient, parameters))


def copy(local: str, mode: Mode = "apply", copy_class: str = "archive", domain: str = "keep.test") -> Copy:
    reason = Reason(
        level="cos",
        dn="cn=sales,cn=cos,cn=zimbra",
        attribute="ldapMilterArchiveBcc",
        value=f"{local}@{domain}",
        copy_class=copy_class,
        direction="sent",
    )
    return Copy(address=make_address(local, domain), reasons=(reason,), mode=mode)


def change(value: str = "Legal <legal@example.test>", mode: Mode = "apply") -> FromChange:
    return FromChange(value=value, cause="rewrite", reasons=(), mode=mode)


def calls_for(decision: Decision, from_count: int = 1) -> list[Call]:
    recorder = Recorder()
    effects.apply(recorder, decision, {"from": from_count})
    return recorder.calls


NOBODY = Identity(source="none")


def test_nothing_to_do_is_nothing_done() -> None:
    assert calls_for(Decision(identity=NOBODY), from_count=3) == []


def test_copies_are_added_in_order_and_nobody_hears_of_them() -> None:
    decision = Decision(identity=NOBODY, copies=(copy("b"), copy("a"), copy("c", copy_class="legal")))
    assert calls_for(decision) == [
        ("addrcpt", "<b@keep.test>", "NOTIFY=NEVER"),
        ("addrcpt", "<a@keep.test>", "NOTIFY=NEVER"),
        ("addrcpt", "<c@keep.test>", "NOTIFY=NEVER"),
    ]


def test_the_from_comes_before_the_recipients() -> None:
    calls = calls_for(Decision(identity=NOBODY, from_change=change(), copies=(copy("a"),)))
    assert [call[0] for call in calls] == ["chgheader", "addrcpt"]


@pytest.mark.parametrize(
    ("from_count", "indexes"),
    [(0, [1]), (1, [1]), (2, [2, 1]), (5, [5, 4, 3, 2, 1])],
)
def test_the_others_are_deleted_from_the_last_on(from_count: int, indexes: list[int]) -> None:
    """Deleting shifts the numbers of those that follow; a missing first one is added."""
    calls = calls_for(Decision(identity=NOBODY, from_change=change()), from_count)
    assert [call[2] for call in calls] == indexes
    assert [call[3] for call in calls] == [None] * (len(indexes) - 1) + ["Legal <legal@example.test>"]
    assert all(str(call[1]).lower() == "from" for call in calls)


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_what_is_not_applied_is_not_done(mode: Mode) -> None:
    decision = Decision(
        identity=NOBODY, from_change=change(mode=mode), copies=(copy("a", mode), copy("b"), copy("c", mode)), mode=mode
    )
    assert calls_for(decision, from_count=3) == [("addrcpt", "<b@keep.test>", "NOTIFY=NEVER")]


def test_a_long_from_is_folded_and_stays_text_that_can_be_encoded() -> None:
    words = " ".join(["=?utf-8?q?Z=C3=B6=C3=AB?="] * 12)
    ((_, name, index, value),) = calls_for(Decision(identity=NOBODY, from_change=change(f"{words} <z@example.test>")))
    assert (name, index) == ("From", 1)
    assert isinstance(value, str)
    assert value.isascii()
    lines = ("From: " + value).split("\n")
    assert len(lines) > 1
    for line in lines:
        assert len(line.rstrip("\r")) <= 78
    assert all(line[:1] in (" ", "\t") for line in lines[1:])
    assert " ".join(value.split()) == f"{words} <z@example.test>"


@pytest.mark.parametrize("local", ["a b", 'a"b', "a@b", "a>b", "a,b", "a\\b", "NOTIFY=SUCCESS x", ".a", "a..b"])
def test_an_odd_local_part_cannot_leave_its_brackets(local: str) -> None:
    ((_, recipient, parameters),) = calls_for(Decision(identity=NOBODY, copies=(copy(local),)))
    assert isinstance(recipient, str)
    assert parameters == "NOTIFY=NEVER"
    quoted = local.replace("\\", "\\\\").replace('"', '\\"')
    assert recipient == f'<"{quoted}"@keep.test>'


def test_no_header_but_from_is_ever_written() -> None:
    decision = Decision(identity=NOBODY, from_change=change(), copies=(copy("a"), copy("b", copy_class="legal")))
    calls = calls_for(decision, from_count=4)
    assert {call[0] for call in calls} == {"chgheader", "addrcpt"}
    assert {call[1] for call in calls if call[0] == "chgheader"} == {"From"}
