"""The searches of one load: in time, counted on the message that caused them, and in turn where no message waits."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.store import PAGE_SIZE
from ldapmilter.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Deadline, Scope, Store
    from ldapmilter.directory.trace import Trace


class Searching:
    """What a load asks the back end by."""

    def __init__(self, store: Store, deadline: Deadline, trace: Trace, *, next_server_first: bool) -> None:
        """Search a store by a deadline, for the message of a trace."""
        self._store = store
        self._deadline = deadline
        self._trace = trace
        self._next_server_first = next_server_first

    def __call__(self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str]) -> list[RawEntry]:
        """Return the entries that match."""
        with self._turn():
            self._trace.searches += 1
            return self._store.search(
                base, scope, search_filter, attributes, self._patience(), next_server_first=self._next_server_first
            )

    def many(
        self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str]
    ) -> Iterator[list[RawEntry]]:
        """Return the entries that match, page by page: there may be tens of thousands.

        Raises:
            TooLarge: there are more than the message may read.
        """
        with closing(self._store.pages(base, scope, search_filter, attributes, self._patience())) as pages:
            full = True
            while True:
                with self._turn():
                    self._trace.searches += full
                    page = next(pages, None)
                if page is None:
                    return
                full = len(page) == PAGE_SIZE
                if full:
                    self._trace.weigh(len(page))
                    self._in_time()
                yield page

    def _in_time(self) -> None:
        if self._trace.background is None and self._deadline.remaining() <= 0:
            message = "lookup_deadline has passed"
            raise DeadlineExceeded(message)

    def _turn(self) -> AbstractContextManager[None]:
        progress = self._trace.background
        return progress.turn() if progress is not None else nullcontext()

    def _patience(self) -> Deadline:
        return self._deadline if self._trace.background is None else self._trace.patience()
