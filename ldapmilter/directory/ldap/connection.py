"""One ldap3 connection: made, secured, bound, asked, dropped. Which server to ask is decided elsewhere.

No type of ldap3 leaves this package. What is asked is written by :mod:`~ldapmilter.directory.ldap.request`.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import time
from typing import TYPE_CHECKING, Any

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPSessionTerminatedByServerError

from ldapmilter.directory.backend.store import PAGE_SIZE
from ldapmilter.directory.ldap import request
from ldapmilter.directory.ldap.assertion import ASSERTION_CONTROL, assertion
from ldapmilter.directory.ldap.decoding import decode_entries_directly, entry_in, next_cookie, result_of
from ldapmilter.directory.ldap.exchange import (
    NO_SUCH_OBJECT,
    SIZE_LIMIT_EXCEEDED,
    SUCCESS,
    Answer,
    CannotConnect,
    Question,
    Refused,
    Result,
    ServerFailed,
)
from ldapmilter.directory.ldap.failure_text import in_words, refused_bind
from ldapmilter.directory.ldap.presented import with_date
from ldapmilter.directory.ldap.tls import NotSecured
from ldapmilter.directory.ldap.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Scope
    from ldapmilter.directory.ldap.exchange import Credentials

PATIENCE = 30.0
"""Seconds for an answer that no mail waits for: without an index a large server reads all its entries."""
_LONGEST_WAIT = 3600
_PROXIED_AUTHORIZATION = "2.16.840.1.113730.3.4.18"
"""RFC 4370 section 3."""


class Connection:
    """A connection to one server, for one thread at a time. It is dropped at its first failure."""

    def __init__(
        self,
        handle: ldap3.Server,
        uri: str,
        credentials: Credentials,
        watchdog: Watchdog | None = None,
        *,
        seconds: float = PATIENCE,
        writes: bool = False,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            handle: the server, see :func:`~ldapmilter.directory.ldap.tls.server_handle`.
            uri: the server's URI.
            credentials: who binds.
            watchdog: cuts the connection when an operation overruns its time; ``None``: one of its own.
            seconds: the longest wait for one read.
            writes: whether changes may be made.
        """
        external = not credentials.dn and uri.lower().startswith("ldapi:")
        method: Any = ldap3.SASL if external else ldap3.SIMPLE if credentials.dn else ldap3.ANONYMOUS
        self.uri = uri
        self._who = credentials.dn or ("the user of this process" if external else "anonymous")
        self._watchdog = watchdog or Watchdog(time.monotonic)
        self._owns_watchdog = watchdog is None
        self._ldap = ldap3.Connection(
            handle,
            user=credentials.dn or None,
            password=credentials.password if credentials.dn else None,
            authentication=method,
            sasl_mechanism=ldap3.EXTERNAL if external else None,
            sasl_credentials="" if external else None,
            client_strategy=ldap3.SYNC,
            receive_timeout=math.ceil(min(seconds, _LONGEST_WAIT)),
            auto_referrals=False,
            check_names=False,
            return_empty_attributes=False,
            read_only=not writes,
        )
        decode_entries_directly(self._ldap)

    # -- opening ----------------------------------------------------------------------------

    def open(self, seconds: float) -> None:
        """Connect (and, by ``ldaps://``, secure).

        Raises:
            CannotConnect: not within so many seconds, or not at all.
        """
        try:
            with self.within(seconds):
                self._ldap.open(read_server_info=False)
        except ServerFailed as error:
            secure = isinstance(error.__cause__, NotSecured)
            raise CannotConnect(
                "tls" if secure else "connect", with_date(str(error), self._ldap.server, seconds)
            ) from error

    def start_tls(self, seconds: float) -> None:
        """Secure an open connection (RFC 4511 section 4.14).

        Raises:
            CannotConnect: it cannot be secured.
        """
        try:
            with self.within(seconds):
                self._ldap.start_tls(read_server_info=False)
        except ServerFailed as error:
            # A question that is not answered is cut by the watchdog; a server without TLS says so.
            silent = isinstance(error.__cause__, LDAPSessionTerminatedByServerError)
            raise CannotConnect("tls", with_date(str(error), self._ldap.server, seconds), silent=silent) from error

    def bind(self, seconds: float) -> None:
        """Bind.

        Raises:
            CannotConnect: the server refuses, or does not answer.
        """
        try:
            with self.within(seconds):
                bound = self._ldap.bind(read_server_info=False)
                result = result_of(self._ldap.result, "bindResponse")
        except ServerFailed as error:
            raise CannotConnect("bind", str(error), silent=True) from error
        if not bound:
            self.close()
            raise CannotConnect("bind", refused_bind(self._who, result.text, result.code), result.code)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Drop the connection when the block fails or takes longer than so many seconds.

        Raises:
            ServerFailed: what failed, in one line.
        """
        try:
            with self._watchdog.guard(self._ldap, seconds):
                yield
        except ServerFailed:
            self.close()
            raise
        except (LDAPException, OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            # The last five: what ldap3 raises when the watchdog, or the server, cuts it in mid-answer, and
            # when an answer is nested deeper than Python goes.
            self.close()
            raise ServerFailed(in_words(error, self._ldap.last_error)) from error

    def close(self) -> None:
        """Close the socket without a word to the server, which may not be listening any more."""
        drop(self._ldap)
        if self._owns_watchdog:
            self._watchdog.stop()

    @property
    def certificate_ends(self) -> float | None:
        """When the server's certificate expires (seconds since the epoch); ``None`` without TLS."""
        connected = self._ldap.socket
        certificate = connected.getpeercert() if isinstance(connected, ssl.SSLSocket) else None
        ends = certificate.get("notAfter") if certificate else None
        return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None

    # -- asking -----------------------------------------------------------------------------

    def ask(
        self,
        question: Question,
        seconds: float,
        *,
        most: int = 0,
        page: bytes | None = None,
        as_dn: str | None = None,
    ) -> Answer:
        """Return the answer to a search, whatever its result code.

        Args:
            question: what to search.
            seconds: for the answer.
            most: entries at most; 0: all.
            page: asks for one page: the cookie of the page before, empty for the first; ``None``: for everything.
            as_dn: who asks (RFC 4370), ``""`` for anonymous; ``None``: the bound identity.

        Raises:
            ServerFailed: no answer, not a whole one, or a reference to another server.
        """
        controls = _acting_as(as_dn)
        if page is not None:
            controls.append(request.paged_results(PAGE_SIZE, page))
        with self.within(seconds):
            self._ldap.socket.settimeout(seconds)
            asked = request.search(
                question.base, question.scope, question.search_filter, question.attributes, most=most
            )
            self._ldap.strategy.post_send_search(self._send(asked, controls))
            result = result_of(self._ldap.result, "searchResDone")
            entries = [entry_in(item) for item in self._ldap.response or ()]
            cookie = b"" if page is None or result.code != SUCCESS else next_cookie(self._ldap.result)
        return Answer(result=result, entries=entries, cookie=cookie)

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        *,
        most: int = 0,
        as_dn: str | None = None,
    ) -> list[RawEntry]:
        """Return the entries that match, at most so many (0: all); none when the base does not exist.

        Raises:
            Refused: by the server.
            ServerFailed: no answer.
        """
        question = Question(base=base, scope=scope, search_filter=search_filter, attributes=tuple(attributes))
        answer = self.ask(question, PATIENCE, most=most, as_dn=as_dn)
        if answer.result.code not in {SUCCESS, SIZE_LIMIT_EXCEEDED, NO_SUCH_OBJECT}:
            who = "" if as_dn is None else f" as {as_dn or 'anonymous'}"
            message = f"{self.uri}: search below {base or 'the root'}{who}: {answer.result.text}"
            raise Refused(message)
        return answer.entries

    def compare(
        self, dn: str, attribute: str, value: str, *, as_dn: str | None = None, asserted: Sequence[str] = ()
    ) -> int:
        """Compare an attribute with a value and return the result code (RFC 4511 section 4.10).

        Args:
            dn: of the entry.
            attribute: its attribute.
            value: the value.
            as_dn: who asks; see :meth:`ask`.
            asserted: attributes that may have to be searched for as well, or the answer is another one: 122
                (assertionFailed, RFC 4528), 50 or 32.

        Raises:
            ServerFailed: no answer.
        """
        controls = _acting_as(as_dn)
        if asserted:
            controls.append((ASSERTION_CONTROL, assertion(tuple(asserted))))
        with self.within(PATIENCE):
            self._ldap.socket.settimeout(PATIENCE)
            asked = request.compare(dn, attribute, value)
            self._ldap.strategy.post_send_single_response(self._send(asked, controls))
            return result_of(self._ldap.result, "compareResponse").code

    def _send(self, operation: bytes, controls: Sequence[request.Control]) -> int:
        """Send what is asked, past ldap3, which then waits for the answer; return the message's number."""
        number: int = self._ldap.server.next_message_id()
        self._ldap.strategy._outstanding[number] = None  # noqa: SLF001 - what ldap3 waits for: send() is not done without objects of pyasn1
        self._ldap.socket.sendall(request.message(number, operation, controls))
        return number

    # -- changing ---------------------------------------------------------------------------

    def add(self, dn: str, attributes: Mapping[str, Sequence[str]]) -> Result:
        """Add an entry. Raises ServerFailed: no answer; whether it happened is not known."""
        return self._change("addResponse", lambda ldap: ldap.add(dn, attributes=dict(attributes)))

    def modify(self, dn: str, changes: Sequence[tuple[str, str, Sequence[str]]]) -> Result:
        """Modify an entry: (``add``, ``delete`` or ``replace``; attribute; values), in order.

        Raises:
            ServerFailed: no answer; whether it happened is not known.
        """
        grouped: dict[str, list[tuple[str, list[str]]]] = {}
        for operation, attribute, values in changes:
            grouped.setdefault(attribute, []).append((f"MODIFY_{operation.upper()}", list(values)))
        return self._change("modifyResponse", lambda ldap: ldap.modify(dn, grouped))

    def delete(self, dn: str) -> Result:
        """Delete an entry. Raises ServerFailed: no answer; whether it happened is not known."""
        return self._change("delResponse", lambda ldap: ldap.delete(dn))

    def _change(self, kind: str, operation: Callable[[Any], object]) -> Result:
        with self.within(PATIENCE):
            self._ldap.socket.settimeout(PATIENCE)
            operation(self._ldap)
            return result_of(self._ldap.result, kind)


def drop(connection: ldap3.Connection) -> None:
    """Close a connection of ldap3 without a word to the server."""
    with contextlib.suppress(Exception):
        connection.strategy.close()
    with contextlib.suppress(Exception):
        connection.socket.close()


def _acting_as(dn: str | None) -> list[request.Control]:
    """Return the control that asks as another identity (RFC 4370 section 3), if it is another one."""
    return [] if dn is None else [(_PROXIED_AUTHORIZATION, f"dn:{dn}".encode() if dn else b"")]
