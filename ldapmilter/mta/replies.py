"""What a milter answers: verdicts, SMTP replies, and requests for modification.

The answers and their limits are those of milter8_event in Postfix's src/milter/milter8.c.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from msgspec import Struct, field

from ldapmilter.address import strip_brackets
from ldapmilter.mta.headers import HeaderModification
from ldapmilter.mta.transaction import EnvelopeAddress, RejectedRecipient, Verdict
from ldapmilter.mta.wire import split_strings

# What Postfix tells the SMTP client when the milter gives no text of its own.
REJECTED: Final = "550 5.7.1 Command rejected"
TEMPFAILED: Final = "451 4.7.1 Service unavailable - try again later"
SHUT_DOWN: Final = "421 4.7.0 Server closing connection"

# A code of 4xx or 5xx, and an enhanced code, where there is one, of the same class.
_SMTP_REPLY = re.compile(r"([45])\d\d[ -](?:\1|\D|\Z)", re.ASCII)
_PERCENT = re.compile(r"%(.?)", re.DOTALL)
# An index is 32 bits without sign; libmilter sends an int.
_MAX_INDEX = 0x7FFFFFFF


class MilterReply(Struct, frozen=True, kw_only=True):
    """What a milter says about one event; no verdict means that the message goes on."""

    verdict: Verdict | None = None
    reply: str | None = None
    """What the SMTP client is told, where the verdict is to refuse."""
    skips: bool = False
    """No more events of this kind, please, for this message (SMFIR_SKIP)."""
    closes: bool = False
    """The SMTP session ends here (SMFIR_SHUTDOWN)."""

    @property
    def refuses(self) -> bool:
        """Whether the SMTP client is told no, for now or for ever."""
        return self.verdict in (Verdict.REJECT, Verdict.TEMPFAIL)


GO_ON: Final = MilterReply()

VERDICTS: Final = {
    b"c": GO_ON,
    b"s": MilterReply(skips=True),
    b"a": MilterReply(verdict=Verdict.ACCEPT),
    b"d": MilterReply(verdict=Verdict.DISCARD),
    b"r": MilterReply(verdict=Verdict.REJECT, reply=REJECTED),
    b"t": MilterReply(verdict=Verdict.TEMPFAIL, reply=TEMPFAILED),
    b"4": MilterReply(verdict=Verdict.TEMPFAIL, reply=SHUT_DOWN, closes=True),
}
"""SMFIR_*: the answers without arguments."""


class Requests(Struct):
    """What a milter asked for while one message passed; filled as the packets come."""

    headers: list[HeaderModification] = field(default_factory=list)
    added: list[EnvelopeAddress] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    rejected: list[RejectedRecipient] = field(default_factory=list)
    sender: str | None = None
    body: bytearray | None = None
    quarantine: str | None = None

    def take(self, command: bytes, payload: bytes) -> bool:
        """Note one request that may come at the end of a message; False: it is none that an MTA knows.

        Raises:
            ValueError: its arguments are malformed.
        """
        if command in (b"m", b"i"):
            self.headers.append(_indexed(command, payload))
        elif command == b"h":
            name, value = split_strings(payload, 2, 2)
            self.headers.append(HeaderModification(kind="add", name=name, value=value))
        elif command in (b"+", b"2"):
            address, *parameters = map(text_of, split_strings(payload, 1, 1 if command == b"+" else 2))
            self.added.append(
                EnvelopeAddress(address=strip_brackets(address), parameters=tuple(" ".join(parameters).split()))
            )
        elif command == b"-":
            self.deleted.append(strip_brackets(text_of(split_strings(payload, 1, 1)[0])))
        elif command == b"e":
            self.sender = strip_brackets(text_of(split_strings(payload, 1, 2)[0]))
        elif command == b"b":
            self.body = (self.body or bytearray()) + payload
        else:
            return False
        return True


def smtp_reply(payload: bytes) -> MilterReply:
    """Return the answer that an SMTP reply of the milter's own is (SMFIR_REPLYCODE).

    A doubled per cent sign becomes one, a single one goes, as in Postfix. Lines of a reply of
    several lines stay separated by CR LF.

    Raises:
        ValueError: it is not a reply of class 4 or 5.
    """
    text = text_of(payload.partition(b"\0")[0])
    match = _SMTP_REPLY.match(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not an SMTP reply of class 4 or 5")
    verdict = Verdict.TEMPFAIL if match.group(1) == "4" else Verdict.REJECT
    return MilterReply(verdict=verdict, reply=_PERCENT.sub(r"\1", text))


def text_of(raw: bytes) -> str:
    """Return bytes of the wire as text: UTF-8, other bytes as surrogate escapes."""
    return raw.decode(errors="surrogateescape")


def _indexed(command: bytes, payload: bytes) -> HeaderModification:
    if len(payload) < 4:
        raise ValueError("a header modification is cut off")
    (index,) = struct.unpack_from("!I", payload)
    name, value = split_strings(payload[4:], 2, 2)
    if command == b"m" and not name:
        raise ValueError("a header without a name is to be changed")
    if index > _MAX_INDEX:
        raise ValueError(f"{index} is not a place of a header")
    return HeaderModification(kind="change" if command == b"m" else "insert", name=name, value=value, index=index)
