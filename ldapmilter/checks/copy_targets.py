"""Where copies go: whether the address exists, and what arrives there stays there, in silence."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ldapmilter.checks import betraying_targets, replying_targets
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.policy_values import INVALID
from ldapmilter.checks.reading import entries_of, read_again
from ldapmilter.chunks import chunks
from ldapmilter.directory.backend.filters import And, Equal, Present
from ldapmilter.directory.backend.names import POLICY_CLASS, is_ours
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES
from ldapmilter.directory.searches import CHUNK
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.copy_requests import Subject, requested_copies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Named, Uses
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.zimbra import ZimbraDirectory
    from ldapmilter.policy.copy_requests import CopyRequest
    from ldapmilter.policy.settings import Policy

_AREA = Area.VALUES

MISSING = Kind(
    code="target-missing",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A copy goes to an address that does not exist in a domain hosted here: the value is invalid and never"
    " used.",
    remedy="create the mailbox, or correct the address",
)
FOREIGN = Kind(
    code="target-foreign",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Copies go to a domain that this directory does not host; whether the address exists cannot be checked"
    " here.",
    remedy="make sure that the domain is spelled right and belongs to the operator of your archive",
)
COPIED = Kind(
    code="target-copied",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A mailbox that gets copies is itself copied: mail addressed to it directly is kept twice, or goes on"
    " elsewhere.",
    remedy="zmprov ma $address $change; none ends what its COS, domain or the global config says",
)
HELD = Kind(
    code="target-copied-union",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="A mailbox that gets copies is itself copied by a class whose levels add up (`inherit = union`), which is"
    " what that is for: mail addressed to it directly is copied, too, and no `none` ends that.",
    remedy="nothing, if that is meant; else set the value where $address does not belong to it: on the COS of those"
    " whom it is about, or on a list with ldapMilterAppliesToMembers",
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
    meaning="Copies go to a list: every member gets them, and the list's owners decide who reads them.",
    remedy="make sure that the list's members and owners are meant to read copies",
)
RESTRICTED = Kind(
    code="target-restricted",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Copies go to a list that only some may write to. Zimbra's own milter refuses other senders who address"
    " the list directly, which tells them that it exists. Their copies are made.",
    remedy="send copies to a mailbox, or revoke the right: zmprov rvr dl $address GRANTEE sendToDistList",
)
RESTRICTED_UNSEEN = Kind(
    code="target-restricted-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Who may write to the lists that get copies could not be checked.",
    remedy="let the bind identity read $attributes, or look with zmprov gdl",
)
KINDS = (MISSING, FOREIGN, COPIED, HELD, FORWARDS, IS_LIST, RESTRICTED, RESTRICTED_UNSEEN)

_GRANTS = "zimbraACE"
_RIGHT_TO_WRITE = "sendtodistlist"
_FORWARDS = ("zimbraprefmailforwardingaddress", "zimbramailforwardingaddress")


def check(
    named: Named,
    raw_directory: RawDirectory,
    directory: ZimbraDirectory,
    policy: Policy,
    report: Report,
    *,
    now: datetime,
) -> None:
    """Look every copy address up.

    Args:
        named: what the values name; addresses made from placeholders are added to it.
        raw_directory: where to look.
        directory: resolves as delivery does.
        policy: the copy classes.
        report: what to add to.
        now: UTC.

    Raises:
        DirectoryUnavailable: no answer.
    """
    if named.templates:
        _fill_templates(named, raw_directory, directory, report)
    foreign: dict[str, int] = defaultdict(int)
    accounts: dict[str, tuple[Entry, Uses]] = {}
    groups: dict[str, tuple[Entry, Uses]] = {}
    for chunk in chunks(named.targets.values(), CHUNK):
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
        betraying_targets.check(found, view, policy, report, now=now)
        _copied(found, view, policy, report, now=now)
        accounts.update((dn, pair) for dn, pair in found.items() if pair[0].kind == "account")
        groups.update((dn, pair) for dn, pair in found.items() if pair[0].kind == "group")
    for domain, count in sorted(foreign.items()):
        addresses = "1 address" if count == 1 else f"{count} addresses"
        report.add(FOREIGN.found(f"{domain}: {addresses}"))
    _restricted(groups, raw_directory, report)
    replying_targets.check(accounts, raw_directory, report, now=now)


def _fill_templates(named: Named, raw_directory: RawDirectory, directory: ZimbraDirectory, report: Report) -> None:
    """Add the addresses that ``{localpart}`` and ``{domain}`` make, for the accounts that they apply to.

    Outside hosted domains one address stands for all of a domain: nothing can be looked up there.
    """
    wanted = And((Equal("objectClass", "zimbraAccount"), Present("zimbraMailDeliveryAddress")))
    for accounts in entries_of(raw_directory.pages(raw_directory.base, wanted, ENTRY_ATTRIBUTES), CHUNK):
        _fill(accounts, named, directory, report)


def _fill(accounts: Sequence[Entry], named: Named, directory: ZimbraDirectory, report: Report) -> None:
    view = directory.for_message()
    for account, chain in zip(accounts, view.chains(accounts).values(), strict=True):
        above = {holder.dn for holder in chain}
        for rule, uses, holders in named.templates.values():
            if above.isdisjoint(holders):
                continue
            try:
                target = rule.address_for(account.name)
            except InvalidValue as error:
                report.add(INVALID.found(f"{error}: for {account.name}, by {uses}"))
                continue
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
    union = {one.name for one in policy.copy_classes if one.inherit == "union"}
    for dn, asked in requested_copies(subjects, policy.copy_classes, now.date(), view).items():
        entry, uses = found[dn]
        others = [one for one in asked.requests if one.address.key not in entry.addresses]
        for kind, some in (
            (COPIED, [one for one in others if one.copy_class not in union]),
            (HELD, [one for one in others if one.copy_class in union]),
        ):
            if some:
                to = ", ".join(sorted({one.address.text for one in some}))
                places = sorted({f"{why.attribute} at {why.dn}" for one in some for why in one.reasons})
                text = f"{entry.name} is copied to {to} ({', '.join(places)}), and gets copies itself: {uses}"
                report.add(kind.found(text, address=entry.name, change=_ending(some)))


def _ending(requests: Iterable[CopyRequest]) -> str:
    """Return the arguments of ``zmprov ma`` that end the inheritance of some copies."""
    attributes = sorted({why.attribute for one in requests for why in one.reasons})
    our_class = ["+objectClass", POLICY_CLASS] if any(map(is_ours, attributes)) else []
    return " ".join([*our_class, *(f"{name} none" for name in attributes)])


def _restricted(groups: Mapping[str, tuple[Entry, Uses]], raw_directory: RawDirectory, report: Report) -> None:
    """Whether Zimbra's milter, which runs after ours, refuses some senders of a list."""
    if not groups:
        return
    if raw_directory.hidden(next(iter(groups)), (_GRANTS,)):
        report.add(RESTRICTED_UNSEEN.found(f"hidden: {_GRANTS}", attributes=_GRANTS))
    for raw in read_again(groups, raw_directory, (_GRANTS,)):
        grants = [ace for ace in raw.all(_GRANTS.lower()) if _is_right_to_write(ace.rpartition(" ")[2])]
        if grants:
            entry, uses = groups[raw.dn]
            report.add(RESTRICTED.found(f"{entry.name}: {', '.join(sorted(grants))}: {uses}", address=entry.name))


def _is_right_to_write(right: str) -> bool:
    return right.lstrip("-+*").lower() == _RIGHT_TO_WRITE
