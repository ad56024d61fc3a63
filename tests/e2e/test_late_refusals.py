"""What a milter adds and Postfix never delivers: our own list, held against the real one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from ldapmilter.address import parse_address
from ldapmilter.mta.wire import packet
from ldapmilter.postfix.address import late_refusal
from tests.support.late_refusals import DELIVERED, REFUSED, THROWN_AWAY
from tests.support.later_milter import LaterMilter
from tests.support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.address import Address

_ADD = b"2"
"""SMFIR_ADDRCPT_PAR."""
ANN = "ann@example.test"


@pytest.fixture(scope="module")
def adding() -> Iterator[LaterMilter]:
    with LaterMilter() as milter:
        yield milter


@pytest.fixture(scope="module")
def postfix(adding: LaterMilter) -> Iterator[Postfix]:
    with Postfix(milters=adding.address) as running:
        yield running


def parsed(text: str) -> Address:
    address = parse_address(text)
    assert address is not None
    return address


def arrived(postfix: Postfix, adding: LaterMilter, text: str) -> tuple[bool, str]:
    """Whether what a milter adds as our own copies are added comes to a mailbox, and the queue id."""
    token = uuid.uuid4().hex
    adding.at_the_end = [packet(_ADD, f"<{parsed(text).text}>".encode() + b"\0NOTIFY=NEVER\0")]
    sent = postfix.send(ANN, ["bob@example.test"], f"Message-ID: <{token}@x>\r\n\r\nHello.\r\n".encode())
    assert sent.accepted
    postfix.queue_idle(60)
    boxes = [box for box in postfix.recipients() if any(token.encode() in raw for raw in postfix.messages(box))]
    assert "bob@example.test" in boxes
    return len(boxes) > 1, sent.queue_id


@pytest.mark.parametrize("text", REFUSED)
def test_postfix_bounces_it_in_silence(postfix: Postfix, adding: LaterMilter, text: str) -> None:
    came, queue_id = arrived(postfix, adding, text)
    assert not came
    assert postfix.said(f"{queue_id}: ", "bad address syntax")


def test_postfix_throws_its_own_double_bounces_away(postfix: Postfix, adding: LaterMilter) -> None:
    came, queue_id = arrived(postfix, adding, "double-bounce@[127.0.0.1]")
    assert not came
    assert postfix.said(f"{queue_id}: ", "discarded")


@pytest.mark.parametrize("text", DELIVERED)
def test_postfix_delivers_it(postfix: Postfix, adding: LaterMilter, text: str) -> None:
    assert arrived(postfix, adding, text)[0]


def test_the_list_has_them_all() -> None:
    refusals = {text: late_refusal(parsed(text)) for text in (*REFUSED, *THROWN_AWAY, *DELIVERED)}
    assert {text for text, refusal in refusals.items() if refusal} == {*REFUSED, *THROWN_AWAY}
