"""One LDAP server: what it is asked, whether it answers, and whether what it says can be believed."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend.names import GLOBAL_CONFIG_DN
from ldapmilter.directory.ldap.exchange import NO_SUCH_OBJECT, SUCCESS, NoSuchBase, ServerFailed
from ldapmilter.directory.ldap.health import Health
from ldapmilter.directory.ldap.pool import MIN_ATTEMPT, ConnectionPool
from ldapmilter.directory.ldap.readability_check import ReadabilityCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import ServerState
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.exchange import Question, Result
    from ldapmilter.directory.ldap.pool import Surroundings
    from ldapmilter.directory.ldap.tls import CheckedTls

_CANNOT_ANSWER = frozenset({1, 3, 10, 11, 51, 52, 53, 80})
"""RFC 4511 section 4.1.9: operationsError, timeLimitExceeded, referral, adminLimitExceeded, busy, unavailable,
unwillingToPerform, other. Every other result of a compare is an answer: "may not be read", too."""
_LIMITED = frozenset({4, 11})
"""RFC 4511 section 4.1.9, sizeLimitExceeded and adminLimitExceeded: there is more, but not for this identity."""
# How long a failed server is passed over while another one answers. When none answers, all are
# tried again at once: the next message goes through as soon as any server is back.
_DOWN_FOR = 2.0
_ATTEMPTS = 10
"""Attempts at one server in a second, while none answers: not one for every message that comes along."""


class Paging(Struct):
    """A search answered in pages, all of them on one connection (RFC 2696 section 3)."""

    cookie: bytes = b""
    """What the next page is asked for with; empty before the first and after the last."""
    held: tuple[LdapServer, Connection] | None = None
    """The connection, while there are further pages."""

    def let_go(self) -> None:
        """Close the connection, if there are pages left: it is not used again."""
        if self.held is not None:
            self.held[1].close()


class ServerStatistics(Struct):
    """Counts since start."""

    searches: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Spent in searches that were answered."""


class LdapServer:
    """One of the configured servers."""

    def __init__(self, uri: str, tls: CheckedTls, *, starttls: bool, surroundings: Surroundings) -> None:
        """Prepare a server; nothing is connected until the first search.

        Raises:
            ConfigError: the URI cannot be used.
        """
        self.uri = uri
        self.failure = "not tried yet"
        """What went wrong last, in words, and for which it is passed over."""
        self._pool = ConnectionPool(uri, tls, starttls=starttls, surroundings=surroundings)
        self._clock = surroundings.clock
        self._lock = threading.Lock()
        self.statistics = ServerStatistics()
        self._health = Health()
        self._down_until = -math.inf
        self._failed_at: deque[float] = deque(maxlen=_ATTEMPTS)
        self._readability = ReadabilityCheck(
            uri,
            surroundings.settings.bind_dn,
            surroundings.settings.policy_attributes,
            surroundings.clock,
            self._pool,
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

    def state(self) -> ServerState:
        """Return how it is now."""
        with self._lock:
            return self._health.state(self._readability.problem)

    def is_quiet(self) -> bool:
        """Whether it has to be asked whether it answers, since nothing else was asked for a while."""
        with self._lock:
            return not self._pool.closed and self._health.is_quiet(self._clock())

    def look_in(self, seconds: float) -> None:
        """Ask whether it answers, with all that a search needs: bound, and from its database. Never raises."""
        try:
            with self._heard():
                self._pool.ask(self._ping, seconds)
        except ServerFailed as error:
            self.failed(str(error))
            return
        self._down_until = -math.inf
        with contextlib.suppress(ServerFailed):  # it is in :meth:`state`
            self._readability.believe((), seconds)

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """Take note of whether it answers what is asked in the block."""
        asked_at = self._clock()
        try:
            yield
        except NoSuchBase:
            with self._lock:
                self._health.answered(self._clock())
            raise
        except ServerFailed as error:
            with self._lock:
                self._health.failed(asked_at, self._clock(), str(error))
            raise
        with self._lock:
            self._health.answered(self._clock())

    def close(self) -> None:
        """Close every idle connection; what is in use is closed when it comes back."""
        self._readability.stop()
        self._pool.close()

    # -- asking -----------------------------------------------------------------------------

    def ask(self, question: Question, allowed: float, paging: Paging | None = None) -> list[RawEntry]:
        """Return the answer to a search, within so many seconds; of a paged one, the first page.

        Raises:
            ServerFailed: no answer, not a whole one, or none that can be believed.
        """
        started = self._clock()
        with self._heard():
            entries = self._pool.ask(lambda connection, left: self._search(connection, question, left, paging), allowed)
        left = max(MIN_ATTEMPT, allowed - (self._clock() - started))
        self._readability.believe(entries, left, question)
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
        with self._heard():
            entries = self._search(paging.held[1], question, allowed, paging)
        self._readability.believe(entries, max(MIN_ATTEMPT, allowed - (self._clock() - started)), question)
        return entries

    def _ping(self, connection: Connection, allowed: float) -> None:
        """Ask the database for next to nothing: the root DSE would be answered beside one that hangs."""
        with connection.within(allowed):
            code = connection.compare(GLOBAL_CONFIG_DN, "objectClass", "zimbraGlobalConfig")
        if code in _CANNOT_ANSWER:
            connection.close()
            message = f"compare refused ({code})"
            raise ServerFailed(message)
        self._pool.give_back(connection)

    def _search(
        self, connection: Connection, question: Question, allowed: float, paging: Paging | None
    ) -> list[RawEntry]:
        started = self._clock()
        answer = connection.ask(question, allowed, page=None if paging is None else paging.cookie)
        if answer.result.code != SUCCESS:
            connection.close()
            if answer.result.code == NO_SUCH_OBJECT:
                raise NoSuchBase(answer.result.text, question.base)
            message = f"search refused: {answer.result.text}{_way_out(answer.result)}"
            raise ServerFailed(message)
        if paging is not None:
            paging.cookie = answer.cookie
            paging.held = (self, connection) if paging.cookie else None
        with self._lock:
            self.statistics.searches += 1
            self.statistics.seconds += self._clock() - started
        if paging is None or paging.held is None:
            self._pool.give_back(connection)
        return answer.entries


def _way_out(result: Result) -> str:
    """Return what to do about a server that gives this identity fewer entries than there are."""
    if result.code not in _LIMITED:
        return ""
    return "; the server has a limit for this identity: raise it (olcLimits: size.soft, size.hard, size.prtotal)"
