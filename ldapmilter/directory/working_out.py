"""What is asked for by keys, and how it is worked out on another thread than who asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from msgspec import Struct
from msgspec.structs import astuple

from ldapmilter.directory.model import Version

if TYPE_CHECKING:
    from ldapmilter.directory.cache.load import Outcome
    from ldapmilter.directory.cache.progress import Progress

WorkOut = Callable[[Any, Collection[Any]], Mapping[Any, Any]]
"""Makes the values of some keys from a directory: the message's, or one for the background."""
About = Callable[[Any], str]
"""What to call what a key stands for."""


class Asking(Struct, frozen=True, kw_only=True):
    """What is asked for, apart from its keys."""

    work_out: WorkOut
    about: About
    wait: bool
    """Whether what takes long is worth waiting for."""
    for_all: bool
    """Whether everybody's mail needs it."""


def place_of(key: Any) -> Hashable:  # noqa: ANN401 - whatever values are asked for by
    """Return a key that all versions of what is asked for have in common."""
    if isinstance(key, Struct):
        parts = list(astuple(key))
    elif isinstance(key, tuple):
        parts = list(key)
    else:
        return cast("Hashable", key)
    return (type(key), *(part.raw.dn if isinstance(part, Version) else part for part in parts))


class Making(Protocol):
    """Works values out from a directory that it has opened."""

    def make(self, key: Hashable, work_out: WorkOut) -> Outcome:
        """Work a value out on this thread."""

    def go_on(self) -> None:
        """Read what the message is going to need besides."""


class InBackground:
    """How one value is worked out in the background, and what goes on after it."""

    def __init__(self, opened: Callable[[Progress], Making], key: Hashable, work_out: WorkOut) -> None:
        """Work a value out each time from a directory that is opened for it."""
        self._open = opened
        self._key = key
        self._work_out = work_out
        self._opened: Making | None = None

    def __call__(self, progress: Progress) -> Outcome:
        """Work it out on this thread."""
        self._opened = self._open(progress)
        return self._opened.make(self._key, self._work_out)

    def go_on(self) -> None:
        """Read what the message is going to need besides; then let go of all that was read."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.go_on()
