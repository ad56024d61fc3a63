"""The one listening socket: bound so that nothing half-made is ever visible, and what was bound is told.

The parent binds it and every worker accepts from it. A unix socket gets its owner and mode before it
can be reached (bound under a temporary name, renamed when ready), a TCP socket TCP_NODELAY, which
accepted sockets inherit (or every modified message would cost 44 ms). A daemon does not start beside another
process on the same socket; a worker that outlived its parent does not count.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.daemon.peer import peer_of
from ldapmilter.errors import LdapmilterError
from ldapmilter.service import command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.config import MilterSettings
    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.socket_address import SocketAddress

_BACKLOG = 1024


class CannotListen(LdapmilterError):
    """The socket cannot be bound; the text names it and says why."""


class Listener(Struct, frozen=True, kw_only=True):
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
        """Have the kernel refuse new connections, also while other processes have the socket."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def has_its_name(self) -> bool:
        """Tell whether the path still leads to this socket, so that clients can connect."""
        if self.path is None:
            return True
        try:
            return _inode(self.path) == self.identity
        except OSError:
            return False

    def permit(self, settings: MilterSettings | RelaySettings) -> None:
        """Give the path of a unix socket the mode and group of a configuration.

        Raises:
            CannotListen: the mode or group cannot be had.
        """
        if self.path is None or not self.has_its_name():
            return
        group = _group(settings.socket_group)
        try:
            os.chown(self.path, -1, os.getegid() if group is None else group)
            self.path.chmod(settings.socket_mode)
        except OSError as error:
            message = f"cannot give unix:{self.path} its mode and group: {error.strerror or error}"
            raise CannotListen(message) from error

    def close(self) -> None:
        """Close it here (workers may still have it), and remove its path."""
        self.socket.close()
        self.hide()

    def hide(self) -> None:
        """Remove the path of a unix socket, unless another socket has taken its place."""
        if self.path is not None and self.has_its_name():
            with contextlib.suppress(OSError):
                self.path.unlink()


def listen(settings: MilterSettings) -> Listener:
    """Bind the milter's socket.

    Raises:
        CannotListen: it is taken, or the path, owner or mode cannot be had.
    """
    return listen_at(settings.socket, settings.socket_mode, settings.socket_group, "milter")


def listen_at(address: SocketAddress, mode: int, group: str, section: str) -> Listener:
    """Bind a socket.

    Args:
        address: where.
        mode: of a unix socket.
        group: the name of its group; empty: the process's own.
        section: of ``config.ini``, which says so.

    Raises:
        CannotListen: it is taken, or the path, owner or mode cannot be had.
    """
    if address.kind == "unix":
        return listen_unix(Path(address.path), mode, _group(group, section), section)
    return _listen_tcp(address.kind == "inet6", address.host, address.port, str(address))


def listen_unix(path: Path, mode: int, group: int | None = None, section: str = "milter") -> Listener:
    """Bind a unix socket; it appears under its name with owner and mode, in one step.

    Raises:
        CannotListen: another process listens there, or path, owner or mode cannot be had.
    """
    _check_room(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f"{_temporary_prefix(path)}{os.getpid()}")
    _remove_leftovers(path)
    mask = os.umask(0o177)
    try:
        listening.bind(str(temporary))
        temporary.chmod(mode)
        if group is not None:
            _give(temporary, group, section)
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        identity = _inode(temporary)
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


def _give(path: Path, group: int, section: str) -> None:
    try:
        os.chown(path, -1, group)
    except PermissionError as error:
        message = f"{error.strerror}; [{section}] socket_group has to be a group that user {os.geteuid()} is in"
        raise PermissionError(error.errno, message) from error


def _temporary_prefix(path: Path) -> str:
    """Return what the temporary names of a socket begin with; the process id follows."""
    return f".{path.name[:60]}."


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary names of processes that were killed between binding and renaming."""
    prefix = _temporary_prefix(path)
    with contextlib.suppress(OSError):  # a directory that cannot be listed keeps them
        for entry in os.scandir(path.parent):
            number = entry.name[len(prefix) :]
            if not entry.name.startswith(prefix) or not (number.isascii() and number.isdecimal()):
                continue
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode) and not _is_another_process(int(number)):
                Path(entry.path).unlink()


def _is_another_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


def _listen_tcp(
    wants_ipv6: bool,  # noqa: FBT001 - private
    host: str,
    port: int,
    shown: str,
) -> Listener:
    family = socket.AF_INET6 if wants_ipv6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        where = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as error:
        listening.close()
        who = f"; ss -ltnp 'sport = :{port}' says who listens there" if error.errno == errno.EADDRINUSE else ""
        message = f"cannot listen on {shown}: {error.strerror or error}{who}"
        raise CannotListen(message) from error
    return Listener(socket=listening)


def _group(name: str, section: str = "milter") -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        message = f"[{section}] socket_group = {name}: there is no such group; leave it empty to keep the process's own"
        raise CannotListen(message) from None


def refuse_beside_another(paths: Iterable[Path]) -> None:
    """Refuse a start beside a daemon that runs already, before anything that both would use is touched.

    Args:
        paths: unix sockets that are going to be bound.

    Raises:
        CannotListen: another process listens on one of them.
    """
    for path in paths:
        _check_room(path)


def _check_room(path: Path) -> None:
    """Let a stale socket be replaced; refuse one that a process listens on, or anything but a socket."""
    if not path.parent.is_dir():
        message = f"cannot listen on unix:{path}: the directory {path.parent} does not exist"
        raise CannotListen(message)
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        message = f"cannot listen on unix:{path}: it exists and is not a socket"
        raise CannotListen(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.setblocking(False)  # noqa: FBT003 - the standard library's signature
        try:
            other.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # stale
        except OSError as error:
            # A full backlog, for example: a busy process listens.
            message = f"cannot listen on unix:{path}: another process seems to be listening there ({error})"
            raise CannotListen(message) from error
        owner = _owner(other)
    if owner is not None and not Path("/proc", str(owner)).exists():
        return  # workers that outlived their parent still have it, and one hangs: they serve no more
    message = (
        f"cannot listen on unix:{path}: another process is listening there ({_shown(owner)});"
        f" where that is ldapmilter already, {command('stop')} ends it"
    )
    raise CannotListen(message)


def _owner(connected: socket.socket) -> int | None:
    """Return the process that made the socket which a connection leads to; ``None``: of another PID namespace."""
    return peer_of(connected)[0] or None


def _shown(pid: int | None) -> str:
    if pid is None:
        return "of another container"
    name = ""
    with contextlib.suppress(OSError):
        name = Path("/proc", str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    return f"pid {pid}, {name}" if name else f"pid {pid}"


def _inode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
