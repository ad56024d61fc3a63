"""Every policy value in the directory, one by one: whether it can be used, does anything, contradicts another.

One pass over the entries that hold values, page by page. What a value leads to (copy targets, groups,
From addresses) is gathered on the way (:mod:`.named`) and looked up afterwards, many at a time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from ldapmilter.address import DEVIATIONS
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.named import Named
from ldapmilter.checks.purposes import holder_kind, purposes
from ldapmilter.directory.backend.filters import Equal, Or, Present
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, POLICY_CLASS, ZIMBRA_BASE, is_ours
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, read_entry
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.levels import is_none, too_many
from ldapmilter.policy.rules import CopyRule, SenderRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.purposes import HolderKind, Purpose, Value
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.policy.settings import Policy

_AREA = Area.VALUES
EXPIRES_SOON_DAYS = 30
_WITH = re.compile(r"\swith=(\S+)", re.IGNORECASE)

INVALID = Kind(
    code="value-invalid",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A value breaks the grammar or names an address that Postfix never delivers to, so it is never used: the"
    " copy it asks for does not happen, or the mail waits.",
    remedy="correct it (docs/policy.md has the grammar) and flush the cache",
)
EXPIRED = Kind(
    code="value-expired",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The day of `until` has passed: the value is as if absent, and the next level applies.",
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
    meaning="Two values at one level contradict each other; the one that wins may not be the one that was meant.",
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
    meaning="An attribute carries an option, such as `;lang-en`: its values are never used.",
    remedy="set it on the attribute without the option, and remove this one",
)

DEVIATION = Kind(
    code="value-deviation",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A condition names a domain with a letter that IDNA 2003, and so Zimbra's own tools, take for others"
    " (sharp s for ss, final sigma for sigma, joiners for nothing): it is read by IDNA 2008, and never matches that"
    " other domain.",
    remedy="write `$domain` if that domain is meant, or the other one in ASCII",
)

KINDS = (INVALID, EXPIRED, EXPIRES_SOON, CONFLICT, NO_EFFECT, WITH_OPTION, DEVIATION)


def scan(raw_directory: RawDirectory, policy: Policy, report: Report, *, today: date) -> Named:
    """Look at every value, and return what they name.

    Args:
        raw_directory: where to look.
        policy: what each attribute is for.
        report: what to add to.
        today: the day in UTC.

    Raises:
        DirectoryUnavailable: the answer broke off.
    """
    named = Named()
    wanted = purposes(policy)
    attributes = sorted(policy.attributes())
    own = [name for name in attributes if not is_ours(name)]
    marks: list[Filter] = [Equal("objectClass", POLICY_CLASS), *map(Present, own)]
    domain = ("zimbraDomainName", "zimbraDomainType")
    asked = tuple(dict.fromkeys((*ENTRY_ATTRIBUTES, *domain, APPLIES_TO_MEMBERS, *attributes)))
    for entry in _entries(raw_directory, Or(tuple(marks)), asked):
        _look(entry, wanted, named, report, today=today)
    return named


def _entries(raw_directory: RawDirectory, wanted: Filter, attributes: tuple[str, ...]) -> Iterator[RawEntry]:
    yield from raw_directory.pages(raw_directory.base, wanted, attributes)
    if raw_directory.base:
        yield from raw_directory.pages(ZIMBRA_BASE, wanted, attributes)


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
        why = "it has no policy values" if kind == "policy-group" else "it is not a list or dynamic group"
        report.add(NO_EFFECT.found(f"{APPLIES_TO_MEMBERS} at {entry.dn}: {why}"))
    for attribute in [*texts]:
        if problem := too_many(entry, attribute):
            report.add(INVALID.found(f"{attribute} at {entry.dn}: {problem}"))
            del texts[attribute]
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
            _fill(entry, kind, value)
        except InvalidValue as error:
            report.add(INVALID.found(f"{attribute} at {entry.dn}: {error}"))
            return
        reason = purpose.without_effect(kind, value) or _own_address(entry, kind, purpose, value)
        if reason:
            reasons.append(reason)
            continue
        if not (isinstance(value, CopyRule) and value.expired(today)):
            copy_class = purpose.copy_class
            named.add(entry, kind, value, place, relayed=copy_class is not None and copy_class.delivery != "direct")
    if len(reasons) == len(served):
        report.add(NO_EFFECT.found(f"{place}: {reasons[0]}"))
    rule = served[0].read(text)
    if isinstance(rule, (CopyRule, SenderRule)) and rule.when is not None and _deviates(text):
        report.add(DEVIATION.found(f"{place}: read as {rule.when.operand}", domain=rule.when.operand))
    if isinstance(rule, CopyRule) and rule.until is not None:
        if rule.expired(today):
            report.add(EXPIRED.found(f"{place}: since {rule.until + timedelta(days=1)}"))
        elif (rule.until - today).days <= EXPIRES_SOON_DAYS:
            report.add(EXPIRES_SOON.found(f"{place}: last day {rule.until}"))


def _deviates(text: str) -> bool:
    """Whether the ``WHEN`` of a value has a character that IDNA 2003 reads differently."""
    when, arrow, _ = text.partition("=>")
    given = _WITH.search(text)
    written = when if arrow else given[1] if given else ""
    return any(character in written for character in DEVIATIONS)


def _fill(entry: RawEntry, kind: HolderKind, value: Value) -> None:
    """Fill the placeholders of an account's own value.

    Raises:
        InvalidValue: with this account's address the outcome is none.
    """
    account = read_entry(entry) if kind == "account" else None
    if account is not None and isinstance(value, CopyRule) and value.personal:
        value.address_for(account.name)


def _own_address(entry: RawEntry, kind: HolderKind, purpose: Purpose, value: Value) -> str | None:
    """Return why a sent copy to the account itself does nothing."""
    if kind != "account" or purpose.use != "sent" or not isinstance(value, CopyRule):
        return None
    account = read_entry(entry)
    if account is None or value.address_for(account.name if value.personal else None).key not in account.addresses:
        return None
    return "it names the account's own address, which gets no copy of its own mail"


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
        if not purpose.may_have_several:
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
