"""How the verbs that change a server's configuration reach it: which server, and as whom."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.cli import arguments
from ldapmilter.directory.ldap.endpoints import Endpoints
from ldapmilter.directory.ldap.exchange import Credentials
from ldapmilter.directory.ldap.localconfig import ZIMBRAS_OWN, local_value, read
from ldapmilter.errors import ConfigError
from ldapmilter.schema.server import connect
from ldapmilter.secret_file import read_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ldapmilter.config import Config
    from ldapmilter.directory.ldap.connection import Connection

_ZIMBRA_SOCKET = Path("/opt/zimbra/data/ldap/state/run/ldapi")
_ROOT_DN = "cn=config"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a server and its root identity."""
    group = parser.add_argument_group("the LDAP server whose cn=config is meant")
    group.add_argument(
        "--uri",
        type=arguments.ldap_server,
        metavar="URI",
        help="ldap://, ldaps:// or ldapi:// (default: Zimbra's socket on this host)",
    )
    group.add_argument("--root-dn", metavar="DN", help=f"its root identity (default: {_ROOT_DN})")
    group.add_argument("--root-password-file", type=Path, metavar="FILE", help="the root identity's password")
    group.add_argument(
        "--localconfig",
        type=Path,
        metavar="FILE",
        help=f"where ldap_root_password is taken from without --root-password-file (default: {ZIMBRAS_OWN})",
    )


@contextlib.contextmanager
def opened(options: argparse.Namespace, config: Config) -> Iterator[Connection]:
    """Connect to the server that the options name, as its root identity.

    Raises:
        ConfigError: no server or no password is named.
        LdapmilterError: the server cannot be reached, or refuses.
    """
    credentials = Credentials(dn=options.root_dn or _ROOT_DN, password=_password(options))
    root = connect(uri(options), credentials, endpoints(config))
    try:
        yield root
    finally:
        root.close()


def endpoints(config: Config) -> Endpoints:
    """Return how ``[ldap]`` secures connections, by Zimbra's own configuration where it follows that.

    Raises:
        ConfigError: Zimbra's configuration cannot be read.
    """
    ldap = config.ldap
    own = Endpoints(uris=ldap.uris, starttls=ldap.starttls, ca_file=ldap.ca_file)
    return own if ldap.zimbra_localconfig is None else read(ldap.zimbra_localconfig, own)


def uri(options: argparse.Namespace) -> str:
    """Return the server's URI.

    Raises:
        ConfigError: none is given, and this host has no Zimbra slapd.
    """
    if options.uri:
        return str(options.uri)
    if not _ZIMBRA_SOCKET.exists():
        raise ConfigError(f"which LDAP server? --uri ldap://HOST:389 (there is no {_ZIMBRA_SOCKET} on this host)")
    return f"ldapi://{str(_ZIMBRA_SOCKET).replace('/', '%2F')}"


def _password(options: argparse.Namespace) -> str:
    if options.root_password_file is not None:
        return read_secret(options.root_password_file, "--root-password-file")
    file = options.localconfig or ZIMBRAS_OWN
    who = options.root_dn or _ROOT_DN
    try:
        found = local_value(file, "ldap_root_password")
    except ConfigError as error:
        raise ConfigError(f"the password of {who} is needed: --root-password-file FILE ({error})") from error
    if not found:
        raise ConfigError(
            f"the password of {who} is needed: --root-password-file FILE ({file} has no ldap_root_password)"
        )
    return found
