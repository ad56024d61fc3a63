"""Why the From of a message stays: for each way in which it could change, the nearest value that did not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.policy import from_enforce, from_rewrite
from ldapmilter.policy.effect import FromChange
from ldapmilter.policy.levels import reason_of
from ldapmilter.policy.not_applied import NotApplied, UnusedValue, nearest_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ldapmilter.policy.asked import Asked
    from ldapmilter.policy.effect import Direction, FromCause, Reason
    from ldapmilter.policy.from_outcome import FromStays
    from ldapmilter.policy.levels import PassedOver
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.settings import FromPolicy

_WAYS: tuple[FromCause, ...] = ("rewrite", "recipient", "enforce")


def missing_ways(decision: Decision, policy: FromPolicy) -> tuple[FromCause, ...]:
    """Return the ways in which the From could change and does not; none where it changes, or the message is refused."""
    if decision.from_change is not None:
        return tuple(one.cause for one in _told(decision) if one.cause != "list")
    if decision.refusal is not None:
        return () if policy.mode == "apply" else ("enforce",)
    return _WAYS


def _told(decision: Decision) -> Iterator[FromChange]:
    """Yield the changes of the From that are not carried out."""
    for change in (decision.from_change, *decision.header_changes):
        if isinstance(change, FromChange) and change.mode != "apply":
            yield change


def why(
    decision: Decision, asked: Asked, from_stays: Iterable[FromStays], ways: Iterable[FromCause]
) -> Iterator[NotApplied]:
    """Yield why the From does not change in each of some ways.

    Raises:
        DirectoryUnavailable: something that matters could not be asked.
    """
    by_way = _Ways(decision, asked, from_stays)
    for way in ways:
        yield by_way.why(way)


class _Ways:
    """Why the From of one message does not change."""

    def __init__(self, decision: Decision, asked: Asked, from_stays: Iterable[FromStays]) -> None:
        self._decision = decision
        self._asked = asked
        self._facts = asked.facts
        self._policy = asked.facts.policy.from_policy
        self._stays = {one.way: one for one in from_stays}

    def why(self, way: FromCause) -> NotApplied:
        """Return why the From does not change in one way."""
        attributes = self._attributes(way)
        if not attributes:
            return NotApplied(way=way, cause="switched-off", text="switched off: [from] names no attribute for it")
        if self._facts.sender_policy is None:  # whoever receives it: the mail of our users alone changes
            cause, text = self._asked.nothing_found("sent")
            return NotApplied(way=way, cause=cause, text=text)
        direction: Direction = "received" if way == "recipient" else "sent"
        values = nearest_first((*self._values(way), *self._asked.of_lists(direction, attributes)))
        found = (values[0].cause, values[0].text) if values else self._asked.nothing_found(direction, behind=False)
        return NotApplied(
            way=way,
            cause=found[0],
            text=found[1],
            values=values,
            looked_at=self._asked.levels(direction, behind=False),
        )

    def _attributes(self, way: FromCause) -> tuple[str, ...]:
        if way == "rewrite":
            return self._policy.sender_attributes
        return self._policy.recipient_attributes if way == "recipient" else self._policy.enforce_attributes

    def _values(self, way: FromCause) -> Iterator[UnusedValue]:
        told = next((one for one in _told(self._decision) if one.cause == way), None)
        if (effect := told or self._decision.refusal) is not None:
            for reason in effect.reasons:
                yield UnusedValue(cause="mode", text=f"[from] is in mode {self._policy.mode}", reason=reason)
        elif way == "rewrite":
            yield from self._rules()
        elif way == "recipient":
            yield from self._recipients_values()
        else:
            yield from self._enforcement()

    def _rules(self) -> Iterator[UnusedValue]:
        for subject in self._asked.mailbox:
            notes: list[PassedOver] = []
            rules = from_rewrite.sender_rules(subject.chain, self._policy, notes)
            for found in rules.found:
                reason = reason_of(found)
                others = self._facts.rule_parties
                if any(other.match(found.value.when, self._facts.groups) is not None for other in others):
                    yield self._kept("rewrite", reason)
                else:
                    yield self._asked.mismatch(found.value.when, reason, others, "sent")
            yield from (self._asked.unused(note, subject) for note in notes)

    def _recipients_values(self) -> Iterator[UnusedValue]:
        for subject in self._asked.received:
            notes: list[PassedOver] = []
            values = from_rewrite.recipient_from_values(subject.chain, self._policy, notes)
            for found in values.found:
                yield self._kept("recipient", reason_of(found, subject.recipient))
            yield from (self._asked.unused(note, subject) for note in notes)

    def _enforcement(self) -> Iterator[UnusedValue]:
        for subject in self._asked.mailbox:
            notes: list[PassedOver] = []
            rule, _ = from_enforce.choose(subject.chain, self._policy, notes)
            for reason in rule.reasons if rule is not None else ():
                yield self._kept("enforce", reason)
            yield from (self._asked.unused(note, subject) for note in notes)

    def _kept(self, way: FromCause, reason: Reason) -> UnusedValue:
        """Return a value that would change the From, but for something about the message."""
        if (stays := self._stays.get(way)) is not None:
            return UnusedValue(cause=stays.cause, text=stays.text, reason=reason)
        for first in self._stays.values():
            if first.cause == "exempt":
                return UnusedValue(cause="exempt", text=first.text, reason=reason)
            text = f"a value of the way {first.way} comes first, and cannot be used"
            return UnusedValue(cause="outranked", text=text, reason=reason)
        return UnusedValue(cause="no-account", text="the sender is no address", reason=reason)
