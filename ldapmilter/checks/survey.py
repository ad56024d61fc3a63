"""All checks, one after the other: each area is looked at even when another one cannot be."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.checks import (
    configuration,
    copy_targets,
    forwards,
    identity_settings,
    ldap_servers,
    lists,
    log_rotation,
    mailing_lists,
    milter_socket,
    named_parties,
    other_milters,
    policy_values,
    postfix,
    registration,
    relay_domain,
    relay_files,
    relay_servers,
    relay_targets,
    reload,
    service_logins,
    visibility,
)
from ldapmilter.checks.finding import Area, Kind, Report, Severity
from ldapmilter.checks.reading import RawDirectory
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.opening import current_endpoints, ldap_settings, open_directory

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.checks.visibility import MailUser
    from ldapmilter.config import Config
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.zimbra import ZimbraDirectory

UNFINISHED = Kind(
    code="values-unanswered",
    severity=Severity.PROBLEM,
    area=Area.VALUES,
    meaning="The directory stopped answering before all policy values had been checked.",
    remedy="solve the findings about LDAP servers, and run the check again",
)
KINDS = (UNFINISHED,)

_PATIENCE = 300.0
"""Seconds for one page or batch of ``--directory``: no message waits for it."""


class CheckOptions(Struct, frozen=True, kw_only=True):
    """What an administrator asked to be looked at."""

    directory: bool = False
    """Every policy value in the directory."""
    mail_user: MailUser | None = None
    """An ordinary mail user whose view is tried."""
    postfix_directory: Path | None = None


def look_at_configuration(config: Config) -> Report:
    """Return whether the configuration can be used, and whether a reload would take it over; nothing else is asked.

    Raises:
        ConfigError: it names something that cannot be used.
    """
    report = Report()
    open_directory(config).close()  # the password, the directory in a file; no server is asked
    configuration.check_start(config, report)
    if not report.findings:
        report.fine(Area.CONFIGURATION, f"{config.file}: can be used")
    reload.check(config, report)
    return report


def look_around(config: Config, options: CheckOptions) -> Report:
    """Run every check and return what they found.

    Raises:
        ConfigError: the bind password, or the servers that the configuration names, cannot be used at all.
    """
    ldap_settings(config).read_password()
    report = Report()
    report.not_looked_for.update(kind.code for kind in reload.KINDS)
    if options.mail_user is None:
        report.not_looked_for.add(visibility.USER_REFUSED.code)
    configuration.check(config, report)
    log_rotation.check(config, report)
    milter_socket.check(config.milter.socket, report)
    milter_socket.check_daemon(config, report)
    registration.check_postjournal(config, report)
    delimiter = postfix.check(config, report, directory=options.postfix_directory)
    relay_files.check(config, report)
    other_milters.check(config, report, directory=options.postfix_directory)
    relay_servers.check(config, report, directory=options.postfix_directory)
    server = _servers(config, options, report)
    try:
        if config.ldap.embedded or server is not None:
            _directory(config, options, server, report, delimiter=delimiter)
    finally:
        if server is not None:
            server.close()
    return report


def _servers(config: Config, options: CheckOptions, report: Report) -> Connection | None:
    if config.ldap.embedded:
        return None
    settings, endpoints = ldap_settings(config), current_endpoints(config)
    return ldap_servers.check(
        settings, endpoints, report, mail_user=options.mail_user, now=time.time(), follows=config.ldap.follows
    )


def _directory(
    config: Config, options: CheckOptions, server: Connection | None, report: Report, *, delimiter: str | None
) -> None:
    patient = replace(config, ldap=replace(config.ldap, lookup_deadline=_PATIENCE))
    opened = open_directory(patient)
    raw_directory = RawDirectory(store=opened.store, server=server, base=config.ldap.search_base, seconds=_PATIENCE)
    try:
        try:
            identity_settings.check(raw_directory, config, report, delimiter=delimiter)
            mailing_lists.check_readable(raw_directory, config.policy, report)
            service_logins.check(opened.directory.for_message(), config, report)
            relay_domain.check(opened.directory.for_message(), config, report)
            registration.check(raw_directory, config, report)
            report.directory_asked = True
        except DirectoryUnavailable as error:
            report.directory_asked = False
            report.add(identity_settings.UNANSWERED.found(str(error)))
            return
        if not options.directory:
            return
        try:
            look_at_values(raw_directory, opened.directory, config, report)
        except DirectoryUnavailable as error:
            report.directory_asked = False
            report.add(UNFINISHED.found(str(error)))
    finally:
        opened.close()


def look_at_values(raw_directory: RawDirectory, directory: ZimbraDirectory, config: Config, report: Report) -> None:
    """Look at every policy value in the directory, and at what they lead to.

    Raises:
        DirectoryUnavailable: the directory stopped answering.
    """
    now = datetime.now(timezone.utc)
    before = len(report.findings)
    identity_settings.check_accounts(raw_directory, report)
    named = policy_values.scan(raw_directory, config.policy, report, today=now.date())
    copy_targets.check(named, raw_directory, directory, config.policy, report, now=now)
    relay_targets.check(named, config, report)
    named_parties.check(named, raw_directory, directory, report)
    forwards.check(raw_directory, report)
    lists.check(named, raw_directory, directory, config.groups, report, lookup_deadline=config.ldap.lookup_deadline)
    mailing_lists.check(raw_directory, directory, config.policy, report)
    report.figures["policy_values"] = named.values
    looked = f"{named.values} values on {named.holders} entries, {len(named.targets)} copy addresses"
    report.fine(Area.VALUES, looked + ("" if len(report.findings) > before else ": no findings"))
