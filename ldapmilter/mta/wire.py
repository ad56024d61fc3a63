"""The milter protocol on the wire: flags, events, packets.

A packet is a length of four bytes in network order, one command byte that the length counts, and the
arguments. The numbers are those of sendmail's libmilter/mfdef.h and mfapi.h, protocol version 6.
"""

from __future__ import annotations

import struct
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL_VERSION: Final = 6
"""SMFI_PROT_VERSION."""
CHUNK_BYTES: Final = 65535
"""MILTER_CHUNK_SIZE: the largest piece of a body in one packet."""


class Action(IntFlag):
    """SMFIF_*: what a milter may ask for at the end of a message."""

    ADDHDRS = 0x01
    CHGBODY = 0x02
    ADDRCPT = 0x04
    DELRCPT = 0x08
    CHGHDRS = 0x10
    QUARANTINE = 0x20
    CHGFROM = 0x40
    ADDRCPT_PAR = 0x80
    SETSYMLIST = 0x100


class Protocol(IntFlag):
    """SMFIP_*: which events a milter wants, which of them it answers, and extras."""

    NOCONNECT = 0x01
    NOHELO = 0x02
    NOMAIL = 0x04
    NORCPT = 0x08
    NOBODY = 0x10
    NOHDRS = 0x20
    NOEOH = 0x40
    NR_HDR = 0x80
    NOUNKNOWN = 0x100
    NODATA = 0x200
    SKIP = 0x400
    RCPT_REJ = 0x800
    NR_CONN = 0x1000
    NR_HELO = 0x2000
    NR_MAIL = 0x4000
    NR_RCPT = 0x8000
    NR_DATA = 0x10000
    NR_UNKN = 0x20000
    NR_EOH = 0x40000
    NR_BODY = 0x80000
    HDR_LEADSPC = 0x100000


ALL_ACTIONS: Final = Action(0x1FF)
"""SMFI_CURR_ACTS, which is what Postfix offers."""
ALL_PROTOCOL: Final = Protocol(0x1FFFFF)
"""SMFI_CURR_PROT, which is what Postfix offers."""


class Stage(str, Enum):
    """The steps of a message in which a milter is asked."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    HEADER = "header"
    EOH = "eoh"
    BODY = "body"
    EOM = "eom"


NEVER: Final = Protocol(0)
"""No bit: an event that cannot be switched off."""


class Event(Struct, frozen=True, kw_only=True):
    """How one stage travels: its command byte, its macro list, and the bits that switch it off."""

    command: bytes
    """SMFIC_*."""
    symbols: int
    """SMFIM_*: the macro list; headers share the one of end-of-header, body chunks that of end-of-message."""
    unwanted: Protocol = NEVER
    """The bit with which a milter says: do not send me this."""
    no_reply: Protocol = NEVER
    """The bit with which a milter says: I shall not answer this."""
    since: int = 2
    """The protocol version that brought the event."""


EVENTS: Final = {
    Stage.CONNECT: Event(command=b"C", symbols=0, unwanted=Protocol.NOCONNECT, no_reply=Protocol.NR_CONN),
    Stage.HELO: Event(command=b"H", symbols=1, unwanted=Protocol.NOHELO, no_reply=Protocol.NR_HELO),
    Stage.MAIL: Event(command=b"M", symbols=2, unwanted=Protocol.NOMAIL, no_reply=Protocol.NR_MAIL),
    Stage.RCPT: Event(command=b"R", symbols=3, unwanted=Protocol.NORCPT, no_reply=Protocol.NR_RCPT),
    Stage.DATA: Event(command=b"T", symbols=4, unwanted=Protocol.NODATA, no_reply=Protocol.NR_DATA, since=4),
    Stage.HEADER: Event(command=b"L", symbols=6, unwanted=Protocol.NOHDRS, no_reply=Protocol.NR_HDR),
    Stage.EOH: Event(command=b"N", symbols=6, unwanted=Protocol.NOEOH, no_reply=Protocol.NR_EOH),
    Stage.BODY: Event(command=b"B", symbols=5, unwanted=Protocol.NOBODY, no_reply=Protocol.NR_BODY),
    Stage.EOM: Event(command=b"E", symbols=5),
}
SYMBOL_STAGES: Final = (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.EOM, Stage.EOH)
"""SMFIM_* as an index: the stage whose macro list has that number."""

SMFIC_ABORT: Final = b"A"
SMFIC_MACRO: Final = b"D"
SMFIC_OPTNEG: Final = b"O"
SMFIC_QUIT: Final = b"Q"
SMFIR_PROGRESS: Final = b"p"
SMFIR_QUARANTINE: Final = b"q"
SMFIR_REPLYCODE: Final = b"y"


class Negotiated(Struct, frozen=True, kw_only=True):
    """What the milter asked for when the connection began (SMFIC_OPTNEG)."""

    version: int
    actions: Action
    protocol: Protocol
    symbols: dict[Stage, tuple[str, ...]]
    """The macro names asked for, by stage; a stage that is not here keeps the MTA's own list."""


def packet(command: bytes, payload: bytes = b"") -> bytes:
    """Return one packet: length, command byte, arguments."""
    return struct.pack("!I", len(payload) + 1) + command + payload


def strings(values: Iterable[bytes]) -> bytes:
    """Return values as NUL-terminated strings in a row."""
    return b"".join(value + b"\0" for value in values)


def split_strings(payload: bytes, low: int, high: int) -> list[bytes]:
    """Return the ``low`` to ``high`` NUL-terminated strings that a payload consists of.

    Raises:
        ValueError: there are fewer or more, or the last one does not end.
    """
    parts = payload.split(b"\0")
    if parts.pop() or not low <= len(parts) <= high:
        raise ValueError(f"{payload[:80]!r} is not {low} to {high} strings")
    return parts


def negotiation(actions: Action, protocol: Protocol) -> bytes:
    """Return the arguments of SMFIC_OPTNEG, with which an MTA opens a connection."""
    return struct.pack("!III", PROTOCOL_VERSION, actions, protocol)


def read_negotiation(payload: bytes, offered: Action) -> Negotiated:
    """Return what the milter answered to :func:`negotiation`.

    Raises:
        ValueError: the answer is malformed, of a later version, or wants more than was offered:
            the three cases in which Postfix gives the milter up (milter8_connect in milter8.c).
    """
    if len(payload) < 12:
        raise ValueError("the negotiation is cut off")
    version, actions, protocol = struct.unpack_from("!III", payload)
    if not 2 <= version <= PROTOCOL_VERSION:
        raise ValueError(f"it speaks protocol version {version}, not 2 to {PROTOCOL_VERSION}")
    # int(): the complement of a flag loses the bits that have no name.
    if beyond := actions & ~int(offered):
        raise ValueError(f"it wants actions 0x{actions:x}, of which 0x{beyond:x} were not offered")
    symbols: dict[Stage, tuple[str, ...]] = {}
    rest = payload[12:]
    while rest:
        names, end, after = rest[4:].partition(b"\0")
        if len(rest) < 5 or not end:
            raise ValueError("a macro list is cut off")
        (number,) = struct.unpack_from("!I", rest)
        if number < len(SYMBOL_STAGES):  # Postfix ignores a number that it does not know
            symbols[SYMBOL_STAGES[number]] = tuple(names.decode(errors="replace").replace(",", " ").split())
        rest = after
    # libmilter's own high bits (SMFI_INTERNAL) mean nothing to an MTA that did not offer them.
    return Negotiated(
        version=version, actions=Action(actions), protocol=Protocol(protocol & ALL_PROTOCOL), symbols=symbols
    )
