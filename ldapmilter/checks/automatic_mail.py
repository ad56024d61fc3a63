"""How mailbox servers send what no person writes: replies and redirects with the wrong envelope sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.names import GLOBAL_CONFIG_DN, ZIMBRA_BASE

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.reading import RawDirectory

_AREA = Area.IDENTITY

NULL_SENDER = Kind(
    code="identity-automatic-null-sender",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`zimbraAutoSubmittedNullReturnPath` is TRUE: automatic replies of the mailbox servers have the null"
    " sender, so they have no identity, and no copy of them as mail sent is made.",
    remedy="zmprov mcf zimbraAutoSubmittedNullReturnPath FALSE, or accept it",
)
REDIRECT = Kind(
    code="identity-redirect-sender",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="`zimbraMailRedirectSetEnvelopeSender` is FALSE: mail that a user's filter redirects takes its envelope"
    " sender from its header, so whoever forges a From decides whose policy applies.",
    remedy="zmprov $command zimbraMailRedirectSetEnvelopeSender TRUE",
)

KINDS = (NULL_SENDER, REDIRECT)

_NULL_SENDER, _REDIRECT = "zimbraAutoSubmittedNullReturnPath", "zimbraMailRedirectSetEnvelopeSender"
READS = (_NULL_SENDER, _REDIRECT)


def hidden(raw_directory: RawDirectory) -> tuple[str, ...]:
    """Return what may not be read of it.

    Raises:
        DirectoryUnavailable: no answer.
    """
    return raw_directory.hidden(GLOBAL_CONFIG_DN, READS)


def check(raw_directory: RawDirectory, report: Report) -> None:
    """Look at the global config and the mailbox servers, each of which has its own setting or the global one.

    Raises:
        DirectoryUnavailable: no answer.
    """
    general = raw_directory.search(GLOBAL_CONFIG_DN, "base", Equal("objectClass", "zimbraGlobalConfig"), ("cn", *READS))
    for config in general:
        if config.is_true(_NULL_SENDER.lower()):
            report.add(NULL_SENDER.found(f"global config: {_NULL_SENDER} TRUE"))
    by_default = any(config.is_false(_REDIRECT.lower()) for config in general)
    servers = raw_directory.search(ZIMBRA_BASE, "sub", Equal("zimbraServiceEnabled", "mailbox"), ("cn", _REDIRECT))
    followers = [server for server in servers if server.first(_REDIRECT.lower()) is None]
    if by_default and (followers or not servers):
        report.add(REDIRECT.found(f"global config: {_REDIRECT} FALSE", command="mcf"))
    for server in servers:
        if server.is_false(_REDIRECT.lower()):
            name = server.first("cn") or server.dn
            report.add(REDIRECT.found(f"server {name}: {_REDIRECT} FALSE", command=f"ms {name}"))
