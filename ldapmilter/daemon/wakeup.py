"""Keeps libmilter's pool of threads moving: connections that say nothing and end.

libmilter counts a thread as idle until it has woken up, and may so give two sessions to one thread.
The second session then waits until some thread of that process becomes free: without other mail,
until a peer that sent half a packet goes on. A connection that ends at once frees a thread: it finds
nothing to read, and takes up the session that waits.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldapmilter.daemon.listener import Listener


def wake_up_threads(listener: Listener, times: int) -> None:
    """Connect so many times and hang up. Never waits; failures are ignored."""
    if not listener.has_its_name():
        return  # another process may have its name
    for _ in range(times):
        with contextlib.suppress(OSError), socket.socket(listener.socket.family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
            # A unix socket was bound under another name than it is found by.
            place: Any = str(listener.path) if listener.path is not None else listener.socket.getsockname()
            connection.connect(place)
