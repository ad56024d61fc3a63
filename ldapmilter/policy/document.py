"""A decision as a document: the keys of ``explain --json``, the control socket and the audit.

The types here are the only place that spells these keys. Programs rely on them: a key is added, never
renamed. The audit checks what it reads back against the same types (``audit/shape.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

# Needed when the program runs: the audit evaluates these annotations.
from ldapmilter.delivery.settings import Delivery  # noqa: TC001
from ldapmilter.message import IdentitySource  # noqa: TC001
from ldapmilter.policy.effect import Direction, FromCause, Mode
from ldapmilter.policy.model import Verdict  # noqa: TC001

if TYPE_CHECKING:
    from ldapmilter.policy.effect import Copy, CopyReason, FromChange, HeaderChange, Reason, SenderChange
    from ldapmilter.policy.model import Decision, ListPost, Refusal


class ReasonDocument(TypedDict):
    """One value that causes an effect, and where it stands."""

    level: str
    dn: str
    attribute: str
    value: str
    recipient: str | None
    group_path: list[str]


_CopyOf = TypedDict("_CopyOf", {"class": str, "direction": Direction})


class CopyReasonDocument(_CopyOf, ReasonDocument):
    """One value that asks for a copy."""

    ref: str | None


class FromDocument(TypedDict):
    """The From that the message leaves with."""

    value: str
    cause: FromCause
    mode: Mode
    reasons: list[ReasonDocument]


class HeaderDocument(TypedDict):
    """One other header field that is set, or (no value) removed."""

    name: str
    value: str | None
    mode: Mode
    reasons: list[ReasonDocument]


class RefusalDocument(TypedDict):
    """Why the message is rejected."""

    address: str
    reasons: list[ReasonDocument]


class CopyDocument(TypedDict):
    """One address that gets a copy."""

    address: str
    classes: list[str]
    mode: Mode
    already_a_recipient: list[str]
    added: bool
    delivery: Delivery
    token: str | None
    reasons: list[CopyReasonDocument]


class ListFromDocument(TypedDict):
    """The From that a list puts."""

    value: str
    reasons: list[ReasonDocument]


class ListHeaderDocument(TypedDict):
    """One header field that a list sets."""

    name: str
    value: str
    reasons: list[ReasonDocument]


_ListFrom = TypedDict("_ListFrom", {"from": ListFromDocument | None})


class ListDocument(_ListFrom):
    """What becomes of a message because it is a post to a list."""

    address: str
    headers: list[ListHeaderDocument]
    removed: list[str]
    envelope_sender: str | None
    left_alone: str | None
    from_stays: str | None


class EnvelopeSenderDocument(TypedDict):
    """The envelope sender that the message goes on with."""

    address: str
    mode: Mode
    reasons: list[ReasonDocument]


class IdentityDocument(TypedDict):
    """Who is really sending."""

    address: str | None
    source: IdentitySource
    dn: str | None


class VerdictPart(TypedDict):
    """Who sends, and what the MTA is answered."""

    identity: IdentityDocument
    verdict: Verdict
    smtp_reply: str | None


_FromPart = TypedDict("_FromPart", {"from": FromDocument | None})


class OutcomePart(TypedDict):
    """What else happens to the message, and what is wrong."""

    headers: list[HeaderDocument]
    envelope_sender: EnvelopeSenderDocument | None
    list: ListDocument | None
    refused: RefusalDocument | None
    copies: list[CopyDocument]
    mode: Mode
    unavailable: bool
    decided_before: str | None
    waits_because: list[str]
    warnings: list[str]
    incomplete: list[str]
    stale: bool
    searches: int
    verdict_mode: Mode


class DecisionDocument(VerdictPart, _FromPart, OutcomePart):
    """The whole decision."""


def as_json(decision: Decision) -> DecisionDocument:
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
        "from": _from(decision.from_change) if decision.from_change is not None else None,
        "headers": [_header(change) for change in decision.header_changes],
        "envelope_sender": _sender(decision.sender_change) if decision.sender_change is not None else None,
        "list": _list(decision.list_post) if decision.list_post is not None else None,
        "refused": _refusal(decision.refusal) if decision.refusal is not None else None,
        "copies": [_copy(copy) for copy in decision.copies],
        "mode": decision.mode,
        "unavailable": decision.unavailable or (decision.still_reading and decision.verdict == "tempfail"),
        "decided_before": decision.decided_before,
        "waits_because": list(decision.waits_because),
        "warnings": [notice.text for notice in decision.warnings],
        "incomplete": list(decision.incomplete),
        "stale": decision.stale,
        "searches": decision.searches,
        "verdict_mode": decision.verdict_mode,
    }


def _from(change: FromChange) -> FromDocument:
    return {
        "value": change.value,
        "cause": change.cause,
        "mode": change.mode,
        "reasons": [reason_document(reason) for reason in change.reasons],
    }


def _header(change: HeaderChange) -> HeaderDocument:
    return {
        "name": change.name,
        "value": change.value,
        "mode": change.mode,
        "reasons": [reason_document(reason) for reason in change.reasons],
    }


def _sender(change: SenderChange) -> EnvelopeSenderDocument:
    return {
        "address": change.address.text,
        "mode": change.mode,
        "reasons": [reason_document(reason) for reason in change.reasons],
    }


def _list(post: ListPost) -> ListDocument:
    change, sender = post.from_change, post.sender_change
    return {
        "address": post.address.text,
        "from": {"value": change.value, "reasons": [reason_document(reason) for reason in change.reasons]}
        if change is not None
        else None,
        "headers": [
            {"name": one.name, "value": one.value, "reasons": [reason_document(reason) for reason in one.reasons]}
            for one in post.header_changes
            if one.value is not None
        ],
        "removed": [one.name for one in post.header_changes if one.value is None],
        "envelope_sender": sender.address.text if sender is not None else None,
        "left_alone": post.left_alone,
        "from_stays": post.from_stays,
    }


def _refusal(refusal: Refusal) -> RefusalDocument:
    return {"address": refusal.address, "reasons": [reason_document(reason) for reason in refusal.reasons]}


def _copy(copy: Copy) -> CopyDocument:
    return {
        "address": copy.address.text,
        "classes": list(copy.classes),
        "mode": copy.mode,
        "already_a_recipient": list(copy.already),
        "added": copy.added,
        "delivery": copy.delivery,
        "token": copy.token,
        "reasons": [_copy_reason(reason) for reason in copy.reasons],
    }


def _copy_reason(reason: CopyReason) -> CopyReasonDocument:
    return {"class": reason.copy_class, "direction": reason.direction, **reason_document(reason), "ref": reason.ref}


def reason_document(reason: Reason) -> ReasonDocument:
    """Return one value that causes an effect under the keys that programs rely on."""
    return {
        "level": reason.level,
        "dn": reason.dn,
        "attribute": reason.attribute,
        "value": reason.value,
        "recipient": reason.recipient,
        "group_path": list(reason.group_path),
    }
