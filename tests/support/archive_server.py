"""An archive's server, by SMTP or LMTP, that misbehaves when told to: at every step, in every way.

It speaks line by line from a thread for each connection. What it took is kept, octet by octet, whether or not
it said so.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from tests.support.ports import HANG, LOOPBACK, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Self

Kind = Literal["smtp", "lmtp"]
Moment = Literal["banner", "hello", "tls", "mail", "rcpt", "data", "content", "end"]
"""``content``: in the middle of the message, after its first octets."""

EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")

DROP: Final = "drop"
"""Hang up without a word."""
SILENT: Final = "silent"
"""Say nothing more, and keep the connection."""
TAKE_AND_DROP: Final = "take and drop"
"""At the end: keep the message and hang up without a word."""

_FINE: Final = {
    "banner": "220 archive.example ESMTP",
    "tls": "220 2.0.0 go ahead",
    "mail": "250 2.1.0 fine",
    "rcpt": "250 2.1.5 fine",
    "data": "354 go on",
    "end": "250 2.0.0 filed as 4711",
}


@dataclass(frozen=True, slots=True)
class Filed:
    """A message that it took."""

    sender: str
    recipient: str
    octets: bytes
    """Without the dots that the wire asks for."""
    mail: str
    """The line of MAIL."""
    said: str
    """What it answered; empty: nothing."""
    encrypted: bool


@dataclass(slots=True)
class _Session:
    connection: socket.socket
    lines: deque[bytes] = field(default_factory=deque)
    rest: bytes = b""
    sender: str = ""
    mail: str = ""
    recipients: list[str] = field(default_factory=list)
    encrypted: bool = False


class ArchiveServer:
    """One server; it serves from its start to its end, and may be away in between."""

    def __init__(
        self,
        kind: Kind = "smtp",
        *,
        path: Path | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            kind: the protocol.
            path: of a unix socket; else a port of 127.0.0.1 is drawn.
            extensions: what it offers besides STARTTLS.
            certificate: certificate and key: it offers STARTTLS.
        """
        self.kind = kind
        self.path = path
        self.port = 0 if path is not None else free_port()
        self.extensions = list(extensions)
        self.filed: list[Filed] = []
        self.commands: list[str] = []
        """All that it was told, a line each."""
        self.connections = 0
        self.answers: dict[Moment, str] = {}
        """By moment: what it does instead of what is fine: a reply, or a word of this module."""
        self.choose: Callable[[Moment, str], str | None] | None = None
        """Asked at each moment, with the recipient if there is one, before :attr:`answers`."""
        self.pause = 0.0
        """Seconds before each reply."""
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def next_hop(self) -> str:
        """How `[relay] next_hop` names it."""
        return f"{self.kind}:unix:{self.path}" if self.path is not None else f"{self.kind}:[{LOOPBACK}]:{self.port}"

    def __enter__(self) -> Self:
        """Serve."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Hang up and be gone."""
        self.stop()

    def start(self) -> None:
        """Listen; after an end again, at the same place."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self.path))
            self.path.chmod(0o666)
        else:
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((LOOPBACK, self.port))
        listening.listen(128)
        self._listening = listening
        self._begin(self._accept, listening)

    def stop(self) -> None:
        """Refuse connections and hang up on all that there are."""
        with self._lock:
            listening, self._listening = self._listening, None
            still_open = list(self._open)
        if listening is None:
            return
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(HANG)
        self._threads.clear()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Be away for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def wait_filed(self, count: int) -> list[Filed]:
        """Return what it took, once that is so many."""
        wait_until(lambda: len(self.filed) >= count, f"{count} messages at the archive ({len(self.filed)} so far)")
        return list(self.filed)

    # -- serving ----------------------------------------------------------------------------

    def _begin(self, work: Callable[[socket.socket], None], what: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(what,), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                if self._listening is not listening:  # it is away by now
                    connection.close()
                    return
                self.connections += 1
                self._open.add(connection)
                self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        session = _Session(connection)
        try:
            connection.settimeout(60)
            self._say(session, "banner", _FINE["banner"])
            while (line := self._line(session)) is not None:
                text = line.decode("utf-8", "surrogateescape")
                with self._lock:
                    self.commands.append(text)
                if not self._obey(session, text):
                    return
        except (OSError, _HungUp):
            return
        finally:
            with self._lock:
                self._open.discard(session.connection)
            with contextlib.suppress(OSError):
                session.connection.close()

    def _obey(self, session: _Session, text: str) -> bool:
        verb, _, rest = text.partition(" ")
        verb = verb.upper()
        if verb == ("LHLO" if self.kind == "lmtp" else "EHLO"):
            offered = [*self.extensions, *(["STARTTLS"] if self._context and not session.encrypted else [])]
            lines = ["archive.example", *offered]
            self._say(session, "hello", "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))
        elif verb == "STARTTLS" and self._context is not None:
            self._say(session, "tls", _FINE["tls"])
            encrypted = self._context.wrap_socket(session.connection, server_side=True)
            with self._lock:
                self._open.discard(session.connection)
                self._open.add(encrypted)
            session.connection, session.encrypted = encrypted, True
        elif verb == "MAIL":
            session.sender = rest.partition("<")[2].partition(">")[0]
            session.mail, session.recipients = text, []
            self._say(session, "mail", _FINE["mail"])
        elif verb == "RCPT":
            recipient = rest.partition("<")[2].partition(">")[0]
            if self._say(session, "rcpt", _FINE["rcpt"], recipient).startswith("2"):
                session.recipients.append(recipient)
        elif verb == "DATA":
            if self._say(session, "data", _FINE["data"], session.recipients[0]).startswith("3"):
                self._take(session)
        elif verb == "RSET":
            session.recipients = []
            self._put(session, "250 2.0.0 fine")
        elif verb == "QUIT":
            self._put(session, "221 2.0.0 bye")
            return False
        else:
            self._put(session, "500 5.5.1 what?")
        return True

    def _take(self, session: _Session) -> None:
        lines: list[bytes] = []
        while True:
            line = self._line(session)
            if line is None:
                return
            if line == b".":
                break
            lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
            if len(lines) == 1 and (told := self._chosen("content", session.recipients[0])) is not None:
                self._act(session, told)
                if told[:1] in "45":
                    raise _HungUp
        for recipient in session.recipients:
            told = self._chosen("end", recipient) or _FINE["end"]
            takes = told == TAKE_AND_DROP or told.startswith("2")
            if takes:
                octets = b"".join(line + b"\r\n" for line in lines)
                said = "" if told == TAKE_AND_DROP else told
                with self._lock:
                    self.filed.append(Filed(session.sender, recipient, octets, session.mail, said, session.encrypted))
            self._act(session, DROP if told == TAKE_AND_DROP else told)
            if self.kind == "smtp":
                return

    def _chosen(self, moment: Moment, recipient: str) -> str | None:
        told = self.choose(moment, recipient) if self.choose is not None else None
        return told if told is not None else self.answers.get(moment)

    def _say(self, session: _Session, moment: Moment, fine: str, recipient: str = "") -> str:
        told = self._chosen(moment, recipient) or fine
        self._act(session, told)
        return told

    def _act(self, session: _Session, told: str) -> None:
        if self.pause:
            time.sleep(self.pause)
        if told == DROP:
            raise _HungUp
        if told == SILENT:
            while session.connection.recv(4096):
                pass
            raise _HungUp
        self._put(session, told)
        if told.startswith("421"):
            raise _HungUp

    @staticmethod
    def _put(session: _Session, text: str) -> None:
        session.connection.sendall(text.encode() + b"\r\n")

    @staticmethod
    def _line(session: _Session) -> bytes | None:
        while not session.lines:
            octets = session.connection.recv(1 << 16)
            if not octets:
                return None
            *lines, session.rest = (session.rest + octets).split(b"\r\n")
            session.lines.extend(lines)
        return session.lines.popleft()


class _HungUp(Exception):
    """The connection is to be closed."""
