"""Invalid values of confidential copy classes, told without naming the entries they are on.

A line about one beside the line of the message that met it would say who is under a legal hold. So
it comes on the hour, once, for whatever was met in the last day. Which values those are is in the
audit, in ``explain`` and in ``check --directory``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HOUR: Final = 3600.0
_TOLD_FOR: Final = 24 * _HOUR


class InvalidValues:
    """When each class last met one, over all workers that there have been."""

    def __init__(self, now: float) -> None:
        """Begin with none; times are seconds since the epoch."""
        self._met: dict[str, float] = {}
        self._hour = now // _HOUR

    def take(self, reports: Iterable[Mapping[str, float]]) -> None:
        """Take over what workers report: when each class last met one."""
        for report in reports:
            for name, met in report.items():
                self._met[name] = max(met, self._met.get(name, met))

    def since(self, then: float) -> list[str]:
        """Return the classes that have met one since then."""
        return sorted(name for name, met in self._met.items() if met >= then)

    def due(self, now: float) -> list[str]:
        """Return what to say now; something in the first call of an hour only."""
        hour = now // _HOUR
        if hour == self._hour:
            return []
        self._hour = hour
        return [
            f"copy class {name} has had an invalid value in use within the last day;"
            " ldapmilter check --directory lists it"
            for name in self.since(now - _TOLD_FOR)
        ]
