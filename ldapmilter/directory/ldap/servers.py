"""The LDAP back end: one search operation over an ordered list of servers.

Servers are tried in the configured order; one that failed is left alone for a moment while another
answers. There is one deadline for name resolution, connect, TLS, bind and search together. (ldap3's
own pools and restartable strategies hang or crawl, so none is used.)
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.exchange import HidesRights, NoSuchBase, Question, ServerFailed
from ldapmilter.directory.ldap.pool import Surroundings, share_of
from ldapmilter.directory.ldap.resolver import Resolver
from ldapmilter.directory.ldap.server import LdapServer, Paging
from ldapmilter.directory.ldap.tls import tls_settings
from ldapmilter.directory.ldap.watchdog import Watchdog
from ldapmilter.errors import ConfigError, DeadlineExceeded, DirectoryUnavailable
from ldapmilter.files import version

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Numbers, Scope, ServerState
    from ldapmilter.directory.ldap.endpoints import Endpoints, LdapSettings

_log = logging.getLogger(__name__)

_TO_BE_HEARD = 0.25


class LdapStore:
    """Searches over an ordered list of LDAP servers."""

    def __init__(
        self,
        settings: LdapSettings,
        clock: Callable[[], float],
        endpoints: Callable[[], Endpoints] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Prepare the servers; nothing is connected until the first search.

        Args:
            settings: how to connect.
            clock: monotonic seconds.
            endpoints: tells which servers there are now, where that can change; asked before every search.
            resolver: turns host names into addresses.

        Raises:
            ConfigError: a URI or a CA file cannot be used.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._looking = False
        """Whether a thread is asking servers whether they answer."""
        self._watchdog = Watchdog(clock)
        self._surroundings = Surroundings(
            settings=settings, clock=clock, watchdog=self._watchdog, resolver=resolver or Resolver(clock)
        )
        self._current = endpoints or (lambda: settings.endpoints)
        self._endpoints = self._current()
        self._authorities = version(self._endpoints.ca_file)
        self._servers = self._make_servers(self._endpoints)

    def _make_servers(self, endpoints: Endpoints) -> list[LdapServer]:
        tls = tls_settings(endpoints)
        return [
            LdapServer(uri, tls, starttls=endpoints.starttls, surroundings=self._surroundings) for uri in endpoints.uris
        ]

    def _follow_endpoints(self) -> None:
        """Take over other servers, or another way to secure them, when the configuration says so."""
        endpoints = self._current()
        authorities = version(endpoints.ca_file)
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
                server.close()

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
        """Return the entries that match; see :class:`~ldapmilter.directory.backend.store.Store`."""
        question = Question(base=base, scope=scope, search_filter=search_filter, attributes=tuple(attributes))
        return self._ask_any(question, deadline, next_server_first=next_server_first)

    def pages(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
    ) -> Generator[list[RawEntry], None, None]:
        """Return the entries that match, page by page; see :class:`~ldapmilter.directory.backend.store.Store`.

        Any server may give the first page; the others come from the same one, over the same connection.
        """
        return self._pages(base, scope, search_filter, attributes, deadline.remaining())

    def _pages(
        self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str], allowed: float
    ) -> Generator[list[RawEntry], None, None]:
        paging = Paging()
        question = Question(base=base, scope=scope, search_filter=search_filter, attributes=tuple(attributes))
        try:
            page = self._ask_any(question, Deadline.after(allowed, self._clock), paging=paging)
            while True:
                if page:
                    yield page
                if paging.held is None:
                    return
                server = paging.held[0]
                try:
                    page = server.next_page(question, allowed, paging)
                except ServerFailed as error:
                    message = f"{server.uri}: broke off in the middle of a paged search: {error}"
                    raise DirectoryUnavailable(message) from error
        finally:
            paging.let_go()  # the caller has seen enough, or it failed

    def _ask_any(
        self,
        question: Question,
        deadline: Deadline,
        *,
        next_server_first: bool = False,
        paging: Paging | None = None,
    ) -> list[RawEntry]:
        self._follow_endpoints()
        connect_timeout = self._surroundings.settings.connect_timeout
        failures: list[str] = []
        servers = self._in_order(next_server_first=next_server_first)
        if not servers:
            raise DirectoryUnavailable("; ".join(f"{server.uri}: {server.failure}" for server in self._servers))
        for position, server in enumerate(servers):
            if deadline.remaining() <= 0:
                failures.append("lookup_deadline has passed")
                break
            # A little less than there is: callers should hear of a failure before their deadline.
            remaining = deadline.remaining() - min(_TO_BE_HEARD, deadline.remaining() / 10)
            allowed = share_of(remaining, len(servers) - position, connect_timeout)
            try:
                return server.ask(question, allowed, paging)
            except ServerFailed as error:
                failures.append(f"{server.uri}: {error}")
                if not isinstance(error, (NoSuchBase, HidesRights)):
                    server.failed(str(error))
        kind = DirectoryUnavailable if deadline.remaining() > _TO_BE_HEARD else DeadlineExceeded
        raise kind("; ".join(failures))

    def close(self) -> None:
        """Close every connection and end the threads."""
        for server in self._servers:
            server.close()
        self._watchdog.stop()

    def problems(self) -> list[str]:
        """Return what is wrong with each server now, in words: down, or policy that may not be read."""
        return [
            f"{uri}: {problem}"
            for uri, state in self.states().items()
            if (problem := state["unreadable"] or (state["up"] is False and f"fails: {state['failure']}"))
        ]

    def statistics(self) -> dict[str, Numbers]:
        """Return counts since start, by URI; see :class:`~ldapmilter.directory.backend.store.Store`."""
        return {
            server.uri: {
                "searches": server.statistics.searches,
                "failures": server.statistics.failures,
                "seconds": server.statistics.seconds,
            }
            for server in self._servers
        }

    def states(self) -> dict[str, ServerState]:
        """Return how each server is now, by URI; see :class:`~ldapmilter.directory.backend.store.Store`."""
        return {server.uri: server.state() for server in self._servers}

    def look_in(self, seconds: float) -> None:
        """Ask servers that have not been heard for a while; see :class:`~ldapmilter.directory.backend.store.Store`.

        On a thread of its own, one server after the other: mail's threads are for mail.
        """
        with self._lock:
            if self._looking or not any(server.is_quiet() for server in self._servers):
                return
            self._looking = True
        try:
            threading.Thread(target=self._look, args=(seconds,), name="ldap-health", daemon=True).start()
        except RuntimeError as error:  # there are too many threads
            self._looking = False
            _log.error("whether LDAP servers answer cannot be found out: %s", error)

    def _look(self, seconds: float) -> None:
        try:
            self._follow_endpoints()
            for server in self._servers:
                if server.is_quiet():
                    server.look_in(seconds)
        except Exception:  # noqa: BLE001 - the next second is another chance
            _log.exception("whether LDAP servers answer was not found out")
        finally:
            self._looking = False

    def _in_order(self, *, next_server_first: bool) -> list[LdapServer]:
        now = self._clock()
        servers = self._servers
        up = [server for server in servers if not server.is_down(now)]
        up = up or [server for server in servers if not server.tried_enough(now)]
        return [*up[1:], *up[:1]] if next_server_first else up
