"""One LDAP server, reached as the root identity of its configuration.

cn=config of Zimbra opens to its root DN alone (``ldap_root_password`` of ``localconfig.xml``), which
is also the root of the mail database: so it may ask as anybody (proxied authorization, RFC 4370), and
what an ordinary user can see is tried without anybody's password.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ldap3

from ldapmilter.directory.ldap_connection import (
    ServerFailed,
    describe,
    drop,
    make_connection,
    raw_entry,
    server_handle,
    tls_settings,
    translated,
)
from ldapmilter.errors import DirectoryUnavailable, LdapmilterError
from ldapmilter.schema import cn_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.endpoints import Endpoints
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.schema.change import Change

_SUCCESS = 0
_SIZE_LIMIT_EXCEEDED = 4
_REFERRAL = 10
_NO_SUCH_OBJECT = 32
_INVALID_CREDENTIALS = 49
_TIMEOUT = 30.0
_PROXIED_AUTHORIZATION = "2.16.840.1.113730.3.4.18"
_SCOPES: dict[str, Literal["BASE", "SUBTREE"]] = {"base": ldap3.BASE, "sub": ldap3.SUBTREE}


class Refused(LdapmilterError):
    """The server answered, and said no; the text says what to and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who binds. Without a DN: the process's user over ``ldapi://``, nobody otherwise."""

    dn: str
    password: str


class Server:
    """A bound connection to one server."""

    def __init__(self, connection: ldap3.Connection, uri: str) -> None:
        """Wrap what :func:`connect` has opened."""
        self._connection = connection
        self.uri = uri

    def configuration(self) -> cn_config.CnConfig:
        """Read schema and access from cn=config.

        Raises:
            Refused: cn=config may not be read by this identity.
            NotZimbra, SchemaConflict: see :func:`~ldapmilter.schema.cn_config.read`.
        """
        entries = self.search("cn=config", "sub", "(objectClass=*)", cn_config.ATTRIBUTES)
        if not entries:
            raise Refused(
                f"{self.uri}: cn=config may not be read with these credentials; on Zimbra bind as cn=config with the"
                " password that `zmlocalconfig -s -m nokey ldap_root_password` prints"
            )
        return cn_config.read(entries)

    def search(
        self,
        base: str,
        scope: Literal["base", "sub"],
        search_filter: str,
        attributes: tuple[str, ...],
        *,
        as_dn: str | None = None,
        limit: int = 0,
    ) -> list[RawEntry]:
        """Return what somebody finds; nothing when the base does not exist or may not be seen.

        Args:
            base: where to search.
            scope: how deep.
            search_filter: RFC 4515.
            attributes: what to return.
            as_dn: who asks; ``None``: the bound identity, "": nobody.
            limit: entries at most; 0: all.

        Raises:
            Refused: the server does not let us ask that.
            DirectoryUnavailable: no answer.
        """
        with self._answers():
            self._connection.search(
                base,
                search_filter,
                _SCOPES[scope],
                attributes=list(attributes),
                size_limit=limit,
                controls=_as(as_dn),
            )
            result: dict[str, Any] = self._connection.result
            if result["result"] not in {_SUCCESS, _NO_SUCH_OBJECT, _SIZE_LIMIT_EXCEEDED}:
                raise Refused(f"{self.uri}: search below {base or 'the root'}{_who(as_dn)}: {describe(result)}")
            items = self._connection.response or ()
            return [raw_entry(item) for item in items if item.get("type") == "searchResEntry"]

    def compare(self, dn: str, attribute: str, value: str, *, as_dn: str | None = None) -> int:
        """Compare as somebody and return the LDAP result code."""
        with self._answers():
            self._connection.compare(dn, attribute, value, controls=_as(as_dn))  # type: ignore[no-untyped-call]
            return int(self._connection.result["result"])

    def apply(self, change: Change) -> None:
        """Carry out one change.

        Raises:
            Refused: the server does not.
            DirectoryUnavailable: no answer; whether it happened is not known.
        """
        connection: Any = self._connection
        with self._answers():
            if change.add:
                values: dict[str, list[str]] = {}
                for name, value in change.add:
                    values.setdefault(name, []).append(value)
                connection.add(change.dn, attributes=values)
            elif change.parts:
                changes: dict[str, list[tuple[str, list[str]]]] = {}
                for part in change.parts:
                    operation = f"MODIFY_{part.operation.upper()}"
                    changes.setdefault(part.attribute, []).append((operation, list(part.values)))
                connection.modify(change.dn, changes)
            else:
                connection.delete(change.dn)
            result: dict[str, Any] = connection.result
        if result["result"] == _REFERRAL:
            raise Refused(f"{self.uri} is a replica and takes no changes of {change.dn}: run this on the master first")
        if result["result"] != _SUCCESS:
            raise Refused(f"{self.uri}: {change.dn}: {describe(result)}")

    def close(self) -> None:
        """Unbind."""
        drop(self._connection)

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            with translated(self._connection):
                yield
        except ServerFailed as error:
            raise DirectoryUnavailable(f"{self.uri}: {error}") from error


def connect(uri: str, credentials: Credentials, endpoints: Endpoints) -> Server:
    """Connect and bind.

    Args:
        uri: the one server.
        credentials: who binds.
        endpoints: StartTLS and certificate authorities.

    Raises:
        Refused: the bind is refused.
        DirectoryUnavailable: the server cannot be reached.
        ConfigError: the URI or the certificate authorities cannot be used.
    """
    handle = server_handle(uri, tls_settings(endpoints), _TIMEOUT)
    connection = make_connection(handle, uri, credentials.dn, credentials.password, _TIMEOUT)
    connection.read_only = False
    server = Server(connection, uri)
    try:
        with translated(connection):
            connection.open(read_server_info=False)
            if endpoints.starttls and uri.lower().startswith("ldap://"):
                connection.start_tls(read_server_info=False)
            bound = connection.bind(read_server_info=False)
    except ServerFailed as error:
        raise DirectoryUnavailable(f"{uri}: {error}") from error
    if not bound:
        result: dict[str, Any] = connection.result
        server.close()
        wrong = "wrong password (or no such identity)" if result["result"] == _INVALID_CREDENTIALS else describe(result)
        raise Refused(f"{uri}: bind as {credentials.dn or 'the user of this process'} refused: {wrong}")
    return server


def _as(dn: str | None) -> list[tuple[str, bool, bytes]] | None:
    """Return the control that asks as somebody else (RFC 4370 section 3)."""
    if dn is None:
        return None
    return [(_PROXIED_AUTHORIZATION, True, f"dn:{dn}".encode() if dn else b"")]


def _who(dn: str | None) -> str:
    return "" if dn is None else f" as {dn or 'nobody'}"
