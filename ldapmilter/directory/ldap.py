"""The LDAP adapter: ldap3 behind one search operation. No ldap3 type leaves this module.

Connections are disposable: each is used by one thread at a time and dropped at its first error.
Servers are tried in the configured order; one that failed is left alone for a moment while another
answers. There is one deadline for connect, TLS, bind and search together; a watchdog cuts the
connection that would overrun it, since a socket time-out alone never ends a server that sends one
byte a second. (ldap3's own pools and restartable strategies hang or crawl, so none is used.)
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import ldap3
from ldap3.core.exceptions import LDAPException

from ldapmilter.directory.filters import render
from ldapmilter.directory.model import RawEntry
from ldapmilter.errors import ConfigError, DeadlineExceeded, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.store import Deadline, Scope

_SCOPES: dict[Scope, Literal["BASE", "LEVEL", "SUBTREE"]] = {
    "base": ldap3.BASE,
    "one": ldap3.LEVEL,
    "sub": ldap3.SUBTREE,
}
_SUCCESS = 0
_NO_SUCH_OBJECT = 32
# How long a failed server is passed over while another one answers. When none answers, all are
# tried again at once: the next message goes through as soon as any server is back.
_DOWN_FOR = 2.0
_MIN_ATTEMPT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings:
    """The ``[ldap]`` section, as far as connections go."""

    uris: tuple[str, ...]
    bind_dn: str = ""
    read_password: Callable[[], str] = lambda: ""
    """Called for every bind, so that a rotated password needs no restart."""
    starttls: bool = True
    ca_file: Path | None = None
    connect_timeout: float = 3.0


@dataclass(slots=True)
class _Server:
    uri: str
    handle: ldap3.Server
    idle: list[ldap3.Connection] = field(default_factory=list)
    down_until: float = -math.inf


class _ServerFailed(Exception):
    """One server could not answer; the next one may."""


class LdapStore:
    """Searches over an ordered list of LDAP servers."""

    def __init__(self, settings: LdapSettings, clock: Callable[[], float]) -> None:
        """Prepare the servers; nothing is connected until the first search.

        Raises:
            ConfigError: a URI or a CA file cannot be used.
        """
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._watchdog = _Watchdog(clock)
        tls = _tls(settings)
        self._servers = [_Server(uri, _handle(uri, tls, settings)) for uri in settings.uris]

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
        *,
        next_server_first: bool = False,
    ) -> list[RawEntry]:
        """Return the entries that match; see :class:`~ldapmilter.directory.store.Store`."""
        failures: list[str] = []
        servers = self._in_order(next_server_first=next_server_first)
        for position, server in enumerate(servers):
            if deadline.remaining() <= 0:
                failures.append("lookup_deadline has passed")
                break
            allowed = _share(deadline.remaining(), len(servers) - position, self._settings.connect_timeout)
            try:
                return self._ask(server, base, scope, render(search_filter), attributes, allowed)
            except _ServerFailed as error:
                failures.append(f"{server.uri}: {error}")
                with self._lock:
                    server.down_until = self._clock() + _DOWN_FOR
        kind = DirectoryUnavailable if deadline.remaining() > 0 else DeadlineExceeded
        raise kind("; ".join(failures))

    def close(self) -> None:
        """Close every idle connection and end the watchdog."""
        with self._lock:
            connections = [connection for server in self._servers for connection in server.idle]
            for server in self._servers:
                server.idle.clear()
        for connection in connections:
            _drop(connection)
        self._watchdog.stop()

    def _in_order(self, *, next_server_first: bool) -> list[_Server]:
        now = self._clock()
        with self._lock:
            up = [server for server in self._servers if server.down_until <= now] or list(self._servers)
        return [*up[1:], up[0]] if next_server_first else up

    def _ask(
        self, server: _Server, base: str, scope: Scope, text: str, attributes: Sequence[str], allowed: float
    ) -> list[RawEntry]:
        started = self._clock()
        with self._lock:
            connection = server.idle.pop() if server.idle else None
        if connection is not None:
            try:
                return self._search(server, connection, base, scope, text, attributes, allowed)
            except _ServerFailed:
                # An idle connection may be dead since the server's restart: that says nothing
                # about the server, so a fresh one gets what is left of the time.
                allowed -= self._clock() - started
                if allowed <= 0:
                    raise
        started = self._clock()
        connection = self._connect(server, allowed)
        return self._search(
            server, connection, base, scope, text, attributes, max(_MIN_ATTEMPT, allowed - (self._clock() - started))
        )

    def _connect(self, server: _Server, allowed: float) -> ldap3.Connection:
        settings = self._settings
        connection = ldap3.Connection(
            server.handle,
            user=settings.bind_dn or None,
            password=self._password() if settings.bind_dn else None,
            authentication=_authentication(server.uri, settings),
            sasl_mechanism=ldap3.EXTERNAL if _external(server.uri, settings) else None,
            sasl_credentials="" if _external(server.uri, settings) else None,
            client_strategy=ldap3.SYNC,
            receive_timeout=math.ceil(min(allowed, 3600)),
            auto_referrals=False,
            check_names=False,
            return_empty_attributes=False,
            read_only=True,
        )
        with self._watchdog.guard(connection, allowed), _translated(connection):
            connection.open(read_server_info=False)
            if settings.starttls and server.uri.lower().startswith("ldap://"):
                connection.start_tls(read_server_info=False)
            if not connection.bind(read_server_info=False):
                result = connection.result
                message = f"bind as {settings.bind_dn or 'anonymous'} refused: {_describe(result)}"
                raise _ServerFailed(message)
        return connection

    def _password(self) -> str:
        try:
            return self._settings.read_password()
        except ConfigError as error:
            raise _ServerFailed(str(error)) from error

    def _search(
        self,
        server: _Server,
        connection: ldap3.Connection,
        base: str,
        scope: Scope,
        text: str,
        attributes: Sequence[str],
        allowed: float,
    ) -> list[RawEntry]:
        with self._watchdog.guard(connection, allowed), _translated(connection):
            connection.socket.settimeout(allowed)
            connection.search(base, text, _SCOPES[scope], attributes=list(attributes))
            result: dict[str, Any] = connection.result
            if result["result"] not in {_SUCCESS, _NO_SUCH_OBJECT}:
                message = f"search refused: {_describe(result)}"
                raise _ServerFailed(message)
            entries = [_raw_entry(item) for item in connection.response or ()]
        with self._lock:
            server.idle.append(connection)
            server.down_until = -math.inf
        return entries


def _share(remaining: float, servers_left: int, connect_timeout: float) -> float:
    """Return how long one server may take: later ones must get their chance within the deadline."""
    if servers_left == 1:
        return remaining
    return max(min(_MIN_ATTEMPT, remaining), min(connect_timeout, remaining / servers_left))


def _raw_entry(item: dict[str, Any]) -> RawEntry:
    if item.get("type") != "searchResEntry":
        message = f"the server refers to another one ({item.get('uri')}), which is not followed"
        raise _ServerFailed(message)
    attributes = {
        name.lower(): tuple(value.decode("utf-8", "surrogateescape") for value in values)
        for name, values in item["raw_attributes"].items()
        if values
    }
    return RawEntry(item["dn"], attributes)


def _describe(result: dict[str, Any]) -> str:
    text = f"{result.get('description')} ({result.get('result')})"
    return f"{text}: {result['message']}" if result.get("message") else text


@contextlib.contextmanager
def _translated(connection: ldap3.Connection) -> Any:  # noqa: ANN401 - a context manager's iterator
    """Drop the connection at any failure, and say in one line what failed."""
    try:
        yield
    except _ServerFailed:
        _drop(connection)
        raise
    except (LDAPException, OSError, ValueError, TypeError, AttributeError, IndexError) as error:
        # The last four: what ldap3 raises when the watchdog, or the server, cuts it in mid-answer.
        _drop(connection)
        message = f"{type(error).__name__}: {error}"
        raise _ServerFailed(message) from error


def _drop(connection: ldap3.Connection) -> None:
    """Close the socket without a word to the server, which may not be listening any more."""
    with contextlib.suppress(Exception):
        connection.strategy.close()
    with contextlib.suppress(Exception):
        connection.socket.close()


def _external(uri: str, settings: LdapSettings) -> bool:
    return not settings.bind_dn and uri.lower().startswith("ldapi:")


def _authentication(uri: str, settings: LdapSettings) -> Any:  # noqa: ANN401 - ldap3's constants are strings
    if _external(uri, settings):
        return ldap3.SASL
    return ldap3.SIMPLE if settings.bind_dn else ldap3.ANONYMOUS


def _tls(settings: LdapSettings) -> ldap3.Tls:
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(settings.ca_file))
        except (OSError, ssl.SSLError) as error:
            message = f"[ldap] ca_file = {settings.ca_file}: no usable CA certificates: {error}"
            raise ConfigError(message) from error
    return ldap3.Tls(
        validate=ssl.CERT_REQUIRED,
        version=ssl.PROTOCOL_TLS_CLIENT,
        ca_certs_file=str(settings.ca_file) if settings.ca_file is not None else None,
    )


def _handle(uri: str, tls: ldap3.Tls, settings: LdapSettings) -> ldap3.Server:
    try:
        return ldap3.Server(uri, tls=tls, get_info=ldap3.NONE, connect_timeout=settings.connect_timeout)
    except LDAPException as error:
        message = f"[ldap] uri = {uri}: {error}"
        raise ConfigError(message) from error


class _Watchdog:
    """Cuts connections that overrun their time, from a thread of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int]] = []
        self._guarded: dict[int, ldap3.Connection] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @contextlib.contextmanager
    def guard(self, connection: ldap3.Connection, seconds: float) -> Any:  # noqa: ANN401 - an iterator
        number = next(self._numbers)
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._watch, name="ldap-watchdog", daemon=True)
                self._thread.start()
            self._guarded[number] = connection
            heapq.heappush(self._heap, (self._clock() + seconds, number))
            if self._heap[0][1] == number:
                self._changed.notify()  # only a new earliest time needs the thread to wake up
        try:
            yield
        finally:
            with self._changed:
                self._guarded.pop(number, None)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped:
                while self._heap and self._heap[0][1] not in self._guarded:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                wait = self._heap[0][0] - self._clock()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                _, number = heapq.heappop(self._heap)
                connection = self._guarded.pop(number)
                with contextlib.suppress(Exception):
                    connection.socket.shutdown(socket.SHUT_RDWR)
