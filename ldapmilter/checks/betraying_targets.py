"""Whether confidential copies come to the very person whose mail is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.groups import has_members
from ldapmilter.policy.copy_requests import Subject, requested_copies

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Uses
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.settings import Policy

BETRAYS = Kind(
    code="target-betrays",
    severity=Severity.PROBLEM,
    area=Area.VALUES,
    meaning="Copies of a confidential class go to a list, or to an account that forwards, and come from there to the"
    " very person whose mail is copied: they learn of it.",
    remedy="send these copies to a mailbox of its own, or take $address out of the list or the forward",
)

KINDS = (BETRAYS,)


def check(
    found: Mapping[str, tuple[Entry, Uses]], view: Directory, policy: Policy, report: Report, *, now: datetime
) -> None:
    """Look for those who are copied to an address, by a confidential class, and get what arrives there.

    Args:
        found: the entries that copies go to, by DN.
        view: where lists, forwards and chains are looked up.
        policy: the copy classes.
        report: what to add to.
        now: UTC.

    Raises:
        DirectoryUnavailable: no answer.
    """
    secret = [copy_class for copy_class in policy.copy_classes if copy_class.confidential]
    leading = [entry for entry, _ in found.values() if has_members(entry)]
    expansions = view.expand(leading) if secret and leading else {}
    reached = {
        dn: {entry.dn: entry for member in expansion.members for entry in member.resolution.entries}
        for dn, expansion in expansions.items()
    }
    people = {dn: entry for behind in reached.values() for dn, entry in behind.items()}
    chains = view.chains(people.values()) if people else {}
    directions: tuple[Direction, ...] = ("sent", "received")
    subjects = {
        dn: [
            Subject(direction=direction, chain=chains[dn], account=entry.name if entry.kind == "account" else None)
            for direction in (directions if entry.kind == "account" else directions[1:])
        ]
        for dn, entry in people.items()
    }
    asked = requested_copies(subjects, secret, now.date(), view)
    for target, behind in reached.items():
        for dn, person in behind.items():
            for one in asked[dn].requests:
                if f"dn:{target}" in one.keys:
                    value = one.reasons[0]
                    text = f"{person.name} gets what arrives at {one.address}, and is copied there"
                    text += f" (class {one.copy_class}, {one.direction}): {value.attribute} at {value.dn}"
                    report.add(BETRAYS.found(text, address=person.name))
