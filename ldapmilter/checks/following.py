"""Can changes of the directory be followed? Of every server for itself: rights and indexes are not replicated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.ldap import followable

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.directory.ldap.connection import Connection

_AREA = Area.LDAP

HIDDEN = Kind(
    code="ldap-changes-hidden",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The bind identity may not read what tells which entries have changed: while this server is asked, a change"
    " acts within `[cache] ttl` or after a flush, not within seconds.",
    remedy="bring the access rule up to date on this server (ldapmilter schema --acl), or set [ldap] follow_changes"
    " = no; cn=config is not replicated",
)
UNINDEXED = Kind(
    code="ldap-changes-unindexed",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Changes could be followed only by reading all entries every second, since `entryCSN` has no index: they"
    " are not, and act within `[cache] ttl` or after a flush.",
    remedy="add olcDbIndex: entryCSN eq to the mail database of that server (Zimbra has it); slapd builds it while it"
    " runs",
)

KINDS = (HIDDEN, UNINDEXED)


def check(server: Connection, report: Report) -> None:
    """Look whether the changes of one server can be followed."""
    if names := followable.hidden(server):
        report.add(HIDDEN.found(f"{server.uri}: {' and '.join(names)} may not be read"))
    elif followable.is_unindexed(server, time.monotonic):
        report.add(UNINDEXED.found(f"{server.uri}: no index on entryCSN"))
    else:
        report.fine(_AREA, f"{server.uri}: changes can be followed")
