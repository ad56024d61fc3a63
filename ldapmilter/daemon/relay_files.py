"""Whether the copy relay could write where another configuration puts its files: looked at before it is taken over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ldapmilter.errors import ConfigError
from ldapmilter.who_may import WRITE, user_name, who_may

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.delivery.settings import RelaySettings


def try_relay_files(relay: RelaySettings, before: RelaySettings) -> None:
    """Refuse places that the relay cannot write to; nothing is written.

    The places in force are not looked at: where they fail, the relay says so, and a reload may mend something else.

    Raises:
        ConfigError: ``[relay] state`` or ``kept`` of the new configuration cannot be used by this user.
    """
    if relay.listen is None:
        return
    places = {"state": (relay.state, before.state), "kept": (relay.kept, before.kept)}
    for name, (path, earlier) in places.items():
        if before.listen is not None and path == earlier:
            continue
        try:
            why = _why_not(path)
        except OSError as error:
            why = f"user {user_name()} cannot look there: {error.strerror}; {who_may(path.parent, WRITE)}"
        if why is not None:
            message = f"[relay] {name} = {path}: {why}"
            raise ConfigError(message)


def _why_not(path: Path) -> str | None:
    # SQLite makes files beside its own.
    places = [path] if path.is_dir() else [path.parent, *([path] if path.exists() else [])]
    for place in places:
        if not place.exists():
            return f"is not there, nor is its directory {place}: make that (mkdir -m 0700), owned by user {user_name()}"
        if not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
            return f"user {user_name()} may not write there: {who_may(place, WRITE)}"
    return None
