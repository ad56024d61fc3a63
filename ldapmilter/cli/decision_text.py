"""A decision for people and for programs: the text and the JSON of ``explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.mailbox import encoded_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.policy.model import Copy, Decision, FromChange, Reason


def as_json(decision: Decision) -> dict[str, Any]:
    """Return the decision under the keys that programs rely on."""
    identity = decision.identity
    return {
        "identity": {
            "address": identity.address.text if identity.address is not None else None,
            "source": identity.source,
            "dn": identity.dn,
        },
        "verdict": decision.verdict,
        "smtp_reply": decision.smtp_reply,
        "from": _from_json(decision.from_change) if decision.from_change is not None else None,
        "headers": [
            {"name": header.name, "value": header.value, "mode": header.mode} for header in decision.header_changes
        ],
        "refused": {
            "address": decision.refusal.address,
            "reasons": [_place(reason) for reason in decision.refusal.reasons],
        }
        if decision.refusal is not None
        else None,
        "copies": [_copy_json(copy) for copy in decision.copies],
        "mode": decision.mode,
        "decided_before": decision.decided_before,
        "warnings": [notice.text for notice in decision.warnings],
        "incomplete": list(decision.incomplete),
        "stale": decision.stale,
        "searches": decision.searches,
    }


def _from_json(change: FromChange) -> dict[str, Any]:
    return {
        "value": change.value,
        "cause": change.cause,
        "mode": change.mode,
        "reasons": [_place(reason) for reason in change.reasons],
    }


def _copy_json(copy: Copy) -> dict[str, Any]:
    return {
        "address": copy.address.text,
        "classes": list(copy.classes),
        "mode": copy.mode,
        "reasons": [
            {"class": reason.copy_class, "direction": reason.direction, **_place(reason), "ref": reason.ref}
            for reason in copy.reasons
        ],
    }


def _place(reason: Reason) -> dict[str, Any]:
    return {
        "level": reason.level,
        "dn": reason.dn,
        "attribute": reason.attribute,
        "value": reason.value,
        "recipient": reason.recipient,
        "group_path": list(reason.group_path),
    }


def as_text(decision: Decision) -> str:
    """Return the decision as an administrator reads it."""
    return "\n".join(_lines(decision))


def _lines(decision: Decision) -> Iterator[str]:
    if decision.decided_before is not None:
        yield f"untouched {decision.decided_before}: this mail has been decided on an earlier hop"
        return
    identity = decision.identity
    if identity.source == "none":
        yield "identity  none: nobody logged in, and the client is no mailbox server"
    else:
        known = identity.dn or ("could not be looked up" if decision.unavailable else "no such account")
        yield f"identity  {identity.address or '(no address)'} ({identity.source}, {known})"
    yield f"verdict   {decision.verdict}" + (f": {decision.smtp_reply}" if decision.smtp_reply else "")
    if decision.unavailable:
        yield "nothing   is decided: the message waits, and its sender tries again"
        yield from (f"because   {notice}" for notice in decision.warnings)
        yield f"searches  {decision.searches}"
        return
    if decision.refusal is not None:
        yield f"refused   From {decision.refusal.address} is not theirs to use"
        yield from (f"            {_because(reason)}" for reason in decision.refusal.reasons)
        return
    yield from _from_lines(decision.from_change)
    for header in decision.header_changes:
        yield f"header    {header.name}: {header.value or '(removed)'}{_mode(header.mode)}"
    if not decision.copies:
        yield "copies    none"
    for copy in decision.copies:
        yield f"copy      {copy.address} ({', '.join(copy.classes)}){_mode(copy.mode)}"
        yield from (f"            {reason.direction}: {_because(reason)}" for reason in copy.reasons)
    yield from (f"warning   {notice}" for notice in decision.warnings)
    yield from (f"INCOMPLETE: {text}" for text in decision.incomplete)
    if decision.stale:
        yield "STALE: the directory failed; an entry from before was used"
    if decision.mode != "apply":
        yield f"mode      {decision.mode}: this is what apply would do"
    yield f"searches  {decision.searches}"


def _from_lines(change: FromChange | None) -> Iterator[str]:
    if change is None:
        yield "From      stays"
        return
    yield f"From      {_readable(change.value)} ({change.cause}){_mode(change.mode)}"
    if _readable(change.value) != change.value:
        yield f"            sent as {change.value}"
    yield from (f"            {_because(reason)}" for reason in change.reasons)


def _mode(mode: str) -> str:
    return "" if mode == "apply" else f" [{mode}: not applied]"


def _readable(value: str) -> str:
    """Decode the encoded words of a From value for a terminal."""
    return encoded_word.decode(value)


def _because(reason: Reason) -> str:
    text = f"{reason.attribute}: {reason.value}   [{reason.level} {reason.dn}]"
    if reason.recipient:
        text += f" for {reason.recipient}"
    if reason.group_path:
        text += f" through {' > '.join(reason.group_path)}"
    return text
