"""Asking the running daemon over its control socket."""

from __future__ import annotations

import contextlib
import socket

from ldapmilter.daemon.channel import MAX_REQUEST, Lines, Message, RequestRefused, encode
from ldapmilter.daemon.peer import peer_of
from ldapmilter.errors import DaemonUnreachable
from ldapmilter.service import command
from ldapmilter.who_may import WRITE, user_name, who_may

_SECONDS = 30.0
"""Besides what the request itself may take, for which an answer is waited for."""
_HEARD_SECONDS = 4.0
"""In which a daemon that lives has at least heard the request."""


def ask(path: str, request: Message, takes: float = 0.0) -> Message:
    """Return the daemon's answer to a request.

    Args:
        path: the control socket.
        request: the verb and its arguments.
        takes: seconds that serving the request may take: what is asked of the directory or the milter.

    Raises:
        DaemonUnreachable: no process answers there, or not in time, or this user may not connect.
        RequestRefused: the daemon says no.
    """
    line = encode({**request, "acknowledge": True})
    if len(line) > MAX_REQUEST:
        message = f"the request has {len(line)} bytes; the daemon takes {MAX_REQUEST}"
        raise RequestRefused(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_HEARD_SECONDS)
        _connect(connection, path)
        with contextlib.suppress(OSError):  # what is wrong with it is found out below
            connection.sendall(line)
        lines = Lines(connection)
        while not lines.ended:
            for answer in lines.receive():
                if "error" in answer:
                    raise RequestRefused(answer["error"])
                if "heard" not in answer:
                    return answer
                connection.settimeout(_SECONDS + takes)
        raise DaemonUnreachable(_silence(connection, path))


def _connect(connection: socket.socket, path: str) -> None:
    """Connect to the control socket.

    Raises:
        DaemonUnreachable: no process listens there, too many clients wait, or this user may not connect.
    """
    try:
        connection.connect(path)
    except PermissionError as error:
        message = f"user {user_name()} may not ask the daemon at {path}: {who_may(path, WRITE)}"
        raise DaemonUnreachable(message) from error
    except BlockingIOError as error:
        message = f"the daemon cannot be reached at {path}: many others wait for an answer; does it hang?"
        raise DaemonUnreachable(message) from error
    except OSError as error:
        message = (
            f"the daemon cannot be reached at {path}: {error.strerror or error}; does ldapmilter run?"
            f" (ldapmilter check --config-only tells whether its configuration can be used; {command('start')})"
        )
        raise DaemonUnreachable(message) from error


def _silence(connection: socket.socket, path: str) -> str:
    """Tell what is the matter with a daemon that says nothing, and the way out."""
    pid, _, _ = peer_of(connection)
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123 - no pathlib here
            state = stat.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return f"the daemon at {path} (process {pid}) has not answered; does it still run?"
    if state in "Tt":
        return f"the daemon at {path} has not answered: process {pid} is stopped; kill -CONT {pid} lets it go on"
    return (
        f"the daemon at {path} has not answered: process {pid} hangs or is very busy;"
        f" restart it if that stays so ({command('restart')})"
    )
