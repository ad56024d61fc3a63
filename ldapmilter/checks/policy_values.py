"""Every policy value in the directory, one by one: whether it can be used, does anything, contradicts another.

One pass over the entries that hold values, page by page. What a value leads to (copy targets, groups,
From addresses) is gathered on the way and looked up afterwards, many at a time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.purposes import holder_kind, purposes
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry
from ldapmilter.directory.filters import Equal, Or, Present
from ldapmilter.directory.site import APPLIES_TO_MEMBERS, GLOBAL_CONFIG_DN, POLICY_CLASS
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.copies import is_none
from ldapmilter.policy.rules import CopyRule, MailboxTemplate, SenderRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.purposes import HolderKind, Purpose, Value
    from ldapmilter.checks.sight import Sight
    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.policy.model import Policy
    from ldapmilter.policy.rules import When

_AREA = Area.VALUES
EXPIRES_SOON_DAYS = 30
_PLACES = 3
"""Places that a finding names; of further ones it says how many there are."""

INVALID = Kind(
    code="value-invalid",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A value breaks the grammar, so it is never used: the copy it asks for does not happen, or the mail waits.",
    remedy="correct it (docs/policy.md has the grammar) and flush the cache",
)
EXPIRED = Kind(
    code="value-expired",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The day of `until` has passed: the value is as if absent, and the next level shows.",
    remedy="remove it, or set a later day",
)
EXPIRES_SOON = Kind(
    code="value-expires-soon",
    severity=Severity.NOTE,
    area=_AREA,
    meaning=f"The day of `until` comes within {EXPIRES_SOON_DAYS} days.",
    remedy="set a later day if the copy is still needed then",
)
CONFLICT = Kind(
    code="value-conflict",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Two values at one level contradict each other; which of them wins is nobody's intention.",
    remedy="leave one of them",
)
NO_EFFECT = Kind(
    code="value-no-effect",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A value does nothing on the entry that holds it.",
    remedy="put it where it was meant to count, or remove it",
)

WITH_OPTION = Kind(
    code="value-with-option",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="An attribute carries an option, such as `;lang-en`: its values are no policy and never used.",
    remedy="set it on the attribute without the option, and remove this one",
)

KINDS = (INVALID, EXPIRED, EXPIRES_SOON, CONFLICT, NO_EFFECT, WITH_OPTION)


@dataclass(slots=True)
class Uses:
    """Where one thing is named: the first few places, and how many there are."""

    places: list[str] = field(default_factory=list)
    count: int = 0
    last: str = ""

    def add(self, place: str) -> None:
        """Note a place; one value that serves several purposes is one place."""
        if place == self.last:
            return
        self.last = place
        self.count += 1
        if len(self.places) < _PLACES:
            self.places.append(place)

    def __str__(self) -> str:
        more = self.count - len(self.places)
        return "; ".join(self.places) + (f"; and {more} more" if more else "")


@dataclass(slots=True)
class Named:
    """What the values of the directory name, to be looked up."""

    holders: int = 0
    values: int = 0
    targets: dict[str, tuple[Address, Uses]] = field(default_factory=dict)
    """Copy addresses by key."""
    parties: dict[tuple[str, str], Uses] = field(default_factory=dict)
    """What ``WHEN`` names: ``("group", key)`` and ``("address", key)``."""
    templates: dict[str, tuple[CopyRule, Uses, set[str]]] = field(default_factory=dict)
    """Copy addresses with placeholders on entries that give them to many accounts, with those entries' DNs."""
    from_templates: dict[str, tuple[MailboxTemplate, Uses]] = field(default_factory=dict)
    """From mailboxes, by their address part."""
    policy_groups: list[RawEntry] = field(default_factory=list)
    group_rules: list[tuple[str, SenderRule, str]] = field(default_factory=list)
    """From rules of policy groups: the group's DN, the rule, and where it stands, in words."""


def scan(sight: Sight, policy: Policy, report: Report, *, today: date) -> Named:
    """Look at every value, and return what they name.

    Args:
        sight: where to look.
        policy: what each attribute is for.
        report: what to add to.
        today: the day in UTC.

    Raises:
        DirectoryUnavailable: the answer broke off.
    """
    named = Named()
    wanted = purposes(policy)
    attributes = sorted(policy.attributes())
    own = [name for name in attributes if not name.lower().startswith("ldapmilter")]
    marks: list[Filter] = [Equal("objectClass", POLICY_CLASS), *map(Present, own)]
    asked = tuple(dict.fromkeys((*ENTRY_ATTRIBUTES, "zimbraDomainType", APPLIES_TO_MEMBERS, *attributes)))
    for entry in _entries(sight, Or(tuple(marks)), asked):
        _look(entry, wanted, named, report, today=today)
    return named


def _entries(sight: Sight, wanted: Filter, attributes: tuple[str, ...]) -> Iterator[RawEntry]:
    yield from sight.pages(sight.base, wanted, attributes)
    if sight.base:
        yield from sight.pages(GLOBAL_CONFIG_DN.partition(",")[2], wanted, attributes)


