"""Why something does not happen to a message: for ``explain``, after the decision, from the same facts.

Whether a value counts is decided where it always is (:mod:`.levels`, :mod:`.copies`, :mod:`.matching`, :mod:`.decide`);
the answers are read from there. For every copy class and direction without a copy, and for every way in which the From
could change and does not, there is one :class:`~ldapmilter.policy.not_applied.NotApplied`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.policy import why_from_stays, why_no_list
from ldapmilter.policy.asked import Asked
from ldapmilter.policy.copies import why_left_out
from ldapmilter.policy.copy_requests import PassedOverCopy, requested_copies
from ldapmilter.policy.not_applied import NotApplied, UnusedValue, nearest_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.copy_requests import CopyRequest
    from ldapmilter.policy.effect import Direction, FromCause
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.settings import CopyClass, Policy

_DIRECTIONS: tuple[Direction, ...] = ("sent", "received")


def why_not(decision: Decision, basis: Basis, policy: Policy, today: date) -> tuple[NotApplied, ...]:
    """Return why each copy is not made, why the From does not change, and why settings of lists do not count.

    Args:
        decision: what happens to the message.
        basis: what it was made from.
        policy: the configuration.
        today: the day in UTC that was decided for.
    """
    missing = [
        (copy_class, direction)
        for copy_class in policy.copy_classes
        for direction in _DIRECTIONS
        if not _is_copied(decision, copy_class, direction)
    ]
    ways = why_from_stays.missing_ways(decision, policy.from_policy)
    if basis.facts is None:
        return _undecided(missing, ways, _cause_of(decision))
    try:
        asked = Asked(basis.facts)
        copies = _CopiesNotMade(asked, today)
        return (
            *(copies.why(copy_class, direction) for copy_class, direction in missing),
            *why_from_stays.why(decision, asked, basis.from_stays, ways),
            *why_no_list.why(decision, basis, asked),
        )
    except DirectoryUnavailable as error:
        return _undecided(missing, ways, str(error))


def _is_copied(decision: Decision, copy_class: CopyClass, direction: Direction) -> bool:
    return any(
        (reason.copy_class, reason.direction) == (copy_class.name, direction)
        for copy in decision.copies
        if copy.mode == "apply"
        for reason in copy.reasons
    )


def _undecided(
    missing: Sequence[tuple[CopyClass, Direction]], ways: Sequence[FromCause], text: str
) -> tuple[NotApplied, ...]:
    return (
        *(
            NotApplied(copy_class=copy_class.name, direction=direction, cause="undecided", text=text)
            for copy_class, direction in missing
        ),
        *(NotApplied(way=way, cause="undecided", text=text) for way in ways),
    )


def _cause_of(decision: Decision) -> str:
    """Return why nothing was decided."""
    if decision.decided_before is not None:
        return f"this mail has been decided on an earlier hop: {decision.decided_before}"
    texts = (*(notice.text for notice in decision.warnings), *decision.incomplete)
    return texts[0] if texts else "nothing could be decided"


class _CopiesNotMade:
    """Why the copies of a class are not made in one direction."""

    def __init__(self, asked: Asked, today: date) -> None:
        self._asked = asked
        self._facts = asked.facts
        self._policy = asked.facts.policy
        passed_over: dict[str, list[PassedOverCopy]] = {}
        requested_copies(
            {"everybody": [*asked.sent, *asked.received, *asked.behind]},
            self._policy.copy_classes,
            today,
            self._facts.directory,
            passed_over=passed_over,
        )
        self._passed_over = passed_over["everybody"]

    def why(self, copy_class: CopyClass, direction: Direction) -> NotApplied:
        """Return why there is no copy of a class in a direction."""
        if not copy_class.attributes(direction):
            text = f"switched off: [copy {copy_class.name}] names no attribute for it"
            return NotApplied(copy_class=copy_class.name, direction=direction, cause="switched-off", text=text)
        values = nearest_first(self._values(copy_class, direction))
        looked_at = self._asked.levels(direction)
        cause, text = (values[0].cause, values[0].text) if values else self._asked.nothing_found(direction)
        return NotApplied(
            copy_class=copy_class.name,
            direction=direction,
            cause=cause,
            text=text,
            values=values,
            looked_at=looked_at,
        )

    def _values(self, copy_class: CopyClass, direction: Direction) -> Iterator[UnusedValue]:
        for requests in self._facts.requests:
            for one in requests.requests:
                if (one.copy_class, one.direction) == (copy_class.name, direction):
                    yield from self._left_out(one, copy_class)
        for note in self._passed_over:
            if note.copy_class == copy_class and note.subject.direction == direction:
                yield self._asked.unused(note.value, note.subject)
        yield from self._asked.of_lists(direction, copy_class.attributes(direction))

    def _left_out(self, one: CopyRequest, copy_class: CopyClass) -> Iterator[UnusedValue]:
        """Yield the values that ask for a copy that this message does not get."""
        why = why_left_out(one, self._facts.matches, self._facts.author.own_keys)
        for reason in one.reasons:
            if why == "with" and one.when is not None:
                yield self._asked.mismatch(one.when, reason, self._facts.others(one.direction), one.direction)
            elif why == "own-address":
                text = f"{one.address} is the author's own address: no copy of their own mail is sent to them"
                yield UnusedValue(cause="own-address", text=text, reason=reason)
            elif copy_class.mode != "apply":
                text = f"[copy {copy_class.name}] is in mode {copy_class.mode}"
                yield UnusedValue(cause="mode", text=text, reason=reason)
            else:
                text = f"more copies are asked for than [policy] max_copies = {self._policy.max_copies}"
                yield UnusedValue(cause="max-copies", text=text, reason=reason)
