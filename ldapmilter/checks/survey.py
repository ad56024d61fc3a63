"""All checks, one after the other: each area is looked at even when another one cannot be."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ldapmilter.checks import (
    configuration,
    copy_targets,
    identity_settings,
    ldap_servers,
    lists,
    milter_socket,
    named_parties,
    policy_values,
    postfix,
    registration,
)
from ldapmilter.checks.finding import Area, Kind, Report, Severity
from ldapmilter.checks.sight import Sight
from ldapmilter.directory.opening import current_endpoints, is_embedded, ldap_settings, open_directory
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.checks.visibility import Somebody
    from ldapmilter.config import Config
    from ldapmilter.directory.one_server import OneServer
    from ldapmilter.directory.zimbra import ZimbraDirectory

UNFINISHED = Kind(
    code="values-unanswered",
    severity=Severity.PROBLEM,
    area=Area.VALUES,
    meaning="The directory stopped answering before all policy values had been looked at.",
    remedy="mend what is said of the LDAP servers and run the check again",
)
KINDS = (UNFINISHED,)

_PATIENCE = 300.0
"""Seconds for one page or batch of ``--directory``: nobody's mail waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What an administrator asked to be looked at."""

    directory: bool = False
    """Every policy value in the directory."""
    somebody: Somebody | None = None
    """An ordinary mail user whose view is tried."""
    postfix_directory: Path | None = None


def look_around(config: Config, wishes: Wishes) -> Report:
    """Run every check and return what they found.

    Raises:
        ConfigError: the servers that the configuration names cannot be used at all.
    """
    report = Report()
    configuration.check(config, report)
    milter_socket.check(config.milter.socket, report)
    registration.check_postjournal(config, report)
    delimiter = postfix.check(config, report, directory=wishes.postfix_directory)
    server = _servers(config, wishes, report)
    try:
        if is_embedded(config) or server is not None:
            _directory(config, wishes, server, report, delimiter=delimiter)
    finally:
        if server is not None:
            server.close()
    return report


def _servers(config: Config, wishes: Wishes, report: Report) -> OneServer | None:
    if is_embedded(config):
        return None
    settings, endpoints = ldap_settings(config), current_endpoints(config)
    return ldap_servers.check(settings, endpoints, report, somebody=wishes.somebody, now=time.time())


def _directory(
    config: Config, wishes: Wishes, server: OneServer | None, report: Report, *, delimiter: str | None
) -> None:
    patient = replace(config, ldap=replace(config.ldap, lookup_deadline=_PATIENCE))
    opened = open_directory(patient)
    sight = Sight(store=opened.store, server=server, base=config.ldap.search_base, seconds=_PATIENCE)
    try:
        try:
            identity_settings.check(sight, config, report, delimiter=delimiter)
            registration.check(sight, config, report)
            report.directory_asked = True
        except DirectoryUnavailable as error:
            report.directory_asked = False
            report.add(identity_settings.UNANSWERED.found(str(error)))
            return
        if not wishes.directory:
            return
        try:
            look_at_values(sight, opened.directory, config, report)
        except DirectoryUnavailable as error:
            report.directory_asked = False
            report.add(UNFINISHED.found(str(error)))
    finally:
        opened.close()


def look_at_values(sight: Sight, directory: ZimbraDirectory, config: Config, report: Report) -> None:
    """Look at every policy value in the directory, and at what they lead to.

    Raises:
        DirectoryUnavailable: the directory stopped answering.
    """
    now = datetime.now(timezone.utc)
    before = len(report.findings)
    identity_settings.check_accounts(sight, report)
    named = policy_values.scan(sight, config.policy, report, today=now.date())
    copy_targets.check(named, sight, directory, config.policy, report, now=now)
    named_parties.check(named, sight, directory, report)
    lists.check(named, sight, directory, config.groups, report)
    report.figures["policy_values"] = named.values
    looked = f"{named.values} values on {named.holders} entries, {len(named.targets)} copy addresses"
    report.fine(Area.VALUES, looked + ("" if len(report.findings) > before else ": nothing to say"))
