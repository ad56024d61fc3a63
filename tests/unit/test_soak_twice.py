"""What the soak of the copies says of mail that is in a mailbox twice."""

from __future__ import annotations

import pytest

from tests.soak.twice import ENDED, HANDED_IN, causes

ANN = "ann@example.test"
STARTED = "Nov 28 10:00:09 mx postfix/master[9]: daemon started -- version 3.7.11"
TAKEN = "Nov 28 10:00:01 mx postfix/qmgr[2]: 4A: from=<x@y.test>, size=9, nrcpt=2 (queue active)"
SENT = f"Nov 28 10:00:02 mx postfix/virtual[3]: 4A: to=<{ANN}>, relay=virtual, delay=1, status=sent (delivered)"
OTHER = "Nov 28 10:00:20 mx postfix/virtual[3]: 4A: to=<bob@example.test>, relay=virtual, status=sent (delivered)"


def message(queue_id: str) -> bytes:
    received = b"Received: from c (localhost [127.0.0.1])\n\tby mx (Postfix) with ESMTP id " + queue_id.encode()
    return b"Return-Path: <x@y.test>\n" + received + b"\n\tfor <ann@example.test>; Sat\nSubject: x\n\nid 77\n"


@pytest.mark.parametrize(
    ("ids", "log", "handed_in", "expected"),
    [
        (["4A"], [TAKEN, SENT], 1, []),
        (["4A", "4A"], [TAKEN, STARTED, SENT], 1, [ENDED]),
        (["4A", "4A"], [TAKEN, SENT, STARTED, SENT], 1, [ENDED]),
        (["4A", "4A"], [STARTED, TAKEN, SENT, STARTED], 1, ["4A 2 times"]),
        (["4A", "4A"], [TAKEN, SENT, SENT, STARTED, OTHER], 1, ["4A 2 times"]),
        (["4A", "4A", "4A"], [TAKEN, STARTED, SENT], 1, [ENDED, "4A 3 times"]),
        (["4A", "4B"], [TAKEN, SENT], 2, [HANDED_IN]),
        (["4A", "4B"], [TAKEN, STARTED, SENT], 1, ["as 4A, 4B: it was handed in once"]),
    ],
)
def test_whose_doing_it_is(ids: list[str], log: list[str], handed_in: int, expected: list[str]) -> None:
    told = list(causes(ANN, [message(one) for one in ids], "\n".join(log), handed_in=handed_in))
    assert len(told) == len(expected)
    assert all(words in one for words, one in zip(expected, told, strict=True)), told
