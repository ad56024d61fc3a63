"""How connections to LDAP servers are secured, and which address of a server they go to."""

from __future__ import annotations

import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ldap3
from ldap3.core.exceptions import LDAPException

from ldapmilter.directory.ldap.failure_text import certificate, handshake
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.files import read_regular, why

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.directory.ldap.endpoints import Endpoints
    from ldapmilter.directory.ldap.resolver import SocketAddress


_MAX_CA_FILE = 1 << 24
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""``X509_V_FLAG_NO_CHECK_TIME`` (x509_vfy.h); Python has no name for it."""


class NotSecured(LdapmilterError):
    """TLS does not come about; the text says why, and is all that ldap3 keeps of it."""


class CheckedTls(ldap3.Tls):
    """TLS as Python itself does it: chain and host name are checked in the handshake, always.

    (ldap3 compares the name afterwards, with a function that Python has dropped, and loses the
    wrapped socket when it differs.)
    """

    def __init__(self, ca_file: Path | None, ca_directory: Path | None) -> None:
        """Check against the CA certificates named, or else the system's."""
        super().__init__(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT)
        self._ca_file = ca_file
        self._ca_directory = ca_directory
        self.ends: dict[str, tuple[float, float | None]] = {}
        """By server: when its certificate was looked at (monotonic), and when it ends (since the epoch)."""

    @cached_property
    def context(self) -> ssl.SSLContext:
        """What checks; made when it is needed, since reading the system's certificates takes 20 ms.

        Raises:
            OSError: the CA file holds no certificate (``ssl.SSLError``), or cannot be read.
        """
        return ssl.create_default_context(
            cafile=str(self._ca_file) if self._ca_file is not None else None,
            capath=str(self._ca_directory) if self._ca_directory is not None else None,
        )

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: FBT001, FBT002 - ldap3's
        """Wrap a connection's socket and shake hands; called by ldap3 for ldaps and StartTLS."""
        del do_handshake
        # Known to the watchdog before the handshake, which a server may drag out for ever.
        connection.socket = self.context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=False
        )
        try:
            connection.socket.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise NotSecured(certificate(error, self._authorities)) from error
        except OSError as error:
            raise NotSecured(handshake(error)) from error

    @property
    def _authorities(self) -> str | None:
        place = self._ca_file or self._ca_directory
        return None if place is None else str(place)

    def without_time(self) -> CheckedTls:
        """Return the same for looking at a certificate: its times and its name are not checked."""
        other = CheckedTls(self._ca_file, self._ca_directory)
        other.context.check_hostname = False
        other.context.verify_flags |= _NO_CHECK_TIME
        return other


def tls_settings(endpoints: Endpoints) -> CheckedTls:
    """Return how TLS is checked: against the CA certificates named, or else the system's.

    Raises:
        ConfigError: the CA file holds none.
    """
    tls = CheckedTls(endpoints.ca_file, endpoints.ca_directory)
    if endpoints.ca_file is not None:
        try:
            read_regular(endpoints.ca_file, _MAX_CA_FILE)  # OpenSSL would wait for a FIFO for ever
            tls.context  # noqa: B018 - said now, not when mail waits
        except OSError as error:
            what = "it holds no CA certificate in PEM form" if isinstance(error, ssl.SSLError) else why(error)
            message = (
                f"[ldap] ca_file = {endpoints.ca_file}: cannot be used: {what}; "
                "name the file of the CA that signed the servers' certificates (Zimbra: /opt/zimbra/conf/ca/ca.pem)"
            )
            raise ConfigError(message) from error
    return tls


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
