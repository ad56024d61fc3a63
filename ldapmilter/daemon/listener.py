"""The one listening socket: bound so that nothing half-made is ever visible, and what was bound is told.

libmilter binds it; what libmilter does not do is done here: owner and mode before the socket can be
reached (bound under a temporary name, renamed when ready), TCP_NODELAY (or every modified message
would cost 44 ms), and a refusal to start beside another process on the same socket.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import milter

from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from ldapmilter.config import MilterSettings


_LIVING_SECONDS = 2.0


class CannotListen(LdapmilterError):
    """The socket cannot be bound; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The bound socket."""

    settings: MilterSettings
    descriptor: int
    identity: tuple[int, int] | None
    """Device and inode of a unix socket's path."""

    def refuse_new_connections(self) -> None:
        """Put a socket that nobody can reach in the place of the listening one; open sessions go on."""
        family = socket.AF_UNIX if self.settings.socket.kind == "unix" else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as dead:
            dead.setblocking(False)  # noqa: FBT003 - the standard library's signature
            os.dup2(dead.fileno(), self.descriptor)
        self.remove()

    def remove(self) -> None:
        """Remove the path of a unix socket, unless somebody else's has taken its place."""
        path = self.settings.socket.path
        with contextlib.suppress(OSError):
            if path and _identity(Path(path)) == self.identity:
                Path(path).unlink()


def listen(settings: MilterSettings) -> Listener:
    """Bind the socket through libmilter.

    Raises:
        CannotListen: it is taken, or the path, owner or mode cannot be had.
    """
    address = settings.socket
    if address.kind == "unix":
        path = Path(address.path)
        group = _group(settings.socket_group)
        _make_room(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = _open(f"unix:{temporary}", str(address))
        try:
            temporary.chmod(settings.socket_mode)
            if group is not None:
                os.chown(temporary, -1, group)
            temporary.rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            message = f"cannot set up the socket {address}: {error.strerror}"
            raise CannotListen(message) from error
        return Listener(settings, descriptor, _identity(path))
    _probe_tcp(address.kind, address.host, address.port, str(address))
    descriptor = _open(address.libmilter, str(address))
    with socket.socket(fileno=os.dup(descriptor)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Listener(settings, descriptor, None)


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        message = f"[milter] socket_group = {name}: there is no such group; leave it empty to keep the process's own"
        raise CannotListen(message) from None


def _make_room(path: Path) -> None:
    """Remove a stale socket; refuse a living one, or anything that is no socket."""
    if not path.parent.is_dir():
        message = f"cannot listen on unix:{path}: the directory {path.parent} does not exist"
        raise CannotListen(message)
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        message = f"cannot listen on unix:{path}: it exists and is no socket"
        raise CannotListen(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(_LIVING_SECONDS)
        try:
            other.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # nobody is listening any more
        except OSError as error:
            # A full backlog, say: somebody is there, if a busy one.
            message = f"cannot listen on unix:{path}: another process seems to be listening there ({error})"
            raise CannotListen(message) from error
    message = f"cannot listen on unix:{path}: another process is listening there"
    raise CannotListen(message)


def _probe_tcp(kind: str, host: str, port: int, shown: str) -> None:
    """Bind once ourselves: libmilter retries and reports to syslog only."""
    family = socket.AF_INET6 if kind == "inet6" else socket.AF_INET
    try:
        where = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where[4])
    except OSError as error:
        message = f"cannot listen on {shown}: {error.strerror}"
        raise CannotListen(message) from error


def _open(connection: str, shown: str) -> int:
    """Let libmilter bind, and return the descriptor that appeared."""
    before = _sockets()
    mask = os.umask(0o177)
    try:
        milter.setconn(connection)
        milter.opensocket(False)  # noqa: FBT003 - pymilter's C signature
    except milter.error as error:
        message = f"cannot listen on {shown}: {error}"
        raise CannotListen(message) from error
    finally:
        os.umask(mask)
    new = _sockets() - before
    if len(new) != 1:
        message = f"cannot listen on {shown}: libmilter did not open one socket but {len(new)}"
        raise CannotListen(message)
    (descriptor,) = new
    os.set_blocking(descriptor, False)
    return descriptor


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
