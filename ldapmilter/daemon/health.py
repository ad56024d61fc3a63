"""When a process of the daemon counts as hung, and how long its successor waits. Pure."""

from __future__ import annotations

from collections import deque

_YOUNG = 10.0
"""Seconds: a worker that lives for less may be part of a crash loop."""
_FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
_SILENCE_BEYOND_DEADLINE = 1.0
_SILENCE_BOUNDS = (5.0, 20.0)
"""A busy machine delays reports by seconds; a look-up never delays them."""
_TICKS_APART = 2.0
"""Seconds between two ticks that are as usual."""


def longest_silence(lookup_deadline: float) -> float:
    """Return for how many seconds a worker may not report: about as long as its messages wait for the directory."""
    shortest, longest = _SILENCE_BOUNDS
    return min(longest, max(shortest, lookup_deadline + _SILENCE_BEYOND_DEADLINE))


def unheeded(before: float, now: float) -> float:
    """Return for how many seconds between two ticks the parent itself has not listened: nobody was silent then."""
    return max(0.0, now - before - _TICKS_APART)


class RestartPauses:
    """Pauses before a worker is replaced: none at first, and longer ones in a crash loop."""

    def __init__(self) -> None:
        """Begin with no deaths."""
        self._young_deaths = 0

    def after(self, lived: float) -> float:
        """Return the seconds to wait after the death of a worker that lived for so many seconds."""
        if lived >= _YOUNG:
            self._young_deaths = 0
            return 0.0
        self._young_deaths += 1
        return min(LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self._young_deaths - 1))


RELAY_SILENCE = 20.0
"""Seconds after which a relay that reports nothing is killed."""
_RELAY_DEATHS = 3
_RELAY_SECONDS = 60.0


class RelayPauses:
    """Pauses before the copy relay is started again: none, but for a minute after three deaths in a minute."""

    def __init__(self) -> None:
        """Begin with no deaths."""
        self._deaths: deque[float] = deque(maxlen=_RELAY_DEATHS)

    def after(self, now: float) -> float:
        """Return the seconds to wait after a death at a time (seconds, monotonic)."""
        self._deaths.append(now)
        if len(self._deaths) == _RELAY_DEATHS and now - self._deaths[0] <= _RELAY_SECONDS:
            self._deaths.clear()
            return _RELAY_SECONDS
        return 0.0
