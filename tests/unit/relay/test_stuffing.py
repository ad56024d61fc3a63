"""A message on the wire, cut anywhere: what goes in comes out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.relay.stuffing import Unstuffer, stuffed

AWKWARD = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\xe9", b"\r\n.\r", b"..", b"\r\n.\r\n"]), max_size=30
)


def received(wire: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """Feed octets in pieces; return the message and what followed it."""
    taking, message, begin = Unstuffer(), b"", 0
    for end in [*sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]:
        octets, rest = taking.feed(wire[begin:end])
        message += octets
        if rest is not None:
            return message, rest + wire[end:]
        begin = end
    return message, None


def sent(message: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    return b"".join(stuffed(message[a:b] for a, b in itertools.pairwise(edges)))


@given(AWKWARD.map(b"".join), st.lists(st.integers(0, 100), max_size=5), st.lists(st.integers(0, 100), max_size=5))
def test_a_message_comes_through_as_it_is(message: bytes, cuts: list[int], others: list[int]) -> None:
    wire = sent(message, cuts)
    whole = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    assert received(wire + b"QUIT\r\n", others) == (whole, b"QUIT\r\n")
    assert wire.endswith(b".\r\n")
    assert sent(message, []) == wire
    assert b"\r\n.\r\n" not in (b"\r\n" + wire)[:-1]


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b"a\n.\nb\r\n", b"a\n.\nb\r\n.\r\n"),
        (b"x" * 3000 + b"\r\n", b"x" * 3000 + b"\r\n.\r\n"),
    ],
)
def test_on_the_wire(message: bytes, wire: bytes) -> None:
    assert b"".join(stuffed([message])) == wire
    assert b"".join(stuffed([message[i : i + 1] for i in range(len(message))])) == wire


def test_a_line_feed_alone_ends_nothing() -> None:
    assert received(b"a\n.\nb\r\n.\r\n", []) == (b"a\n.\nb\r\n", b"")


def test_what_is_not_at_its_end_yet() -> None:
    taking = Unstuffer()
    assert taking.feed(b"a\r\n.") == (b"a", None)
    assert taking.feed(b"\r") == (b"", None)
    assert taking.feed(b"\n") == (b"\r\n", b"")
