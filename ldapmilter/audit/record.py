"""What the audit keeps of one message, and which messages it keeps something of.

A record is the decision under the keys of ``explain --json``, with the message that it was taken
for. The file is read by few, so nothing is held back: it names legal copies, which the mail log
never does. The keys are a contract (docs/audit.md).
"""

from __future__ import annotations

import json
import re
from datetime import timezone
from typing import TYPE_CHECKING, Any

from ldapmilter.policy.decision_json import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ldapmilter.message import Envelope
    from ldapmilter.policy.model import Decision, Policy

FORMAT = 1
"""Raised when a key changes its meaning or goes; a new key does not raise it."""

_REASON = {
    "level": str,
    "dn": str,
    "attribute": str,
    "value": str,
    "recipient": str | None,
    "group_path": [str],
}
SHAPE: Mapping[str, object] = {
    "format": int,
    "time": str,
    "host": str,
    "worker": int,
    "queue_id": str,
    "message_id": str | None,
    "probe": bool,
    "login": str | None,
    "client": str | None,
    "sender": str,
    "offered": [str],
    "identity": {"address": str | None, "source": str, "dn": str | None},
    "verdict": str,
    "verdict_mode": str,
    "smtp_reply": str | None,
    "mode": str,
    "from": (None, {"old": (None, [str]), "value": str, "cause": str, "mode": str, "reasons": [_REASON]}),
    "headers": [{"name": str, "value": str | None, "mode": str}],
    "refused": (None, {"address": str, "reasons": [_REASON]}),
    "copies": [
        {
            "address": str,
            "classes": [str],
            "mode": str,
            "reasons": [{"class": str, "direction": str, **_REASON, "ref": str | None}],
        }
    ],
    "unavailable": bool,
    "decided_before": str | None,
    "warnings": [str],
    "incomplete": [str],
    "stale": bool,
    "searches": int,
}
"""Every key and the shape of its value: a type, ``[shape]``, a mapping, or ``(None, shape)``."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_OCTETS = range(0xDC80, 0xDD00)


def record(
    *,
    time: datetime,
    host: str,
    worker: int,
    queue_id: str,
    message_id: str | None,
    envelope: Envelope,
    decision: Decision,
    old_from: tuple[str, ...] | None = None,
    probe: bool = False,
) -> dict[str, Any]:
    """Return the record of one message, ready for :meth:`AuditFile.write`.

    Args:
        time: when it was decided, with its time zone.
        host: name of this machine.
        worker: id of the process.
        queue_id: Postfix's queue id (the ``i`` macro); empty where there is none.
        message_id: the Message-ID field as written; ``None`` where it was not read.
        envelope: what the MTA offered; a milter after us may still have refused some of it.
        decision: what was decided.
        old_from: the values of the From fields that came; ``None`` where they were not read.
        probe: whether ``ldapmilter probe`` asked; no mail then.
    """
    decided = as_json(decision)
    if decided["from"] is not None:
        decided["from"] = {"old": list(old_from) if old_from is not None else None, **decided["from"]}
    return {
        "format": FORMAT,
        "time": time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "host": host,
        "worker": worker,
        "queue_id": queue_id,
        "message_id": message_id,
        "probe": probe,
        "login": envelope.login,
        "client": envelope.client,
        "sender": envelope.sender,
        "offered": list(envelope.recipients),
        **decided,
        "verdict_mode": decision.verdict_mode,
    }


def line(record: Mapping[str, object]) -> bytes:
    r"""Return a record as one line of ASCII: nothing in it can end the line but its end.

    Octets of a message that are not UTF-8 are spelt ``\xE9``: half a surrogate pair is JSON that
    many programs refuse.
    """
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


def conforms(value: object, shape: object = SHAPE) -> bool:
    """Whether a value read back has the shape of a record; further keys do no harm."""
    if isinstance(shape, tuple):
        return value is None or conforms(value, shape[1])
    if isinstance(shape, list):
        return isinstance(value, list) and all(conforms(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and conforms(value[key], wanted) for key, wanted in shape.items()
        )
    if shape is int and isinstance(value, bool):
        return False
    return isinstance(value, shape)  # type: ignore[arg-type] # a type, or a union of types


def wants_audit(decision: Decision) -> bool:
    """Whether a message leaves a record: it had an effect, or a problem."""
    return bool(
        decision.copies
        or decision.from_change
        or decision.header_changes
        or decision.refusal
        or decision.verdict != "accept"
        or decision.unavailable
        or decision.incomplete
        or decision.stale
        or any(notice.error or notice.invalid_value_of for notice in decision.warnings)
    )


def must_be_durable(decision: Decision, policy: Policy) -> bool:
    """Whether the record has to be on disk before the MTA is answered: a legal copy is made.

    Else there would be a copy in the world that nobody can account for.
    """
    confidential = {copy_class.name for copy_class in policy.copy_classes if copy_class.confidential}
    return decision.applied_verdict == "accept" and any(
        not confidential.isdisjoint(copy.classes) for copy in decision.applied_copies
    )
