"""The connections to one LDAP server: made when one is asked for, kept while they work.

Connections are disposable: each is used by one thread at a time and dropped at its first error. A
watchdog cuts the connection that would overrun its time, since a socket time-out alone never ends a
server that sends one byte a second.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from ldapmilter.directory.ldap.connection import Connection
from ldapmilter.directory.ldap.exchange import Credentials, NoSuchBase, ServerFailed
from ldapmilter.directory.ldap.resolver import NotAnswered, NotResolved
from ldapmilter.directory.ldap.tls import server_handle
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ldapmilter.directory.ldap.endpoints import LdapSettings
    from ldapmilter.directory.ldap.resolver import Resolver, SocketAddress
    from ldapmilter.directory.ldap.tls import CheckedTls
    from ldapmilter.directory.ldap.watchdog import Watchdog

T = TypeVar("T")

MIN_ATTEMPT = 0.5
"""Seconds that every attempt gets, however little time is left."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What all servers share."""

    settings: LdapSettings
    clock: Callable[[], float]
    watchdog: Watchdog
    resolver: Resolver


class ConnectionPool:
    """The connections to one server, for any number of threads."""

    def __init__(self, uri: str, tls: CheckedTls, *, starttls: bool, surroundings: Surroundings) -> None:
        """Prepare; nothing is connected until the first search.

        Raises:
            ConfigError: the URI cannot be used.
        """
        handle = server_handle(uri, tls, surroundings.settings.connect_timeout)
        self._uri = uri
        self._host: str = handle.host
        self._port: int | None = handle.port  # none: a unix socket
        self._tls = tls
        self._starttls = starttls and uri.lower().startswith("ldap://")
        self._settings = surroundings.settings
        self._clock = surroundings.clock
        self._watchdog = surroundings.watchdog
        self._resolver = surroundings.resolver
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self.closed = False

    def ask(self, ask: Callable[[Connection, float], T], allowed: float) -> T:
        """Ask over a connection that is open already, or else over a new one.

        Args:
            ask: is given the connection and the seconds that are left; gives the connection back when it is done.
            allowed: seconds for all of it.

        Raises:
            ServerFailed: no answer.
        """
        started = self._clock()
        connection = self._take_idle()
        if connection is not None:
            # A firewall may have forgotten it: silence must leave time for a fresh one.
            patience = max(MIN_ATTEMPT, min(allowed / 2, self._settings.connect_timeout))
            try:
                return ask(connection, min(patience, allowed))
            except NoSuchBase:
                raise
            except ServerFailed:
                self._drop_idle()
                # An idle connection may be dead since the server's restart: that says nothing
                # about the server, so a fresh one gets what is left of the time.
                allowed -= self._clock() - started
                if allowed <= 0:
                    raise
        started = self._clock()
        connection = self._connect(allowed)
        return ask(connection, max(MIN_ATTEMPT, allowed - (self._clock() - started)))

    @contextlib.contextmanager
    def borrow(self, seconds: float) -> Iterator[Connection]:
        """Lend a connection for so many seconds. Raises ServerFailed: there is none, or what was asked failed."""
        started = self._clock()
        connection = self._take_idle() or self._connect(seconds)
        left = max(MIN_ATTEMPT, seconds - (self._clock() - started))
        with connection.within(left):
            yield connection
        self.give_back(connection)

    def _take_idle(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next one who asks."""
        with self._lock:
            if not self.closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        """Drop what is idle beside a connection that failed: it is as old, or older."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self, allowed: float) -> Connection:
        """Return a connection that is secured and bound."""
        started = self._clock()
        connection = self._open(allowed)
        left = max(MIN_ATTEMPT, allowed - (self._clock() - started))
        if self._starttls:
            connection.start_tls(left)
            left = max(MIN_ATTEMPT, allowed - (self._clock() - started))
        connection.bind(left)
        return connection

    def _open(self, allowed: float) -> Connection:
        """Return a connection to the first address that can be reached, IPv6 and IPv4 alike."""
        started = self._clock()
        credentials = self._credentials()
        addresses = self._addresses(allowed)
        for position, address in enumerate(addresses):
            left = allowed - (self._clock() - started)
            share = share_of(left, len(addresses) - position, self._settings.connect_timeout)
            connect_timeout = min(self._settings.connect_timeout, max(share, MIN_ATTEMPT))
            # A handle for one connection only: ldap3 remembers for minutes that an address did not answer.
            handle = server_handle(self._uri, self._tls, connect_timeout, address)
            seconds = max(left, MIN_ATTEMPT)
            connection = Connection(handle, self._uri, credentials, self._watchdog, seconds=seconds)
            try:
                connection.open(share)
            except ServerFailed:
                if position == len(addresses) - 1:
                    raise
            else:
                return connection
        message = f"{self._host} has no address"
        raise ServerFailed(message)

    def _addresses(self, allowed: float) -> tuple[SocketAddress | None, ...]:
        if self._port is None:
            return (None,)
        try:
            return self._resolver.addresses(self._host, self._port, allowed)
        except (NotResolved, NotAnswered) as error:
            raise ServerFailed(str(error)) from error

    def _credentials(self) -> Credentials:
        dn = self._settings.bind_dn
        try:
            return Credentials(dn=dn, password=self._settings.read_password() if dn else "")
        except ConfigError as error:
            raise ServerFailed(str(error)) from error

    def close(self) -> None:
        """Close every idle connection; what is in use is closed when it comes back."""
        self.closed = True
        self._drop_idle()


def share_of(remaining: float, left: int, connect_timeout: float) -> float:
    """Return how long one server, or address, may take: later ones must get their chance."""
    if left == 1:
        return remaining
    return max(min(MIN_ATTEMPT, remaining), min(connect_timeout, remaining / left))
