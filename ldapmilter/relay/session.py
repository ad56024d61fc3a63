"""One connection of Postfix: LMTP (RFC 2033) on aiosmtpd, with one answer for each recipient.

aiosmtpd reads commands and keeps time. What it does otherwise is replaced where copies would be lost by it: a message
is held in memory once, one answer serves all recipients, a long line or an unexpected error is refused for good.

A session that loses its client goes on with the copies it has: the archive may have taken one by then, and
when Postfix presents it again it is known how it ended.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import re
from typing import TYPE_CHECKING, Final

from aiosmtpd.lmtp import LMTP

from ldapmilter.errors import LdapmilterError
from ldapmilter.relay.desk import ANSWER_SECONDS
from ldapmilter.relay.replies import BUSY, NO_RECORD
from ldapmilter.relay.spool import Spooled
from ldapmilter.relay.stuffing import Unstuffer

if TYPE_CHECKING:
    from ldapmilter.relay.desk import Desk

_log = logging.getLogger(__name__)

_COMMAND_OCTETS: Final = 4096
_READ_OCTETS: Final = 1 << 20
"""More than the reader ever holds, so that each read empties it."""
_SILENCE_SECONDS: Final = 300.0
"""After which a client that says nothing is hung up on (RFC 5321, 4.5.3.2)."""
DISK_SECONDS: Final = 20.0
"""For which the disk may take to take a piece of a message: Postfix has few sessions for all copies."""
LATEST_SECONDS: Final = ANSWER_SECONDS + 30.0
"""In which Postfix has an answer even where the disk does not answer the relay."""
_NO_ANSWER: Final = "the disk does not answer"
_MOST_RECIPIENTS: Final = 1000
_LAST_REPLIES: Final = ("221", "421", "502")
_SWITCHED_OFF: Final = ("AUTH", "STARTTLS", "HELP", "VRFY", "EXPN", "HELO", "EHLO")
NO_SUCH_COPY: Final = "550 5.1.1 no such copy"
_PATH: Final = re.compile(r"<(?:[^<>@\s]*@[^<>\s]*:)?([^<>]*)>(?: +(.*))?\Z")

logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's own: every command, with its addresses


class RelaySession(LMTP):
    """One connection."""

    line_length_limit = 64 * 1024  # of the reader; a message's lines have no limit

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        """Serve at a desk."""
        super().__init__(
            desk,
            data_size_limit=None,
            enable_SMTPUTF8=True,
            hostname=desk.host_name,
            ident="copy relay",
            timeout=_SILENCE_SECONDS,
            loop=loop,
        )
        self._desk = desk
        self._tokens: list[str] = []
        self._replies: list[str] = []
        """Not sent yet."""
        self._silent_at = 0.0
        """When the client has said nothing for too long, by the loop's clock."""
        self.command_size_limits = collections.defaultdict(lambda: _COMMAND_OCTETS)
        for name in _SWITCHED_OFF:
            self._smtp_methods.pop(name, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._desk.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End; copies that are under way go on."""
        self._desk.sessions.discard(self)
        super().connection_lost(error)

    def is_idle(self) -> bool:
        """Whether nothing of a message has come that has not been answered."""
        return not self._tokens

    def hang_up(self) -> None:
        """Hang up, after the replies that are given."""
        self._send_replies()
        if self.transport is not None:
            self.transport.close()

    async def push(self, status: str | bytes) -> None:
        """Reply; the replies to commands that came in one go leave in one go (RFC 2920, 3.2)."""
        self._replies.append(status if isinstance(status, str) else status.decode("utf-8"))
        if status[:3] in _LAST_REPLIES:  # the connection is closed next
            self._send_replies()
        elif len(self._replies) == 1:
            self.loop.call_soon(self._send_replies)
        await self._writer.drain()

    def _send_replies(self) -> None:
        replies, self._replies = self._replies, []
        if replies and self.transport is not None and not self.transport.is_closing():
            self._writer.write("".join(f"{reply}\r\n" for reply in replies).encode("utf-8"))

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Wait for the client anew; the timer is moved when it is due, not with each command."""
        seconds = duration or self._timeout_duration
        self._silent_at = self.loop.time() + seconds
        if self._timeout_handle is None or self._timeout_handle.when() > self._silent_at:
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self._timeout_handle = self.loop.call_later(seconds, self._timeout_cb)

    def _timeout_cb(self) -> None:
        left = self._silent_at - self.loop.time()
        if left > 0:
            self._timeout_handle = self.loop.call_later(left, self._timeout_cb)
        else:
            super()._timeout_cb()  # type: ignore[no-untyped-call]

    # -- commands ---------------------------------------------------------------------------

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()  # type: ignore[no-untyped-call]
        self._tokens = []

    async def smtp_LHLO(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Greet."""
        if not arg:
            await self.push("501 5.5.4 Syntax: LHLO hostname")
            return
        await super().smtp_LHLO(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Begin a transaction. Neither the author nor a parameter (RET, ENVID, BODY, SMTPUTF8) changes anything."""
        if await self.check_helo_needed("LHLO"):
            return
        if self.envelope is None or self.envelope.mail_from is not None:
            await self.push("503 5.5.1 nested MAIL command")
        elif _path("FROM:", arg) is None:
            await self.push("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif self._desk.draining:
            await self.push("421 4.3.2 the relay is going down")
            self.hang_up()
        else:
            self.envelope.mail_from = ""
            await self.push("250 2.1.0 fine")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Take a recipient: a valid token, or nobody. NOTIFY and ORCPT change nothing: nobody is notified."""
        if self.envelope is None or self.envelope.mail_from is None:
            await self.push("503 5.5.1 need MAIL command")
        elif (recipient := _path("TO:", arg)) is None:
            await self.push("501 5.5.4 Syntax: RCPT TO:<address>")
        elif len(self._tokens) >= _MOST_RECIPIENTS:
            await self.push("452 4.5.3 too many recipients")
        else:
            await self.push(await self._offered(recipient))

    async def _offered(self, recipient: str) -> str:
        """Take a recipient, if it is one; return the reply."""
        try:
            token = await self._desk.token_in(recipient)
        except LdapmilterError:
            return NO_RECORD
        if token is None:
            return NO_SUCH_COPY
        self._tokens.append(token)
        return "250 2.1.5 fine"

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Take a message and answer for each recipient, in the order of RCPT."""
        tokens = self._tokens
        if not tokens:
            await self.push("503 5.5.1 need RCPT command")
        elif arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not self._desk.room.lets_in():
            await self.push(BUSY)
            self._set_post_data_state()
        else:
            await self.push("354 go on, end with <CR><LF>.<CR><LF>")
            try:
                await self._take_message(tokens)
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - one answer for all would put the others off the track
                _log.exception("unexpected error with a message")
                self.hang_up()
            self._set_post_data_state()

    async def _take_message(self, tokens: list[str]) -> None:
        message = Spooled(self._desk.room, self._desk.directory)
        try:
            problem = await self._receive(message)
            if problem is not None:
                _log.error("copies are deferred: a message cannot be held in %s: %s", self._desk.directory, problem)
        except BaseException:
            message.close()
            raise
        self._reset_timeout(24 * 3600.0)  # it is the relay's turn
        if problem is None:
            replies = await self._handled(tokens, message)
        else:
            message.close()
            replies = [NO_RECORD] * len(tokens)
        self._reset_timeout()
        await self.push("\r\n".join(replies))

    async def _receive(self, message: Spooled) -> str | None:
        """Read a message up to the final dot; return why it could not be held, if so."""
        taking, rest, problem = Unstuffer(), None, None
        while rest is None:
            octets = await self._reader.read(_READ_OCTETS)
            if not octets:
                raise ConnectionResetError  # as aiosmtpd expects it
            self._reset_timeout()
            plain, rest = taking.feed(octets)
            if problem is None:
                problem = await self._written(message, plain)
                if problem is not None:
                    message.close()  # not only at its end: others need the room
        if rest:
            self._reader.feed_data(rest)  # the commands that follow: the reader is empty
        return problem

    async def _written(self, message: Spooled, octets: bytes) -> str | None:
        """Append octets; return why that cannot be."""
        try:
            if not message.would_touch_the_disk(len(octets)):
                message.write(octets)
                return None
            if self._desk.writing_late:
                return _NO_ANSWER
            writing = self.loop.run_in_executor(None, message.write, octets)
            writing.add_done_callback(_heard)
            try:
                await asyncio.wait_for(asyncio.shield(writing), DISK_SECONDS)
            except asyncio.TimeoutError:
                if not writing.done():
                    self._desk.late(writing)
                    return _NO_ANSWER
                await writing
        except OSError as error:
            return str(error.strerror or error)
        return None

    async def _handled(self, tokens: list[str], message: Spooled) -> list[str]:
        """Handle all copies of a message; they go on when this is cancelled, or has lasted too long."""
        copies = [self.loop.create_task(self._desk.take(token, message)) for token in tokens]
        under_way = set(copies)

        def over(copy: asyncio.Task[str]) -> None:
            self._desk.copies.discard(copy)
            under_way.discard(copy)
            if not under_way:
                message.close()

        self._desk.copies |= under_way
        for copy in copies:
            copy.add_done_callback(over)
        await asyncio.wait(copies, timeout=LATEST_SECONDS)
        # One that goes on is busy until it has ended.
        return [copy.result() if copy.done() else NO_RECORD for copy in copies]


def _heard(done: asyncio.Future[None]) -> None:
    """Take note of what went wrong, where nobody waits for it any more."""
    if not done.cancelled():
        done.exception()


def _path(keyword: str, arg: str | None) -> str | None:
    """Return the address of a command, whatever parameters follow it; ``None``: there is none."""
    if arg is None or not arg.upper().startswith(keyword):
        return None
    match = _PATH.match(arg[len(keyword) :].strip())
    return match[1] if match is not None else None
