"""Keeps libmilter's pool of threads moving: a connection that says nothing and is gone again.

libmilter counts a thread as idle until it has woken up, and may so give two sessions to one thread.
The second then waits until any thread of that process comes back for more: for as long as a peer
that sent half a packet likes, if nothing else happens. A connection makes something happen: its
thread finds nothing to read, and takes up whoever waits.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldapmilter.daemon.listener import Listener


def nudge(listener: Listener, times: int) -> None:
    """Connect so many times and hang up; never waits, and never mind if it cannot be done."""
    for _ in range(times):
        with contextlib.suppress(OSError), socket.socket(listener.socket.family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            # A unix socket was bound under another name than it is found by.
            place: Any = str(listener.path) if listener.path is not None else listener.socket.getsockname()
            connection.connect(place)
