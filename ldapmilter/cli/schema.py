"""``ldapmilter schema``: what a slapd has to be told, as LDIF; ``--install`` tells it and looks whether it holds."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.cli import exit_status, ldap_root
from ldapmilter.config import load, read_secret
from ldapmilter.directory import ldif
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.schema import account, cn_config, definition, installation, plan
from ldapmilter.schema.change import to_ldif
from ldapmilter.schema.installation import Wanted
from ldapmilter.schema.server import Credentials, Refused, connect

if TYPE_CHECKING:
    import argparse

    from ldapmilter.cli.types import Verbs
    from ldapmilter.config import Config
    from ldapmilter.schema.change import Change
    from ldapmilter.schema.server import Server
    from ldapmilter.schema.verify import Finding

_SALT_OCTETS = 16


def add_to(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("schema", help="schema, access rules and identity for slapd", allow_abbrev=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ldif", dest="what", action="store_const", const="ldif", help="the schema (default)")
    what.add_argument(
        "--bind-account", dest="what", action="store_const", const="account", help="the milter's identity"
    )
    what.add_argument("--acl", dest="what", action="store_const", const="acl", help="the access rules of one server")
    what.add_argument(
        "--install", dest="what", action="store_const", const="install", help="do it all on one server, and verify"
    )
    parser.add_argument(
        "--remove", action="store_true", help="take it away again (with --acl, --bind-account, --install)"
    )
    parser.add_argument("--remove-identity", action="store_true", help="with --install --remove: the identity as well")
    parser.add_argument("--dry-run", action="store_true", help="with --install: show what would be done")
    parser.add_argument(
        "--reset-password", action="store_true", help="with --install: give an identity that is there our password"
    )
    parser.add_argument("--milter-dn", metavar="DN", help="the milter's identity (default: [ldap] bind_dn)")
    parser.add_argument(
        "--cn-config",
        metavar="FILE",
        help="with --acl: an export of cn=config (slapcat -n0) instead of a server; - reads standard input",
    )
    ldap_root.add_options(parser)
    parser.set_defaults(verb=_schema, what="ldif")


_TAKES = {
    "remove": {"acl", "account", "install"},
    "remove_identity": {"install"},
    "dry_run": {"install"},
    "reset_password": {"install"},
    "cn_config": {"acl"},
    "milter_dn": {"acl", "account", "install"},
    "uri": {"acl", "install"},
    "root_dn": {"acl", "install"},
    "root_password_file": {"acl", "install"},
    "localconfig": {"acl", "install"},
}
"""Which form of the verb an option belongs to: one that would be ignored is refused."""


def _schema(options: argparse.Namespace) -> int:
    for name, forms in _TAKES.items():
        if getattr(options, name) and options.what not in forms:
            raise ConfigError(f"schema: --{name.replace('_', '-')} has no meaning here")
    if options.remove_identity and not options.remove:
        raise ConfigError("schema: --remove-identity goes with --install --remove")
    if options.what == "ldif":
        print(definition.text(), end="")
        return exit_status.FINE
    config = load(options.config)
    if options.what == "acl":
        return _acl(options, config)
    wanted = _wanted(options, config)
    if options.what == "account":
        return _account(options, wanted)
    with ldap_root.opened(options, config) as root:
        return _remove(options, root, wanted) if options.remove else _install(options, root, wanted, config)


def _wanted(options: argparse.Namespace, config: Config) -> Wanted:
    file = config.ldap.bind_password_file
    if file is None:
        raise ConfigError(f"{config.file}: [ldap] bind_password_file is empty: the identity needs a password")
    return Wanted(
        identity=options.milter_dn or config.ldap.bind_dn,
        password=read_secret(file, "[ldap] bind_password_file"),
        policy_attributes=config.policy.attributes(),
    )


def _account(options: argparse.Namespace, wanted: Wanted) -> int:
    if options.remove:
        print(account.removal(wanted.identity).ldif(), end="")
    else:
        print(account.identity(wanted.identity, wanted.password, secrets.token_bytes(_SALT_OCTETS)).ldif(), end="")
    return exit_status.FINE


# -- access rules ---------------------------------------------------------------------------


def _acl(options: argparse.Namespace, config: Config) -> int:
    identity = options.milter_dn or config.ldap.bind_dn
    if options.cn_config is None:
        with ldap_root.opened(options, config) as root:
            if options.remove:
                # A server can say whether anybody still carries policy: then what hides it stays.
                return _show(
                    root, installation.removal(root, identity, config.policy.attributes(), with_identity=False)
                )
            server = root.configuration()
    else:
        server = _exported(options)
    rights = installation.server_rights(server, identity, config.policy.attributes())
    if options.remove:
        changes, warnings = plan.access_removal(server), [plan.EXPOSED]
    else:
        changes, warnings = plan.access_changes(server, rights), list(rights.notes)
        if rights.own:
            warnings.append(plan.LOST_SCHEMA)
            if server.schema is None:
                warnings.append(
                    "The schema has to be loaded first (ldapmilter schema --ldif): slapd refuses these rules."
                )
    for warning in warnings:
        print(f"# {warning}")
    print(to_ldif(changes) if changes else f"# Nothing to change in {server.database}.\n", end="")
    return exit_status.FINE


def _exported(options: argparse.Namespace) -> cn_config.CnConfig:
    if options.uri or options.root_password_file:
        raise ConfigError("schema: --cn-config is an export: it goes without --uri and --root-password-file")
    try:
        text = sys.stdin.read() if options.cn_config == "-" else Path(options.cn_config).read_text(encoding="utf-8")
        return cn_config.read(ldif.parse(text))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--cn-config {options.cn_config}: {error}") from error


# -- on a server ----------------------------------------------------------------------------


def _install(options: argparse.Namespace, root: Server, wanted: Wanted, config: Config) -> int:
    def look() -> installation.Plan:
        return installation.installation(
            root, wanted, lambda: _opens(root, wanted, config), reset_password=options.reset_password
        )

    found = look()
    if options.dry_run:
        return _show(root, found)
    _carry_out(root, found)
    if found.rights.own:
        print(f"note  {plan.LOST_SCHEMA}")
    print("note  cn=config is not replicated: run this for every LDAP server of the site.")
    milter = _as_milter(root, wanted, config)
    try:
        findings = installation.verification(root, milter, found.rights, look().changes)
    finally:
        milter.close()
    return _tell(findings)


def _remove(options: argparse.Namespace, root: Server, wanted: Wanted) -> int:
    found = installation.removal(root, wanted.identity, wanted.policy_attributes, with_identity=options.remove_identity)
    if options.dry_run:
        return _show(root, found)
    _carry_out(root, found)
    return exit_status.FINE if found.whole else exit_status.PROBLEM


def _show(root: Server, found: installation.Plan) -> int:
    print(f"# {root.uri}: this would be done; nothing has been changed.")
    for note in found.notes:
        print(f"# {note}")
    print(to_ldif(found.changes, show_secrets=False) if found.changes else "# Nothing to change.\n", end="")
    return exit_status.FINE


def _carry_out(root: Server, found: installation.Plan) -> None:
    print(f"server {root.uri}")
    if not found.changes:
        print("same  nothing to change")
    try:
        installation.carry_out(root, found.changes, _told)
    except LdapmilterError as error:
        # What has happened is whole in itself: hidden first, opened and written later.
        error.args = (f"{error}; what is told above is done and may stay: mend this, and run it again",)
        raise
    for note in found.notes:
        print(f"note  {note}")


def _told(change: Change) -> None:
    print(f"done  {change.dn}: {change.title}")


def _tell(findings: list[Finding]) -> int:
    for finding in findings:
        print(f"FAIL  {finding.what}: {finding.problem}" if finding.problem else f"ok    {finding.what}")
    return exit_status.PROBLEM if any(finding.problem for finding in findings) else exit_status.FINE


def _as_milter(root: Server, wanted: Wanted, config: Config) -> Server:
    credentials = Credentials(dn=wanted.identity, password=wanted.password)
    return connect(root.uri, credentials, ldap_root.endpoints(config))


def _opens(root: Server, wanted: Wanted, config: Config) -> bool:
    try:
        _as_milter(root, wanted, config).close()
    except Refused:
        return False
    return True
