"""The control socket: one line of JSON in, one out, for permitted users (unix(7), ``SO_PEERCRED``).

Root, the daemon's own user and members of the socket's group may ask. Requests are bounded in size,
number and time; an answer tells what every worker said. A request with ``"acknowledge": true`` gets a
line ``{"heard": PID}`` first, at once: an answer may take as long as the workers do, a daemon that
hangs need not be waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import MAX_REQUEST, Message, RequestRefused, decode, encode
from ldapmilter.daemon.peer import peer_of
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ldapmilter.daemon.listener import Listener

_log = logging.getLogger(__name__)

_READ_SECONDS = 5.0
_WRITE_SECONDS = 30.0
_CLIENTS = 32
_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)  # Linux 4.13, not yet among Python's constants
_GROUPS_OCTETS = 1024  # what Python's getsockopt() takes: 256 groups


class ControlServer:
    """Answers requests on a unix socket."""

    def __init__(self, answer: Callable[[Message], Awaitable[Message]], listener: Listener) -> None:
        """Answer by a coroutine, which may raise :class:`~ldapmilter.errors.LdapmilterError`."""
        self._answer = answer
        self._listener = listener
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def serve(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_unix_server(self._client, sock=self._listener.socket, limit=MAX_REQUEST)

    def has_its_name(self) -> bool:
        """Tell whether its path still leads here."""
        return self._listener.has_its_name()

    def close(self) -> None:
        """Accept no more; the path is gone."""
        if self._server is not None:
            self._server.close()
        self._listener.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            writer.write(encode(await self._served(reader, writer)))
            await asyncio.wait_for(writer.drain(), _WRITE_SECONDS)
        except asyncio.TimeoutError:
            writer.transport.abort()  # the client does not read
        except OSError:
            return  # the client has gone away
        finally:
            self._clients -= 1
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
        try:
            self._check_room()
            peer = _check_peer(writer.get_extra_info("socket"))
            # Whatever the request says of it: the audit file is its owner's alone, who is the daemon's user.
            request = {**decode(await _line(reader)), "reads_audit": peer in {0, os.geteuid()}}
            if request.pop("acknowledge", False):
                writer.write(encode({"heard": os.getpid()}))
            return await self._answer(request)
        except LdapmilterError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - whoever asks must get an answer
            _log.exception("unexpected error in a control request")
            return {"error": f"unexpected {type(error).__name__}: {error}"}

    def _check_room(self) -> None:
        if self._clients > _CLIENTS:
            message = f"more than {_CLIENTS} requests at a time"
            raise RequestRefused(message)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return a client's request.

    Raises:
        RequestRefused: it is too long, or not there in time.
    """
    try:
        return await asyncio.wait_for(reader.readline(), _READ_SECONDS)
    except asyncio.TimeoutError:
        message = f"no whole request within {_READ_SECONDS:g} s"
        raise RequestRefused(message) from None
    except ValueError:
        message = f"a request has at most {MAX_REQUEST} bytes"
        raise RequestRefused(message) from None


def _groups_of(connection: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups that the peer has, which a service manager may have given to it."""
    try:
        octets = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_OCTETS)
    except OSError:  # too many, or an older kernel: the group database is asked
        return ()
    return struct.unpack(f"{len(octets) // 4}I", octets)


def _check_peer(connection: socket.socket) -> int:
    """Return the user id of a client that may ask.

    Raises:
        RequestRefused: it may not.
    """
    _, uid, gid = peer_of(connection)
    own_group = os.getegid()
    if uid in {0, os.geteuid()} or own_group in {gid, *_groups_of(connection)}:
        return uid
    name = str(uid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid)
        name = user.pw_name
        if own_group in os.getgrouplist(user.pw_name, user.pw_gid):
            return uid
    group = str(own_group)
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(own_group).gr_name
    message = (
        f"user {name} may not ask: only root, the daemon's user and members of group {group} may"
        f" (usermod --append --groups {group} {name}, and log in again)"
    )
    _log.warning("control socket: %s", message)
    raise RequestRefused(message)
