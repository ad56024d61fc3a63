"""One LDAP server: its connections, whether it answers, and whether what it says can be believed.

Connections are disposable: each is used by one thread at a time and dropped at its first error. A
watchdog cuts the connection that would overrun its time, since a socket time-out alone never ends a
server that sends one byte a second.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ldap3

from ldapmilter.directory.endpoints import Endpoints
from ldapmilter.directory.ldap_connection import (
    ServerFailed,
    describe,
    drop,
    make_connection,
    next_cookie,
    raw_entry,
    server_handle,
    translated,
)
from ldapmilter.directory.readability_check import ReadabilityCheck
from ldapmilter.directory.resolver import NotAnswered, NotResolved
from ldapmilter.directory.store import PAGE_SIZE
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.resolver import Resolver, SocketAddress
    from ldapmilter.directory.store import Scope
    from ldapmilter.directory.watchdog import Watchdog

_SCOPES: dict[Scope, Literal["BASE", "LEVEL", "SUBTREE"]] = {
    "base": ldap3.BASE,
    "one": ldap3.LEVEL,
    "sub": ldap3.SUBTREE,
}
_SUCCESS = 0
_NO_SUCH_OBJECT = 32
_LIMITED = frozenset({4, 11})
"""RFC 4511 section 4.1.9, sizeLimitExceeded and adminLimitExceeded: there is more, but not for this identity."""
# How long a failed server is passed over while another one answers. When none answers, all are
# tried again at once: the next message goes through as soon as any server is back.
_DOWN_FOR = 2.0
_ATTEMPTS = 10
"""Attempts at one server in a second, while none answers: not one for every message that comes along."""
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
    policy_attributes: tuple[str, ...] = ()
    """What has to be readable on every server; nothing: not checked."""

    @property
    def endpoints(self) -> Endpoints:
        """The servers as configured here."""
        return Endpoints(uris=self.uris, starttls=self.starttls, ca_file=self.ca_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One search, as it is sent."""

    base: str
    scope: Scope
    text: str
    """The filter (RFC 4515)."""
    attributes: tuple[str, ...]


@dataclass(slots=True)
class Paging:
    """A search answered in pages, all of them on one connection (RFC 2696 section 3)."""

    cookie: bytes = b""
    """What the next page is asked for with; empty before the first and after the last."""
    held: tuple[LdapServer, ldap3.Connection] | None = None
    """The connection, while there are further pages."""

    def let_go(self) -> None:
        """Close the connection, if there are pages left: nobody asks on it again."""
        if self.held is not None:
            drop(self.held[1])


