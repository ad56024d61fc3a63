"""What a decision becomes at libmilter: which calls, in which order, with which text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.message import Identity
from ldapmilter.milter import effects
from ldapmilter.policy.effect import Copy, CopyReason, FromChange, HeaderChange, SenderChange
from ldapmilter.policy.model import Decision

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Mode

Call = tuple[object, ...]


class Recorder:
    """libmilter's context at the end of a message."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        self.calls.append(("chgheader", name, index, value))

    def chgfrom(self, sender: str, /) -> None:
        self.calls.append(("chgfrom", sender))

    def delrcpt(self, recipient: str, /) -> None:
        self.calls.append(("delrcpt", recipient))

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        self.calls.append(("addrcpt", recipient, parameters))


def copy(local: str, mode: Mode = "apply", copy_class: str = "archive", domain: str = "keep.test") -> Copy:
    reason = CopyReason(
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


@pytest.mark.parametrize(
    ("openly", "asked", "parameters"),
    [
        (True, "", None),
        (True, "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@keep.test", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@keep.test"),
        (False, "NOTIFY=SUCCESS", "NOTIFY=NEVER"),
    ],
)
def test_who_addressed_an_archive_openly_hears_of_it(*, openly: bool, asked: str, parameters: str | None) -> None:
    taken = replace(copy("b"), already=("b@keep.test",), openly=openly)
    recorder = Recorder()
    replaced = [effects.Replaced("b@keep.test", "B@keep.test", asked)]
    effects.apply(recorder, Decision(identity=NOBODY, copies=(taken, copy("a"))), {}, replaced)
    assert recorder.calls == [
        ("delrcpt", "<B@keep.test>"),
        ("addrcpt", "<b@keep.test>", parameters),
        ("addrcpt", "<a@keep.test>", "NOTIFY=NEVER"),
    ]


def test_a_relayed_copy_goes_under_its_token_and_takes_nobodys_place() -> None:
    by_relay = replace(
        copy("b"), delivery="journal", relayed_as="0ab@copies.invalid", already=("B@keep.test",), openly=True
    )
    recorder = Recorder()
    replaced = [effects.Replaced("B@keep.test", "B@keep.test", "NOTIFY=FAILURE")]
    effects.apply(recorder, Decision(identity=NOBODY, copies=(by_relay, copy("a"))), {}, replaced)
    assert recorder.calls[1:] == [
        ("addrcpt", "<0ab@copies.invalid>", "NOTIFY=NEVER"),
        ("addrcpt", "<a@keep.test>", "NOTIFY=NEVER"),
    ]


def test_a_relayed_copy_without_token_never_goes_directly() -> None:
    with pytest.raises(RuntimeError, match="no token"):
        calls_for(Decision(identity=NOBODY, copies=(replace(copy("b"), delivery="tracked"),)))


def test_fields_change_in_every_way_and_the_envelope_sender_before_the_copies() -> None:
    decision = Decision(
        identity=NOBODY,
        header_changes=(
            HeaderChange(name="Subject", value="[staff] a\n\tGr\u00fc\u00dfe", reasons=(), verbatim=True),
            HeaderChange(name="DKIM-Signature", value=None, reasons=()),
            HeaderChange(name="X-Old", value="one", reasons=(), beside=True),
            HeaderChange(name="X-Old", value="two", reasons=(), beside=True),
        ),
        sender_change=SenderChange(address=make_address("bounces", "example.test"), reasons=()),
        copies=(copy("a"),),
    )
    recorder = Recorder()
    effects.apply(recorder, decision, {"subject": 2, "dkim-signature": 3, "x-old": 1})
    assert recorder.calls == [
        ("chgheader", "Subject", 2, None),
        ("chgheader", "Subject", 1, "[staff] a\n\tGr\u00fc\u00dfe"),
        *(("chgheader", "DKIM-Signature", index, None) for index in (3, 2, 1)),
        ("chgheader", "X-Old", 2, "one"),
        ("chgheader", "X-Old", 3, "two"),
        ("chgfrom", "<bounces@example.test>"),
        ("addrcpt", "<a@keep.test>", "NOTIFY=NEVER"),
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


def test_two_changes_of_one_name_leave_the_second() -> None:
    changes = (
        HeaderChange(name="Sender", value=None, reasons=()),
        HeaderChange(name="SENDER", value="old", reasons=()),
        HeaderChange(name="sender", value="new", reasons=()),
    )
    recorder = Recorder()
    effects.apply(recorder, Decision(identity=NOBODY, header_changes=changes), {"sender": 2})
    assert recorder.calls == [
        ("chgheader", "Sender", 2, None),
        ("chgheader", "Sender", 1, None),
        ("chgheader", "SENDER", 1, "old"),
        ("chgheader", "sender", 1, "new"),
    ]


def test_recipients_are_deleted_before_any_copy_is_added() -> None:
    decision = Decision(identity=Identity(source="none"), copies=(copy("one"), copy("two")))
    recorder = Recorder()
    spellings = ["Two@keep.test", "one@keep.test(\udce9)", "one"]
    effects.apply(recorder, decision, {}, [effects.Replaced("one@keep.test", spelling) for spelling in spellings])
    assert recorder.calls == [
        ("delrcpt", "<Two@keep.test>"),
        ("delrcpt", "<one>"),
        ("addrcpt", "<one@keep.test>", "NOTIFY=NEVER"),
        ("addrcpt", "<two@keep.test>", "NOTIFY=NEVER"),
    ]
