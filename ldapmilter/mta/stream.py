"""A connected socket that carries milter packets, within one deadline, and what can go wrong with it."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.wire import packet

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""The most that one packet, and all replies to one message together, may hold."""
_WRITE_BUFFER_BYTES: Final = 64 * 1024


class ConnectError(DaemonUnreachable):
    """No milter could be reached on the socket; the text says why."""


class ConnectionClosedError(DaemonUnreachable):
    """The milter closed the connection where it owed an answer."""


class ProtocolError(DaemonUnreachable):
    """What came back is not the milter protocol, or not what the negotiation allows."""


class SilenceError(DaemonUnreachable):
    """The milter said nothing for as long as it was waited for."""


class PacketStream:
    """A connected socket that carries packets, within one deadline.

    What is sent waits in a buffer until an answer is read, as in Postfix (VSTREAM_CTL_DOUBLE):
    events without reply travel in one write.
    """

    def __init__(self, sock: socket.socket, *, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        """How errors call the socket."""
        self.packets_sent = 0
        self.bytes_sent = 0
        self._sock = sock
        self._clock = clock
        self._output = bytearray()
        self._input = bytearray()
        self._allowance = self._seconds = self._deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Begin a unit of work that may take so many seconds, and read so many bytes, as a whole."""
        self._seconds = seconds
        self._deadline = self._clock() + seconds
        self._allowance = MAX_REPLY_BYTES

    def send(self, command: bytes, payload: bytes = b"") -> None:
        """Queue one packet; it leaves before the next :meth:`receive` at the latest."""
        self._output += packet(command, payload)
        self.packets_sent += 1
        self.bytes_sent += len(payload) + 5
        if len(self._output) >= _WRITE_BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is queued.

        Raises:
            ConnectionClosedError: the milter is gone.
            SilenceError: it does not read, and the deadline passed.
        """
        if not self._output:
            return
        pending, self._output = self._output, bytearray()
        try:
            self._sock.settimeout(self._remaining())
            self._sock.sendall(pending)
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise ConnectionClosedError(f"{self.name}: the milter closed the connection ({error.strerror})") from error

    def receive(self) -> tuple[bytes, bytes]:
        """Return the next packet as command byte and arguments.

        Raises:
            ConnectionClosedError: the milter closed the connection first.
            ProtocolError: the length is zero or absurd: something else speaks here.
            SilenceError: nothing, or not all of it, came before the deadline.
        """
        self.flush()
        self._fill(4)
        (length,) = struct.unpack_from("!I", self._input)
        if not 1 <= length <= MAX_REPLY_BYTES:
            seen = bytes(self._input[:40])
            raise ProtocolError(f"{self.name}: this is not the milter protocol: a packet begins with {seen!r}")
        self._allowance -= length
        if self._allowance < 0:
            raise ProtocolError(f"{self.name}: the replies to one message exceed {MAX_REPLY_BYTES} bytes")
        self._fill(4 + length)
        command, payload = bytes(self._input[4:5]), bytes(self._input[5 : 4 + length])
        del self._input[: 4 + length]
        return command, payload

    def close(self) -> None:
        """Close the socket; what is queued is lost."""
        self._output.clear()
        self._sock.close()

    def _fill(self, wanted: int) -> None:
        while len(self._input) < wanted:
            try:
                self._sock.settimeout(self._remaining())
                piece = self._sock.recv(65536)
            except TimeoutError:
                raise self._silent() from None
            except OSError as error:
                raise ConnectionClosedError(f"{self.name}: the connection broke: {error.strerror}") from error
            if not piece:
                raise ConnectionClosedError(f"{self.name}: the milter closed the connection instead of answering")
            self._input += piece

    def _remaining(self) -> float:
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise self._silent()
        return remaining

    def _silent(self) -> SilenceError:
        return SilenceError(f"{self.name}: the milter did not answer within {self._seconds:g} s")
