"""Connect to the socket of a milter, or say in plain words why that is impossible."""

from __future__ import annotations

import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Final

from ldapmilter.mta.stream import ConnectError

if TYPE_CHECKING:
    from ldapmilter.socket_address import SocketAddress

IS_IT_RUNNING: Final = "; is the daemon running?"
"""Asked at the end of a text where nothing listens: of our own milter."""


def dial(address: SocketAddress, timeout: float) -> socket.socket:
    """Return a socket that is connected to a milter.

    A host name may stand for several addresses: they are tried in turn, ``timeout`` seconds in all.
    Looking the name up is not part of that time; a numeric address is not looked up.

    Raises:
        ConnectError: it cannot be connected to; the text names the socket and the reason.
    """
    if address.kind == "unix":
        return _dial_unix(address, timeout)
    family = socket.AF_INET6 if address.kind == "inet6" else socket.AF_INET
    try:
        found = socket.getaddrinfo(address.peer_host, address.port, family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectError(f"{address}: no address for host {address.host!r} ({error.strerror})") from error
    deadline = time.monotonic() + timeout
    reason = ""
    for _, _, _, _, target in found:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            sock.connect(target)
        except TimeoutError:
            reason = f"no connection within {timeout:g} s"
        except ConnectionRefusedError:
            reason = f"no process listens there{IS_IT_RUNNING}"
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return sock
        sock.close()
    raise ConnectError(f"{address}: {reason}")


def _dial_unix(address: SocketAddress, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address.path)
    except OSError as error:
        sock.close()
        raise ConnectError(f"{address}: {_unix_reason(address.path, error, timeout)}") from error
    return sock


def _unix_reason(path: str, error: OSError, timeout: float) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the socket does not exist{IS_IT_RUNNING}"
    if isinstance(error, PermissionError):
        return "permission denied: connecting needs write permission on the socket and search permission above it"
    if isinstance(error, ConnectionRefusedError):
        # The kernel says "refused" for a plain file, too.
        if _is_socket(path):
            return f"the socket is there, but no process listens{IS_IT_RUNNING}"
        return "this is not a socket"
    if isinstance(error, BlockingIOError | TimeoutError):
        return f"no connection within {timeout:g} s: the queue of the listener is full"
    return error.strerror or str(error)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - the path is a string by nature here
    except OSError:
        return True  # gone meanwhile
