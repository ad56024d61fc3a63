"""One message's reads: its deadline, what they cost, what they saw, and what could not be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.cache.progress import Count
from ldapmilter.directory.keys import kind_of, name_of
from ldapmilter.errors import DirectoryUnavailable, TooLarge

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from ldapmilter.directory.cache.answers import Reads, Slot
    from ldapmilter.directory.cache.progress import Progress
    from ldapmilter.directory.keys import CacheKey


class Trace(Struct):
    """One message's reads: its deadline, what they cost, and what could not be asked."""

    deadline: Deadline
    lenient: bool = False
    """Whether to go on without what could not be asked (``directory_failure = accept``)."""
    searches: int = 0
    stale: bool = False
    failures: list[str] = field(default_factory=list)
    """What could not be asked and mattered, in words (lenient traces only: others raise)."""
    unanswered: dict[Hashable, DirectoryUnavailable] = field(default_factory=dict)
    """Keys that could not be asked: a message does not ask for them twice."""
    slots: dict[Hashable, Slot] = field(default_factory=dict)
    """What was answered, stale or fresh: a message reads (and waits) once, and nothing changes under it."""
    recorders: list[Reads] = field(default_factory=list)
    """Of the values being worked out: what they read, with generations (innermost last)."""

    background: Progress | None = None
    """Reading that no message waits for by its deadline: its turns."""
    count: Count = field(default_factory=Count)
    """How far the group is that is read now."""
    still_reading: bool = False
    """Whether this message is waited for because of a group that is read on in the background."""
    room: int | None = None
    """While something is worked out that may prove too large for a message: how much more may be read for it."""
    search_seconds: float = 10.0
    """In the background: what one search may take."""
    memory_only: bool = False
    """Whether what is not in memory could not be asked: reading it takes longer than there is time."""

    def patience(self) -> Deadline:
        """Return the deadline of one search in the background, from now on."""
        return Deadline.after(self.search_seconds, self.deadline.clock)

    def weigh(self, size: int) -> None:
        """Take note of how many entries are about to be read, or gone through.

        Raises:
            TooLarge: more than a message may: they are read in the background.
        """
        self.must_fit(size)
        if self.room is not None:
            self.room -= size

    def must_fit(self, size: int) -> None:
        """Refuse what is more than there is room for; :meth:`weigh` takes the room, too.

        Raises:
            TooLarge: it is.
        """
        if self.room is not None and size > self.room:
            message = "more has to be read than one message may"
            raise TooLarge(message)

    def fail(self, keys: Iterable[CacheKey]) -> None:
        """Take note that some keys matter and could not be asked.

        Raises:
            DirectoryUnavailable: unless this trace is lenient.
        """
        for key in keys:
            error = self.unanswered.get(key) or DirectoryUnavailable(
                f"{kind_of(key)} {name_of(key)} could not be asked"
            )
            if not self.lenient:
                raise error
            self.failures.append(str(error))
