"""A decision as a JSON document: the keys of ``explain --json``, the control socket and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldapmilter.policy.model import Copy, Decision, FromChange, Reason

DecisionJson = dict[str, Any]
"""The document; its keys are what programs rely on."""


def as_json(decision: Decision) -> DecisionJson:
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
        "unavailable": decision.unavailable,
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
