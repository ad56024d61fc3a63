"""One group that is read in the background: what it is asked for by, how it is read, and what came of it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ldapmilter.directory.cache.answers import Reads
    from ldapmilter.directory.cache.progress import Progress

SOONEST = 5.0
"""Seconds after which something is read anew at the soonest."""


class Outcome(Struct, frozen=True, kw_only=True, eq=False):
    """A value, what it was made from, and how long it counts."""

    value: Any
    reads: Reads
    stale: bool
    epoch: int
    """The cache's, before the first answer was read."""
    read_at: float = -math.inf
    until: float = math.inf


def dated(found: Outcome, began: float, now: float, negative_ttl: float) -> Outcome:
    """Return what has just been read with the time until when it counts.

    It counts until it could be read once more, if its answers' time to live, a minute for what is absent, ends
    before: it would never be there whole otherwise.
    """
    took = now - began
    if found.stale:
        until = now + max(2.0, took)
    else:
        until = min((slot.fresh_until for slot in found.reads), default=math.inf)
        until = max(until, now + 1.5 * took + 2 * SOONEST) if took > negative_ttl / 2 else until
    return replace(found, read_at=now, until=until)


class Run(Protocol):
    """How something is read in the background, and what the same message is going to need next."""

    def __call__(self, progress: Progress) -> Outcome:
        """Read it, from a directory that is opened for that."""

    def go_on(self) -> None:
        """Read what the same message is going to need next."""


class Load(Struct, eq=False):
    """One group on its way, or at hand for a message that was put off."""

    place: Hashable
    """What it is held by: the same for all versions of a group, of which the latest takes the others' place."""
    key: Hashable
    """What it is asked for by: this version."""
    run: Run
    """Reads it, each time anew."""
    progress: Progress
    future: Future[Outcome] = field(default_factory=Future)
    on_its_way: bool = True
    outcome: Outcome | None = None
    wanted_until: float = -math.inf
    """Until when a message that was put off is expected back."""
    renewed: bool = False
    """Whether a thread looks after it, and could read it the last time."""
    counted: bool = False
    """Whether it takes one of the places for what is read for the first time."""
    main: Hashable = None
    """Of what is read on another one's thread, as a part of what the same message needs: the place of that one."""

    def let_go(self) -> None:
        """Keep nothing of what was read: the thread that looks after it may sleep for minutes before it ends."""
        self.outcome = None
        if not self.on_its_way:
            self.future = Future()
