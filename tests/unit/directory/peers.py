"""LDAP servers that misbehave, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from tests.support.ports import HANG, LOOPBACK

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

SUCCESS, SIZE_LIMIT_EXCEEDED, REFERRAL, BUSY, UNWILLING = 0, 4, 10, 51, 53


def silent(_connection: socket.socket, stop: threading.Event) -> None:
    """Say nothing, ever."""
    stop.wait()


def hang_up(_connection: socket.socket, _stop: threading.Event) -> None:
    """Close at once."""


def babble(connection: socket.socket, _stop: threading.Event) -> None:
    """Speak something else."""
    connection.sendall(b"220 mail.example.test ESMTP\r\n" * 10)


def dribble(connection: socket.socket, stop: threading.Event) -> None:
    """Begin an endless message, and go on byte by byte."""
    for octet in b"\x30\x84\x00\x0f\xff\xff\x02\x01\x01\x64" + b"\x04" * 10_000:
        connection.sendall(bytes([octet]))
        if stop.wait(0.1):
            return


class Peer:
    """A server with one behaviour for every connection."""

    def __init__(
        self,
        behave: Callable[[socket.socket, threading.Event], None],
        *,
        host: str = LOOPBACK,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind a free port; nobody is served before the context is entered."""
        self._behave = behave
        self._tls = tls
        self._stop = threading.Event()
        self._listener = socket.create_server((host, 0))
        self._listener.settimeout(0.05)
        self._threads: list[threading.Thread] = []
        self.accepted = 0
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    @property
    def uri(self) -> str:
        return f"{'ldaps' if self._tls else 'ldap'}://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._start(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        """End every thread."""
        self._stop.set()
        for thread in self._threads:
            thread.join(HANG)
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(0.05)
            if self._tls is None:
                self._behave(connection, self._stop)
                return
            connection.settimeout(10)
            with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                self._behave(wrapped, self._stop)


def tlv(tag: int, body: bytes) -> bytes:
    """Return one BER element."""
    length = len(body)
    size = bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")
    return bytes([tag]) + size + body


def result(tag: int, code: int, referrals: Sequence[str] = ()) -> bytes:
    """Return an LDAPResult: bindResponse 0x61, searchResDone 0x65."""
    body = tlv(0x0A, bytes([code])) + tlv(0x04, b"") + tlv(0x04, b"as scripted")
    if referrals:
        body += tlv(0xA3, b"".join(tlv(0x04, uri.encode()) for uri in referrals))
    return tlv(tag, body)


def found(dn: str, uid: str) -> bytes:
    """Return a searchResEntry."""
    attribute = tlv(0x30, tlv(0x04, b"uid") + tlv(0x31, tlv(0x04, uid.encode())))
    return tlv(0x64, tlv(0x04, dn.encode()) + tlv(0x30, attribute))


def reference(uri: str) -> bytes:
    """Return a searchResRef."""
    return tlv(0x73, tlv(0x04, uri.encode()))


def answering(
    *operations: bytes, bind: int = SUCCESS, compare: int | None = None, pace: float | None = None, last: bool = False
) -> Callable[[socket.socket, threading.Event], None]:
    """Return the behaviour that binds anybody and answers every search alike.

    Args:
        operations: the answer to a search.
        bind: the result code of a bind.
        compare: the result code of a compare; without one the connection ends there.
        pace: seconds between two octets of an answer.
        last: break off after the first search, in the middle of a message.
    """

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            request = _read_message(connection, stop)
            if request is None:
                return
            number, operation = request
            if operation == 0x60:
                connection.sendall(tlv(0x30, number + result(0x61, bind)))
            elif operation == 0x6E and compare is not None:
                connection.sendall(tlv(0x30, number + result(0x6F, compare)))
            elif operation == 0x63:
                for answer in operations:
                    message = tlv(0x30, number + answer)
                    _send(connection, message[:-3] if last else message, pace, stop)
                if last:
                    return
            else:
                return

    return behave


def lying(
    search: Callable[[bytes], bytes] | None = None, bind: Callable[[bytes], bytes] | None = None
) -> Callable[[socket.socket, threading.Event], None]:
    """Return the behaviour that answers with whatever octets it likes, and says no more.

    Args:
        search: makes the answer to a search from the message id, an element.
        bind: makes the answer to a bind; without it anybody is bound.
    """
    lies = {0x60: bind or (lambda number: tlv(0x30, number + result(0x61, SUCCESS))), 0x63: search or (lambda _: b"")}

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            request = _read_message(connection, stop)
            if request is None or request[1] not in lies:
                return
            number, operation = request
            connection.sendall(lies[operation](number))

    return behave


def _send(connection: socket.socket, message: bytes, pace: float | None, stop: threading.Event) -> None:
    if pace is None:
        connection.sendall(message)
        return
    for octet in message:
        connection.sendall(bytes([octet]))
        if stop.wait(pace):
            return


def _read_message(connection: socket.socket, stop: threading.Event) -> tuple[bytes, int] | None:
    """Return the message id as an element, and the tag of the operation."""
    header = _read(connection, 2, stop)
    if header is None:
        return None
    length = header[1]
    if length >= 128:
        size = _read(connection, length - 128, stop)
        if size is None:
            return None
        length = int.from_bytes(size, "big")
    body = _read(connection, length, stop)
    if body is None:
        return None
    end = 2 + body[1]
    return body[:end], body[end]


def _read(connection: socket.socket, count: int, stop: threading.Event) -> bytes | None:
    held = b""
    while len(held) < count:
        try:
            more = connection.recv(count - len(held))
        except TimeoutError:
            if stop.is_set():
                return None
            continue
        if not more:
            return None
        held += more
    return held
