"""How many connections a worker has, and what to make of it.

A connection costs a descriptor, and one that has not said its first packet a thread of libmilter's.
Postfix opens one for each SMTP session and says that packet at once; it gives up after 30 s without
an answer. So a peer that says nothing for a minute is not an MTA, and a worker that has many of those, or is
full of connections without a message, makes room by handing over to a successor.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
from collections import deque
from typing import Final

from msgspec import Struct

MOST_CONNECTIONS: Final = 4000
"""Of one worker; Postfix has at most ``default_process_limit`` (100) processes of each service."""
_RESERVED: Final = 128
"""Descriptors that are not for connections (LDAP, log, audit, the parent); a quarter where there are few."""
FEW: Final = 896
"""Connections of one worker below which the limit of descriptors is named as low: those of a limit of 1,024."""
_NEAR: Final = 0.8
_ROOM_AGAIN: Final = 0.9
_MINUTE: Final = 60.0
_MANY_SILENT: Final = 64


def raise_descriptor_limit() -> int:
    """Raise the limit of open files of this process as far as it may be; return what it is then."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS + _RESERVED if soft == resource.RLIM_INFINITY else soft


def most_connections(descriptors: int) -> int:
    """Return how many connections a worker takes under a limit of open files."""
    return max(1, min(MOST_CONNECTIONS, descriptors - min(_RESERVED, descriptors // 4)))


def count(listening: socket.socket, sessions: int) -> int:
    """Return how many accepted connections this process has; ``sessions`` of them have said their first packet."""
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 - names, not paths
    except OSError:
        return MOST_CONNECTIONS  # not even one descriptor is left
    if len(names) < _MANY_SILENT:
        return sessions  # too few for it to matter what they are
    here = _place(listening)
    return sum(_is_connection(int(name), here) for name in names)


def _is_connection(descriptor: int, here: object) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        looking = socket.socket(fileno=descriptor)
    except OSError:
        return False  # closed meanwhile
    try:
        accepting = looking.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return not accepting and _place(looking) == here
    except OSError:
        return False
    finally:
        looking.detach()


def _place(bound: socket.socket) -> object:
    """Return what a listening socket and those accepted from it have in common."""
    name = bound.getsockname()
    return (bound.family, name if bound.family == socket.AF_UNIX else name[1])


class State(Struct, frozen=True, kw_only=True):
    """How it is now."""

    connections: int
    most: int
    silent: int
    """Connections that have said nothing for a minute, at least."""
    full: bool
    """Whether no more are taken."""
    hopeless: bool
    """Whether a successor should serve: what fills this one does not look like an MTA."""

    @property
    def problem(self) -> str | None:
        """What an administrator should know, if anything."""
        near = self.full or self.connections >= _NEAR * self.most
        if not near and self.silent < _MANY_SILENT:
            return None
        silent = f", {self.silent} of which have said nothing for a minute" if self.silent else ""
        then = "more are refused" if self.full else f"at {self.most} more are refused"
        return (
            f"{self.connections} connections to one worker{silent}; {then}: look who connects,"
            " and raise [milter] workers or the limit of open files (systemd: LimitNOFILE, supervisord: minfds)"
        )


class Crowd:
    """Follows the number of connections of one worker."""

    def __init__(self, most: int) -> None:
        """Allow so many."""
        self._most = most
        self._silent: deque[tuple[float, int]] = deque()
        """What was seen in the last minute: when, and how many had not said their first packet."""
        self._full = False
        self._idle_since: float | None = None
        """Since when it has been full, and mostly without a message in flight."""

    def look(self, now: float, *, connections: int, sessions: int, in_flight: int) -> State:
        """Take in what there is now (seconds, monotonic), once a second."""
        self._silent.append((now, max(0, connections - sessions)))
        whole_minute = self._silent[0][0] <= now - _MINUTE
        while self._silent[0][0] < now - _MINUTE:
            self._silent.popleft()
        silent = min(number for _, number in self._silent) if whole_minute else 0
        bound = self._most * _ROOM_AGAIN if self._full else self._most
        self._full = connections >= bound
        if not self._full or in_flight * 2 > connections:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        idle = self._idle_since is not None and now - self._idle_since >= _MINUTE
        return State(
            connections=connections,
            most=self._most,
            silent=silent,
            full=self._full,
            hopeless=idle or silent >= min(_MANY_SILENT, self._most // 2 or 1),
        )
