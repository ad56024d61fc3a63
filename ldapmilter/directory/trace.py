"""One message's reads: its deadline, what they cost, what they saw, and what could not be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ldapmilter.directory.loading import kind_of, name_of
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from ldapmilter.directory.answers import Slot
    from ldapmilter.directory.loading import CacheKey
    from ldapmilter.directory.store import Deadline

Reads = dict["Slot", None]
"""The answers that a value was made from, once each. Two of one key never stand together."""


@dataclass(slots=True)
class Trace:
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
