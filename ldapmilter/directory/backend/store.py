"""The interface of a back end: one search operation, and one deadline for everything it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry

Scope = Literal["base", "one", "sub"]
Numbers = dict[str, float]
PAGE_SIZE = 500
"""Entries that a page holds at most; memory is bounded by it, whatever the size of the directory."""


class ServerState(TypedDict):
    """How one server is now, as JSON; times are monotonic seconds, the same in all processes of a host."""

    up: bool | None
    """Whether its last outcome was an answer; ``None``: nothing was asked yet."""
    answered_at: float | None
    failing_since: float | None
    confirmed: bool
    """Whether a failure is more than one search that was slow."""
    failure: str
    unreadable: str | None
    """What policy may not be read there, in words; ``None``: as far as is known, all may."""


class Deadline(Struct, frozen=True):
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
        """Return the entries that match.

        The base has to be there. OpenLDAP says that it is not (noSuchObject) of one that may not be seen
        any more, and of all that is asked below, nothing may be missing by its nature: the
        ``search_base``, ``cn=zimbra`` with its global config, and its COSes, of which there are two at least.

        ``next_server_first`` asks another server than usual where there are several: a replica may
        lag behind. An attribute that the directory does not know matches nothing and returns nothing.

        Raises:
            DirectoryUnavailable: no complete answer by the deadline, for whatever reason; no such base.
        """

    def pages(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
    ) -> Generator[list[RawEntry], None, None]:
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

    def states(self) -> Mapping[str, ServerState]:
        """Return how each server is now, by URI."""

    def look_in(self, seconds: float) -> None:
        """Ask each server that has not been asked for a while whether it answers, for so many seconds at most.

        Returns at once; what comes of it is in :meth:`states`.
        """

    def close(self) -> None:
        """Let go of every connection."""
