"""What the audit keeps of one message, and which messages it keeps something of.

A record is the decision under the keys of ``explain --json``, with the message that it was taken
for. The file is read by few, so nothing is held back: it names legal copies, which the mail log
never does. The keys are a contract (docs/audit.md).
"""

from __future__ import annotations

import json
import re
from datetime import timezone
from functools import cache
from typing import TYPE_CHECKING, TypedDict, TypeGuard

import msgspec.json

from ldapmilter import __version__
from ldapmilter.audit.shape import conforms, shape_of
from ldapmilter.policy.document import FromDocument, OutcomePart, VerdictPart, as_json
from ldapmilter.policy.model import TEMPFAIL_REPLY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ldapmilter.audit.shape import Shape
    from ldapmilter.message import HandledMessage
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.settings import Policy

FORMAT = 1
"""Raised when a key changes its meaning or goes; a new key does not raise it."""


class _MessagePart(TypedDict):
    """Which message it was, when, and who decided."""

    format: int
    time: str
    host: str
    version: str
    worker: int
    queue_id: str
    message_id: str | None
    message_ids: list[str] | None
    probe: bool
    address_test: bool
    login: str | None
    client: str | None
    sender: str
    offered: list[str]


class _OldFrom(TypedDict):
    old: list[str] | None


class FromRecord(_OldFrom, FromDocument):
    """The new From beside those that came."""


_FromPart = TypedDict("_FromPart", {"from": FromRecord | None})


class AuditRecord(_MessagePart, VerdictPart, _FromPart, OutcomePart):
    """One line of the audit: a decision, and the message that it was taken for."""

    takes_back: str | None


_ADDED = frozenset(
    {
        "version",
        "message_ids",
        "address_test",
        "headers[].reasons",
        "copies[].already_a_recipient",
        "copies[].added",
        "copies[].delivery",
        "copies[].token",
        "takes_back",
        "envelope_sender",
        "waits_because",
        "list",
    }
)
"""Keys that came later, as docs/audit.md spells them: records of earlier years lack them."""

_encode = msgspec.json.Encoder().encode
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_OCTETS = range(0xDC80, 0xDD00)


def record(
    *,
    time: datetime,
    host: str,
    worker: int,
    message: HandledMessage,
    decision: Decision,
) -> AuditRecord:
    """Return the record of one message, ready for :meth:`AuditFile.write`.

    Args:
        time: when it was decided, with its time zone.
        host: name of this machine.
        worker: id of the process.
        message: what was decided on; a milter after us may still have refused some of its recipients.
        decision: what was decided.
    """
    decided = as_json(decision)
    change = decided["from"]
    envelope, message_ids = message.envelope, message.message_ids
    old = list(message.old_from) if message.old_from is not None else None
    return {
        "format": FORMAT,
        "time": as_text(time),
        "host": host,
        "version": __version__,
        "worker": worker,
        "queue_id": message.queue_id,
        "message_id": message_ids[0] if message_ids else None,
        "message_ids": list(message_ids) if message_ids is not None else None,
        "probe": message.probe,
        "address_test": message.address_test,
        "login": envelope.login,
        "client": envelope.client,
        "sender": envelope.sender,
        "offered": list(envelope.recipients),
        **decided,
        "from": {"old": old, **change} if change is not None else None,
        "takes_back": None,
    }


def taken_back(record: Mapping[str, object], *, time: datetime) -> dict[str, object]:
    """Return the record that takes another one back: the message was told to wait after all.

    It names all that the other one names, so whoever finds that one finds this one.
    """
    return {
        **record,
        "time": as_text(time),
        "verdict": "tempfail",
        "verdict_mode": "apply",
        "smtp_reply": TEMPFAIL_REPLY,
        "takes_back": record["time"],
    }


def as_text(time: datetime) -> str:
    """Return a time as the audit spells it."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def line(record: Mapping[str, object]) -> bytes:
    r"""Return a record as one line of ASCII: nothing in it can end the line but its end.

    Octets of a message that are not UTF-8 are spelt ``\xE9``: half a surrogate pair is JSON that
    many programs refuse.
    """
    try:
        octets = _encode(record)
    except UnicodeEncodeError:
        octets = b""
    # What is all plain ASCII both encoders spell alike, as long as a record has no fractions; this one is much faster.
    if octets.isascii() and octets and b"\x7f" not in octets:
        return octets + b"\n"
    text = json.dumps(record, separators=(",", ":"))
    if "\\ud" in text:
        text = json.dumps(_without_surrogates(record), separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub(_spelt, value)
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _spelt(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number - 0xDC00:02X}" if number in _ESCAPED_OCTETS else f"\\u{number:04X}"


@cache
def record_shape() -> Shape:
    """Return the shape of a record."""
    return shape_of(AuditRecord)


def is_record(value: object) -> TypeGuard[AuditRecord]:
    """Whether a value read back has the shape of a record; further keys do no harm."""
    return conforms(value, record_shape(), _ADDED)


def wants_audit(decision: Decision) -> bool:
    """Whether a message leaves a record: it had an effect, or a problem."""
    return bool(
        decision.effects
        or decision.refusal
        or decision.verdict != "accept"
        or decision.unavailable
        or decision.incomplete
        or decision.stale
        or any(notice.error or notice.invalid_value_of for notice in decision.warnings)
    )


def must_be_durable(decision: Decision, policy: Policy) -> bool:
    """Whether the record has to be on disk before the MTA is answered: a confidential or a relayed copy is made.

    Else there would be a copy without a record; of a relayed one, only the record says
    where it goes.
    """
    return decision.applied_verdict == "accept" and any(
        copy.relayed or not policy.confidential.isdisjoint(copy.classes) for copy in decision.applied_copies
    )
