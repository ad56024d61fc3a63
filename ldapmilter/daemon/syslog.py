"""The local syslog: facility ``mail``, one datagram for each line, and no line lost for its absence.

A syslog daemon restarts, or is gone for hours, while mail goes on. A line that it does not take goes
to stderr instead, and once it is back it is told how many it has missed.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from pathlib import Path

from ldapmilter.daemon.log_lines import lines_of

PLACE = Path("/dev/log")
"""Where syslog listens (syslog(3))."""

_MAIL = 2 << 3
PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""The severities of RFC 5424 by level."""
_LONGEST = 1 << 15
"""Octets of a line; a datagram has a bound (socket(7), ``wmem_default``), and a line past it is cut."""


class Syslog(logging.Handler):
    """Hands lines to the local syslog; those that it does not take, to another handler."""

    def __init__(self, place: Path, otherwise: logging.Handler) -> None:
        """Prepare; nothing is connected yet.

        Args:
            place: the socket, of datagrams or of a stream.
            otherwise: takes the lines while syslog is not there.
        """
        super().__init__()
        self._place = place
        self._otherwise = otherwise
        self._socket: socket.socket | None = None
        self._missed = 0
        self._reason = ""

    def connect(self) -> socket.socket:
        """Connect, unless that is done.

        Raises:
            OSError: no process listens there, or this user may not connect.
        """
        if self._socket is None:
            self._socket = _connected(self._place)
        return self._socket

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over."""
        try:
            if self._missed:
                missed = (
                    f"{self._missed} lines are missing here, "
                    f"syslog could not be reached ({self._reason}): they went to stderr"
                )
                self._send(missed, logging.ERROR)
                self._missed = 0
            for line in lines_of(record):
                self._send(line, record.levelno)
        except OSError as error:
            if not self._missed:
                self._reason = error.strerror or str(error)
                self._say(
                    f"syslog cannot be reached at {self._place} ({self._reason}): lines go to stderr until it can"
                )
            self._missed += 1
            self._otherwise.emit(record)

    def _say(self, text: str) -> None:
        self._otherwise.emit(logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, (), None))

    def _send(self, line: str, level: int) -> None:
        """Send a line, on a new connection if the old one is broken.

        Raises:
            OSError: there is no syslog now.
        """
        text = f"<{_MAIL | PRIORITIES.get(level, 6)}>ldapmilter[{os.getpid()}]: {line}"
        octets = text.encode("utf-8", "backslashreplace")[:_LONGEST]
        was_connected = self._socket is not None
        try:
            self._try_to_send(octets)
        except OSError:
            if not was_connected:
                raise
            self._try_to_send(octets)  # that syslogd has ended; another may have taken its place

    def _try_to_send(self, octets: bytes) -> None:
        connection = self.connect()
        try:
            # On a stream a NUL ends a line, as syslog(3) of the C library has it.
            stream = connection.type == socket.SOCK_STREAM
            connection.sendall(octets + b"\0" if stream else octets)
        except OSError:
            connection.close()
            self._socket = None
            raise

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        super().close()


def _connected(place: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.connect(str(place))
    except OSError as error:
        connection.close()
        if error.errno == errno.EPROTOTYPE and kind == socket.SOCK_DGRAM:
            return _connected(place, socket.SOCK_STREAM)
        raise
    return connection
