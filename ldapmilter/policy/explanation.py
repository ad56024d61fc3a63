"""What ``explain`` tells, as a document: the decision, and what does not happen and why.

The keys are added to ``explain --json`` and to the control socket; the audit does not have them. As those of
the decision, they are never renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from ldapmilter.policy.document import DecisionDocument, ReasonDocument, as_json, reason_document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.policy.effect import Direction, FromCause
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.not_applied import Cause, NotApplied, ValueCause


class UnusedValueDocument(ReasonDocument):
    """One value that did not count, and why."""

    cause: ValueCause
    text: str


class LevelDocument(TypedDict):
    """One entry that was looked at."""

    level: str
    dn: str


_NotAppliedOf = TypedDict(
    "_NotAppliedOf",
    {"class": "str | None", "direction": "Direction | None", "way": "FromCause | None"},
)


class NotAppliedDocument(_NotAppliedOf):
    """What does not happen: a copy of a class in a direction, one way in which the From could change, or a post."""

    cause: Cause
    text: str
    values: list[UnusedValueDocument]
    looked_at: list[LevelDocument]


class ExplanationDocument(DecisionDocument):
    """What ``explain`` tells: the decision, and what does not happen."""

    not_applied: list[NotAppliedDocument]


MOST_LOOKED_AT: Final = 50
"""Entries that are named as looked at: a list may have ten thousand members."""


def explanation(decision: Decision, not_applied: Iterable[NotApplied]) -> ExplanationDocument:
    """Return a decision, and what does not happen, under the keys that programs rely on."""
    return {**as_json(decision), "not_applied": [_not_applied(one) for one in not_applied]}


def _not_applied(one: NotApplied) -> NotAppliedDocument:
    return {
        "class": one.copy_class,
        "direction": one.direction,
        "way": one.way,
        "cause": one.cause,
        "text": one.text,
        "values": [
            {**reason_document(unused.reason), "cause": unused.cause, "text": unused.text} for unused in one.values
        ],
        "looked_at": [{"level": holder.level, "dn": holder.dn} for holder in one.looked_at[:MOST_LOOKED_AT]],
    }
