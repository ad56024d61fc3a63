"""A connection of its own to one server, for a command that no mail waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.ldap.connection import PATIENCE, Connection
from ldapmilter.directory.ldap.exchange import CannotConnect
from ldapmilter.directory.ldap.tls import server_handle, tls_settings

if TYPE_CHECKING:
    from ldapmilter.directory.ldap.endpoints import Endpoints
    from ldapmilter.directory.ldap.exchange import Credentials


def connect(
    uri: str, endpoints: Endpoints, credentials: Credentials, *, seconds: float = PATIENCE, writes: bool = False
) -> Connection:
    """Return a connection to one server, secured and bound, with a watchdog of its own.

    Args:
        uri: the server.
        endpoints: how its kind is secured.
        credentials: who binds.
        seconds: that connecting, securing and binding may take, each.
        writes: whether changes may be made.

    Raises:
        CannotConnect: the text says why.
        ConfigError: the URI or the CA file cannot be used.
    """
    handle = server_handle(uri, tls_settings(endpoints), seconds)
    connection = Connection(handle, uri, credentials, seconds=max(seconds, PATIENCE), writes=writes)
    try:
        connection.open(seconds)
        if endpoints.starttls and uri.lower().startswith("ldap://"):
            connection.start_tls(seconds)
        connection.bind(seconds)
    except CannotConnect:
        connection.close()
        raise
    return connection
