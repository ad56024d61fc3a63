"""JSON lines: how the parent and its workers, and the control socket's clients, talk.

One request is one line, and so is its answer. Between parent and worker several may be under way, so
each carries a number; a line from a worker without a number is a report.
"""

from __future__ import annotations

import json

from ldapmilter.errors import LdapmilterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import Any

    from ldapmilter.message import Envelope

Message = dict[str, "Any"]

MAX_REQUEST = 1 << 20
"""Bytes that a request may have: a message's header fits for ``explain --live``."""
HANDOVER = b"listen"
"""The octets that go with a listening socket: a descriptor cannot travel alone (unix(7))."""
MAX_ANSWER = 1 << 26
"""Bytes that an answer may have: a decision with thousands of copies and their reasons."""


class RequestRefused(LdapmilterError):
    """A request cannot be served; the text says why."""


def about(verb: str, envelope: Envelope) -> Message:
    """Return a request about a message, without its fields."""
    return {
        "verb": verb,
        "login": envelope.login,
        "client": envelope.client,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "submitted_locally": envelope.submitted_locally,
        "daemon_port": envelope.daemon_port,
    }


def encode(message: Message) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in a line.

    Raises:
        RequestRefused: it is not a JSON object.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        text = f"not a line of JSON: {error}"
        raise RequestRefused(text) from error
    if not isinstance(message, dict):
        text = "not a JSON object"
        raise RequestRefused(text)
    return message


class Lines:
    """Takes what has come in on a blocking socket apart into messages."""

    def __init__(self, connection: socket.socket) -> None:
        """Read from a socket."""
        self._connection = connection
        self._rest = b""
        self.ended = False

    def receive(self) -> Iterator[Message]:
        """Wait for something to come in; yield the messages that are whole. Sets ``ended`` at the end."""
        try:
            octets = self._connection.recv(1 << 16)
        except OSError:
            octets = b""
        if not octets:
            self.ended = True
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            yield decode(line)
