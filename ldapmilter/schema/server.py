"""One LDAP server, reached as the root identity of its configuration: read, and changed.

cn=config of Zimbra opens to its root DN alone (``ldap_root_password`` of ``localconfig.xml``), which
is also the root of the mail database: so it may ask as any user (proxied authorization, RFC 4370), and
what an ordinary user can see is tried without a user's password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import Present
from ldapmilter.directory.ldap import command_connection
from ldapmilter.directory.ldap.exchange import REFERRAL, SUCCESS, CannotConnect, Refused
from ldapmilter.schema import cn_config

if TYPE_CHECKING:
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.endpoints import Endpoints
    from ldapmilter.directory.ldap.exchange import Credentials
    from ldapmilter.schema.change import Change

_INVALID_CREDENTIALS = 49


def connect(uri: str, credentials: Credentials, endpoints: Endpoints) -> Connection:
    """Connect and bind, for changes.

    Args:
        uri: the one server.
        credentials: who binds.
        endpoints: StartTLS and certificate authorities.

    Raises:
        Refused: the bind is refused.
        DirectoryUnavailable: the server cannot be reached.
        ConfigError: the URI or the certificate authorities cannot be used.
    """
    try:
        return command_connection.connect(uri, endpoints, credentials, writes=True)
    except CannotConnect as error:
        if error.code == _INVALID_CREDENTIALS:
            message = f"{uri}: bind as {credentials.dn} refused: wrong password (or no such identity)"
            raise Refused(message) from error
        message = f"{uri}: {error}"
        if error.code is not None:
            raise Refused(message) from error
        raise CannotConnect(error.step, message) from error


def configuration(server: Connection) -> cn_config.CnConfig:
    """Read schema and access from cn=config.

    Raises:
        Refused: cn=config may not be read by this identity.
        NotZimbra, SchemaConflict: see :func:`~ldapmilter.schema.cn_config.read`.
        DirectoryUnavailable: no answer.
    """
    entries = server.search("cn=config", "sub", Present("objectClass"), cn_config.ATTRIBUTES)
    if not entries:
        raise Refused(
            f"{server.uri}: cn=config may not be read with these credentials; on Zimbra bind as cn=config with the"
            " password that `zmlocalconfig -s -m nokey ldap_root_password` prints"
        )
    return cn_config.read(entries)


def apply(server: Connection, change: Change) -> None:
    """Carry out one change.

    Raises:
        Refused: the server does not.
        DirectoryUnavailable: no answer; whether it happened is not known.
    """
    if change.add:
        values: dict[str, list[str]] = {}
        for name, value in change.add:
            values.setdefault(name, []).append(value)
        result = server.add(change.dn, values)
    elif change.parts:
        result = server.modify(change.dn, [(part.operation, part.attribute, part.values) for part in change.parts])
    else:
        result = server.delete(change.dn)
    if result.code == REFERRAL:
        raise Refused(f"{server.uri} is a replica and takes no changes of {change.dn}: run this on the master first")
    if result.code != SUCCESS:
        raise Refused(f"{server.uri}: {change.dn}: {result.text}")
