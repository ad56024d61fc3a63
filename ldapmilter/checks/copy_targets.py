"""Where copies go: whether the address exists, and what arrives there stays there, in silence."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry
from ldapmilter.directory.filters import And, Equal, Present, any_of
from ldapmilter.directory.loading import CHUNK
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.copies import Subject, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from ldapmilter.address import Address
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.policy_values import Named, Uses
    from ldapmilter.checks.sight import Sight
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.zimbra import ZimbraDirectory
    from ldapmilter.policy.model import Policy

_AREA = Area.VALUES

MISSING = Kind(
    code="target-missing",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A copy goes to an address in a hosted domain that nobody has: the value is invalid and never used.",
    remedy="make the mailbox, or correct the address",
)
FOREIGN = Kind(
    code="target-foreign",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Copies leave for a domain that this directory does not host; whether the address exists cannot be known"
    " here.",
    remedy="make sure that the domain is spelled right and belongs to whoever keeps your copies",
)
COPIED = Kind(
    code="target-copied",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A mailbox that gets copies is itself copied: mail addressed to it directly is kept twice, or goes on"
    " elsewhere.",
    remedy="set the value none on it where its COS, domain or the global config copies it",
)
FORWARDS = Kind(
    code="target-forwards",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A mailbox that gets copies forwards them: the copies leave the place that was meant to keep them.",
    remedy="remove its forwarding (zimbraPrefMailForwardingAddress, zimbraMailForwardingAddress)",
)
IS_LIST = Kind(
    code="target-list",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Copies go to a list: every member gets them, and whoever manages the list decides who reads them.",
    remedy="make sure that the list's members and owners are meant to read copies",
)
REPLIES = Kind(
    code="target-replies",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A mailbox that gets copies answers by itself: the author learns that there is a copy, and from whom.",
    remedy="zmprov ma $address zimbraPrefOutOfOfficeReplyEnabled FALSE zimbraPrefNewMailNotificationEnabled FALSE",
)
REPLIES_UNSEEN = Kind(
    code="target-replies-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Whether mailboxes that get copies answer by themselves could not be looked at.",
    remedy="let the bind identity read $attributes, or look with zmprov ga",
)

KINDS = (MISSING, FOREIGN, COPIED, FORWARDS, IS_LIST, REPLIES, REPLIES_UNSEEN)

READS = (
    "zimbraPrefOutOfOfficeReplyEnabled",
    "zimbraPrefOutOfOfficeUntilDate",
    "zimbraPrefNewMailNotificationEnabled",
)
_FORWARDS = ("zimbraprefmailforwardingaddress", "zimbramailforwardingaddress")


def check(
    named: Named, sight: Sight, directory: ZimbraDirectory, policy: Policy, report: Report, *, now: datetime
) -> None:
    """Look every copy address up.

    Args:
        named: what the values name; addresses made from placeholders are added to it.
        sight: where to look.
        directory: resolves as delivery does.
        policy: the copy classes.
        report: what to add to.
        now: UTC.

    Raises:
        DirectoryUnavailable: no answer.
    """
    if named.templates:
        _fill_templates(named, sight, directory)
    foreign: dict[str, int] = defaultdict(int)
    accounts: dict[str, tuple[Entry, Uses]] = {}
    for chunk in _chunks(list(named.targets.values())):
        view = directory.for_message()
        resolved = view.resolve([address for address, _ in chunk])
        found: dict[str, tuple[Entry, Uses]] = {}
        for address, uses in chunk:
            resolution = resolved[address.key]
            if resolution.hosted_domain is None:
                foreign[address.domain] += 1
            elif not resolution.entries:
                report.add(MISSING.found(f"{address} does not exist: {uses}"))
            for entry in resolution.entries:
                found[entry.dn] = (entry, uses)
        _behind(found, report)
        _copied(found, view, policy, report, now=now)
        accounts.update((dn, pair) for dn, pair in found.items() if pair[0].kind == "account")
    for domain, count in sorted(foreign.items()):
        addresses = "1 address" if count == 1 else f"{count} addresses"
        report.add(FOREIGN.found(f"{domain}: {addresses}"))
    _replying(accounts, sight, report, now=now)


def _chunks(items: Sequence[tuple[Address, Uses]]) -> Iterator[Sequence[tuple[Address, Uses]]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _fill_templates(named: Named, sight: Sight, directory: ZimbraDirectory) -> None:
    """Add the addresses that ``{localpart}`` and ``{domain}`` make, for the accounts that they apply to.

    Outside hosted domains one address stands for all of a domain: nothing can be looked up there.
    """
    wanted = And((Equal("objectClass", "zimbraAccount"), Present("zimbraMailDeliveryAddress")))
    accounts: list[Entry] = []
    for raw in sight.pages(sight.base, wanted, ENTRY_ATTRIBUTES):
        account = read_entry(raw)
        if account is not None:
            accounts.append(account)
        if len(accounts) == CHUNK:
            _fill(accounts, named, directory)
            accounts = []
    _fill(accounts, named, directory)


def _fill(accounts: Sequence[Entry], named: Named, directory: ZimbraDirectory) -> None:
    view = directory.for_message()
    for account, chain in zip(accounts, view.chains(accounts).values(), strict=True):
        above = {holder.dn for holder in chain}
        for rule, uses, holders in named.templates.values():
            if above.isdisjoint(holders):
                continue
            try:
                target = rule.address_for(account.name)
            except InvalidValue:
                continue  # a name with which the address is none: the decision about its mail says so
            key = target.key if view.hosts(target.domain) else f"@{target.domain}"
            named.targets.setdefault(key, (target, uses))


def _behind(found: Mapping[str, tuple[Entry, Uses]], report: Report) -> None:
    """Who else gets what arrives there: members of a list, the target of a forward."""
    for entry, uses in found.values():
        if entry.kind == "group":
            report.add(IS_LIST.found(f"{entry.name} is a list: {uses}"))
            continue
        forwards = [value for attribute in _FORWARDS for value in entry.raw.all(attribute)]
        if forwards:
            report.add(FORWARDS.found(f"{entry.name} forwards to {', '.join(forwards)}: {uses}"))


def _copied(
    found: Mapping[str, tuple[Entry, Uses]], view: Directory, policy: Policy, report: Report, *, now: datetime
) -> None:
    """Whether mail to the mailbox itself is copied: its chain asks for received copies."""
    entries = [entry for entry, _ in found.values() if entry.kind == "account"]
    subjects = {
        dn: [Subject(direction="received", chain=chain, account=found[dn][0].name, recipient=found[dn][0].name.text)]
        for dn, chain in view.chains(entries).items()
    }
    for dn, asked in ask(subjects, policy.copy_classes, now.date(), view).items():
        entry, uses = found[dn]
        others = sorted({one.address.text for one in asked.asks if one.address.key not in entry.addresses})
        if others:
            report.add(COPIED.found(f"{entry.name} is copied to {', '.join(others)}: {uses}"))


def _replying(accounts: Mapping[str, tuple[Entry, Uses]], sight: Sight, report: Report, *, now: datetime) -> None:
    if not accounts:
        return
    hidden = sight.hidden(next(iter(accounts)), READS)
    if hidden:
        report.add(REPLIES_UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    dns = list(accounts)
    for start in range(0, len(dns), CHUNK):
        chunk = dns[start : start + CHUNK]
        ids = [zimbra_id for dn in chunk for zimbra_id in accounts[dn][0].raw.all("zimbraid")]
        for raw in sight.search(sight.base, "sub", any_of("zimbraId", ids), ("zimbraId", *READS)):
            if raw.dn in accounts and (how := _answers(raw, now)):
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
