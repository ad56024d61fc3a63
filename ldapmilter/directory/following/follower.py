"""Follows the changes of the server in use: what has changed since a second ago, or that anything may have.

Nothing here waits: the servers are asked by what is handed in, and the clock belongs to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from ldapmilter.directory.following.change_number import number_at
from ldapmilter.directory.following.window import Window
from ldapmilter.errors import DirectoryUnavailable, LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.following.window import Span

MOST = 2_000
"""Changes in one answer; where there are more, everything may have changed."""
_LOOK_BACK = (7 * 86400.0, 86400.0, 3600.0, 600.0, 120.0, 10.0, 1.0)
"""Seconds before the newest change: when following begins the first that is not too much is looked at for masters."""
_AGAIN = 60.0
"""Seconds after which a server that does not let itself be followed is looked at again."""
_LOOKED_AT_FOR = 600.0
"""Seconds after which a server that is followed is looked at again: an index, or a right, may be gone."""
_STEPS = (60.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0, 3650 * 86400.0)
_PRECISE = 1.0


class CannotFollow(LdapmilterError):
    """A server answers, and does not let its changes be seen; the text says why."""


class TooMany(LdapmilterError):
    """There are more changes than one answer holds."""


class FollowedServer(Protocol):
    """The server in use. Everything raises DirectoryUnavailable when it does not answer."""

    @property
    def uri(self) -> str:
        """Where it is."""

    @property
    def session(self) -> int:
        """Another number whenever the connection was lost, or another server is in use."""

    def connect(self) -> None:
        """Be connected to the first server that answers."""

    def must_be_followable(self) -> None:
        """Find out whether its changes can be seen, and cheaply.

        Raises:
            CannotFollow: they cannot.
        """

    def numbers(self, spans: Sequence[Span], most: int) -> list[tuple[str, str]]:
        """Return entries (``entryUUID``) with their change numbers.

        Raises:
            TooMany: there are more.
        """

    def any_since(self, number: str) -> bool:
        """Whether there is an entry with this change number or a greater one."""

    def entries(self, names: Sequence[str]) -> list[RawEntry]:
        """Return entries by their ``entryUUID``, with all that decides; what is gone is left out."""


class News(Struct, frozen=True, kw_only=True):
    """What one look has brought."""

    entries: Sequence[RawEntry] = ()
    """Entries that have changed, as they are now."""
    outdated: str = ""
    """Why anything may have changed; empty: it may not."""


class FollowingState(Struct, kw_only=True):
    """How following goes."""

    uri: str = ""
    """Of the server that is followed; empty: none is."""
    why_not: str = "not begun yet"
    """Why nothing is followed; empty: it is."""
    caught_up_at: float = 0.0
    """When the last whole answer was asked for, in monotonic seconds: all that the server had then is known."""
    changes: int = 0
    """Entries that were seen to change, since start."""
    outdated: int = 0
    """How often anything may have changed, since start."""


class Follower(Struct):
    """Looks at the server in use."""

    server: FollowedServer
    clock: Callable[[], float]
    """Monotonic seconds."""
    wall_clock: Callable[[], float]
    """Seconds since the epoch."""
    state: FollowingState = field(default_factory=FollowingState)
    _window: Window | None = None
    _session: int = -1
    _begun: bool = False
    """Whether anything was ever followed: before, nobody can hold an answer that is older."""
    _look_again: float = 0.0
    _looked_at: float = 0.0
    """When it was last found out that the server lets itself be followed."""

    def look(self) -> News:
        """Return what is new. Never raises: what fails is in :attr:`state`."""
        now = self.clock()
        try:
            self.server.connect()
            if self._window is None or self.server.session != self._session:
                return self._begin(now)
            return self._go_on(self._window, now)
        except CannotFollow as error:
            self._stop(str(error))
            self._look_again = now + _AGAIN
        except DirectoryUnavailable as error:
            self._stop(f"no server answers: {error}")
        return News()

    def _stop(self, why: str) -> None:
        self._window = None
        self.state.uri, self.state.why_not = "", why

    def _begin(self, now: float, why: str = "") -> News:
        if self.server.session == self._session and now < self._look_again:
            return News()
        if self.server.session != self._session or not why:
            self._session = self.server.session
            self._look_at_server(now)
        window = self._beginning(now)
        first, self._begun = not self._begun, True
        self._window = window
        self.state.uri, self.state.why_not, self.state.caught_up_at = self.server.uri, "", now
        if first:
            return News(outdated="following begins")
        self.state.outdated += 1
        return News(outdated=why or f"{self.server.uri} is followed from now on")

    def _look_at_server(self, now: float) -> None:
        self.server.must_be_followable()
        self._looked_at = now

    def _go_on(self, window: Window, now: float) -> News:
        if now - self._looked_at >= _LOOKED_AT_FOR:
            self._look_at_server(now)
        try:
            new = window.take(self.server.numbers(window.spans(now), MOST), now)
            entries = self.server.entries(new) if new else []
        except TooMany:
            return self._begin(now, f"more than {MOST} entries have changed at once")
        self.state.caught_up_at = now
        self.state.changes += len(new)
        return News(entries=entries)

    # -- where to begin ---------------------------------------------------------------------

    def _beginning(self, now: float) -> Window:
        """Return a window that ends with the newest change there is."""
        newest = self._newest()
        for seconds in _LOOK_BACK:
            first = number_at(newest - seconds)
            try:
                pairs = self.server.numbers(Window(first).spans(now), MOST)
            except TooMany:
                continue
            window = Window(first)
            window.begin(pairs, now)
            return window
        # More than an answer holds within a second, as a bulk load makes them: what follows is what counts.
        return Window(number_at(newest + _PRECISE))

    def _newest(self) -> float:
        """Return when the newest change was made, to a second, by whatever clock.

        Raises:
            CannotFollow: no change number can be seen.
        """
        now = self.wall_clock()
        until, step = now + _PRECISE, 60.0
        while self.server.any_since(number_at(until)):  # a clock that is ahead
            until, step = until + step, 2 * step
        since = next((now - step for step in _STEPS if self.server.any_since(number_at(now - step))), None)
        if since is None:
            message = "no entry shows an entryCSN to this identity"
            raise CannotFollow(message)
        if until > now + _PRECISE:
            since = max(since, now)
        while until - since > _PRECISE:
            middle = (since + until) / 2
            if self.server.any_since(number_at(middle)):
                since = middle
            else:
                until = middle
        return until


def seconds_behind(state: FollowingState, now: float) -> float | None:
    """Return how old what is known of changes is, in seconds; ``None``: nothing is followed."""
    return None if state.why_not else max(0.0, now - state.caught_up_at)
