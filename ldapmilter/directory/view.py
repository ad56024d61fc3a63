"""What one message sees of the directory: answers that do not change under it, and values made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping
    from types import TracebackType

    from ldapmilter.directory.cache.answers import Reads
    from ldapmilter.directory.cache.derived import Derived
    from ldapmilter.directory.interface import KeyT, ValueT
    from ldapmilter.directory.reader import Reader
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.trace import Trace


class Made(Struct, frozen=True):
    """Values that were worked out in one go, and what they were made from."""

    values: Mapping[Any, Any]
    reads: Reads
    stale: bool
    """Whether any answer was past its time to live."""


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

    def go_on_from(self, earlier: View) -> None:
        """Take over the site as the same message saw it before, if it has."""
        self._site = earlier._site

    def recall(self, keys: Collection[KeyT], due: set[Hashable] | None = None, lasting: float = 0.0) -> dict[KeyT, Any]:
        """Return values that still stand; see :meth:`RememberingDirectory.recall` and :meth:`Derived.recall`."""
        found = self._derived.recall(keys, due, lasting)
        for remembered in found.values() if self.trace.recorders else ():
            self.read(dict.fromkeys(remembered.reads))
        return {key: found[key].value for key in keys if key in found}

    def read(self, reads: Reads) -> None:
        """Let what is being worked out depend on some answers."""
        for recorder in self.trace.recorders:
            recorder.update(reads)

    def record(self) -> ReadRecord:
        """Return an empty record; see :meth:`RememberingDirectory.record`."""
        return ReadRecord(self, self._derived)

    def snapshot_again(self) -> None:
        """Read the site as if for the first time: it is what it was, and counts as read by what is made now."""
        self._site = None

    def make(self, keys: Collection[KeyT], make: Callable[[Collection[KeyT]], Mapping[KeyT, ValueT]]) -> Made:
        """Work values out and remember them; return them with what they were made from."""
        record = self.record()
        with record:
            made = make(keys)
        for key, value in made.items():
            record.keep(key, value)
        return Made(made, record.reads, self.trace.stale)


class ReadRecord:
    """What one value is made from; see :class:`~ldapmilter.directory.interface.Record`.

    Attributes:
        reads: the answers that were read so far.
    """

    __slots__ = ("_before", "_changes", "_derived", "_opened", "_view", "_whole", "reads")

    def __init__(self, view: View, derived: Derived) -> None:
        """Record what a view reads, for values that are kept there."""
        self.reads: Reads = {}
        self._view = view
        self._derived = derived
        self._changes = derived.changes
        self._opened = False
        self._whole = True
        self._before = (0, False)

    def __enter__(self) -> None:
        """Let the value depend on what is read from now on."""
        trace = self._view.trace
        self._before = (len(trace.failures), trace.stale)
        trace.recorders.append(self.reads)
        if not self._opened:
            self._opened = True
            self._view.snapshot_again()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        trace = self._view.trace
        trace.recorders.pop()
        if kind is not None or (len(trace.failures), trace.stale) != self._before:
            self._whole = False

    def keep(self, key: Hashable, value: object) -> None:
        """Remember the value, unless it was made from failures, or from stale answers."""
        if self._whole:
            self._derived.remember(key, value, self.reads, self._changes)
