"""Do the LDAP servers hold the same data? By ``contextCSN``, the last change that each of them knows.

OpenLDAP keeps one per originating server (RFC 4533 leaves the form to the implementation):
``20260615120000.123456Z#000000#001#000000``, the third field being the originator.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.backend.filters import Present

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.checks.finding import Report
    from ldapmilter.directory.ldap.connection import Connection

_AREA = Area.LDAP
PATIENCE_SECONDS = 60
"""How long a change may be under way before a server counts as behind."""
_FIELDS = 4

LAGS = Kind(
    code="ldap-replica-lags",
    severity=Severity.WARNING,
    area=_AREA,
    meaning=f"A server lacks changes that are older than {PATIENCE_SECONDS} seconds: mail may be decided by old"
    " policy.",
    remedy="look at replication on that server (Zimbra: /opt/zimbra/libexec/zmreplchk)",
)
LAG_UNKNOWN = Kind(
    code="ldap-replica-lag-unknown",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Servers do not tell how recent their data is (no `contextCSN`), so whether one lags is not known.",
    remedy="if they replicate each other, look at the syncprov overlay of that server",
)

KINDS = (LAGS, LAG_UNKNOWN)


def read_change_numbers(server: Connection) -> dict[str, str]:
    """Return the last change that a server knows, by originating server; nothing when it does not tell."""
    numbers: dict[str, str] = {}
    for entry in server.search("", "base", Present("objectClass"), ("contextCSN",)):
        for value in entry.all("contextcsn"):
            fields = value.split("#")
            if len(fields) == _FIELDS:
                numbers[fields[2]] = max(value, numbers.get(fields[2], ""))
    return numbers


def compare_replicas(numbers: Mapping[str, Mapping[str, str]], report: Report, *, now: float) -> None:
    """Report every server that lacks a change which another one has had for a while.

    Args:
        numbers: by URI, the last change by originating server.
        report: what to add to.
        now: seconds since the epoch.
    """
    if len(numbers) < 2:  # noqa: PLR2004 - a single server cannot lag
        return
    silent = sorted(uri for uri, known in numbers.items() if not known)
    if silent:
        report.add(LAG_UNKNOWN.found(f"{', '.join(silent)}: no contextCSN"))
    newest: dict[str, str] = {}
    for known in numbers.values():
        for originator, number in known.items():
            newest[originator] = max(number, newest.get(originator, ""))
    behind = False
    for uri, known in numbers.items():
        if uri in silent:
            continue
        overdue = {
            originator: age
            for originator, number in newest.items()
            if known.get(originator, "") < number and (age := now - _moment(number)) > PATIENCE_SECONDS
        }
        if overdue:
            behind = True
            text = f"{uri}: lacks changes that another server has had for {max(overdue.values()):.0f} seconds"
            report.add(LAGS.found(text))
    if not silent and not behind:
        report.fine(_AREA, f"{len(numbers)} servers hold the same data (contextCSN)")


def _moment(number: str) -> float:
    """Return when a change was made, in seconds since the epoch."""
    made = datetime.strptime(number[:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    return made.timestamp()
