"""The LDAP adapter: ldap3 behind one search operation.

No ldap3 type leaves this module and ``ldap_connection``.

Connections are disposable: each is used by one thread at a time and dropped at its first error.
Servers are tried in the configured order; one that failed is left alone for a moment while another
answers. There is one deadline for connect, TLS, bind and search together; a watchdog cuts the
connection that would overrun it, since a socket time-out alone never ends a server that sends one
byte a second. (ldap3's own pools and restartable strategies hang or crawl, so none is used.)
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import ldap3

from ldapmilter.directory.endpoints import Endpoints
from ldapmilter.directory.filters import And, Equal, Present, render
from ldapmilter.directory.ldap_connection import (
    ServerFailed,
    compare,
    describe,
    drop,
    make_connection,
    raw_entry,
    server_handle,
    tls_settings,
    translated,
)
from ldapmilter.directory.readability import ALWAYS_THERE, NO_SUCH_OBJECT, SAMPLE_MARKS, kind_of, unreadable, value_for
from ldapmilter.directory.watchdog import Watchdog
from ldapmilter.errors import ConfigError, DeadlineExceeded, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.model import RawEntry
    from ldapmilter.directory.store import Deadline, Scope

_log = logging.getLogger(__name__)

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
_ATTEMPTS = 10
"""Attempts at one server in a second, while none answers: not one for every message that comes along."""
_CHECK_EVERY = 60.0
"""Seconds between two checks that a server lets the policy be read."""
_CHECK_AGAIN = 2.0
"""The same for a server that does not."""
_SAMPLE_KINDS = len(ALWAYS_THERE) + 2
_MIN_ATTEMPT = 0.5
_TO_BE_HEARD = 0.25


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
    policy_attributes: tuple[str, ...] = ()
    """What has to be readable on every server; nothing: not checked."""

    @property
    def endpoints(self) -> Endpoints:
        """The servers as configured here."""
        return Endpoints(uris=self.uris, starttls=self.starttls, ca_file=self.ca_file)


@dataclass(slots=True)
class _Server:
    uri: str
    tls: ldap3.Tls
    starttls: bool
    idle: list[ldap3.Connection] = field(default_factory=list)
    down_until: float = -math.inf
    failure: str = "not tried yet"
    """What went wrong last, in words."""
    failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=_ATTEMPTS))
    samples: dict[str, str] = field(default_factory=lambda: dict(ALWAYS_THERE))
    """One entry of each kind, on which readability is checked."""
    checked_at: float = -math.inf
    unreadable: str | None = None
    """What may not be read here, in words."""

    def failed(self, what: str, now: float) -> None:
        """Take note of a failure: the server is passed over for a moment while another one answers."""
        self.failure = what
        self.down_until = now + _DOWN_FOR
        self.failed_at.append(now)

    def tried_enough(self, now: float) -> bool:
        """Whether it has failed often enough in the last second."""
        return len(self.failed_at) == _ATTEMPTS and now - self.failed_at[0] < 1.0


class LdapStore:
    """Searches over an ordered list of LDAP servers."""

    def __init__(
        self,
        settings: LdapSettings,
        clock: Callable[[], float],
        endpoints: Callable[[], Endpoints] | None = None,
    ) -> None:
        """Prepare the servers; nothing is connected until the first search.

        Args:
            settings: how to connect.
            clock: monotonic seconds.
            endpoints: tells which servers there are now, where that can change; asked before every search.

        Raises:
            ConfigError: a URI or a CA file cannot be used.
        """
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._watchdog = Watchdog(clock)
        self._current = endpoints or (lambda: settings.endpoints)
        self._endpoints = self._current()
        self._authorities = _identity(self._endpoints.ca_file)
        self._servers = self._make_servers(self._endpoints)

    def _make_servers(self, endpoints: Endpoints) -> list[_Server]:
        tls = tls_settings(endpoints)
        for uri in endpoints.uris:
            server_handle(uri, tls, self._settings.connect_timeout)  # to be told now of one that is none
        return [_Server(uri, tls, endpoints.starttls) for uri in endpoints.uris]

    def _follow_endpoints(self) -> None:
        """Take over other servers, or another way to secure them, when the configuration says so."""
        endpoints = self._current()
        authorities = _identity(endpoints.ca_file)
        if endpoints == self._endpoints and (authorities is None or authorities == self._authorities):
            return
        try:
            servers = self._make_servers(endpoints)
        except ConfigError as error:
            _log.error("%s; the servers stay as they are", error)
            servers = self._servers
        with self._lock:
            gone, self._servers, self._endpoints = self._servers, servers, endpoints
            self._authorities = authorities
        if gone is not servers:
            _log.info("LDAP servers are now %s", " ".join(endpoints.uris))
            for server in gone:
                for connection in server.idle:
                    drop(connection)

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
        self._follow_endpoints()
        failures: list[str] = []
        servers = self._in_order(next_server_first=next_server_first)
        if not servers:
            raise DirectoryUnavailable("; ".join(f"{server.uri}: {server.failure}" for server in self._servers))
        for position, server in enumerate(servers):
            if deadline.remaining() <= 0:
                failures.append("lookup_deadline has passed")
                break
            # A little less than there is: what failed should be heard before nobody waits any more.
            remaining = deadline.remaining() - min(_TO_BE_HEARD, deadline.remaining() / 10)
            allowed = _share(remaining, len(servers) - position, self._settings.connect_timeout)
            try:
                return self._ask(server, base, scope, render(search_filter), attributes, allowed)
            except ServerFailed as error:
                failures.append(f"{server.uri}: {error}")
                with self._lock:
                    server.failed(str(error), self._clock())
        kind = DirectoryUnavailable if deadline.remaining() > _TO_BE_HEARD else DeadlineExceeded
        raise kind("; ".join(failures))

    def close(self) -> None:
        """Close every idle connection and end the watchdog."""
        with self._lock:
            connections = [connection for server in self._servers for connection in server.idle]
            for server in self._servers:
                server.idle.clear()
        for connection in connections:
            drop(connection)
        self._watchdog.stop()

    def _in_order(self, *, next_server_first: bool) -> list[_Server]:
        now = self._clock()
        with self._lock:
            up = [server for server in self._servers if server.down_until <= now]
            up = up or [server for server in self._servers if not server.tried_enough(now)]
        return [*up[1:], *up[:1]] if next_server_first else up

    def _ask(
        self, server: _Server, base: str, scope: Scope, text: str, attributes: Sequence[str], allowed: float
    ) -> list[RawEntry]:
        started = self._clock()
        with self._lock:
            connection = server.idle.pop() if server.idle else None
        if connection is not None:
            # A firewall may have forgotten it: silence must leave time for a fresh one.
            patience = max(_MIN_ATTEMPT, min(allowed / 2, self._settings.connect_timeout))
            try:
                return self._search(server, connection, base, scope, text, attributes, min(patience, allowed))
            except ServerFailed:
                self._drop_idle(server)
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

    def _drop_idle(self, server: _Server) -> None:
        """Drop what is idle beside a connection that failed: it is as old, or older."""
        with self._lock:
            idle, server.idle = server.idle, []
        for connection in idle:
            drop(connection)

    def _connect(self, server: _Server, allowed: float) -> ldap3.Connection:
        settings = self._settings
        password = self._password() if settings.bind_dn else ""
        # A handle for one connection only: ldap3 remembers for minutes that an address did not answer.
        handle = server_handle(server.uri, server.tls, settings.connect_timeout)
        connection = make_connection(handle, server.uri, settings.bind_dn, password, allowed)
        with self._watchdog.guard(connection, allowed), translated(connection):
            connection.open(read_server_info=False)
            if server.starttls and server.uri.lower().startswith("ldap://"):
                connection.start_tls(read_server_info=False)
            if not connection.bind(read_server_info=False):
                result = connection.result
                message = f"bind as {settings.bind_dn or 'anonymous'} refused: {describe(result)}"
                raise ServerFailed(message)
        return connection

    def _password(self) -> str:
        try:
            return self._settings.read_password()
        except ConfigError as error:
            raise ServerFailed(str(error)) from error

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
        with self._watchdog.guard(connection, allowed), translated(connection):
            connection.socket.settimeout(allowed)
            connection.search(base, text, _SCOPES[scope], attributes=list(attributes))
            result: dict[str, Any] = connection.result
            if result["result"] not in {_SUCCESS, _NO_SUCH_OBJECT}:
                message = f"search refused: {describe(result)}"
                raise ServerFailed(message)
            entries = [raw_entry(item) for item in connection.response or ()]
            self._check_readable(server, connection, entries)
        with self._lock:
            server.idle.append(connection)
            server.down_until = -math.inf
        return entries

    # -- readability ------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return what is wrong with each server now, in words: down, or policy that may not be read."""
        now = self._clock()
        with self._lock:
            servers = list(self._servers)
        return [
            f"{server.uri}: {server.unreadable or 'does not answer'}"
            for server in servers
            if server.unreadable or server.down_until > now
        ]

    def _check_readable(self, server: _Server, connection: ldap3.Connection, entries: Sequence[RawEntry]) -> None:
        """Make sure that "not set" can be told from "hidden": at first, for new kinds, and regularly.

        Raises:
            ServerFailed: less may be read here than policy needs; its answers cannot be believed.
        """
        wanted = self._settings.policy_attributes
        if not wanted:
            return
        fresh = {}
        if len(server.samples) < _SAMPLE_KINDS:
            found = {kind: entry.dn for entry in entries if (kind := kind_of(entry)) is not None}
            fresh = {kind: dn for kind, dn in found.items() if kind not in server.samples}
            server.samples.update(fresh)
        due = self._clock() - server.checked_at >= (_CHECK_AGAIN if server.unreadable else _CHECK_EVERY)
        if due or fresh:
            server.checked_at = self._clock()
            if due:
                _replace_gone_samples(server, connection)
            problems = unreadable(
                server.samples if due else fresh,
                wanted,
                lambda dn, attribute: compare(connection, dn, attribute, value_for(attribute)),
            )
            if not due and server.unreadable:
                problems.insert(0, server.unreadable)
            self._take_verdict(server, "; ".join(problems) or None)
        if server.unreadable:
            raise ServerFailed(server.unreadable)

    def _take_verdict(self, server: _Server, problem: str | None) -> None:
        if problem and problem != server.unreadable:
            _log.error("%s: the policy cannot be read: %s", server.uri, problem)
        if server.unreadable and not problem:
            _log.info("%s: the policy can be read again", server.uri)
        server.unreadable = problem


def _identity(file: Path | None) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced; ``None`` when there is none (at the moment)."""
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _replace_gone_samples(server: _Server, connection: ldap3.Connection) -> None:
    """Take another entry of a kind when the sample was deleted; if none can be seen, they are hidden."""
    for kind, object_class in (("domain", "zimbraDomain"), ("account", "zimbraAccount")):
        dn = server.samples.get(kind)
        if dn is None or compare(connection, dn, "objectClass", object_class) != NO_SUCH_OBJECT:
            continue
        text = render(And((Equal("objectClass", object_class), Present(SAMPLE_MARKS[kind]))))
        connection.search("", text, ldap3.SUBTREE, attributes=["objectClass", SAMPLE_MARKS[kind]], size_limit=1)
        found = [raw_entry(item) for item in connection.response or ()]
        server.samples.update((kind, entry.dn) for entry in found if kind_of(entry) == kind)


def _share(remaining: float, servers_left: int, connect_timeout: float) -> float:
    """Return how long one server may take: later ones must get their chance within the deadline."""
    if servers_left == 1:
        return remaining
    return max(min(_MIN_ATTEMPT, remaining), min(connect_timeout, remaining / servers_left))
