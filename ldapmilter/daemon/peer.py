"""Who is at the other end of a unix socket (unix(7), ``SO_PEERCRED``)."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("3i")


def peer_of(connected: socket.socket) -> tuple[int, int, int]:
    """Return process, user and group of whoever connected; of a client's socket, of whoever called listen.

    The process is 0 where it is of another PID namespace.
    """
    octets = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(octets)
    return pid, uid, gid
