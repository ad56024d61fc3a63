"""Packets, the negotiation, and the stream that carries them."""

from __future__ import annotations

import itertools
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.stream import (
    MAX_REPLY_BYTES,
    ConnectionClosedError,
    PacketStream,
    ProtocolError,
    SilenceError,
)
from ldapmilter.mta.wire import (
    ALL_ACTIONS,
    ALL_PROTOCOL,
    EVENTS,
    Action,
    Protocol,
    Stage,
    negotiation,
    packet,
    read_negotiation,
    split_strings,
    strings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[PacketStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    stream = PacketStream(ours, name="unix:/here")
    stream.allow(5.0)
    with ours, theirs:
        yield stream, theirs


def test_a_packet_counts_its_command_byte() -> None:
    assert packet(b"c") == b"\0\0\0\x01c"
    assert packet(b"L", b"a\0b\0") == b"\0\0\0\x05La\0b\0"


def test_strings_end_with_nul_and_are_split_again() -> None:
    assert strings([b"a", b"", b"c"]) == b"a\0\0c\0"
    assert split_strings(b"a\0\0c\0", 3, 3) == [b"a", b"", b"c"]


@pytest.mark.parametrize("payload", [b"", b"a", b"a\0b", b"a\0b\0c\0"])
def test_strings_that_do_not_end_or_are_too_many_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="is not 1 to 2 strings"):
        split_strings(payload, 1, 2)


def test_postfix_offers_everything_of_version_6() -> None:
    assert negotiation(ALL_ACTIONS, ALL_PROTOCOL) == struct.pack("!III", 6, 0x1FF, 0x1FFFFF)
    assert Action(0x1FF) == ALL_ACTIONS
    assert sum(bit for bit in Protocol) == ALL_PROTOCOL


def test_the_answer_to_the_negotiation_is_read() -> None:
    lists = (
        struct.pack("!I", 0) + b"{client_addr} j\0" + struct.pack("!I", 6) + b"i,j\0" + struct.pack("!I", 77) + b"x\0"
    )

    asked = read_negotiation(struct.pack("!III", 6, 0x91, 0x20000010 | Protocol.NR_MAIL) + lists, ALL_ACTIONS)

    assert asked.actions == Action.ADDHDRS | Action.CHGHDRS | Action.ADDRCPT_PAR
    assert asked.protocol == Protocol.NOBODY | Protocol.NR_MAIL  # libmilter's internal bits are none of it
    assert asked.symbols == {Stage.CONNECT: ("{client_addr}", "j"), Stage.EOH: ("i", "j")}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "cut off"),
        (struct.pack("!II", 6, 0), "cut off"),
        (struct.pack("!III", 7, 0, 0), "version 7"),
        (struct.pack("!III", 1, 0, 0), "version 1"),
        (struct.pack("!III", 6, 0x201, 0), "0x200 were not offered"),
        (struct.pack("!III", 6, 0, 0) + b"\0\0", "macro list"),
        (struct.pack("!IIII", 6, 0, 0, 0) + b"j", "macro list"),
        (struct.pack("!III", 6, 0, 0) + b"\0", "macro list"),
    ],
)
def test_an_answer_that_postfix_would_not_take_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_negotiation(payload, ALL_ACTIONS)


def test_the_bits_of_every_stage_go_together() -> None:
    for stage, event in EVENTS.items():
        if stage is not Stage.EOM:
            assert event.unwanted
            assert event.no_reply
            name = (event.no_reply.name or "").removeprefix("NR_")
            assert (event.unwanted.name or "").startswith(f"NO{name}")
    assert not EVENTS[Stage.EOM].unwanted
    assert not EVENTS[Stage.EOM].no_reply


def test_packets_wait_for_the_read_and_leave_together(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, peer = pair
    stream.send(b"M", b"<a>\0")
    stream.send(b"T")
    with pytest.raises(BlockingIOError):
        peer.recv(100, socket.MSG_DONTWAIT)

    peer.sendall(packet(b"c") + packet(b"y", b"451 x\0"))

    assert stream.receive() == (b"c", b"")
    assert peer.recv(100) == packet(b"M", b"<a>\0") + packet(b"T")
    assert stream.receive() == (b"y", b"451 x\0")
    assert (stream.packets_sent, stream.bytes_sent) == (2, 14)


def test_a_full_buffer_is_written_without_a_read(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, peer = pair

    stream.send(b"B", b"x" * 65535)

    assert peer.recv(5) == struct.pack("!I", 65536) + b"B"


@pytest.mark.parametrize(
    "noise", [b"220 mail.example.test ESMTP\r\n", b"HTTP/1.1 400 Bad\r\n", b"\0\0\0\0", b"\x04\0\0\x01"]
)
def test_what_is_no_packet_is_called_so(noise: bytes, pair: tuple[PacketStream, socket.socket]) -> None:
    stream, peer = pair
    peer.sendall(noise)

    with pytest.raises(ProtocolError, match="unix:/here: this is not the milter protocol"):
        stream.receive()


def test_all_replies_of_one_message_are_bounded_together(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, peer = pair
    piece = packet(b"b", b"x" * 1000)
    peer.sendall(piece + struct.pack("!I", MAX_REPLY_BYTES))
    stream.receive()

    with pytest.raises(ProtocolError, match=f"exceed {MAX_REPLY_BYTES} bytes"):
        stream.receive()


@pytest.mark.parametrize("fragment", [b"", b"\0\0", b"\0\0\0\x05ab"])
def test_a_milter_that_hangs_up_early_is_told_from_one_that_is_silent(
    fragment: bytes, pair: tuple[PacketStream, socket.socket]
) -> None:
    stream, peer = pair
    peer.sendall(fragment)
    peer.close()

    with pytest.raises(ConnectionClosedError, match="closed the connection"):
        stream.receive()


def test_writing_to_a_milter_that_is_gone_is_an_error(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, peer = pair
    peer.close()
    stream.send(b"M")

    with pytest.raises(ConnectionClosedError, match="Broken pipe"):
        stream.flush()


def test_silence_ends_at_the_deadline(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, _ = pair
    stream.allow(0.01)

    with pytest.raises(SilenceError, match=r"did not answer within 0\.01 s") as caught:
        stream.receive()

    assert isinstance(caught.value, DaemonUnreachable)


def test_the_deadline_is_one_for_all_pieces_of_an_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(packet(b"c"))
        stream = PacketStream(ours, name="x", clock=itertools.count(0.0, 3.0).__next__)
        stream.allow(5.0)  # at 0; the first read is at 3, the second would be at 6
        assert stream.receive() == (b"c", b"")
        with pytest.raises(SilenceError):
            stream.receive()


def test_a_milter_that_does_not_read_is_silence_too(pair: tuple[PacketStream, socket.socket]) -> None:
    stream, _ = pair
    stream.allow(0.05)

    with pytest.raises(SilenceError):
        stream.send(b"B", b"x" * 8_000_000)
