"""The store of the answers: cachetools' ``TLRUCache``, and slots that know whether it holds them.

An answer stays until it is of no use even in an outage, or until it has to make room: what was
neither fetched nor asked for longest goes first. Not for several threads at once: a read reorders,
and takes the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cachetools

from ldapmilter.directory.cache.answers import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ldapmilter.directory.cache.answers import Limits


class Slots(cachetools.TLRUCache["Hashable", Slot, float]):
    """Slots by key.

    ``Slot.held`` is what makes it cheap to tell whether a value still stands: the slots that it was
    made from are looked at, not looked up.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Hold nothing yet."""
        self._stale_ttl = limits.stale_ttl
        super().__init__(limits.max_entries, lambda _key, slot, _now: self.useful_until(slot), clock)

    def useful_until(self, slot: Slot) -> float:
        """Return until when a slot may be served, in an outage at least: what is absent, while it is fresh."""
        return max(slot.fresh_until, slot.loaded_at + self._stale_ttl) if slot.value else slot.fresh_until

    def find(self, key: Hashable) -> Slot | None:
        """Return a slot, as ``get`` does in twice the time."""
        try:
            return self[key]
        except KeyError:
            return None

    def everything(self) -> list[Slot]:
        """Return all that is held and of use, and leave the order in which it goes as it is."""
        self.expire()
        return [cachetools.Cache.__getitem__(self, key) for key in cachetools.Cache.__iter__(self)]

    def __setitem__(self, key: Hashable, value: Slot) -> None:
        before = self.find(key)
        if before is not None:
            before.held = False
        super().__setitem__(key, value)
        value.held = key in self  # what is of no use from the first is not

    def __delitem__(self, key: Hashable) -> None:
        self[key].held = False
        super().__delitem__(key)

    def expire(self, time: float | None = None) -> list[tuple[Hashable, Slot]]:
        """Let go of what is of no use any more; cachetools does so whenever something is put in."""
        gone = super().expire(time)
        for _, slot in gone:
            slot.held = False
        return gone
