"""``ldapmilter schema``: what a slapd has to be told, as LDIF; ``--install`` tells it and looks whether it holds."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.cli import exit_status, ldap_root
from ldapmilter.config import bind_password, load
from ldapmilter.directory.backend import ldif
from ldapmilter.directory.ldap.exchange import Credentials, Refused
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.files import why
from ldapmilter.plain import plain
from ldapmilter.schema import account, cn_config, definition, installation, plan, policy_removal
from ldapmilter.schema.change import to_ldif
from ldapmilter.schema.installation import Wanted
from ldapmilter.schema.server import apply, configuration, connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ldapmilter.config import Config
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.schema.change import Change
    from ldapmilter.schema.verify import Trial

_SALT_OCTETS = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
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
    parser.add_argument(
        "--remove-policy",
        action="store_true",
        help="with --install: instead, take all policy of ours off every entry of the directory",
    )
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
    parser.set_defaults(what="ldif")


_FORMS = {"install": "--install", "acl": "--acl", "account": "--bind-account"}
_TAKES = {
    "remove": ("install", "acl", "account"),
    "remove_identity": ("install",),
    "remove_policy": ("install",),
    "dry_run": ("install",),
    "reset_password": ("install",),
    "cn_config": ("acl",),
    "milter_dn": ("install", "acl", "account"),
    "uri": ("install", "acl"),
    "root_dn": ("install", "acl"),
    "root_password_file": ("install", "acl"),
    "localconfig": ("install", "acl"),
}
"""Which form of the verb an option belongs to: one that would be ignored is refused."""


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    for name, forms in _TAKES.items():
        if getattr(options, name) and options.what not in forms:
            wanted = " or ".join(_FORMS[form] for form in forms)
            raise ConfigError(f"schema: --{name.replace('_', '-')} goes with {wanted}")
    if options.remove_identity and not options.remove:
        raise ConfigError("schema: --remove-identity goes with --install --remove")
    if options.remove_policy and (options.remove or options.reset_password):
        raise ConfigError("schema: --remove-policy goes by itself, before --remove")
    if options.what == "ldif":
        print(definition.text(), end="")
        return exit_status.FINE
    config = load(options.config)
    if options.what == "acl":
        return _acl(options, config)
    if options.what == "account":
        return _account(options, config)
    with ldap_root.opened(options, config) as root:
        if options.remove_policy:
            return _remove_policy(options, root)
        return _remove(options, root, config) if options.remove else _install(options, root, config)


def _identity(options: argparse.Namespace, config: Config) -> str:
    return str(options.milter_dn or config.ldap.bind_dn)


def _wanted(options: argparse.Namespace, config: Config) -> Wanted:
    if config.ldap.bind_password_file is None:
        raise ConfigError(f"{config.file}: [ldap] bind_password_file is empty: the identity needs a password")
    return Wanted(
        identity=_identity(options, config),
        password=bind_password(config),
        policy_attributes=config.policy.secret_attributes(),
        list_attributes=config.policy.lists.attributes(),
    )


def _account(options: argparse.Namespace, config: Config) -> int:
    if options.remove:
        print(account.removal(_identity(options, config)).ldif(), end="")
        return exit_status.FINE
    wanted = _wanted(options, config)
    print(account.identity(wanted.identity, wanted.password, secrets.token_bytes(_SALT_OCTETS)).ldif(), end="")
    return exit_status.FINE


# -- access rules ---------------------------------------------------------------------------


def _acl(options: argparse.Namespace, config: Config) -> int:
    identity = _identity(options, config)
    if options.cn_config is None:
        with ldap_root.opened(options, config) as root:
            if options.remove:
                # A server can say whether anybody still carries policy: then what hides it stays.
                found = installation.removal(root, identity, config.policy.secret_attributes(), with_identity=False)
                return _show(root, found.changes, found.notes)
            server = configuration(root)
    else:
        server = _exported(options)
    policy = config.policy
    rights = installation.server_rights(server, identity, policy.secret_attributes(), policy.lists.attributes())
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
            elif _is_older(server):
                warnings.append(
                    "The schema of this server is older: bring it up to date first (ldapmilter schema --install):"
                    " slapd refuses these rules."
                )
    for warning in warnings:
        print(f"# {plain(str(warning))}")
    print(to_ldif(changes) if changes else f"# Nothing to change in {server.database}.\n", end="")
    return exit_status.FINE


def _is_older(server: cn_config.CnConfig) -> bool:
    try:
        return bool(plan.schema_changes(server))
    except definition.SchemaConflict:
        return False


def _exported(options: argparse.Namespace) -> cn_config.CnConfig:
    if options.uri or options.root_password_file:
        raise ConfigError("schema: --cn-config is an export: it goes without --uri and --root-password-file")
    try:
        text = sys.stdin.read() if options.cn_config == "-" else Path(options.cn_config).read_text(encoding="utf-8")
        return cn_config.read(ldif.parse(text))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--cn-config {options.cn_config}: {why(error)}") from error


# -- on a server ----------------------------------------------------------------------------


def _install(options: argparse.Namespace, root: Connection, config: Config) -> int:
    wanted = _wanted(options, config)

    def look() -> installation.Plan:
        return installation.installation(
            root, wanted, lambda: _opens(root, wanted, config), reset_password=options.reset_password
        )

    found = look()
    if options.dry_run:
        return _show(root, found.changes, found.notes)
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


def _remove_policy(options: argparse.Namespace, root: Connection) -> int:
    if options.dry_run:
        return _show(root, policy_removal.every_change(root))
    print(f"server {root.uri}")
    removed = 0
    for change in policy_removal.changes(root):
        apply(root, change)
        _told(change)
        removed += 1
    print(f"{removed} entries carried policy or its class" if removed else "same  no entry carries policy or its class")
    return exit_status.FINE


def _remove(options: argparse.Namespace, root: Connection, config: Config) -> int:
    found = installation.removal(
        root, _identity(options, config), config.policy.secret_attributes(), with_identity=options.remove_identity
    )
    if options.dry_run:
        return _show(root, found.changes, found.notes)
    _carry_out(root, found)
    return exit_status.FINE if found.whole else exit_status.PROBLEM


def _show(root: Connection, changes: Sequence[Change], notes: Sequence[str] = ()) -> int:
    print(f"# {root.uri}: this would be done; nothing has been changed.")
    for note in notes:
        print(f"# {note}")
    print(to_ldif(changes, show_secrets=False) if changes else "# Nothing to change.\n", end="")
    return exit_status.FINE


def _carry_out(root: Connection, found: installation.Plan) -> None:
    print(f"server {root.uri}")
    if not found.changes:
        print("same  nothing to change")
    try:
        installation.carry_out(root, found.changes, _told)
    except LdapmilterError as error:
        # What has happened is whole in itself: hidden first, opened and written later.
        error.args = (f"{error}; what is told above is done and may stay: correct this, and run it again",)
        raise
    for note in found.notes:
        print(f"note  {note}")


def _told(change: Change) -> None:
    print(f"done  {plain(change.dn)}: {plain(change.title)}")


def _tell(findings: list[Trial]) -> int:
    for finding in findings:
        print(plain(f"FAIL  {finding.what}: {finding.problem}" if finding.problem else f"ok    {finding.what}"))
    return exit_status.PROBLEM if any(finding.problem for finding in findings) else exit_status.FINE


def _as_milter(root: Connection, wanted: Wanted, config: Config) -> Connection:
    credentials = Credentials(dn=wanted.identity, password=wanted.password)
    return connect(root.uri, credentials, ldap_root.endpoints(config))


def _opens(root: Connection, wanted: Wanted, config: Config) -> bool:
    try:
        _as_milter(root, wanted, config).close()
    except Refused:
        return False
    return True