def _look(
    entry: RawEntry, wanted: Mapping[str, tuple[Purpose, ...]], named: Named, report: Report, *, today: date
) -> None:
    applies = entry.is_true(APPLIES_TO_MEMBERS.lower())
    kind = holder_kind(entry, applies_to_members=applies)
    texts = {attribute: entry.all(attribute.lower()) for attribute in wanted if entry.all(attribute.lower())}
    for name in entry.with_options:
        base, _, options = name.partition(";")
        for attribute in (*wanted, APPLIES_TO_MEMBERS):
            if attribute.lower() == base:
                shown = ", ".join(sorted(entry.all(name)))
                report.add(WITH_OPTION.found(f"{attribute};{options}: {shown} at {entry.dn}"))
    named.holders += bool(texts)
    named.values += sum(map(len, texts.values()))
    if kind == "policy-group":
        named.policy_groups.append(entry)
    if applies and (kind != "policy-group" or not texts):
        why = "it has no policy values" if kind == "policy-group" else "it is no list or dynamic group"
        report.add(NO_EFFECT.found(f"{APPLIES_TO_MEMBERS} at {entry.dn}: {why}"))
    for attribute, values in texts.items():
        for text in sorted(values):
            _value(entry, kind, attribute, text, wanted[attribute], named, report, today=today)
    _conflicts(entry, texts, wanted, report)


def _value(
    entry: RawEntry,
    kind: HolderKind,
    attribute: str,
    text: str,
    served: tuple[Purpose, ...],
    named: Named,
    report: Report,
    *,
    today: date,
) -> None:
    place = f"{attribute}: {text} at {entry.dn}"
    reasons: list[str] = []
    for purpose in served:
        try:
            value = purpose.read(text)
        except InvalidValue as error:
            report.add(INVALID.found(f"{attribute} at {entry.dn}: {error}"))
            return
        reason = purpose.without_effect(kind, value) or _own_address(entry, kind, purpose, value)
        if reason:
            reasons.append(reason)
            continue
        if not (isinstance(value, CopyRule) and value.expired(today)):
            _name(entry, kind, value, place, named)
    if len(reasons) == len(served):
        report.add(NO_EFFECT.found(f"{place}: {reasons[0]}"))
    rule = served[0].read(text)
    if isinstance(rule, CopyRule) and rule.until is not None:
        if rule.expired(today):
            report.add(EXPIRED.found(f"{place}: since {rule.until + timedelta(days=1)}"))
        elif (rule.until - today).days <= EXPIRES_SOON_DAYS:
            report.add(EXPIRES_SOON.found(f"{place}: last day {rule.until}"))


def _own_address(entry: RawEntry, kind: HolderKind, purpose: Purpose, value: Value) -> str | None:
    """Return why a sent copy to the account itself does nothing."""
    if kind != "account" or purpose.use != "sent" or not isinstance(value, CopyRule):
        return None
    account = read_entry(entry)
    if account is None or value.address_for(account.name if value.personal else None).key not in account.addresses:
        return None
    return "it names the account's own address, which gets no copy of its own mail"


def _name(entry: RawEntry, kind: HolderKind, value: Value, place: str, named: Named) -> None:
    """Gather what a value leads to."""
    if isinstance(value, CopyRule):
        _note_when(value.when, place, named)
        if value.personal and kind != "account":
            _, uses, holders = named.templates.setdefault(value.template, (value, Uses(), set()))
            uses.add(place)
            holders.add(entry.dn)
            return
        account = read_entry(entry) if value.personal else None
        target = value.address_for(account.name if account is not None else None)
        named.targets.setdefault(target.key, (target, Uses()))[1].add(place)
    elif isinstance(value, SenderRule):
        _note_when(value.when, place, named)
        named.from_templates.setdefault(value.mailbox.address, (value.mailbox, Uses()))[1].add(place)
        if kind == "policy-group":
            named.group_rules.append((entry.dn, value, place))
    elif isinstance(value, MailboxTemplate):
        named.from_templates.setdefault(value.address, (value, Uses()))[1].add(place)


def _note_when(when: When | None, place: str, named: Named) -> None:
    if when is not None and when.kind in {"group", "address"}:
        named.parties.setdefault((when.kind, when.operand), Uses()).add(place)


def _conflicts(
    entry: RawEntry,
    texts: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, tuple[Purpose, ...]],
    report: Report,
) -> None:
    """Report ``none`` beside values, and rules for the same mail that want different things."""
    by_purpose: dict[Purpose, list[str]] = defaultdict(list)
    for attribute, values in texts.items():
        for purpose in wanted[attribute]:
            by_purpose[purpose].extend(values)
    for purpose, together in by_purpose.items():
        if any(map(is_none, together)) and not all(map(is_none, together)):
            what = f"{purpose.section} ({purpose.use})"
            report.add(CONFLICT.found(f"{entry.dn}: none beside values for {what}: the values count"))
        if purpose.use in {"sender-from", "recipient-from", "enforce"}:
            _rules_clash(entry, purpose, together, report)


def _rules_clash(entry: RawEntry, purpose: Purpose, values: list[str], report: Report) -> None:
    outcomes: dict[object, dict[object, str]] = defaultdict(dict)
    for text in sorted(set(values)):
        try:
            value = purpose.read(text)
        except InvalidValue:
            continue
        if value is None:
            continue
        when, outcome = (value.when, value.mailbox) if isinstance(value, SenderRule) else (None, value)
        outcomes[when].setdefault(outcome, text)
    for several in outcomes.values():
        if len(several) > 1:
            shown = " and ".join(repr(text) for text in several.values())
            report.add(CONFLICT.found(f"{entry.dn}: {shown}"))
