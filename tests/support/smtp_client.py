"""Two ways to talk SMTP: a whole message with its result, and exact bytes on a socket."""

from __future__ import annotations

import base64
import re
import smtplib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.ports import HANG, LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

_QUEUED = re.compile(r"queued as (\S+)")
_OK = range(200, 300)


@dataclass(frozen=True)
class Reply:
    """One SMTP reply: the code and all its text lines, joined by newlines."""

    code: int
    text: str


@dataclass(frozen=True)
class Sent:
    """What became of one message.

    `stage` is what `reply` answers: `connect` (Postfix without its milter may turn a client away
    with 421), or the command `auth`, `mail`, `rcpt`, `data` or `end` (the final dot); it is the
    first one refused, else `end`.  `recipients` has the reply to each RCPT; a message goes on while
    one of them is accepted.
    """

    stage: str
    reply: Reply
    recipients: Mapping[str, Reply] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the server took the message."""
        return self.stage == "end" and self.reply.code in _OK

    @property
    def code(self) -> int:
        """The reply code that decided."""
        return self.reply.code

    @property
    def text(self) -> str:
        """The reply text that decided, enhanced status code included."""
        return self.reply.text

    @property
    def refused(self) -> dict[str, Reply]:
        """The recipients that the server refused."""
        return {rcpt: reply for rcpt, reply in self.recipients.items() if reply.code not in _OK}

    @property
    def queue_id(self) -> str:
        """The queue id, empty unless accepted."""
        found = _QUEUED.search(self.text)
        return found[1] if found else ""


def send(
    port: int,
    sender: str,
    recipients: Sequence[str],
    message: bytes,
    *,
    login: str | None = None,
    password: str | None = None,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
    timeout: float = HANG,
) -> Sent:
    """Send one message on a connection of its own; line ends become CRLF.

    Raises:
        OSError: the server broke the connection (`smtplib.SMTPServerDisconnected` is one).
    """
    body = re.sub(rb"\r?\n", b"\r\n", message)
    try:
        connected = smtplib.SMTP(LOOPBACK, port, local_hostname="client.test", timeout=timeout)
    except smtplib.SMTPConnectError as error:
        return Sent("connect", _reply((error.smtp_code, error.smtp_error)))
    with connected as smtp:
        smtp.ehlo()
        if login is not None:
            try:
                smtp.login(login, password or "")
            except smtplib.SMTPResponseException as error:
                return Sent("auth", _reply((error.smtp_code, error.smtp_error)))
        reply = _reply(smtp.mail(sender, list(mail_options)))
        if reply.code not in _OK:
            return Sent("mail", reply)
        replies = {rcpt: _reply(smtp.rcpt(rcpt, list(rcpt_options))) for rcpt in recipients}
        refused = [reply for reply in replies.values() if reply.code not in _OK]
        if len(refused) == len(replies):
            return Sent("rcpt", refused[0], replies)
        try:
            return Sent("end", _reply(smtp.data(body)), replies)
        except smtplib.SMTPDataError as error:
            return Sent("data", _reply((error.smtp_code, error.smtp_error)), replies)


def _reply(answer: tuple[int, bytes | str]) -> Reply:
    code, text = answer
    return Reply(code, text.decode(errors="replace") if isinstance(text, bytes) else text)


class RawSmtp:
    """An SMTP connection on which a test sends exactly the bytes it means to.

    For several messages on one connection, commands out of order, pipelining, and headers
    that no library would send (8-bit, NUL, bare CR).
    """

    def __init__(self, port: int, timeout: float = HANG) -> None:
        """Connect and read the greeting, which :attr:`greeting` keeps."""
        self._socket = socket.create_connection((LOOPBACK, port), timeout)
        self._file = self._socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connection without a QUIT."""
        self.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def reply(self) -> Reply:
        """Read one reply, however many lines it has.

        Raises:
            ConnectionError: the server closed the connection.
        """
        lines: list[str] = []
        while True:
            line = self._file.readline()
            if not line:
                message = "connection closed by the server"
                raise ConnectionError(message)
            text = line.decode(errors="replace").rstrip("\r\n")
            lines.append(text[4:])
            if text[3:4] != "-":
                return Reply(int(text[:3]), "\n".join(lines))

    def command(self, line: bytes | str) -> Reply:
        """Send one line and read its reply."""
        self.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def login(self, login: str, password: str) -> Reply:
        """Say EHLO and authenticate with PLAIN."""
        self.command("EHLO client.test")
        secret = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return self.command(f"AUTH PLAIN {secret}")

    def message(self, sender: str, recipients: Sequence[str], data: bytes) -> Reply:
        """Send MAIL, RCPTs, DATA and `data`, which needs CRLFs and dots doubled by the caller.

        Returns:
            The reply to the final dot, or the first reply that refused to go on.
        """
        lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{rcpt}>" for rcpt in recipients)]
        for line in lines:
            reply = self.command(line)
            if reply.code not in _OK:
                return reply
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        self.write(data + (b"" if data.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        return self.reply()

    def close(self) -> None:
        """Drop the connection as a client that crashed would."""
        self._file.close()
        self._socket.close()
