"""Mailboxes that get copies and answer by themselves: the author learns of the copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.reading import read_again

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Uses
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.model import Entry

_AREA = Area.VALUES

REPLIES = Kind(
    code="target-replies",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A mailbox that gets copies sends automatic replies: the author learns of the copy, and which mailbox has"
    " it.",
    remedy="zmprov ma $address zimbraPrefOutOfOfficeReplyEnabled FALSE zimbraPrefNewMailNotificationEnabled FALSE",
)
REPLIES_UNSEEN = Kind(
    code="target-replies-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Whether mailboxes that get copies send automatic replies could not be checked.",
    remedy="let the bind identity read $attributes, or look with zmprov ga",
)

KINDS = (REPLIES, REPLIES_UNSEEN)

READS = (
    "zimbraPrefOutOfOfficeReplyEnabled",
    "zimbraPrefOutOfOfficeUntilDate",
    "zimbraPrefNewMailNotificationEnabled",
)


def check(
    accounts: Mapping[str, tuple[Entry, Uses]], raw_directory: RawDirectory, report: Report, *, now: datetime
) -> None:
    """Look for automatic replies of accounts that copies go to, now or later.

    Args:
        accounts: by DN, with what names them.
        raw_directory: where to look.
        report: what to add to.
        now: UTC.

    Raises:
        DirectoryUnavailable: no answer.
    """
    if not accounts:
        return
    hidden = raw_directory.hidden(next(iter(accounts)), READS)
    if hidden:
        report.add(REPLIES_UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    for raw in read_again(accounts, raw_directory, READS):
        if how := _answers(raw, now):
            entry, uses = accounts[raw.dn]
            report.add(REPLIES.found(f"{entry.name} {how}: {uses}", address=entry.name))


def _answers(raw: RawEntry, now: datetime) -> str | None:
    """Return how a mailbox answers by itself now or later; ``None``: it does not."""
    if raw.is_true("zimbraprefnewmailnotificationenabled"):
        return "sends notices of new mail"
    if not raw.is_true("zimbraprefoutofofficereplyenabled"):
        return None
    until = raw.first("zimbraprefoutofofficeuntildate")
    if until is not None and until[:14] < now.strftime("%Y%m%d%H%M%S"):
        return None
    return "has an out-of-office reply"
