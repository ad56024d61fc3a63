"""Which copies the chains of sender and recipients ask for.

What a chain says depends on the directory and the day only, so it can be remembered, for a list of ten
thousand members as well as for one account. Which of it counts for one message, ``copies`` decides.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.groups import has_members
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.effect import CopyReason
from ldapmilter.policy.levels import AsIfAbsent, Effective, PassedOver, effective, is_none
from ldapmilter.policy.model import Notice
from ldapmilter.policy.rules import CopyRule, parse_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory, KeyT
    from ldapmilter.directory.model import Chain, Entry, Holder, Resolution
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.settings import CopyClass
    from ldapmilter.policy.when import When


class Subject(Struct, frozen=True, kw_only=True):
    """One party whose chain may ask for copies: the author, or one recipient of the mail."""

    direction: Direction
    chain: Chain
    account: Address | None
    """Primary address of an account, for ``{localpart}`` and ``{domain}``; ``None`` otherwise."""
    recipient: str | None = None
    """The recipient, or the member of a group, as written; ``None`` for the author."""
    path: tuple[str, ...] = ()
    unread: Address | None = None
    """Its address, where the directory hosts the domain and cannot be asked for the address."""


class CopyRequest(Struct, frozen=True, kw_only=True):
    """One address that chains ask a copy for, under one condition."""

    copy_class: str
    direction: Direction
    address: Address
    keys: frozenset[str]
    """Under which the address is the same as another (:attr:`Resolution.identity_keys`)."""
    when: When | None
    reasons: tuple[CopyReason, ...]
    leads_on: tuple[Entry, ...] = ()
    """The entries of the address behind which there are others: a list, an account that forwards."""


class Broken(Struct, frozen=True, kw_only=True):
    """A value that cannot be used."""

    copy_class: str
    direction: Direction
    when: When | None
    """Its condition, when that could be read."""
    text: str


class CopyRequests(Struct, frozen=True, kw_only=True):
    """Everything that some subjects' chains say about copies."""

    requests: tuple[CopyRequest, ...] = ()
    broken: tuple[Broken, ...] = ()
    remarks: tuple[Notice, ...] = ()

    def conditions(self) -> set[When]:
        """Return every condition that a message has to be held against."""
        conditions = {one.when for one in self.requests} | {bad.when for bad in self.broken}
        return {when for when in conditions if when is not None}


NO_REQUESTS = CopyRequests()
"""The one object for parties that ask for nothing: most do."""


class PassedOverCopy(Struct, frozen=True):
    """A valid value of a chain that asks for no copy."""

    copy_class: CopyClass
    subject: Subject
    value: PassedOver


_ACCOUNTS_ONLY = AsIfAbsent("accounts-only", "a value with {localpart} or {domain} counts for accounts only")


def requested_copies(
    subjects: Mapping[KeyT, Sequence[Subject]],
    classes: Sequence[CopyClass],
    today: date,
    directory: Directory,
    reading_for: Callable[[KeyT], AbstractContextManager[object]] = lambda _key: nullcontext(),
    passed_over: dict[KeyT, list[PassedOverCopy]] | None = None,
) -> dict[KeyT, CopyRequests]:
    """Return what the subjects of each key ask for.

    Copy addresses are looked up, all together: one in a hosted domain that does not exist is
    invalid, so the next level may show and name further ones.

    Args:
        subjects: the author and the recipients, in order, under keys of the caller's.
        classes: the copy classes of the configuration.
        today: the day in UTC, for ``until``.
        directory: where copy addresses are looked up.
        reading_for: is entered around everything that is read for one key, and for no other.
        passed_over: takes the values that count for nothing; ``None``: they are dropped.

    Raises:
        DirectoryUnavailable: a copy address could not be looked up.
    """
    targets: dict[KeyT, dict[str, Resolution]] = {key: {} for key in subjects}
    found: dict[KeyT, CopyRequests] = {}
    unsettled: Iterable[KeyT] = subjects
    while unsettled:  # ends: every round looks up what was missing, and a chain names a bounded number
        wanted: dict[KeyT, list[Address]] = {}
        for key in unsettled:
            missing: dict[str, Address] = {}
            notes: list[PassedOverCopy] | None = None
            if passed_over is not None:
                notes = passed_over[key] = []
            found[key] = _requests(subjects[key], classes, today, targets[key], missing, notes)
            if missing:
                wanted[key] = list(missing.values())
        if len(wanted) > 1:
            directory.prefetch(None, {address for addresses in wanted.values() for address in addresses})
        for key, addresses in wanted.items():
            with reading_for(key):
                targets[key].update(directory.resolve(addresses))
        unsettled = wanted
    return found


