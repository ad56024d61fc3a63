"""What the cache holds and hands out: answers, how long they count, and what could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from ldapmilter.errors import DirectoryUnavailable


class Limits(Struct, frozen=True, kw_only=True):
    """How long and how much: ``[cache]``, seconds and entries."""

    ttl: float = 300
    negative_ttl: float = 60
    stale_ttl: float = 86400
    max_entries: int = 100_000


class Slot(Struct, eq=False, gc=False):
    """One answer and how long it counts.

    A fetch that finds the same answer prolongs the slot, another answer gets another slot: whoever
    remembers what a value was made from remembers slots.
    """

    key: Hashable
    value: Any
    loaded_at: float
    fresh_until: float
    held: bool = False
    """Whether the cache holds it: nothing has taken its place, and it had neither to make room nor to be forgotten."""


class Outlook(Enum):
    """What becomes of an answer when something in the directory has changed."""

    STANDS = "stands"
    OUTDATED = "outdated"
    """It is asked for again, and served until then only while the directory fails."""
    SOON = "soon"
    """It may be outdated, as after every change: so it is asked for again, but not more often than now and then."""


Judge = Callable[[Hashable, Any], Any]
"""Says of a key and its value (``None``, empty: absent) a :class:`Outlook`, or returns the value that it has now."""

Reads = dict[Slot, None]
"""The answers that a value was made from, once each. Two of one key never stand together."""


class Statistics(Struct):
    """Counts since start."""

    hits: int = 0
    misses: int = 0
    stale: int = 0
    refreshed: int = 0
    failures: int = 0


class Answers(Struct):
    """What :meth:`Cache.get_many` found out."""

    slots: dict[Hashable, Slot] = field(default_factory=dict)
    stale_keys: set[Hashable] = field(default_factory=set)
    """Keys whose answer is past its time to live: the directory failed."""
    failures: dict[Hashable, DirectoryUnavailable] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """Whether any answer is past its time to live."""
        return bool(self.stale_keys)

    @property
    def values(self) -> dict[Hashable, Any]:
        """The value of every key that has one, fresh or stale."""
        return {key: slot.value for key, slot in self.slots.items()}

    def add(self, other: Answers) -> None:
        """Take over what another question found out."""
        self.slots.update(other.slots)
        self.stale_keys |= other.stale_keys
        self.failures.update(other.failures)
