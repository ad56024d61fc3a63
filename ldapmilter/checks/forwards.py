"""Forwards and list members that are not addresses: who gets that mail is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.backend.filters import Or, Present
from ldapmilter.postfix.routing import read_values

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.reading import RawDirectory

ODD = Kind(
    code="forward-unreadable",
    severity=Severity.WARNING,
    area=Area.VALUES,
    meaning="A forward or a list member is not an address: who gets that mail is not known, so only the values of the"
    " domain and of the global config apply to it.",
    remedy="write one address, local@domain, in each value",
)
KINDS = (ODD,)

_ATTRIBUTES = ("zimbraMailForwardingAddress", "zimbraPrefMailForwardingAddress")


def check(directory: RawDirectory, report: Report) -> None:
    """Look at every forward and every member, as Postfix reads them.

    Raises:
        DirectoryUnavailable: no answer.
    """
    wanted = Or(tuple(Present(attribute) for attribute in _ATTRIBUTES))
    for raw in directory.pages(directory.base, wanted, _ATTRIBUTES):
        for attribute in _ATTRIBUTES:
            for value in read_values(raw.all(attribute.lower())).odd:
                report.add(ODD.found(f"{raw.dn}: {attribute} {value!r}"))
