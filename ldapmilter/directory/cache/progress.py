"""How far a group is read, for the log; and the turns to search of what goes on in the background."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from ldapmilter.errors import StillReading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from contextlib import AbstractContextManager

LONGEST = 3600.0
"""Seconds that one group may take to read."""
_SHARE, _LONGEST_PAUSE = 0.25, 0.5
"""How long to pause after a search: a share of what it took, and seconds at most."""


class Count(Struct):
    """How much of a group has been read."""

    known: int = 0
    """Members that are known by now."""
    wanted: int = 0
    """What has to be looked up for them, as far as is known."""
    looked_up: int = 0

    def of(self, about: str) -> str:
        """Say how far a group is, by its name."""
        if not self.known:
            return f"{about} is being read"
        if self.looked_up >= self.wanted:
            return f"{about} is being read: all {self.known:,} members known so far are there, and being worked out"
        read = self.known * self.looked_up // self.wanted
        return f"{about} is being read, {read:,} of {self.known:,} members so far"


class Turns(Protocol):
    """What everything that is read in the background shares."""

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""

    @property
    def pause(self) -> Callable[[float], bool]:
        """Lets some seconds pass, and says whether to stop."""

    @property
    def one_search(self) -> AbstractContextManager[object]:
        """Held by who searches."""


class Progress(Struct, eq=False):
    """How far a group is read in the background, and its turns to search."""

    place: Hashable
    about: str
    turns: Turns
    began: float
    count: Count = field(default_factory=Count)
    searches: int = 0
    replaced: bool = False
    """Whether a later version of the same group is read instead."""
    _pause: float = 0.0

    def __str__(self) -> str:
        """Say which group it is, and how far."""
        return self.count.of(self.about)

    @property
    def left(self) -> float:
        """Seconds until it is given up."""
        return self.began + LONGEST - self.turns.clock()

    def given_up(self) -> StillReading:
        """Return the error of what has taken too long."""
        return StillReading(f"{self}: given up after {LONGEST:g} seconds")

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Search now: after a pause, and while no other search runs in the background.

        Raises:
            StillReading: no more: it has taken too long, or the daemon stops.
        """
        if self.turns.pause(self._pause):
            message = f"{self}: the daemon stops"
            raise StillReading(message)
        if self.replaced:
            message = f"{self.about} has changed, and is read anew"
            raise StillReading(message)
        if self.left < 0:
            raise self.given_up()
        with self.turns.one_search:
            began = self.turns.clock()
            self.searches += 1
            try:
                yield
            finally:
                self._pause = min(_LONGEST_PAUSE, _SHARE * (self.turns.clock() - began))
