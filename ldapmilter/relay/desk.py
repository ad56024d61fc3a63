"""What all sessions of a relay share, and what aiosmtpd asks of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from ldapmilter.relay.replies import BUSY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from aiosmtpd.lmtp import LMTP
    from aiosmtpd.smtp import Envelope, Session

    from ldapmilter.relay.spool import Room, Spooled

_log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 240.0
"""In which Postfix has its answer: it waits for 600 s (``lmtp_data_done_timeout``)."""
EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
"""Not SIZE: whatever Postfix has accepted is taken. Not CHUNKING, BINARYMIME: lines are passed on."""


class Connected(Protocol):
    """A session."""

    def is_idle(self) -> bool:
        """Whether nothing of a message has come that has not been answered."""

    def hang_up(self) -> None:
        """Hang up."""


class Desk:
    """What all sessions of a relay share."""

    def __init__(
        self,
        *,
        host_name: str,
        room: Room,
        directory: Path,
        token_in: Callable[[str], Awaitable[str | None]],
        take: Callable[[str, Spooled], Coroutine[Any, Any, str]],
    ) -> None:
        """Prepare.

        Args:
            host_name: what the relay calls itself.
            room: how many octets may lie here.
            directory: where large messages lie.
            token_in: returns the valid token that a recipient is, or ``None``; raises LdapmilterError: not known now.
            take: handles one copy, and returns the reply.
        """
        self.host_name = host_name
        self.room = room
        self.directory = directory
        self.token_in = token_in
        self.take = take
        self.sessions: set[Connected] = set()
        self.copies: set[asyncio.Task[str]] = set()
        """Copies under way, also those that Postfix waits for no more."""
        self.writing_late: set[asyncio.Future[None]] = set()
        """What the disk has not answered in time: until it does, it is not asked for anything else."""
        self.draining = False

    def late(self, writing: asyncio.Future[None]) -> None:
        """Take note that the disk owes an answer, until it has given it."""
        self.writing_late.add(writing)
        writing.add_done_callback(self.writing_late.discard)

    # -- what aiosmtpd asks -----------------------------------------------------------------

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: LMTP, session: Session, _envelope: Envelope, host_name: str, _responses: list[str]
    ) -> list[str]:
        """Offer what there is."""
        session.host_name = host_name
        lines = [self.host_name, *EXTENSIONS]
        return [*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]

    async def handle_exception(self, error: Exception) -> str:
        """Answer where a command failed: for now, never for good."""
        _log.error("unexpected error in a session", exc_info=error)
        return BUSY