@dataclass(slots=True)
class ServerStatistics:
    """Counts since start."""

    searches: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Spent in searches that were answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all servers share."""

    settings: LdapSettings
    clock: Callable[[], float]
    watchdog: Watchdog
    resolver: Resolver


class LdapServer:
    """One of the configured servers."""

    def __init__(self, uri: str, tls: ldap3.Tls, *, starttls: bool, surroundings: Surroundings) -> None:
        """Prepare a server; nothing is connected until the first search.

        Raises:
            ConfigError: the URI cannot be used.
        """
        handle = server_handle(uri, tls, surroundings.settings.connect_timeout)
        self.uri = uri
        self.failure = "not tried yet"
        """What went wrong last, in words."""
        self._host: str = handle.host
        self._port: int | None = handle.port  # none: a unix socket
        self._tls = tls
        self._starttls = starttls and uri.lower().startswith("ldap://")
        self._settings = surroundings.settings
        self._clock = surroundings.clock
        self._watchdog = surroundings.watchdog
        self._resolver = surroundings.resolver
        self._lock = threading.Lock()
        self._idle: list[ldap3.Connection] = []
        self._closed = False
        self.statistics = ServerStatistics()
        self._down_until = -math.inf
        self._failed_at: deque[float] = deque(maxlen=_ATTEMPTS)
        self._readability = ReadabilityCheck(
            uri, surroundings.settings.policy_attributes, surroundings.clock, self._borrow
        )

    # -- whether it answers -----------------------------------------------------------------

    def is_down(self, now: float) -> bool:
        """Whether it failed a moment ago: it is passed over while another one answers."""
        return self._down_until > now

    def tried_enough(self, now: float) -> bool:
        """Whether it has failed often enough in the last second."""
        with self._lock:
            return len(self._failed_at) == _ATTEMPTS and now - self._failed_at[0] < 1.0

    def failed(self, what: str) -> None:
        """Take note of a failure."""
        now = self._clock()
        with self._lock:
            self.failure = what
            self._down_until = now + _DOWN_FOR
            self._failed_at.append(now)
            self.statistics.failures += 1

    @property
    def readable(self) -> bool:
        """Whether the policy may be read, as far as is known."""
        return self._readability.problem is None

    def problem(self) -> str | None:
        """Return what is wrong with it now, in words."""
        return self._readability.problem or ("does not answer" if self.is_down(self._clock()) else None)

    def close(self) -> None:
        """Close every idle connection; what is in use is closed when it comes back."""
        self._readability.stop()
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            drop(connection)

    # -- asking -----------------------------------------------------------------------------

    def ask(self, question: Question, allowed: float, paging: Paging | None = None) -> list[RawEntry]:
        """Return the answer to a search, within so many seconds; of a paged one, the first page.

        Raises:
            ServerFailed: no answer, not a whole one, or none that can be believed.
        """
        started = self._clock()
        entries = self._answer(question, allowed, paging)
        self._readability.believe(entries, max(_MIN_ATTEMPT, allowed - (self._clock() - started)))
        self._down_until = -math.inf
        return entries

    def next_page(self, question: Question, allowed: float, paging: Paging) -> list[RawEntry]:
        """Return the next page, over the connection that gave the one before.

        Raises:
            ServerFailed: it does not come; the answer as a whole is none.
        """
        if paging.held is None:
            return []
        started = self._clock()
        entries = self._search(paging.held[1], question, allowed, paging)
        self._readability.believe(entries, max(_MIN_ATTEMPT, allowed - (self._clock() - started)))
        return entries

    def _answer(self, question: Question, allowed: float, paging: Paging | None) -> list[RawEntry]:
        started = self._clock()
        connection = self._take_idle()
        if connection is not None:
            # A firewall may have forgotten it: silence must leave time for a fresh one.
            patience = max(_MIN_ATTEMPT, min(allowed / 2, self._settings.connect_timeout))
            try:
                return self._search(connection, question, min(patience, allowed), paging)
            except ServerFailed:
                self._drop_idle()
                # An idle connection may be dead since the server's restart: that says nothing
                # about the server, so a fresh one gets what is left of the time.
                allowed -= self._clock() - started
                if allowed <= 0:
                    raise
        started = self._clock()
        connection = self._connect(allowed)
        return self._search(connection, question, max(_MIN_ATTEMPT, allowed - (self._clock() - started)), paging)

    def _search(
        self, connection: ldap3.Connection, question: Question, allowed: float, paging: Paging | None
    ) -> list[RawEntry]:
        started = self._clock()
        further = paging is not None and bool(paging.cookie)
        with self._watchdog.guard(connection, allowed), translated(connection):
            connection.socket.settimeout(allowed)
            connection.search(
                question.base,
                question.text,
                _SCOPES[question.scope],
                attributes=list(question.attributes),
                **_page_controls(paging),
            )
            result: dict[str, Any] = connection.result
            # A base that is gone between two pages took the rest of the answer with it.
            if result["result"] not in ({_SUCCESS} if further else {_SUCCESS, _NO_SUCH_OBJECT}):
                message = f"search refused: {describe(result)}{_way_out(result)}"
                raise ServerFailed(message)
            entries = [raw_entry(item) for item in connection.response or ()]
            if paging is not None:
                paging.cookie = next_cookie(result) if result["result"] == _SUCCESS else b""
                paging.held = (self, connection) if paging.cookie else None
        with self._lock:
            self.statistics.searches += 1
            self.statistics.seconds += self._clock() - started
        if paging is None or paging.held is None:
            self._give_back(connection)
        return entries

    # -- connections ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _borrow(self, seconds: float) -> Iterator[ldap3.Connection]:
        """Lend a connection to the check of readability."""
        started = self._clock()
        connection = self._take_idle() or self._connect(seconds)
        left = max(_MIN_ATTEMPT, seconds - (self._clock() - started))
        with self._watchdog.guard(connection, left), translated(connection):
            connection.socket.settimeout(left)
            yield connection
        self._give_back(connection)

    def _take_idle(self) -> ldap3.Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: ldap3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        drop(connection)

    def _drop_idle(self) -> None:
        """Drop what is idle beside a connection that failed: it is as old, or older."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            drop(connection)

    def _connect(self, allowed: float) -> ldap3.Connection:
        """Return a connection that is secured and bound."""
        started = self._clock()
        connection = self._open(allowed)
        left = max(_MIN_ATTEMPT, allowed - (self._clock() - started))
        with self._watchdog.guard(connection, left), translated(connection):
            if self._starttls:
                connection.start_tls(read_server_info=False)
            if not connection.bind(read_server_info=False):
                message = f"bind as {self._settings.bind_dn or 'anonymous'} refused: {describe(connection.result)}"
                raise ServerFailed(message)
        return connection

    def _open(self, allowed: float) -> ldap3.Connection:
        """Return a connection to the first address that can be reached, IPv6 and IPv4 alike."""
        started = self._clock()
        password = self._password() if self._settings.bind_dn else ""
        addresses = self._addresses(allowed)
        for position, address in enumerate(addresses):
            left = allowed - (self._clock() - started)
            share = share_of(left, len(addresses) - position, self._settings.connect_timeout)
            connect_timeout = min(self._settings.connect_timeout, max(share, _MIN_ATTEMPT))
            # A handle for one connection only: ldap3 remembers for minutes that an address did not answer.
            handle = server_handle(self.uri, self._tls, connect_timeout, address)
            connection = make_connection(handle, self.uri, self._settings.bind_dn, password, max(left, _MIN_ATTEMPT))
            try:
                with self._watchdog.guard(connection, share), translated(connection):
                    connection.open(read_server_info=False)
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

    def _password(self) -> str:
        try:
            return self._settings.read_password()
        except ConfigError as error:
            raise ServerFailed(str(error)) from error


def _page_controls(paging: Paging | None) -> dict[str, Any]:
    if paging is None:
        return {}
    return {"paged_size": PAGE_SIZE, "paged_criticality": True, "paged_cookie": paging.cookie or None}


def _way_out(result: dict[str, Any]) -> str:
    """Return what to do about a server that gives this identity fewer entries than there are."""
    if result["result"] not in _LIMITED:
        return ""
    return "; the server has a limit for this identity: raise it (olcLimits: size.soft, size.hard, size.prtotal)"


def share_of(remaining: float, left: int, connect_timeout: float) -> float:
    """Return how long one server, or address, may take: later ones must get their chance."""
    if left == 1:
        return remaining
    return max(min(_MIN_ATTEMPT, remaining), min(connect_timeout, remaining / left))
