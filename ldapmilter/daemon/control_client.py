"""Asking the running daemon over its control socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import MAX_REQUEST, Lines, Message, RequestRefused, encode
from ldapmilter.errors import ConfigError, DaemonUnreachable

if TYPE_CHECKING:
    from ldapmilter.config import Config

_SECONDS = 30.0


def ask(config: Config, request: Message) -> Message:
    """Return the daemon's answer to a request.

    Raises:
        ConfigError: the configuration has no control socket.
        DaemonUnreachable: nobody answers there, or this user may not connect.
        RequestRefused: the daemon says no.
    """
    path = config.control
    if path is None:
        message = f"{config.file}: [control] socket is empty: the daemon cannot be asked"
        raise ConfigError(message)
    line = encode(request)
    if len(line) > MAX_REQUEST:
        message = f"the request has {len(line)} bytes; the daemon takes {MAX_REQUEST}"
        raise RequestRefused(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_SECONDS + config.ldap.lookup_deadline)
        try:
            connection.connect(str(path))
            connection.sendall(line)
        except PermissionError as error:
            message = (
                f"the daemon cannot be reached at {path}: {error.strerror}; root and its own user and group may ask"
            )
            raise DaemonUnreachable(message) from error
        except OSError as error:
            message = f"the daemon cannot be reached at {path}: {error.strerror or error}; does ldapmilter run?"
            raise DaemonUnreachable(message) from error
        lines = Lines(connection)
        while not lines.ended:
            for answer in lines.receive():
                if "error" in answer:
                    raise RequestRefused(answer["error"])
                return answer
    message = f"the daemon at {path} has not answered"
    raise DaemonUnreachable(message)
