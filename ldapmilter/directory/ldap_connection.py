"""One ldap3 connection: made, bound, decoded, cut. No policy of which server to ask is in here."""

from __future__ import annotations

import contextlib
import math
import ssl
from typing import TYPE_CHECKING, Any

import ldap3
from ldap3.core.exceptions import LDAPException

from ldapmilter.directory.raw_entry import RawEntry
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ldapmilter.directory.endpoints import Endpoints
    from ldapmilter.directory.resolver import SocketAddress

_SEARCH_RESULT_ENTRY = 4
"""RFC 4511 section 4.5.2: [APPLICATION 4]."""
_LONGEST_WAIT = 3600
_PAGED_RESULTS = "1.2.840.113556.1.4.319"
"""RFC 2696 section 2: pagedResultsControl."""


class ServerFailed(Exception):
    """One server could not answer; the next one may."""


def compare(connection: ldap3.Connection, dn: str, attribute: str, value: str) -> int:
    """Compare an attribute with a value and return the result code."""
    connection.compare(dn, attribute, value)  # type: ignore[no-untyped-call]
    return int(connection.result["result"])


def _decode_entries_directly(connection: ldap3.Connection) -> None:
    """Decode search entries once, straight into our own form.

    ldap3 decodes every entry twice (raw and converted), asking its configuration several times for
    each name: more than half of what an answer costs. The strategy's decoder is where it can be had
    cheaper without touching the wire.
    """
    decode: Callable[[dict[str, Any]], dict[str, Any]] = connection.strategy.decode_response_fast

    def decode_fast(message: dict[str, Any]) -> dict[str, Any]:
        if message["protocolOp"] != _SEARCH_RESULT_ENTRY:
            return decode(message)
        name, attributes = message["payload"][:2]
        entry = RawEntry(
            name[3].decode(),
            {
                attribute[3][0][3].decode().lower(): tuple(
                    value[3].decode("utf-8", "surrogateescape") for value in attribute[3][1][3]
                )
                for attribute in attributes[3]
            },
        )
        return {"type": "searchResEntry", "entry": entry}

    connection.strategy.decode_response_fast = decode_fast


def raw_entry(item: dict[str, Any]) -> RawEntry:
    """Return the entry in one item of an answer.

    Raises:
        ServerFailed: it is a reference to another server.
    """
    if item.get("type") != "searchResEntry":
        message = f"the server refers to another one ({item.get('uri')}), which is not followed"
        raise ServerFailed(message)
    entry: RawEntry = item["entry"]
    return entry


def next_cookie(result: dict[str, Any]) -> bytes:
    """Return what the next page is asked for with (RFC 2696 section 3); empty after the last one.

    Raises:
        ServerFailed: the server did not page, so whether that was all cannot be known.
    """
    control = (result.get("controls") or {}).get(_PAGED_RESULTS)
    if control is None:
        message = "the server ignores paged results (RFC 2696): whether its answer is whole cannot be known"
        raise ServerFailed(message)
    cookie: bytes = control["value"]["cookie"]
    return cookie


def describe(result: dict[str, Any]) -> str:
    """Return an LDAP result in words, with its code (RFC 4511 appendix A)."""
    text = f"{result.get('description')} ({result.get('result')})"
    return f"{text}: {result['message']}" if result.get("message") else text


@contextlib.contextmanager
def translated(connection: ldap3.Connection) -> Iterator[None]:
    """Drop the connection at any failure, and say in one line what failed."""
    try:
        yield
    except ServerFailed:
        drop(connection)
        raise
    except (LDAPException, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The last four: what ldap3 raises when the watchdog, or the server, cuts it in mid-answer.
        drop(connection)
        message = f"{type(error).__name__}: {error}"
        raise ServerFailed(message) from error


def drop(connection: ldap3.Connection) -> None:
    """Close the socket without a word to the server, which may not be listening any more."""
    with contextlib.suppress(Exception):
        connection.strategy.close()
    with contextlib.suppress(Exception):
        connection.socket.close()


def make_connection(handle: ldap3.Server, uri: str, bind_dn: str, password: str, allowed: float) -> ldap3.Connection:
    """Return a connection that is not open yet, for one thread at a time.

    Without a bind DN it is anonymous, or over ``ldapi://`` the user that runs the process (SASL EXTERNAL).
    """
    external = not bind_dn and uri.lower().startswith("ldapi:")
    method: Any = ldap3.SASL if external else ldap3.SIMPLE if bind_dn else ldap3.ANONYMOUS
    connection = ldap3.Connection(
        handle,
        user=bind_dn or None,
        password=password if bind_dn else None,
        authentication=method,
        sasl_mechanism=ldap3.EXTERNAL if external else None,
        sasl_credentials="" if external else None,
        client_strategy=ldap3.SYNC,
        receive_timeout=math.ceil(min(allowed, _LONGEST_WAIT)),
        auto_referrals=False,
        check_names=False,
        return_empty_attributes=False,
        read_only=True,
    )
    _decode_entries_directly(connection)
    return connection


class CheckedTls(ldap3.Tls):
    """TLS as Python itself does it: chain and host name are checked in the handshake, always.

    (ldap3 compares the name afterwards, with a function that Python has dropped, and loses the
    wrapped socket when it differs.)
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Use a context that checks."""
        super().__init__(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT)
        self._context = context

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: FBT001, FBT002 - ldap3's
        """Wrap a connection's socket and shake hands; called by ldap3 for ldaps and StartTLS."""
        del do_handshake
        # Known to the watchdog before the handshake, which a server may drag out for ever.
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=False
        )
        connection.socket.do_handshake()


def tls_settings(endpoints: Endpoints) -> CheckedTls:
    """Return how TLS is checked: against the CA certificates named, or else the system's.

    Raises:
        ConfigError: the CA file holds none.
    """
    try:
        context = ssl.create_default_context(
            cafile=str(endpoints.ca_file) if endpoints.ca_file is not None else None,
            capath=str(endpoints.ca_directory) if endpoints.ca_directory is not None else None,
        )
    except (OSError, ssl.SSLError) as error:
        message = f"[ldap] ca_file = {endpoints.ca_file}: no usable CA certificates: {error}"
        raise ConfigError(message) from error
    return CheckedTls(context)


class _ResolvedServer(ldap3.Server):
    """A server of which one address is known: ldap3 would ask the resolver itself, four times, without a deadline."""

    def __init__(self, uri: str, address: SocketAddress, *, tls: ldap3.Tls, connect_timeout: float) -> None:
        super().__init__(uri, tls=tls, get_info=ldap3.NONE, connect_timeout=connect_timeout)
        self._resolved = address

    @property
    def address_info(self) -> list[list[Any]]:
        """In ldap3's form: with room for whether it is available, and since when."""
        return [[*self._resolved, None, None]]


def server_handle(
    uri: str, tls: ldap3.Tls, connect_timeout: float, address: SocketAddress | None = None
) -> ldap3.Server:
    """Return ldap3's idea of a server.

    Args:
        uri: names the host that its certificate has to name.
        tls: how TLS is checked.
        connect_timeout: seconds for each address.
        address: the one to connect to; without one, ldap3 resolves the name for as long as that takes.

    Raises:
        ConfigError: the URI is none.
    """
    try:
        if address is not None:
            return _ResolvedServer(uri, address, tls=tls, connect_timeout=connect_timeout)
        return ldap3.Server(uri, tls=tls, get_info=ldap3.NONE, connect_timeout=connect_timeout)
    except LDAPException as error:
        message = f"[ldap] uri = {uri}: {error}"
        raise ConfigError(message) from error
