"""What a process has counted since its start: plain numbers in nested dictionaries.

Such a tally travels as JSON and adds up: over the workers that are there, and those that are gone.
Nothing in it says of whom or to whom; copy classes are not told apart, since a legal copy counted by
itself would betray a legal hold to whoever sends a message and looks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

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
        self._buckets = [0] * (len(SECONDS_BOUNDS) + 1)
        self._seconds = 0.0

    def waited(self, seconds: float) -> None:
        """Count how long a message waited at DATA."""
        with self._lock:
            self._buckets[bisect_left(SECONDS_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def decided(self, decision: Decision) -> None:
        """Count the outcome of a message."""
        verdict = decision.verdict if decision.verdict_mode == "apply" else f"would-{decision.verdict}"
        effects = {_effect("copy", copy.mode) for copy in decision.copies}
        if decision.from_change is not None:
            effects.add(_effect(f"from-{decision.from_change.cause}", decision.from_change.mode))
        effects.update(_effect("header", change.mode) for change in decision.header_changes)
        with self._lock:
            _count(self._verdicts, verdict)
            for effect in effects:
                _count(self._effects, effect)
            if decision.copies:
                _count(self._events, "copies", len(decision.copies))
            if decision.incomplete:
                _count(self._events, "incomplete")
            if decision.stale:
                _count(self._events, "stale")
            if decision.unavailable:
                _count(self._events, "unavailable")
            invalid = sum(notice.invalid_value_of is not None for notice in decision.warnings)
            if invalid:
                _count(self._events, "invalid_values", invalid)

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
