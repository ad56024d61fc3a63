"""The server whose changes are followed: one connection of its own, to the first server that answers.

It is asked in a process that does nothing else, so that it may take its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.filters import And, Not, Or, Ordered, any_of
from ldapmilter.directory.following.change_number import CHANGE_NUMBER, ENTRY_NAME
from ldapmilter.directory.following.follower import CannotFollow, TooMany
from ldapmilter.directory.ldap.command_connection import connect
from ldapmilter.directory.ldap.exchange import (
    NO_SUCH_OBJECT,
    SIZE_LIMIT_EXCEEDED,
    SUCCESS,
    Credentials,
    Question,
    Refused,
    ServerFailed,
)
from ldapmilter.directory.ldap.followable import SECONDS, hidden, is_unindexed, since
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.following.window import Span
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.endpoints import Endpoints, LdapSettings

T = TypeVar("T")

_BACK_TO_FIRST = 10.0
"""Seconds after which a server that stands before the one in use is tried again."""
_CHUNK = 200


class FollowedLdapServer:
    """Implements :class:`~ldapmilter.directory.following.follower.FollowedServer`."""

    def __init__(
        self,
        settings: LdapSettings,
        endpoints: Callable[[], Endpoints],
        attributes: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            settings: the bind identity and how long to wait.
            endpoints: which servers there are now.
            attributes: what is asked for of an entry that has changed.
            clock: monotonic seconds.
        """
        self.session = 0
        self._settings = settings
        self._endpoints = endpoints
        self._attributes = tuple(attributes)
        self._clock = clock
        self._connection: Connection | None = None
        self._used: Endpoints | None = None
        self._tried_first_at = clock()

    @property
    def uri(self) -> str:
        """Where the server in use is; empty: none is."""
        return "" if self._connection is None else self._connection.uri

    def connect(self) -> None:
        """Be connected to the first server that answers; see the interface."""
        endpoints = self._endpoints()
        if endpoints != self._used:
            self.close()
            self._used = endpoints
        current = self.uri
        if current == (endpoints.uris[0] if endpoints.uris else ""):
            if current:
                return
        elif current and self._clock() - self._tried_first_at < _BACK_TO_FIRST:
            return
        self._tried_first_at = self._clock()
        failures: list[str] = []
        for uri in endpoints.uris:
            if uri == current:
                return
            try:
                connection = self._open(uri, endpoints)
            except (ServerFailed, ConfigError) as error:
                failures.append(f"{uri}: {error}")
                continue
            self.close()
            self._connection = connection
            return
        raise ServerFailed("; ".join(failures) or "there is no server")

    def _open(self, uri: str, endpoints: Endpoints) -> Connection:
        dn = self._settings.bind_dn
        credentials = Credentials(dn=dn, password=self._settings.read_password() if dn else "")
        return connect(uri, endpoints, credentials, seconds=self._settings.connect_timeout)

    def close(self) -> None:
        """Let go of the connection: whatever comes next is another session."""
        self.session += 1
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def must_be_followable(self) -> None:
        """Find out whether change numbers may be read, and are indexed; see the interface."""
        if names := self._guarded(hidden):
            who = self._settings.bind_dn or "anonymous"
            what = f"{' and '.join(names)} may not be read by {who}"
            message = f"{self.uri}: {what}: install-schema --uri {self.uri} mends that"
            raise CannotFollow(message)
        if self._guarded(lambda server: is_unindexed(server, self._clock)):
            what = "entryCSN has no index, every look would read all entries"
            message = f"{self.uri}: {what}: add olcDbIndex: entryCSN eq there"
            raise CannotFollow(message)

    def numbers(self, spans: Sequence[Span], most: int) -> list[tuple[str, str]]:
        """Return entries with their change numbers; see the interface."""
        found = self._search(Or(tuple(map(_within, spans))), (ENTRY_NAME, CHANGE_NUMBER), most)
        return [
            (name, number)
            for raw in found
            if (name := raw.first(ENTRY_NAME.lower())) and (number := raw.first(CHANGE_NUMBER.lower()))
        ]

    def any_since(self, number: str) -> bool:
        """Whether there is an entry with this change number or a greater one; see the interface."""
        return bool(self._guarded(lambda server: server.ask(since(number), SECONDS, most=1)).entries)

    def entries(self, names: Sequence[str]) -> list[RawEntry]:
        """Return entries by their ``entryUUID``; see the interface."""
        found: list[RawEntry] = []
        for some in chunks(names, _CHUNK):
            found += self._search(any_of(ENTRY_NAME, some), self._attributes, 0)
        return found

    def _search(self, wanted: Filter, attributes: Sequence[str], most: int) -> list[RawEntry]:
        question = self._question(wanted, attributes)
        answer = self._guarded(lambda server: server.ask(question, SECONDS, most=most))
        if answer.result.code == SIZE_LIMIT_EXCEEDED:
            raise TooMany(answer.result.text)
        if answer.result.code != SUCCESS:
            message = f"{self.uri}: search refused: {answer.result.text}"
            if answer.result.code == NO_SUCH_OBJECT:
                raise CannotFollow(message)
            self.close()
            raise ServerFailed(message)
        return answer.entries

    @staticmethod
    def _question(wanted: Filter, attributes: Sequence[str]) -> Question:
        return Question(base="", scope="sub", search_filter=wanted, attributes=tuple(attributes))

    def _guarded(self, ask: Callable[[Connection], T]) -> T:
        """Return what the server in use answers; without an answer its connection is not used again."""
        if self._connection is None:
            raise ServerFailed("not connected")
        try:
            return ask(self._connection)
        except Refused as error:
            raise ServerFailed(str(error)) from error
        except ServerFailed as error:
            uri = self.uri
            self.close()
            message = f"{uri}: {error}"
            raise ServerFailed(message) from error


def _within(span: Span) -> Filter:
    """Return the filter of a span: what is beyond its end is left out by the server, entry by entry."""
    first = Ordered(CHANGE_NUMBER, span.first)
    return first if span.end is None else And((first, Not(Ordered(CHANGE_NUMBER, span.end))))
