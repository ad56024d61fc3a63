"""One connection to an archive's server: what is said, the reply to it, and no wait without a bound. Blocking."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.answers import ServerAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.answers import Step

_REPLY_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?\Z", re.DOTALL)
_FINE: Final = 250
_MOST_OCTETS: Final = 64 * 1024
"""Of one reply."""
_SEND_OCTETS: Final = 64 * 1024
"""Of a message that are gathered before they are sent."""
_LAST_WORDS_SECONDS: Final = 2.0
"""For which a server that takes no more octets may say why."""
_TEXT_LETTERS: Final = 1000


class NoAnswer(Exception):
    """There is no reply to go on from; the answer says why."""

    def __init__(self, answer: ServerAnswer) -> None:
        super().__init__(answer.text)
        self.answer = answer


class Wire:
    """One connection."""

    def __init__(self, hop: NextHop, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is connected yet.

        Args:
            hop: where to.
            clock: seconds, monotonic.
        """
        self.hop = hop
        self._clock = clock
        self._socket: socket.socket | None = None
        self._received = b""

    def connect(self, until: float) -> None:
        """Connect.

        Raises:
            NoAnswer: nobody is there, or not in time.
        """
        try:
            if self.hop.kind == "lmtp" and self.hop.path:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(self._left(until))
                self._socket.connect(self.hop.path)
            else:
                self._socket = socket.create_connection((self.hop.host, self.hop.port), timeout=self._left(until))
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise self._none("connect", error) from error

    def encrypt(self, context: ssl.SSLContext, until: float) -> None:
        """Go on encrypted. What the server said before in the clear is forgotten (RFC 3207, 4.2).

        Raises:
            NoAnswer: that cannot be had, or the certificate is not good.
        """
        plain = self._connected
        self._received = b""
        try:
            plain.settimeout(self._left(until))
            self._socket = context.wrap_socket(plain, server_hostname=self.hop.host)
        except (OSError, ValueError) as error:
            self.close()
            raise self._none("tls", error) from error

    def ask(self, step: Step, command: bytes, until: float) -> ServerAnswer:
        """Say one line, or nothing, and return the reply.

        Raises:
            NoAnswer: there is none, or not in time.
        """
        if command:
            self.say(step, command, until)
        return self.hear(step, until)

    def say(self, step: Step, lines: bytes, until: float) -> None:
        """Say one line, or several.

        Raises:
            NoAnswer: that cannot be done, or not in time.
        """
        try:
            self._send(lines + b"\r\n", until)
        except OSError as error:
            raise self._none(step, error) from error

    def hear(self, step: Step, until: float) -> ServerAnswer:
        """Return the next reply.

        Raises:
            NoAnswer: there is none, or not in time.
        """
        try:
            return self._reply(step, until)
        except OSError as error:
            raise self._none(step, error) from error

    def send_message(self, chunks: Iterable[bytes], until: float) -> ServerAnswer:
        """Send a message that ends with the final dot, and return the reply to it.

        A server may refuse before it has all (552, say). Nothing that it says before counts as accepted.

        Raises:
            NoAnswer: there is no reply, or not in time: whether it has the message is not known.
        """
        try:
            for chunk in _gathered(chunks):
                if self._has_spoken():
                    return self._early(until)
                self._send(chunk, until)
        except OSError as error:
            if self._has_something_to_read(_LAST_WORDS_SECONDS):
                return self._early(self._clock() + _LAST_WORDS_SECONDS)
            raise self._none("end", _why(error)) from error  # a slow line is not silence
        try:
            return self._reply("end", until)
        except OSError as error:
            raise self._none("end", error) from error

    def is_quiet(self) -> bool:
        """Whether an idle connection is still there: a server that hangs up, or says so, is heard."""
        return self._socket is not None and not self._received and not self._has_something_to_read(0)

    def close(self, *, politely: bool = False) -> None:
        """Hang up."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                if politely:
                    connection.settimeout(1.0)
                    connection.sendall(b"QUIT\r\n")
            connection.close()

    @property
    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError(0, "not connected")
        return self._socket

    def _send(self, octets: bytes, until: float) -> None:
        """Send all of some octets; first without a wait, which is one system call less.

        Raises:
            OSError: they are not gone, or not in time.
        """
        left, connection = self._left(until), self._connected
        connection.settimeout(0.0)
        sent = 0
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = connection.send(octets)
        if sent < len(octets):
            connection.settimeout(left)
            connection.sendall(memoryview(octets)[sent:])

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _early(self, until: float) -> ServerAnswer:
        try:
            answer = self._reply("end", until)
        except OSError as error:
            raise self._none("end", error) from error
        if answer.becomes == "accepted":
            raise self._none("end", f"answered before the end of the message: {answer.code} {answer.text}")
        return answer

    def _has_spoken(self) -> bool:
        """Whether octets of a reply are here, what came with an earlier reply included.

        Raises:
            OSError: the connection is lost.
        """
        if not self._received and self._has_something_to_read(0):
            connection = self._connected
            connection.settimeout(0.0)
            # Under TLS what can be read may be no octet of a reply: a session ticket, half a record.
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                octets = connection.recv(8192)
                if not octets:
                    raise ConnectionResetError(0, "the connection was closed")
                self._received = octets
        return bool(self._received)

    def _has_something_to_read(self, seconds: float) -> bool:
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _reply(self, step: Step, until: float) -> ServerAnswer:
        """Read a reply of one line or several.

        Raises:
            NoAnswer: what comes is none.
            OSError: nothing comes.
        """
        texts: list[str] = []
        octets = 0
        while True:
            line = self._line(step, until)
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

    def _line(self, step: Step, until: float) -> bytes:
        while b"\n" not in self._received:
            self._connected.settimeout(self._left(until))
            octets = self._connected.recv(8192)
            if not octets:
                raise self._none(step, "the connection was closed")
            self._received += octets
            if len(self._received) > _MOST_OCTETS:
                raise self._none(step, "what it says has no end")
        line, _, self._received = self._received.partition(b"\n")
        return line.removesuffix(b"\r")

    def _none(self, step: Step, why: str | Exception) -> NoAnswer:
        text = why if isinstance(why, str) else _why(why)
        silent = isinstance(why, TimeoutError)
        return NoAnswer(ServerAnswer(server=self.hop.text, step=step, text=text[:_TEXT_LETTERS], silent=silent))


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield octets in pieces none of which, but the last, is small."""
    held: list[bytes] = []
    octets = 0
    for chunk in chunks:
        held.append(chunk)
        octets += len(chunk)
        if octets >= _SEND_OCTETS:
            yield b"".join(held)
            held, octets = [], 0
    if held:
        yield b"".join(held)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
