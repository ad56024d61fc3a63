"""Which change numbers are asked for, and which were seen: bounded, whatever clocks and masters do.

Changes do not come in the order of their numbers: clocks of masters differ, and a replica that was cut off from one of
them hears late of what was changed there. So from the newest number of every master a margin is kept in which every
pair of entry and number is remembered. While few changes lie in it all of it is asked for every time; where there are
many (everybody logs in), its newest seconds are, and of the rest a part in turn.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.following.change_number import earlier, moment, number_at, originator

if TYPE_CHECKING:
    from collections.abc import Iterable

MARGIN = 120.0
"""Seconds by which changes of one master may come late."""
_EDGE = 5.0
"""Seconds that are asked for every time, or as many of them as hold one part."""
_FEW = 400
"""Seen changes that are asked for again every time."""
_PART = 200
"""Seen changes of which one part consists, where there are more."""
MOST_SEEN = 20_000
"""Changes that are remembered; the margin is shorter where there are more."""


class Span(Struct, frozen=True):
    """Change numbers from one on, up to another (which is not in it); ``None``: to the end."""

    first: str
    end: str | None = None


class _Master(Struct):
    newest: str
    seen_at: float
    """When that was first seen, in monotonic seconds."""
    live: bool
    """Whether it was seen when it was new, so that it tells what that master's clock says."""


class Window:
    """The change numbers of one server, since a moment."""

    def __init__(self, first: str) -> None:
        """Begin at a change number; what is older is not asked for."""
        self._first = first
        self._seen: dict[str, str] = {}
        self._masters: dict[str, _Master] = {}
        self._turn = ""

    def __len__(self) -> int:
        """Return how many changes are remembered."""
        return len(self._seen)

    @property
    def newest(self) -> str:
        """The newest number that was seen; the beginning, if none was."""
        return max((master.newest for master in self._masters.values()), default=self._first)

    def begin(self, pairs: Iterable[tuple[str, str]], now: float) -> None:
        """Take over what there is when following begins."""
        for entry, number in pairs:
            self._note(entry, number, now, live=False)
        self._forget_old()

    def take(self, pairs: Iterable[tuple[str, str]], now: float) -> list[str]:
        """Return the entries whose change was not seen before (``entryUUID``).

        Args:
            pairs: entries with their change numbers, as the server has them.
            now: monotonic seconds.
        """
        new = [pair for pair in pairs if self._seen.get(pair[0]) != pair[1]]
        for entry, number in new:
            self._note(entry, number, now, live=True)
        self._forget_old()
        return [entry for entry, _ in new]

    def _note(self, entry: str, number: str, now: float, *, live: bool) -> None:
        self._seen[entry] = number
        name = originator(number)
        master = self._masters.get(name)
        if master is None or number > master.newest:
            self._masters[name] = _Master(number, now, live)

    def _forget_old(self) -> None:
        lowest = self._lowest()
        if len(self._seen) > MOST_SEEN:
            lowest = max(lowest, sorted(self._seen.values())[-MOST_SEEN])
            self._first = max(self._first, lowest)
        for name in [name for name, master in self._masters.items() if master.newest < lowest]:
            del self._masters[name]
        for entry in [entry for entry, number in self._seen.items() if number < lowest]:
            del self._seen[entry]

    def _lowest(self) -> str:
        return max(
            self._first, min((earlier(master.newest, MARGIN) for master in self._masters.values()), default=self._first)
        )

    def spans(self, now: float) -> list[Span]:
        """Return what to ask for now."""
        lowest = self._lowest()
        if len(self._seen) <= _FEW:
            return [Span(lowest)]
        # After a bulk change, when nothing else changes for hours, its last seconds are not asked for again and again.
        edge = max(lowest, earlier(self.newest, _EDGE), heapq.nlargest(_PART, self._seen.values())[-1])
        part = self._part(lowest, edge)
        return [Span(edge), *self._other_clocks(edge, now), *([part] if part is not None else [])]

    def _other_clocks(self, edge: str, now: float) -> list[Span]:
        """Return where masters with a clock that is behind put what they change now."""
        found: list[Span] = []
        for master in self._masters.values():
            clock = moment(master.newest) + now - master.seen_at
            first = max(earlier(master.newest, _EDGE), number_at(clock - MARGIN))
            end = number_at(clock + MARGIN)
            if master.live and end < edge:
                found.append(Span(max(first, self._first), end))
        return found

    def _part(self, lowest: str, edge: str) -> Span | None:
        """Return the part of the rest whose turn it is."""
        rest = sorted(number for number in self._seen.values() if lowest <= number < edge)
        if not rest:
            return Span(lowest, edge) if lowest < edge else None
        first = self._turn if lowest <= self._turn < edge else lowest
        following = [number for number in rest if number > first]
        end = following[_PART] if len(following) > _PART else edge
        self._turn = end if end < edge else ""
        return Span(first, end)
