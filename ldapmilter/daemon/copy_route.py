"""Whether Postfix hands copies to the relay, as one worker knows it.

Postfix is asked at the start, once a minute, and when a file that its answer was read from is another one: mail that
it does not route is bounced at once, and the copies in it to nobody.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ldapmilter.postfix.transport import Route, ask_postfix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.socket_address import SocketAddress

_FIRST_SECONDS = 3.0
_NOT_ASKED = Route("unknown", "Postfix has not answered yet")
_WORST_FIRST: Final = ("not routed", "unknown", "routed")


class CopyRoute:
    """What is known of the way to the relay. While it is unknown, nothing is held up."""

    def __init__(
        self,
        settings: RelaySettings,
        ask_postfix: Callable[[str, SocketAddress, Path | None], Route] = ask_postfix,
    ) -> None:
        """Begin with what the configuration says, and know nothing of Postfix's."""
        self._settings = settings
        self._ask_postfix = ask_postfix
        self._route = _NOT_ASKED
        self._seen: Route | None = None
        """What Postfix said last of the way as it is; ``None``: nothing yet."""
        self._asking = threading.Lock()
        self._stamps: list[tuple[int, ...] | None] = []

    @property
    def route(self) -> Route | None:
        """What Postfix said last; ``None``: there is no relay."""
        return self._route if self._settings.listen is not None else None

    def follow(self, settings: RelaySettings) -> None:
        """Obey another configuration."""
        before, self._settings = self._settings, settings
        if _asked_for(before) != _asked_for(settings):
            self._route, self._seen = _NOT_ASKED, None

    def ask(self) -> None:
        """Ask Postfix, where there is a relay; a second question meanwhile is none."""
        settings = self._settings
        if settings.listen is None or not self._asking.acquire(blocking=False):
            return
        try:
            found = self._ask_postfix(settings.domain, settings.listen, settings.postfix_dir)
        finally:
            self._asking.release()
        if _asked_for(settings) != _asked_for(self._settings):
            return
        if found.state != "unknown":
            self._route = self._seen = found
        elif self._seen is not None and self._seen.state == "not routed":  # what was missing is not there unseen
            text = f"{self._seen.text}, when it could be seen last; now {found.text}"
            self._route = replace(self._seen, text=text, files=found.files or self._seen.files)
        else:
            self._route = found
        self._stamps = _stamps(self._route)

    def look(self) -> None:
        """Have Postfix asked at once if a file that its answer was read from has changed; waits for nothing."""
        if self._stamps and self._stamps != _stamps(self._route):
            self.ask_within(0)

    def ask_within(self, seconds: float = _FIRST_SECONDS) -> None:
        """Do :meth:`ask` in a thread, and wait for it so long at most."""
        if self._settings.listen is None:
            return
        asking = threading.Thread(target=self.ask, name="copy route", daemon=True)
        asking.start()
        asking.join(seconds)


def worst(routes: Iterable[Mapping[str, str]]) -> Route | None:
    """Return the worst of what workers say of the way, each as ``state`` and ``text``; ``None``: none says any."""
    said = {one["state"]: one["text"] for one in routes}
    return next((Route(state, said[state]) for state in _WORST_FIRST if state in said), None)


class LostRoute:
    """Knows whether the way was gone or out of sight, so that its return can be told."""

    def __init__(self) -> None:
        """Begin with none lost."""
        self._lost = False
        self._was_seen = False

    def follow(self, route: Route | None) -> str | None:
        """Take note of the way as it is now; return what has to be said, once, when it has come back."""
        back = self._lost and route is not None and route.state == "routed"
        if route is not None and route.state == "unknown":
            self._lost |= self._was_seen  # before the first answer nothing is lost
        else:
            self._lost = route is not None and route.state == "not routed"
            self._was_seen = route is not None
        return "Postfix routes copies to the copy relay again" if back else None


def problem(route: Route | None, listen: SocketAddress | None) -> str | None:
    """Return what has to be said of a way to ``[relay] listen``, and what mends it; ``None``: nothing."""
    if route is None or route.state == "routed":
        return None
    if route.state == "unknown":
        return (
            "it is not known whether Postfix routes copies to the copy relay; if not, they are lost:"
            f" {route.text}; register --relay {listen} puts the route there (docs/copies.md)"
        )
    return (
        "Postfix does not route copies to the copy relay, so mail with such copies waits:"
        f" {route.text}; register --relay {listen} puts the route there (docs/copies.md)"
    )


def _stamps(route: Route) -> list[tuple[int, ...] | None]:
    """Return what tells one version of each file from another; ``None``: it is not there, or not for this user."""
    found: list[tuple[int, ...] | None] = []
    for file in route.files:
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def _asked_for(settings: RelaySettings) -> tuple[object, ...]:
    return (settings.listen, settings.domain, settings.postfix_dir)
