"""The indexes that look-ups rely on: without one, every message makes slapd read the whole directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.ldap.indexed import indexed_attributes

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.directory.ldap.connection import Connection

_AREA = Area.LDAP

NEEDED = (
    "objectClass",
    "uid",
    "cn",
    "zimbraId",
    "zimbraMailDeliveryAddress",
    "zimbraMailAlias",
    "zimbraOldMailAddress",
    "zimbraMailCatchAllAddress",
    "zimbraMemberOf",
)
"""What the milter's searches are keyed by; Zimbra indexes all of them for equality."""

MISSING = Kind(
    code="ldap-index-missing",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Attributes that every look-up uses have no equality index: look-ups are slow, and slower as the site"
    " grows.",
    remedy="add olcDbIndex: $attribute eq to the mail database of that server; slapd builds it while it runs",
)
UNSEEN = Kind(
    code="ldap-indexes-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Indexes could not be checked: the bind identity may not read cn=config, as is usual.",
    remedy="on the LDAP server: ldapsearch -Q -Y EXTERNAL -H ldapi:/// -b cn=config '(olcSuffix=*)' olcDbIndex",
)

KINDS = (MISSING, UNSEEN)


def check(server: Connection, report: Report) -> None:
    """Look at the indexes of the mail database, which is the one whose suffix is empty."""
    indexed = indexed_attributes(server)
    if indexed is None:
        report.add(UNSEEN.found(f"{server.uri}: cn=config cannot be read"))
        return
    missing = [name for name in NEEDED if name.lower() not in indexed]
    if missing:
        text = f"{server.uri}: no equality index on {', '.join(missing)}"
        report.add(MISSING.found(text, attribute=",".join(missing)))
    else:
        report.fine(_AREA, f"{server.uri}: all indexes that look-ups need")
