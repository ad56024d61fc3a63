"""One connection to an archive's server: what is said, the reply to it, and no wait without a bound."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, cast

from ldapmilter.relay.answers import ServerAnswer
from ldapmilter.relay.no_answer import NoAnswer, why_not

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Callable

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.answers import Step
    from ldapmilter.relay.names import Names

_REPLY_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?\Z", re.DOTALL)
_FINE: Final = 250
_MOST_OCTETS: Final = 64 * 1024
"""Of one reply."""
_CLOSE_SECONDS: Final = 2.0
"""For which a server may take to let go of a connection that is closed."""
_TEXT_LETTERS: Final = 1000


class Wire(asyncio.Protocol):
    """One connection; everything is called in the event loop that it was connected in."""

    def __init__(self, hop: NextHop, names: Names, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is connected yet.

        Args:
            hop: where to.
            names: finds the way there.
            clock: seconds, monotonic.
        """
        self.hop = hop
        self._names = names
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._clear: asyncio.Transport | None = None
        """What octets leave by, below any encryption."""
        self._received = b""
        self._ended: OSError | None = None
        """Set once nothing comes any more: why."""
        self._is_full = False
        """Whether octets that were sent have to leave before others follow."""
        self._in_message = False
        """Whether a message was begun, and there is no reply to it."""
        self._is_lost = False
        """Whether asyncio has let go of the connection."""
        self._is_early = False
        """Whether what is to be read was said before all of the message had left."""
        self._waiter: asyncio.Future[None] | None = None

    # -- what is said, and heard ------------------------------------------------------------

    async def connect(self, until: float) -> None:
        """Connect.

        Raises:
            NoAnswer: nobody is there, or not in time.
        """
        try:
            await self._names.connect(self, self.hop, until, self._clock)
        except OSError as error:
            raise self._none("connect", error) from error

    async def encrypt(self, context: ssl.SSLContext, until: float) -> None:
        """Go on encrypted. What the server said before in the clear is forgotten (RFC 3207, 4.2).

        Raises:
            NoAnswer: that cannot be had, or the certificate is not good.
        """
        loop = asyncio.get_running_loop()
        self._received = b""
        try:
            transport = await loop.start_tls(
                self._connected, self, context, server_hostname=self.hop.host, ssl_handshake_timeout=self._left(until)
            )
        except (OSError, ValueError) as error:
            self.close()
            late = self._clock() >= until
            raise self._none("tls", TimeoutError() if late else error) from error
        if transport is None:
            raise self._none("tls", "the connection was closed")
        self._transport = transport

    async def ask(self, step: Step, command: bytes, until: float) -> ServerAnswer:
        """Say one line, or nothing, and return the reply.

        Raises:
            NoAnswer: there is none, or not in time.
        """
        if command:
            self.say(step, command)
        return await self.hear(step, until)

    def say(self, step: Step, lines: bytes) -> None:
        """Say one line, or several.

        Raises:
            NoAnswer: the connection is lost.
        """
        try:
            self._connected.write(lines + b"\r\n")
        except OSError as error:
            raise self._none(step, error) from error

    async def hear(self, step: Step, until: float) -> ServerAnswer:
        """Return the next reply.

        Raises:
            NoAnswer: there is none, or not in time.
        """
        try:
            return await self._reply(step, until)
        except OSError as error:
            raise self._none(step, error) from error

    async def send_message(self, pieces: AsyncIterable[bytes], until: float) -> ServerAnswer:
        """Send a message that ends with the final dot, and return the reply to it.

        A server may refuse before it has all (552, say). Nothing that it says before counts as accepted.

        Raises:
            NoAnswer: there is no reply, or not in time: whether it has the message is not known.
        """
        self._in_message = True
        try:
            async for piece in pieces:
                await self._until_room(until)
                if self._received:
                    return await self._early(until)
                self._connected.write(piece)
        except OSError as error:
            if self._received:
                return await self._early(until)
            raise self._none("end", why_not(error)) from error  # a slow line is not silence
        answer = await self.hear("end", until)
        if self._is_early:
            return self._before_the_end(answer)
        self._in_message = False
        return answer

    def is_quiet(self) -> bool:
        """Whether an idle connection is still there: a server that hangs up, or says so, is heard."""
        return self._transport is not None and self._ended is None and not self._received

    def close(self, *, politely: bool = False) -> None:
        """Hang up. A message that is under way goes no further, so that it is not accepted unheard."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if not politely or self._in_message or self._ended is not None:
            self._abort(transport)
            return
        transport.write(b"QUIT\r\n")
        transport.close()
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._abort, transport)

    # -- what asyncio calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = self._clear = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take octets; a server that goes on without being asked is not read."""
        self._received += data
        if self._in_message and self._clear is not None and self._clear.get_write_buffer_size():
            self._is_early = True
        if len(self._received) > _MOST_OCTETS and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Take note that nothing comes any more. asyncio would go on sending what it has, the end of a message, too."""
        self._end(None)
        if self._in_message and self._transport is not None:
            self._abort(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that nothing comes any more, and nothing leaves."""
        self._is_lost = True
        if exc is not None and self._in_message and not self._received:
            self._received = self._last_words()
            self._is_early = bool(self._received)
        self._end(exc)

    def pause_writing(self) -> None:
        """Wait before more is sent."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._is_full = False
        self._wake()

    # -- inside -----------------------------------------------------------------------------

    def _end(self, why: Exception | None) -> None:
        lost = why if isinstance(why, OSError) else ConnectionResetError(0, "the connection was closed")
        self._ended = self._ended or lost
        self._wake()

    def _last_words(self) -> bytes:
        """Return what a server has said that takes no more octets: asyncio does not read it once a write has failed.

        Under TLS it cannot be read; at another attempt it is.
        """
        transport = self._transport
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return b""
        try:
            with transport.get_extra_info("socket").dup() as connection:
                octets: bytes = connection.recv(_MOST_OCTETS)
        except OSError:
            return b""
        return octets

    def _abort(self, transport: asyncio.Transport) -> None:
        if self._is_lost:  # abort fails where asyncio has let go of the connection already
            transport.close()
        else:
            transport.abort()

    @property
    def _connected(self) -> asyncio.Transport:
        if self._transport is None or self._ended is not None:
            raise self._ended or ConnectionError(0, "not connected")
        return self._transport

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    async def _something(self, until: float) -> None:
        """Wait until octets come, or leave, or nothing comes any more.

        Raises:
            TimeoutError: not in time.
        """
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(self._left(until), _be_late, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _until_room(self, until: float) -> None:
        """Wait until what was sent has left, and let the loop see what has come meanwhile.

        Raises:
            OSError: the connection is lost, or that takes too long.
        """
        for _ in range(2):  # the loop asks the kernel after what is ready has run
            await asyncio.sleep(0)
        while self._is_full and self._ended is None and not self._received:
            await self._something(until)
        if not self._received:
            self._left(until)

    async def _early(self, until: float) -> ServerAnswer:
        return self._before_the_end(await self.hear("end", until))

    def _before_the_end(self, answer: ServerAnswer) -> ServerAnswer:
        """Return an answer that came before the server had all: it counts, unless it accepts.

        Raises:
            NoAnswer: it does.
        """
        if answer.becomes == "accepted":
            raise self._none("end", f"answered before the end of the message: {answer.code} {answer.text}")
        return answer

    async def _reply(self, step: Step, until: float) -> ServerAnswer:
        """Read a reply of one line or several.

        Raises:
            NoAnswer: what comes is none.
            OSError: nothing comes.
        """
        texts: list[str] = []
        octets = 0
        while True:
            line = await self._line(step, until)
            octets += len(line)
            match = _REPLY_LINE.match(line)
            if match is None or octets > _MOST_OCTETS:
                raise self._none(step, f"what it says is no reply: {line[:80]!r}")
            texts.append((match[3] or b"").decode("utf-8", "backslashreplace").strip())
            if match[2] != b"-":
                return self._told(step, int(match[1]), texts)

    def _told(self, step: Step, code: int, texts: list[str]) -> ServerAnswer:
        # The extensions are a line each; elsewhere a reply is told in one.
        text = "\n".join(texts) if step == "hello" and code == _FINE else " ".join(texts)[:_TEXT_LETTERS]
        return ServerAnswer(server=self.hop.text, step=step, code=code, text=text)

    async def _line(self, step: Step, until: float) -> bytes:
        while b"\n" not in self._received:
            if len(self._received) > _MOST_OCTETS:
                raise self._none(step, "what it says has no end")
            if self._ended is not None:
                raise self._none(step, self._ended)
            await self._something(until)
        line, _, self._received = self._received.partition(b"\n")
        return line.removesuffix(b"\r")

    def _none(self, step: Step, why: str | Exception) -> NoAnswer:
        text = why if isinstance(why, str) else why_not(why)
        silent = isinstance(why, TimeoutError)
        return NoAnswer(ServerAnswer(server=self.hop.text, step=step, text=text[:_TEXT_LETTERS], silent=silent))


def _be_late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
