"""JSON lines between parent, workers and clients: whole, torn, huge, and no JSON at all."""

from __future__ import annotations

import socket
import threading

import pytest

from ldapmilter.daemon.channel import Lines, Message, RequestRefused, decode, encode
from tests.support.ports import HANG


def received(*pieces: bytes) -> list[Message]:
    """Return what comes out where these pieces are sent one by one, each read before the next."""
    ours, theirs = socket.socketpair()
    found: list[Message] = []
    with ours, theirs:
        lines = Lines(ours)
        for piece in pieces:
            theirs.sendall(piece)
            found += lines.receive()
        theirs.shutdown(socket.SHUT_WR)
        while not lines.ended:
            found += lines.receive()
    return found


def test_a_line_that_comes_in_pieces() -> None:
    line = encode({"verb": "show", "address": "ann@example.test"})
    assert received(*(line[i : i + 1] for i in range(len(line)))) == [decode(line)]


def test_several_lines_in_one_piece_and_the_rest_of_one() -> None:
    one, two, three = (encode({"number": number}) for number in range(3))
    assert received(one + two + three[:4], three[4:]) == [{"number": 0}, {"number": 1}, {"number": 2}]


def test_a_line_without_its_end_is_none() -> None:
    assert received(b'{"number":1}') == []


def test_a_line_of_megabytes() -> None:
    huge = {"fields": ["x" * 100] * 40_000}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sending = threading.Thread(target=theirs.sendall, args=(encode(huge),), daemon=True)
        sending.start()
        lines = Lines(ours)
        found: list[Message] = []
        while not found and not lines.ended:
            found += lines.receive()
        sending.join(HANG)
    assert found == [huge]


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[1]", b'"text"', b"12", b"null", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":1}{}']
)
def test_what_is_no_json_object_is_refused(line: bytes) -> None:
    with pytest.raises(RequestRefused, match="JSON"):
        decode(line)


def test_no_text_breaks_out_of_its_line() -> None:
    message = {"address": "a\nb\r\n\0\u2028ü\udcff"}
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode(line) == message
