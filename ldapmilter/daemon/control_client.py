"""Asking the running daemon over its control socket."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import MAX_REQUEST, Lines, Message, RequestRefused, encode
from ldapmilter.errors import ConfigError, DaemonUnreachable

if TYPE_CHECKING:
    from ldapmilter.config import Config

_SECONDS = 30.0
"""Besides the directory's own deadline, for which an answer is waited for."""
_HEARD_SECONDS = 4.0
"""In which a daemon that lives has at least heard the request."""
_CREDENTIALS = struct.Struct("3i")


def ask(config: Config, request: Message) -> Message:
    """Return the daemon's answer to a request.

    Raises:
        ConfigError: the configuration has no control socket.
        DaemonUnreachable: nobody answers there, or not in time, or this user may not connect.
        RequestRefused: the daemon says no.
    """
    path = config.control
    if path is None:
        message = f"{config.file}: [control] socket is empty: the daemon cannot be asked"
        raise ConfigError(message)
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
                connection.settimeout(_SECONDS + config.ldap.lookup_deadline)
        raise DaemonUnreachable(_silence(connection, path))


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect to the control socket.

    Raises:
        DaemonUnreachable: nobody listens there, too many wait, or this user may not connect.
    """
    try:
        connection.connect(str(path))
    except PermissionError as error:
        message = f"the daemon cannot be reached at {path}: {error.strerror}; root and its own user and group may ask"
        raise DaemonUnreachable(message) from error
    except BlockingIOError as error:
        message = f"the daemon cannot be reached at {path}: many others wait for an answer; does it hang?"
        raise DaemonUnreachable(message) from error
    except OSError as error:
        message = f"the daemon cannot be reached at {path}: {error.strerror or error}; does ldapmilter run?"
        raise DaemonUnreachable(message) from error


def _silence(connection: socket.socket, path: Path) -> str:
    """Tell what is the matter with a daemon that says nothing, and the way out."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(credentials)[0]  # of whoever listens, see unix(7); 0 from another PID namespace
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return f"the daemon at {path} (process {pid}) has not answered; does it still run?"
    if state in "Tt":
        return f"the daemon at {path} has not answered: process {pid} is stopped; kill -CONT {pid} lets it go on"
    return f"the daemon at {path} has not answered: process {pid} hangs or is very busy; restart it if that stays so"
