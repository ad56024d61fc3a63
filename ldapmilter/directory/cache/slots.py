"""The store of the answers: cachetools' ``TLRUCache``, and slots that know whether it holds them.

An answer stays until it is of no use even in an outage, or until it has to make room: what was
neither fetched nor asked for longest goes first. Not for several threads at once: a read reorders,
and takes the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cachetools

from ldapmilter.directory.cache.answers import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from ldapmilter.directory.cache.answers import Limits


class Slots(cachetools.TLRUCache["Hashable", Slot, float]):
    """Slots by key.

    ``Slot.held`` is what makes it cheap to tell whether a value still stands: the slots that it was
    made from are looked at, not looked up.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        names_of: Callable[[Hashable, Any], Iterable[Hashable]] | None = None,
    ) -> None:
        """Hold nothing yet.

        Args:
            limits: times to live and size.
            clock: monotonic seconds.
            names_of: what a key and its value can be found by, beside the key (:meth:`named`).
        """
        self._stale_ttl = limits.stale_ttl
        self._names_of = names_of
        self._named: dict[int, Hashable | list[Hashable]] = {}
        """Keys by the hash of each name; a hash takes a third of the room of a name. Two names of one hash: both."""
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

    def peek(self, key: Hashable) -> Slot | None:
        """Return a slot, and leave the order in which it goes as it is."""
        return cachetools.Cache.__getitem__(self, key) if key in self else None

    def named(self, name: Hashable) -> list[Hashable]:
        """Return the keys of what can be found by a name; there may be others among them."""
        found = self._named.get(hash(name))
        return [*found] if isinstance(found, list) else [] if found is None else [found]

    def everything(self) -> list[Slot]:
        """Return all that is held and of use, and leave the order in which it goes as it is."""
        self.expire()
        return [cachetools.Cache.__getitem__(self, key) for key in cachetools.Cache.__iter__(self)]

    def __setitem__(self, key: Hashable, value: Slot) -> None:
        before = self.find(key)
        if before is not None:
            before.held = False
        if before is not None and before is not value:
            self._unname(before)
        super().__setitem__(key, value)
        value.held = key in self  # what is of no use from the first is not
        if value.held and before is not value:
            self._name(value)

    def __delitem__(self, key: Hashable) -> None:
        slot = self[key]
        slot.held = False
        self._unname(slot)
        super().__delitem__(key)

    def expire(self, time: float | None = None) -> list[tuple[Hashable, Slot]]:
        """Let go of what is of no use any more; cachetools does so whenever something is put in."""
        gone = super().expire(time)
        for _, slot in gone:
            slot.held = False
            self._unname(slot)
        return gone

    def _name(self, slot: Slot) -> None:
        for name in self._names(slot):
            found = self._named.get(name)
            if found is None:
                self._named[name] = slot.key
            elif isinstance(found, list):
                found.append(slot.key)
            else:
                self._named[name] = [found, slot.key]

    def _unname(self, slot: Slot) -> None:
        for name in self._names(slot):
            found = self._named.get(name)
            if isinstance(found, list):
                if slot.key in found:
                    found.remove(slot.key)
                if not found:
                    del self._named[name]
            elif found == slot.key:
                del self._named[name]

    def _names(self, slot: Slot) -> set[int]:
        return {hash(name) for name in self._names_of(slot.key, slot.value)} if self._names_of is not None else set()
