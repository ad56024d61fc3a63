"""What one message sees of the directory: answers that do not change under it, and values made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ldapmilter.directory.derived import Derived
    from ldapmilter.directory.interface import KeyT, ValueT
    from ldapmilter.directory.reader import Reader
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.trace import Reads, Trace


class View:
    """One message's reads, and what is remembered of earlier ones.

    Attributes:
        reader: asks the directory, through the cache.
        trace: this message's deadline, and what it has read so far.
    """

    def __init__(self, reader: Reader, derived: Derived, trace: Trace) -> None:
        """Bind a reader to one message's deadline and counts."""
        self.reader = reader
        self.trace = trace
        self._derived = derived
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        """The site, one snapshot per message: a domain must not come or go between two of its steps."""
        if self._site is None:
            self._site = self.reader.site(self.trace)
        return self._site

    def derived(
        self, keys: Collection[KeyT], work_out: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]]
    ) -> dict[KeyT, ValueT]:
        """Return values worked out from this directory; see :meth:`Directory.derived`."""
        values: dict[KeyT, ValueT] = self.recall(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in values]
        if missing:
            values.update(self.work_out(missing, work_out))
        return values

    def recall(self, keys: Collection[KeyT]) -> dict[KeyT, Any]:
        """Return values that still stand; see :meth:`Directory.recall`."""
        found = self._derived.recall(keys)
        for recorder in self.trace.recorders:
            for remembered in found.values():
                recorder.update(dict.fromkeys(remembered.reads))
        return {key: found[key].value for key in keys if key in found}

    def work_out(
        self,
        keys: Collection[KeyT],
        make: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]],
        *,
        worth_keeping: Callable[[ValueT], bool] = lambda _value: True,
    ) -> Mapping[KeyT, ValueT]:
        """Return and remember values; see :meth:`Directory.work_out`."""
        reads: Reads = {}
        changes, failures, stale = self._derived.changes, len(self.trace.failures), self.trace.stale
        self.trace.recorders.append(reads)
        # What was read before, the snapshot of the site above all, counts as read here too.
        self._site = None
        try:
            made = make(keys)
        finally:
            self.trace.recorders.pop()
        if len(self.trace.failures) == failures and self.trace.stale == stale:
            for key, value in made.items():
                if worth_keeping(value):
                    self._derived.remember(key, value, reads, changes)
        return made
