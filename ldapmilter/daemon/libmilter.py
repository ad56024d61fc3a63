"""libmilter in a worker: it serves the socket that the parent has bound, in a thread of its own.

libmilter binds its socket itself and takes signals away from the thread that runs it. So the parent has it
open a private socket once, in whose place a worker puts the parent's under the same descriptor: a
worker needs no room on any disk to start. libmilter's loop runs beside the main thread, where
Python's signal handlers go on working.
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

from ldapmilter.milter import callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.milter.interface import Deciding

_log = logging.getLogger(__name__)

_KEPT = 32
"""Descriptors."""
_SILENCE = 3600
"""Seconds for which a peer may say nothing, or leave off in the middle of a packet.

A client may take that long to upload a message: Postfix sends a milter nothing between DATA and the
end of the upload, which only ``smtpd_timeout`` (300 s) for each read bounds.
"""


def reserve(family: int) -> int:
    """Let libmilter open a socket of a family, once and before any fork; return its descriptor.

    What it leads to afterwards accepts nothing.

    Raises:
        OSError: it cannot be opened.
    """
    before = _sockets()
    if family == socket.AF_UNIX:
        _open_unix()
    else:
        _open({socket.AF_INET: "inet:0@127.0.0.1", socket.AF_INET6: "inet6:0@::1"}[socket.AddressFamily(family)])
    (descriptor,) = _sockets() - before
    with socket.socket(family, socket.SOCK_STREAM) as nothing:
        os.dup2(nothing.fileno(), descriptor, inheritable=False)
    return descriptor


def _open_unix() -> None:
    """Let libmilter open a unix socket, in a place that no client uses.

    An empty path is a name of nothing but zeros in the abstract namespace (unix(7)), which needs no
    disk. Only one process of a network namespace can have it at a time: another daemon that starts
    in the same moment, or one that holds it on purpose, costs this one a socket in a directory.
    """
    try:
        _open("unix:")
    except OSError:
        with tempfile.TemporaryDirectory(prefix="ldapmilter-") as directory:
            _open(f"unix:{directory}/socket")


def _open(place: str) -> None:
    """Let libmilter open its socket; raise an ``OSError`` when it cannot."""
    try:
        milter.register("ldapmilter")
        milter.setconn(place)
        milter.opensocket(False)  # noqa: FBT003 - pymilter's C signature
    except milter.error as error:
        message = f"libmilter cannot open a socket of its own: {error}"
        raise OSError(message) from error


class LibMilter:
    """libmilter's loop on a listening socket."""

    def __init__(self, descriptor: int, listening: socket.socket, daemon: Deciding) -> None:
        """Register the callbacks and take the socket over; nothing is accepted yet.

        Args:
            descriptor: what :func:`reserve` returned.
            listening: what to accept from.
            daemon: decides.
        """
        callbacks.register(daemon)
        milter.settimeout(_SILENCE)
        self._descriptor = descriptor
        self._listening = listening
        self._changing = threading.Lock()
        self._accepts = True
        self._nobodys = _unreachable(listening.family)
        self._kept: list[int] = []
        self._keep_descriptors()
        self._put(listening)

    @property
    def listening(self) -> socket.socket:
        """What is accepted from, or would be."""
        return self._listening

    def start(self, ended: Callable[[], None]) -> None:
        """Serve from a thread of its own; ``ended`` is called should the loop ever end."""

        def serve() -> None:
            try:
                milter.main()
            except milter.error:
                _log.exception("libmilter stopped")
            ended()

        threading.Thread(target=serve, name="libmilter", daemon=True).start()

    def listen_on(self, listening: socket.socket) -> None:
        """Accept from another socket from now on. libmilter still waits on the previous one until it is shut."""
        with self._changing:
            self._listening.close()
            self._listening = listening
            if self._accepts:
                self._put(listening)

    def refuse_new_connections(self) -> None:
        """Accept from a socket that cannot be reached instead; open sessions go on."""
        with self._changing:
            self._accepts = False
            self._put(self._nobodys)
            for descriptor in self._kept:
                os.close(descriptor)
            self._kept.clear()

    def accept_again(self) -> None:
        """Undo :meth:`refuse_new_connections`."""
        with self._changing:
            if self._accepts:
                return
            self._accepts = True
            self._put(self._listening)
            # libmilter waits on the other one for seconds yet; whoever connects there wakes it.
            with contextlib.suppress(OSError), socket.socket(self._nobodys.family, socket.SOCK_STREAM) as waking:
                waking.setblocking(False)  # noqa: FBT003 - the standard library's signature
                waking.connect(self._nobodys.getsockname())
            self._keep_descriptors()

    def _keep_descriptors(self) -> None:
        """Keep some from libmilter, which accepts as long as there are any; others need them when it is stopped."""
        with contextlib.suppress(OSError):
            while len(self._kept) < _KEPT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def shut(self) -> None:
        """Have the kernel refuse new connections, also while other processes have the listening socket."""
        self.refuse_new_connections()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)

    def _put(self, listening: socket.socket) -> None:
        # Workers race for each connection: the losers must not be stuck in accept.
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        os.dup2(listening.fileno(), self._descriptor, inheritable=False)


def _unreachable(family: int) -> socket.socket:
    """Return a socket without a name. It listens: libmilter gives up altogether on one that does not."""
    # Of the unix kind: a random name in the abstract namespace (unix(7)).
    here: Any = {socket.AF_UNIX: "", socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
    nobodys = socket.socket(family, socket.SOCK_STREAM)
    nobodys.bind(here[socket.AddressFamily(family)])
    nobodys.listen(1)
    return nobodys


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found
