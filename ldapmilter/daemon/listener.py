"""The one listening socket: bound so that nothing half-made is ever visible, and what was bound is told.

The parent binds it and every worker accepts from it. A unix socket gets its owner and mode before it
can be reached (bound under a temporary name, renamed when ready), a TCP socket TCP_NODELAY, which
accepted sockets inherit (or every modified message would cost 44 ms). Nobody starts beside another
process on the same socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.config import MilterSettings

_BACKLOG = 1024
_LIVING_SECONDS = 2.0


_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("HBBI")
_PROGRAM = struct.Struct("HP")
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the octet of the TCP header with the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),
)
"""A filter of packets: socket(7), ``SO_ATTACH_FILTER``, and the kernel's networking/filter."""


class CannotListen(LdapmilterError):
    """The socket cannot be bound; the text names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A bound socket."""

    socket: socket.socket
    path: Path | None = None
    """Of a unix socket."""
    identity: tuple[int, int] | None = None
    """Device and inode of that path."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.socket.fileno()

    def shut(self) -> None:
        """Have the kernel refuse whoever comes, whichever process still has the socket."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def shares_port(self, other: Listener) -> bool:
        """Tell whether two are on one TCP port, so that their addresses may overlap."""
        return _port(self.socket) is not None and _port(self.socket) == _port(other.socket)

    def turn_away(self) -> None:
        """Begin no more TCP connections; those that have begun can still be accepted.

        A client that meets this asks again after a second, and meets whoever listens then.
        """
        program = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*step) for step in _NO_SYN))
        with contextlib.suppress(OSError):
            self.socket.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(_NO_SYN), ctypes.addressof(program))
            )

    def close(self) -> None:
        """Close it here (workers may still have it), and let nobody find it any more."""
        self.socket.close()
        self.hide()

    def hide(self) -> None:
        """Take the path of a unix socket away."""
        with contextlib.suppress(OSError):
            # Unless somebody else's has taken its place.
            if self.path is not None and _identity(self.path) == self.identity:
                self.path.unlink()


def listen(settings: MilterSettings, replacing: Listener | None = None) -> Listener:
    """Bind the milter's socket; what is in use by ``replacing`` may be taken over, which goes on listening.

    Raises:
        CannotListen: it is taken, or the path, owner or mode cannot be had.
    """
    address = settings.socket
    if address.kind == "unix":
        group = _group(settings.socket_group)
        return listen_unix(Path(address.path), settings.socket_mode, group, replacing)
    return _listen_tcp(address.kind == "inet6", address.host, address.port, str(address), replacing)


def listen_unix(path: Path, mode: int, group: int | None = None, replacing: Listener | None = None) -> Listener:
    """Bind a unix socket; it appears under its name with owner and mode, in one step.

    Raises:
        CannotListen: another process listens there, or path, owner or mode cannot be had.
    """
    if replacing is None or not path.exists() or _identity(path) != replacing.identity:
        _check_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}")
    mask = os.umask(0o177)
    try:
        listening.bind(str(temporary))
        temporary.chmod(mode)
        if group is not None:
            os.chown(temporary, -1, group)
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        identity = _identity(temporary)
        temporary.rename(path)
    except OSError as error:
        listening.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        message = f"cannot set up the socket unix:{path}: {error.strerror or error}"
        raise CannotListen(message) from error
    finally:
        os.umask(mask)
    return Listener(socket=listening, path=path, identity=identity)


def _listen_tcp(
    wants_ipv6: bool,  # noqa: FBT001 - private
    host: str,
    port: int,
    shown: str,
    replacing: Listener | None,
) -> Listener:
    family = socket.AF_INET6 if wants_ipv6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        where = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        old = replacing.socket if replacing is not None and _port(replacing.socket) == port else None
        with _sharing(listening, old):
            listening.bind(where)
            listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as error:
        listening.close()
        message = f"cannot listen on {shown}: {error.strerror or error}"
        raise CannotListen(message) from error
    return Listener(socket=listening)


@contextlib.contextmanager
def _sharing(new: socket.socket, old: socket.socket | None) -> Iterator[None]:
    """Let a socket be bound beside an old one on the same port, whose address may overlap (socket(7)).

    For that moment only: nobody else may be let in beside either.
    """
    sockets = () if old is None else (old, new)
    try:
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield
    finally:
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _port(bound: socket.socket) -> int | None:
    return None if bound.family == socket.AF_UNIX else int(bound.getsockname()[1])


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        message = f"[milter] socket_group = {name}: there is no such group; leave it empty to keep the process's own"
        raise CannotListen(message) from None


def _check_room(path: Path) -> None:
    """Let a stale socket be replaced; refuse a living one, or anything that is no socket."""
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


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