def _requests(
    subjects: Sequence[Subject],
    classes: Sequence[CopyClass],
    today: date,
    targets: Mapping[str, Resolution],
    missing: dict[str, Address],
    passed_over: list[PassedOverCopy] | None,
) -> CopyRequests:
    found: dict[tuple[str, Direction, str, When | None], tuple[Address, list[CopyReason]]] = {}
    broken: list[Broken] = []
    remarks = {text: Notice(text=text) for subject in subjects for text in _unread(subject)}
    for copy_class in classes:
        for subject in subjects:
            notes: list[PassedOver] | None = None if passed_over is None else []
            values = _effective_copies(subject, copy_class, today, targets, missing, notes)
            if passed_over is not None:
                passed_over.extend(PassedOverCopy(copy_class, subject, note) for note in notes or ())
            for one in values.found:
                rule, address = one.value
                key = (copy_class.name, subject.direction, address.key, rule.when)
                found.setdefault(key, (address, []))[1].append(
                    CopyReason(
                        level=one.holder.level,
                        dn=one.holder.dn,
                        attribute=one.attribute,
                        value=one.text,
                        recipient=subject.recipient,
                        group_path=subject.path or one.holder.group_path,
                        copy_class=copy_class.name,
                        direction=subject.direction,
                        ref=rule.ref,
                    )
                )
            broken.extend(_broken(values, subject, copy_class))
            for holder in values.none_beside_values:
                purpose = f"{copy_class.name} ({subject.direction})"
                text = f"none beside addresses for {purpose} at {holder.dn}: the addresses count"
                remarks[text] = Notice(text=text, confidential=copy_class.confidential)
            for text in values.with_options:
                remarks[text] = Notice(text=text, confidential=copy_class.confidential)
    requests = [
        CopyRequest(
            copy_class=class_name,
            direction=direction,
            address=address,
            keys=targets[address.key].identity_keys,
            when=when,
            reasons=tuple(reasons),
            leads_on=tuple(entry for entry in targets[address.key].entries if has_members(entry)),
        )
        for (class_name, direction, _, when), (address, reasons) in found.items()
        if address.key in targets
    ]
    if not (found or broken or remarks):
        return NO_REQUESTS
    return CopyRequests(requests=tuple(requests), broken=tuple(dict.fromkeys(broken)), remarks=tuple(remarks.values()))


def _unread(subject: Subject) -> Iterator[str]:
    """Say whose own values are not known: mail servers deliver addresses that no directory can be asked for."""
    if subject.unread is not None:
        who = "sender" if subject.direction == "sent" else "recipient"
        behind = f" behind {subject.path[-1]}" if subject.path else ""
        yield (
            f"the {who} {subject.unread.text!r}{behind} cannot be looked up:"
            f" only what {subject.unread.domain} and the global config say applies"
        )


def _effective_copies(
    subject: Subject,
    copy_class: CopyClass,
    today: date,
    targets: Mapping[str, Resolution],
    missing: dict[str, Address],
    passed_over: list[PassedOver] | None,
) -> Effective[tuple[CopyRule, Address]]:
    def read(_holder: Holder, text: str) -> tuple[CopyRule, Address] | AsIfAbsent:
        rule = parse_copy(text)
        if not isinstance(rule, CopyRule):
            return AsIfAbsent("none", "none asks for nothing")
        if rule.expired(today):
            return AsIfAbsent("expired", f"expired: {rule.until} was its last day (UTC)")
        if rule.personal and subject.account is None:
            return _ACCOUNTS_ONLY
        address = rule.address_for(subject.account if rule.personal else None)
        copy_class.check_way(address)
        resolution = targets.get(address.key)
        if resolution is None:
            missing[address.key] = address
        elif resolution.known and resolution.hosted_domain is not None and not resolution.entries:
            message = f"{address} does not exist, although this directory hosts {address.domain}"
            raise InvalidValue(message)
        return rule, address

    return effective(
        subject.chain,
        copy_class.attributes(subject.direction),
        copy_class.inherit,
        read,
        ends=is_none,
        passed_over=passed_over,
    )


def _broken(values: Effective[tuple[CopyRule, Address]], subject: Subject, copy_class: CopyClass) -> list[Broken]:
    found = []
    for bad in values.unusable:
        try:
            rule = parse_copy(bad.text)
        except InvalidValue:
            rule = None
        found.append(
            Broken(
                copy_class=copy_class.name,
                direction=subject.direction,
                when=rule.when if isinstance(rule, CopyRule) else None,
                text=str(bad),
            )
        )
    return found
