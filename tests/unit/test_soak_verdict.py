"""The soak's verdict sees every way in which mail can go wrong."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.e2e.company import ARCHIVE, CARL_HOLD, HOLD, JOE
from tests.soak.letters import (
    ANN,
    ANNS_COPIES,
    BOB,
    CARL,
    CARLS_COPIES,
    JANE,
    KIM,
    OUTSIDER,
    STAFF,
    Arrival,
    Attempt,
    Kind,
    Letter,
    read,
)
from tests.soak.verdict import judge
from tests.support.later_milter import REFUSAL

LIMIT = 5.0
KIND = Kind(author=JANE, recipients=(CARL,), copies=CARLS_COPIES)
MAILBOXES = (CARL, *sorted(CARLS_COPIES))


def attempt(code: int = 250, seconds: float = 0.1) -> Attempt:
    return Attempt(at=1.0, seconds=seconds, code=code, text="text")


def letter(*attempts: Attempt) -> Letter:
    return Letter(token="a", kind=KIND, attempts=list(attempts or (attempt(),)))


def arrivals(*mailboxes: str, sender: str = f"<{JANE}>", token: str = "a") -> list[Arrival]:
    return [Arrival(token=token, mailbox=mailbox, froms=(sender,)) for mailbox in mailboxes]


def test_mail_as_it_should_be() -> None:
    assert judge([letter()], arrivals(*MAILBOXES), LIMIT) == []
    assert judge([letter(attempt(451), attempt(451, LIMIT), attempt())], arrivals(*MAILBOXES), LIMIT) == []


@pytest.mark.parametrize(
    ("sent", "found", "words"),
    [
        (letter(), arrivals(*MAILBOXES[1:]), f"missing in {CARL}"),
        (letter(), arrivals(*MAILBOXES[:2]), f"missing in {MAILBOXES[2]}"),
        (letter(), arrivals(*MAILBOXES, BOB), f"wrongly in {BOB}"),
        (letter(), arrivals(*MAILBOXES, CARL), f"2 times in {CARL}"),
        (letter(), [*arrivals(*MAILBOXES[1:]), *arrivals(CARL, sender=f"<{KIM}>")], f"From in {CARL} is"),
        (letter(attempt(seconds=LIMIT + 0.1)), arrivals(*MAILBOXES), "answered late"),
        (letter(attempt(451, LIMIT + 0.1), attempt()), arrivals(*MAILBOXES), "answered late"),
        (letter(attempt(550)), [], "refused for good at 1.0 s: 550"),
        (letter(attempt(0)), [], "no answer at 1.0 s"),
        (letter(attempt(451)), [], "still deferred"),
        (letter(attempt(0)), arrivals(CARL), f"in {CARL}, although it was never taken"),
        (letter(), [*arrivals(*MAILBOXES), *arrivals(JANE, token="")], f"nobody sent is in {JANE}"),
    ],
)
def test_what_is_wrong(sent: Letter, found: list[Arrival], words: str) -> None:
    findings = judge([sent], found, LIMIT)
    assert any(words in finding for finding in findings), findings


REFUSED = Attempt(at=1.0, seconds=0.1, code=250, text="end: 2.0.0 Ok", refused=frozenset({HOLD.upper()}))
TO_THE_COPY = Kind(author=ANN, recipients=(BOB, HOLD.upper()), copies=ANNS_COPIES)


def test_a_copy_is_made_once_whether_or_not_its_address_was_refused() -> None:
    for one in (REFUSED, attempt()):
        sent = Letter(token="a", kind=TO_THE_COPY, attempts=[one])
        assert judge([sent], arrivals(BOB, *ANNS_COPIES, sender=f"<{ANN}>"), LIMIT) == []
        without = judge([sent], arrivals(BOB, ARCHIVE, sender=f"<{ANN}>"), LIMIT)
        assert [finding.partition(": ")[2] for finding in without] == [f"missing in {HOLD}"]
        twice = judge([sent], arrivals(BOB, *ANNS_COPIES, HOLD, sender=f"<{ANN}>"), LIMIT)
        assert [finding.partition(": ")[2] for finding in twice] == [f"2 times in {HOLD}"]
    assert TO_THE_COPY.is_to_a_copy
    assert not KIND.is_to_a_copy


def test_who_was_refused_gets_nothing() -> None:
    sent = Letter(token="a", kind=KIND, attempts=[Attempt(**{**asdict(attempt()), "refused": frozenset({CARL})})])
    assert judge([sent], arrivals(*MAILBOXES[1:]), LIMIT) == []
    assert judge([sent], arrivals(*MAILBOXES), LIMIT) == [f"a ({JANE} to {CARL}): wrongly in {CARL}"]


def test_what_a_later_milter_refuses_is_over_and_leaves_nothing() -> None:
    whole = Letter(token="a", kind=KIND, attempts=[Attempt(at=1.0, seconds=0.1, code=571, text=f"data: {REFUSAL}")])
    assert not whole.waits
    assert judge([whole], [], LIMIT) == []
    assert len(judge([whole], arrivals(CARL_HOLD), LIMIT)) == 1


def test_a_list_stands_for_its_members_and_an_outsider_has_no_login() -> None:
    kind = Kind(author=OUTSIDER, recipients=(STAFF,), copies=frozenset({ANN}))
    assert kind.mailboxes() == {CARL, JOE, ANN}
    assert not kind.logged_in
    assert KIND.logged_in


def test_a_delivered_message_is_read() -> None:
    raw = (
        b"Return-Path: <x>\nfrom: =?utf-8?q?Zo=C3=AB?=\n <zoe@x.test>\nMessage-ID: <t0ken@client.test>\n\nFrom: body\n"
    )
    assert read(BOB, raw) == Arrival(token="t0ken", mailbox=BOB, froms=("Zoë <zoe@x.test>",))
    assert read(BOB, b"Subject: bounce\n\nMessage-ID: <t0ken@client.test>\n").token == ""
