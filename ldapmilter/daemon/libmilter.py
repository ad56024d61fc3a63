"""libmilter in a worker: it serves the socket that the parent has bound, in a thread of its own.

libmilter binds its socket itself and takes signals away from whoever runs it. So it is given a
private socket that nobody can reach, which the parent's then replaces under the same descriptor, and
its loop runs beside the main thread, where Python's signal handlers go on working.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import milter

from ldapmilter.milter import session

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.milter.session import Deciding

_log = logging.getLogger(__name__)


class LibMilter:
    """libmilter's loop on a listening socket."""

    def __init__(self, listening: socket.socket, daemon: Deciding) -> None:
        """Register the callbacks and take the socket over; nothing is accepted yet.

        Raises:
            OSError: there is no place for libmilter's own socket.
        """
        session.register(daemon)
        self._family = socket.AddressFamily(listening.family)
        self._descriptor = _open(listening.family)
        os.dup2(listening.fileno(), self._descriptor)
        # Workers race for each connection: the losers must not be stuck in accept.
        os.set_blocking(self._descriptor, False)

    def start(self, ended: Callable[[], None]) -> None:
        """Serve from a thread of its own; ``ended`` is called should the loop ever end."""

        def serve() -> None:
            try:
                milter.main()
            except milter.error:
                _log.exception("libmilter stopped")
            ended()

        threading.Thread(target=serve, name="libmilter", daemon=True).start()

    def refuse_new_connections(self) -> None:
        """Put a socket that nobody can reach in the place of the listening one; open sessions go on.

        It listens too: libmilter gives up altogether on one that does not.
        """
        here: Any = {socket.AF_UNIX: "", socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}[self._family]
        with socket.socket(self._family, socket.SOCK_STREAM) as unreachable:
            unreachable.bind(here)  # of the unix kind: a random name in the abstract namespace (unix(7))
            unreachable.listen(1)
            unreachable.setblocking(False)  # noqa: FBT003 - the standard library's signature
            os.dup2(unreachable.fileno(), self._descriptor)


def _open(family: int) -> int:
    """Let libmilter open a socket of a family, and return its descriptor."""
    before = _sockets()
    with tempfile.TemporaryDirectory(prefix="ldapmilter-") as folder:
        places = {
            socket.AF_UNIX: f"unix:{folder}/s",
            socket.AF_INET: "inet:0@127.0.0.1",
            socket.AF_INET6: "inet6:0@::1",
        }
        try:
            milter.setconn(places[socket.AddressFamily(family)])
            milter.opensocket(False)  # noqa: FBT003 - pymilter's C signature
        except milter.error as error:
            message = f"libmilter cannot open a socket of its own: {error}"
            raise OSError(message) from error
    (descriptor,) = _sockets() - before
    return descriptor


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found
