"""The interface of a back end: one search operation, and one deadline for everything it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.raw_entry import RawEntry

Scope = Literal["base", "one", "sub"]
Numbers = dict[str, float]
PAGE_SIZE = 500
"""Entries that a page holds at most; memory is bounded by it, whatever the size of the directory."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time (monotonic seconds) by which an answer is worth having."""

    at: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Deadline:
        """Return the deadline that is so many seconds away."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Return the seconds left; zero when it has passed."""
        return max(0.0, self.at - self.clock())


class Store(Protocol):
    """A directory that can be searched: an LDAP server, or an LDIF file in memory."""

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
        *,
        next_server_first: bool = False,
    ) -> list[RawEntry]:
        """Return the entries that match; none when the base does not exist.

        ``next_server_first`` asks another server than usual where there are several: a replica may
        lag behind. An attribute that the directory does not know matches nothing and returns nothing.

        Raises:
            DirectoryUnavailable: no complete answer by the deadline, for whatever reason.
        """

    def pages(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
    ) -> Iterator[list[RawEntry]]:
        """Return the entries that match as :meth:`search` does, page by page; no page is empty.

        The time that is left to ``deadline`` at the call is what each page may take, however many
        there are and however long the caller thinks between two of them. The iteration ends without
        an error only after the last entry.

        Raises:
            DirectoryUnavailable: by the iteration, wherever the answer breaks off.
        """

    def problems(self) -> list[str]:
        """Return what is wrong with each server now, in words; nothing when all is well."""

    def statistics(self) -> Mapping[str, Numbers]:
        """Return counts since start for each server, by URI: ``searches``, ``failures``, ``seconds``."""

    def states(self) -> Mapping[str, Numbers]:
        """Return how each server is now, by URI: whether it is ``up``, and the policy ``readable`` there."""

    def close(self) -> None:
        """Let go of every connection."""


def fold_dn(dn: str) -> str:
    """Return a DN in a form to compare by: without case, without blanks around commas."""
    return ",".join(part.strip() for part in dn.split(",")).casefold()
