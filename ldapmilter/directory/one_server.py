"""One connection to one LDAP server as somebody, to see what that server shows to whom.

:class:`~ldapmilter.directory.ldap.LdapStore` answers from whichever server can; this asks exactly one,
tells the steps of connecting apart, and fails over to nobody.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Literal

import ldap3

from ldapmilter.directory.filters import render
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
from ldapmilter.directory.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.directory.endpoints import Endpoints
    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.store import Scope

Step = Literal["connect", "tls", "bind"]

_SCOPES: dict[Scope, Literal["BASE", "LEVEL", "SUBTREE"]] = {
    "base": ldap3.BASE,
    "one": ldap3.LEVEL,
    "sub": ldap3.SUBTREE,
}
_PATIENCE = 30.0
"""Seconds for an answer: a filter without index makes a large server read all its entries."""
# success, size limit exceeded (it was asked for), no such object
_ANSWERED = frozenset({0, 4, 32})


class CannotConnect(Exception):
    """A server could not be reached, secured or bound to; says at which step."""

    def __init__(self, step: Step, reason: str) -> None:
        """Name the step and the reason."""
        super().__init__(reason)
        self.step = step


class Refused(ServerFailed):
    """The server answered, and the answer is that this identity may not ask."""


class OneServer:
    """A bound connection, for one thread."""

    def __init__(self, uri: str, endpoints: Endpoints, bind_dn: str, password: str, seconds: float) -> None:
        """Connect, secure and bind.

        Args:
            uri: the server.
            endpoints: how its kind is secured.
            bind_dn: who asks; empty: anonymous (``ldapi://``: whoever runs the process).
            password: of the bind DN.
            seconds: that connecting, securing and binding may take, each.

        Raises:
            CannotConnect: the text says why.
            ConfigError: the URI or the CA file cannot be used.
        """
        self.uri = uri
        self._seconds = seconds
        self._watchdog = Watchdog(time.monotonic)
        handle = server_handle(uri, tls_settings(endpoints), seconds)
        self._connection = make_connection(handle, uri, bind_dn, password, seconds)
        try:
            self._open(starttls=endpoints.starttls and uri.lower().startswith("ldap://"))
            self._bind(bind_dn)
        except CannotConnect:
            self.close()
            raise

    def _open(self, *, starttls: bool) -> None:
        step: Step = "connect"
        try:
            with self._watchdog.guard(self._connection, self._seconds), translated(self._connection):
                self._connection.open(read_server_info=False)
                if starttls:
                    step = "tls"
                    self._connection.start_tls(read_server_info=False)
        except ServerFailed as error:
            text = str(error)
            secure = step == "tls" or (self.uri.lower().startswith("ldaps:") and "ssl" in text.lower())
            raise CannotConnect("tls" if secure else "connect", text) from error

    def _bind(self, bind_dn: str) -> None:
        try:
            with self._watchdog.guard(self._connection, self._seconds), translated(self._connection):
                bound = self._connection.bind(read_server_info=False)
        except ServerFailed as error:
            raise CannotConnect("bind", str(error)) from error
        if not bound:
            reason = f"bind as {bind_dn or 'anonymous'} refused: {describe(self._connection.result)}"
            raise CannotConnect("bind", reason)

    @property
    def certificate_ends(self) -> float | None:
        """When the server's certificate expires (seconds since the epoch); ``None`` without TLS."""
        connected = self._connection.socket
        certificate = connected.getpeercert() if isinstance(connected, ssl.SSLSocket) else None
        ends = certificate.get("notAfter") if certificate else None
        return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None

    def search(
        self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str], *, most: int = 0
    ) -> list[RawEntry]:
        """Return the entries that match, at most so many (0: all); none when the base does not exist.

        Raises:
            Refused: by the server.
            ServerFailed: no answer.
        """
        with self._watchdog.guard(self._connection, _PATIENCE), translated(self._connection):
            self._connection.socket.settimeout(_PATIENCE)
            self._connection.search(
                base, render(search_filter), _SCOPES[scope], attributes=list(attributes), size_limit=most
            )
            if self._connection.result["result"] not in _ANSWERED:
                message = f"search refused: {describe(self._connection.result)}"
                raise Refused(message)
            return [raw_entry(item) for item in self._connection.response or ()]

    def compare(self, dn: str, attribute: str, value: str) -> int:
        """Compare an attribute with a value and return the result code (RFC 4511 section 4.10).

        Raises:
            ServerFailed: no answer.
        """
        with self._watchdog.guard(self._connection, _PATIENCE), translated(self._connection):
            return compare(self._connection, dn, attribute, value)

    def close(self) -> None:
        """Drop the connection."""
        drop(self._connection)
        self._watchdog.stop()
