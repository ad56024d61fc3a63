"""What a process has counted since its start: plain numbers in nested dictionaries.

Such a tally travels as JSON and adds up: over the workers that are there, and those that are gone.
Nothing in it says of whom or to whom. What only messages with something confidential move is counted
apart, under ``confidential``: a sender who looks at the counts before and after a message would
learn of a legal hold.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.policy.effect import Copy

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision, Notice

Numbers = dict[str, Any]
"""Numbers by name, nested."""

SECONDS_BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of seconds that a message waited at DATA."""


class Tally:
    """The counts of one worker."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._lock = threading.Lock()
        self._verdicts: dict[str, int] = {}
        self._effects: dict[str, int] = {}
        self._events: dict[str, int] = {}
        self._confidential: dict[str, int] = {}
        self._buckets = [0] * (len(SECONDS_BOUNDS) + 1)
        self._seconds = 0.0

    def waited(self, seconds: float) -> None:
        """Count how long a message waited at DATA."""
        with self._lock:
            self._buckets[bisect_left(SECONDS_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def decided(self, decision: Decision, confidential: frozenset[str] = frozenset()) -> None:
        """Count the outcome of a message.

        Of one that waits only that it does, for whatever it waits: the rest would tell for what.

        Args:
            decision: the outcome.
            confidential: the copy classes that are counted apart.
        """
        if decision.uneventful:
            with self._lock:
                _count(self._verdicts, decision.verdict)
            return
        public = [
            effect for effect in decision.effects if effect.made and effect.public_reasons(confidential) is not None
        ]
        effects = {_effect(effect.kind, effect.mode) for effect in public}
        secret = {notice.text for notice in decision.warnings if notice.confidential}
        invalid = [notice for notice in decision.warnings if notice.invalid_value_of is not None]
        with self._lock:
            _count(self._verdicts, decision.told_verdict)
            self._count_confidential(decision, invalid, confidential)
            if decision.applied_verdict == "tempfail":
                return
            for effect in effects:
                _count(self._effects, effect)
            if copies := len([effect for effect in public if isinstance(effect, Copy)]):
                _count(self._events, "copies", copies)
            if decision.incomplete and not secret.issuperset(decision.incomplete):
                _count(self._events, "incomplete")
            if decision.stale:
                _count(self._events, "stale")
            if decision.unknown_client is not None:
                _count(self._events, "unknown_clients")
            if broken := [notice for notice in invalid if not notice.confidential]:
                _count(self._events, "invalid_values", len(broken))

    def _count_confidential(self, decision: Decision, invalid: list[Notice], confidential: frozenset[str]) -> None:
        secret = [copy for copy in decision.copies if copy.added and not confidential.isdisjoint(copy.classes)]
        if secret:
            _count(self._confidential, "copies", len(secret))
            _count(self._confidential, "messages")
        if broken := [one for one in invalid if one.confidential]:
            _count(self._confidential, "invalid_values", len(broken))
        if decision.unavailable:
            _count(self._confidential, "unavailable")

    def happened(self, event: str) -> None:
        """Count anything else."""
        with self._lock:
            _count(self._events, event)

    def numbers(self) -> Numbers:
        """Return the counts so far."""
        with self._lock:
            return {
                "verdicts": dict(self._verdicts),
                "effects": dict(self._effects),
                "events": dict(self._events),
                "confidential": dict(self._confidential),
                "waits": {"seconds": self._seconds, **{str(i): n for i, n in enumerate(self._buckets)}},
            }


def add(one: Numbers, other: Numbers) -> Numbers:
    """Return the sums of two tallies, name by name."""
    total = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, dict):
            total[name] = add(before if isinstance(before, dict) else {}, value)
        else:
            total[name] = (before or 0) + value
    return total


def _effect(name: str, mode: str) -> str:
    return name if mode == "apply" else f"would-{name}"


def _count(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by
