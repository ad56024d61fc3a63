"""What an archive gets of a copy: the message as it came, or something made around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from ldapmilter.relay.journaling import Wrapped
    from ldapmilter.relay.spool import Spooled
    from ldapmilter.relay.stored import KnownCopy


class Wrapping(Protocol):
    """Makes of a copy what its archive gets: itself, or a journal report around it."""

    def __call__(self, copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Wrapped:
        """Return it.

        Args:
            copy: what is known of the copy.
            message: its octets as they came.
            last_chance: whether the copy is kept when it is not through now: what cannot be read is left out.
            memory_only: whether the directory is not to be waited for.

        Raises:
            DirectoryUnavailable: what belongs to it cannot be read now.
        """


def as_it_came(copy: KnownCopy, message: Spooled, *, last_chance: bool, memory_only: bool = False) -> Wrapped:
    """Wrap nothing: a tracked copy goes on as it came."""
    del memory_only
    if copy.delivery == "tracked" or copy.other_message_id is not None or last_chance:
        return message
    text = f"delivery {copy.delivery} is not known to this version"
    raise DirectoryUnavailable(text)
