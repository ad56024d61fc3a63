"""A dict with a bound: past it, what was put in longest ago goes first.

Nothing is noted when somebody reads, so that a hit costs what a look-up in a dict costs. What is
asked for is put in anew whenever it is refreshed: what goes has not been asked for in a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

_SHARE = 16
"""Of the bound, this part is made free at once: room is not made for every single value."""


class Bounded(dict[KeyT, ValueT]):
    """Values by key, bounded by the sum of their weights. Change it by :meth:`put` and :meth:`drop` only."""

    def __init__(self, bound: int, weigh: Callable[[ValueT], int] = lambda _value: 1) -> None:
        """Hold values up to a weight; that of a value never changes."""
        super().__init__()
        self.bound = bound
        self._weigh = weigh
        self._weight = 0

    def put(self, key: KeyT, value: ValueT) -> None:
        """Hold a value, as the latest."""
        self.drop(key)
        self[key] = value
        self._weight += self._weigh(value)
        if self._weight <= self.bound:
            return
        for oldest in list(self)[:-1]:
            self.drop(oldest)
            if self._weight <= self.bound - self.bound // _SHARE:
                return

    def drop(self, key: KeyT) -> None:
        """Let go of a value, if it is there."""
        if key in self:
            self._weight -= self._weigh(self.pop(key))
