"""A milter that is a script: a socket look-alike that answers at once, without threads or time."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, cast

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.wire import ALL_ACTIONS, Protocol, packet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ScriptedMilter:
    """What a milter asks for, how it answers, and everything it was sent.

    ``answers`` are the packets for each command, continue where there are none; ``in_turn`` has one
    answer for each time that a command comes.
    """

    def __init__(
        self,
        protocol: Protocol = Protocol(0),  # noqa: B008 - immutable
        answers: Mapping[bytes, list[bytes]] | None = None,
        *,
        symbols: bytes = b"",
        version: int = 6,
        negotiation: list[bytes] | None = None,
    ) -> None:
        self.protocol = protocol
        self.answers = dict(answers or {})
        self.in_turn: dict[bytes, list[bytes]] = {}
        self.writes: list[list[tuple[bytes, bytes]]] = []
        self.closed = False
        self.family = socket.AF_UNIX
        self.timeouts: list[float] = []
        self._unanswered = {
            command: bit
            for command, bit in {
                b"C": Protocol.NR_CONN,
                b"H": Protocol.NR_HELO,
                b"M": Protocol.NR_MAIL,
                b"R": Protocol.NR_RCPT,
                b"T": Protocol.NR_DATA,
                b"L": Protocol.NR_HDR,
                b"N": Protocol.NR_EOH,
                b"B": Protocol.NR_BODY,
            }.items()
            if protocol & bit
        }
        offer = packet(b"O", struct.pack("!III", version, ALL_ACTIONS, protocol) + symbols)
        self._negotiation = [offer] if negotiation is None else negotiation
        self._inbox = bytearray()

    @property
    def packets(self) -> list[tuple[bytes, bytes]]:
        """All packets since the negotiation."""
        return [one for write in self.writes for one in write if one[0] != b"O"]

    @property
    def commands(self) -> bytes:
        """The command bytes since the negotiation, macro packets left out."""
        return b"".join(command for command, _ in self.packets if command != b"D")

    def macros(self, command: bytes) -> list[dict[str, str]]:
        """The macro packets that were sent for a command."""
        found = []
        for kind, payload in self.packets:
            if kind == b"D" and payload[:1] == command:
                texts = payload[1:].decode().split("\0")[:-1]
                found.append(dict(zip(texts[::2], texts[1::2], strict=True)))
        return found

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def sendall(self, written: bytes) -> None:
        write = []
        while written:
            (length,) = struct.unpack_from("!I", written)
            command, payload = bytes(written[4:5]), bytes(written[5 : 4 + length])
            write.append((command, payload))
            written = written[4 + length :]
            if command == b"O":
                self._inbox += b"".join(self._negotiation)
            elif command in self.in_turn:
                self._inbox += self.in_turn[command].pop(0)
            elif command not in b"DAQ" and command not in self._unanswered:
                self._inbox += b"".join(self.answers.get(command, [packet(b"c")]))
        self.writes.append(write)

    def recv(self, size: int) -> bytes:
        """Return what is there; with nothing left, the milter has hung up."""
        taken = bytes(self._inbox[: min(size, 7)])  # in small pieces, as a network may
        del self._inbox[: len(taken)]
        return taken

    def close(self) -> None:
        self.closed = True

    def client(self, clock: Callable[[], float] = lambda: 0.0) -> MilterClient:
        """Return a client that is connected to this milter."""
        return MilterClient(cast("socket.socket", self), name="unix:/scripted", timeout=5.0, clock=clock)

    def as_sendmail(self) -> MilterClient:
        """Return a client that behaves as sendmail."""
        return MilterClient(cast("socket.socket", self), timeout=5.0, as_postfix=False, clock=lambda: 0.0)
