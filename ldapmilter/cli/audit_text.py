"""A record of the audit as a compliance officer reads it: when, who, what, why, and where the copies went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.cli import effect_text
from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ldapmilter.audit.record import AuditRecord

_SOURCES = {
    "sasl": "logged in",
    "mailbox-host": "through a mailbox server",
    "none": "no login",
}


def as_text(record: AuditRecord, fates: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """Return a record (of the shape that the audit promises) as lines that hold no control character.

    Args:
        record: of one message.
        fates: what became of copies, in lines, by token.
    """
    return "\n".join(map(plain, _lines(record, fates)))


def _lines(record: AuditRecord, fates: Mapping[str, tuple[str, ...]] | None) -> Iterator[str]:
    yield f"{record['time']}  queue id {record['queue_id'] or '(none)'}  on {record['host']}"
    yield from _kind(record)
    yield from (f"  message id  {text or '(empty)'}" for text in _message_ids(record))
    yield f"  sent by     {_identity(record)}"
    yield f"  mail from   <{record['sender']}>" + (f" from client {record['client']}" if record["client"] else "")
    for recipient in record["offered"]:
        yield f"  to          {recipient}"
    yield f"  verdict     {_verdict(record)}"
    if record["refused"] is not None:
        yield f"  refused     From {record['refused']['address']} was not theirs to use"
        yield from (_because(effect_text.because(reason)) for reason in record["refused"]["reasons"])
    for effect in effect_text.recorded(record, fates):
        applied = "" if effect.mode == "apply" else f" [{effect.mode}: would, was not applied]"
        yield f"  {effect.label:<12}{effect.text}{applied}"
        yield from (f"              {text}" for text in effect.further)
        yield from map(_because, effect.reasons)
    yield from (f"  warning     {text}" for text in record["warnings"])
    yield from (f"  INCOMPLETE  {text}" for text in record["incomplete"])
    if record["stale"]:
        yield "  STALE       the directory failed; what it had said before was used"
    if record["mode"] != "apply":
        yield f"  mode        {record['mode']}"


def _kind(record: AuditRecord) -> Iterator[str]:
    if (other := record.get("takes_back")) is not None:  # not in records of earlier versions
        yield f"  TAKES BACK  the record of {other} with this queue id: its line reached the disk too late, or may not"
        yield "              have reached it, so the message was deferred"
    if record["probe"]:
        yield "  PROBE       asked by ldapmilter probe; there was no mail"
    if record.get("address_test"):
        yield "  TEST        perhaps: it has the header of sendmail -bv, whose report names the copies below"


def _message_ids(record: AuditRecord) -> list[str]:
    ids = record.get("message_ids")
    if ids is None:  # not read; or a record of the time when one was kept at most
        return [record["message_id"] or "(not known)"]
    return list(ids) or ["(none)"]


def _identity(record: AuditRecord) -> str:
    identity = record["identity"]
    how = _SOURCES.get(identity["source"], str(identity["source"]))
    if identity["source"] == "none":
        return how
    login = f" as {record['login']}" if identity["source"] == "sasl" and record["login"] else ""
    return f"{identity['address'] or '(no address)'} ({how}{login}, {identity['dn'] or 'no account known'})"


def _verdict(record: AuditRecord) -> str:
    text = record["verdict"] + (f": {record['smtp_reply']}" if record["smtp_reply"] else "")
    if record["verdict_mode"] != "apply":
        return f"{text} [{record['verdict_mode']}: would, was not applied]"
    if record["verdict"] == "tempfail":
        return f"{text} (the message was deferred, and its sender tries again: no change or copy below was made)"
    if record["verdict"] == "reject":
        return f"{text} (the message was refused: no change or copy below was made)"
    return str(text)


def _because(reason: str) -> str:
    return f"                because {reason}"
