"""Who gets a copy, and why: archive, legal and any other class the configuration names.

Two steps. First every chain is asked for its values (:func:`requested_copies`): what it says depends on the
directory and the day only, so it can be remembered, for a list of ten thousand members as well as
for one account. Then the message decides which of them count (:func:`copies_for`): the other party
of a ``with=``, the author, and who is a recipient already.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ldapmilter.address import parse_address
from ldapmilter.directory.groups import has_members
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.levels import AsIfAbsent, Effective, PassedOver, effective
from ldapmilter.policy.model import Copy, CopyReason, Notice
from ldapmilter.policy.rules import CopyRule, parse_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory, KeyT
    from ldapmilter.directory.model import Chain, Entry, Holder, Resolution
    from ldapmilter.policy.model import Direction
    from ldapmilter.policy.rules import When
    from ldapmilter.policy.settings import CopyClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Somebody whose chain may ask for copies: the author, or one recipient of the mail."""

    direction: Direction
    chain: Chain
    account: Address | None
    """Primary address of an account, for ``{localpart}`` and ``{domain}``; ``None`` otherwise."""
    recipient: str | None = None
    """The recipient, or the member of a group, as written; ``None`` for the author."""
    path: tuple[str, ...] = ()
    unread: Address | None = None
    """Its address, where the directory hosts the domain and cannot be asked for the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A value that cannot be used."""

    copy_class: str
    direction: Direction
    when: When | None
    """Its condition, when that could be read."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequests:
    """Everything that some subjects' chains say about copies."""

    requests: tuple[CopyRequest, ...] = ()
    broken: tuple[Broken, ...] = ()
    remarks: tuple[Notice, ...] = ()

    def conditions(self) -> set[When]:
        """Return every condition that a message has to be held against."""
        conditions = {one.when for one in self.requests} | {bad.when for bad in self.broken}
        return {when for when in conditions if when is not None}


NO_REQUESTS = CopyRequests()
"""The one object for whoever asks for nothing, as nearly everybody does."""


@dataclass(frozen=True, slots=True)
class PassedOverCopy:
    """A value of somebody's chain that asks for no copy, although nothing is wrong with it."""

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
        passed_over: takes the values that count for nothing; ``None``: nobody wants to know.

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


def is_none(text: str) -> bool:
    """Whether a value is ``none``: inheritance ends here."""
    return text.strip().lower() == "none"


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


def copies_for(
    requested: Sequence[CopyRequests],
    classes: Sequence[CopyClass],
    matches: Callable[[When, Direction], bool],
    own: frozenset[str],
    envelope: Sequence[tuple[str, Resolution]],
    *,
    all_or_nothing: bool = False,
) -> tuple[tuple[Copy, ...], list[Notice]]:
    """Return the copies that a message gets, in a stable order, and what is wrong with the values.

    De-duplicated across classes, directions and recipients. A copy whose address is a recipient
    already is made all the same, in that recipient's place: a later milter may have refused the
    recipient, and nobody tells us. It is not made where the message comes to that recipient or to
    nobody, nor where only the mail to that recipient itself is to be copied there.

    Args:
        requested: what the chains of the author and the recipients ask for.
        classes: the copy classes of the configuration.
        matches: whether the other party of a direction matches a ``with=``.
        own: the keys of the author's own addresses; a value on the author's chain naming one is skipped.
        envelope: the envelope recipients, as the MTA takes them, and what they mean.
        all_or_nothing: whether a recipient cannot be refused without the message.
    """
    notices: dict[str, Notice] = {}
    merged: dict[str, list[CopyRequest]] = {}
    leader: dict[str, str] = {}
    for copy_class in classes:
        name, secret = copy_class.name, copy_class.confidential
        for item in requested:
            for bad in item.broken:
                if bad.copy_class == name:
                    # One that is not for this message holds nothing up, but is not passed over in silence.
                    concerns = bad.when is None or matches(bad.when, bad.direction)
                    if concerns or bad.text not in notices:
                        notices[bad.text] = Notice(
                            text=bad.text, confidential=secret, invalid_value_of=name if concerns else None, error=True
                        )
            for one in item.requests:
                if one.copy_class != name or (left_out := why_left_out(one, matches, own)) == "with":
                    continue
                if left_out == "own-address":
                    notice = _own_address(one, secret=secret)
                    notices[notice.text] = notice
                    continue
                chief = next((leader[key] for key in sorted(one.keys) if key in leader), one.address.key)
                leader.update(dict.fromkeys(one.keys, chief))
                merged.setdefault(chief, []).append(one)
    for item in requested:
        notices.update((remark.text, remark) for remark in item.remarks)
    return _merged(merged.values(), classes, envelope, all_or_nothing=all_or_nothing), list(notices.values())


def why_left_out(
    one: CopyRequest, matches: Callable[[When, Direction], bool], own: frozenset[str]
) -> Literal["with", "own-address"] | None:
    """Return why a message does not get a copy that a chain asks for; ``None``: it does.

    Args:
        one: what is asked for.
        matches: whether the other party of a direction matches a ``with=``.
        own: the keys of the author's own addresses.
    """
    if one.when is not None and not matches(one.when, one.direction):
        return "with"
    if one.direction == "sent" and not own.isdisjoint(one.keys):
        return "own-address"
    return None


def _merged(
    groups: Collection[Sequence[CopyRequest]],
    classes: Sequence[CopyClass],
    envelope: Sequence[tuple[str, Resolution]],
    *,
    all_or_nothing: bool,
) -> tuple[Copy, ...]:
    """Return one copy for all that ask for the same address."""
    modes = {copy_class.name: copy_class.mode for copy_class in classes}
    confidential = {copy_class.name for copy_class in classes if copy_class.confidential}
    wanted = {key for group in groups for one in group for key in one.keys}
    present: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text, resolution in envelope if wanted else ():
        for key in resolution.identity_keys & wanted:
            present[key].append((text, resolution.address.key))
    copies = []
    for group in groups:
        keys = {key for one in group for key in one.keys}
        already = dict(same for key in sorted(keys & present.keys()) for same in present[key])
        reasons = tuple(reason for one in group for reason in one.reasons)
        copies.append(
            Copy(
                address=group[0].address,
                reasons=reasons,
                mode=min((modes[one.copy_class] for one in group), key=("apply", "observe", "pass").index),
                already=tuple(already),
                openly=confidential.isdisjoint(one.copy_class for one in group),
                added=not already or not (all_or_nothing or _only_of_itself(reasons, set(already.values()))),
            )
        )
    return tuple(copies)


def _only_of_itself(reasons: Sequence[CopyReason], recipients: Collection[str]) -> bool:
    """Whether only mail to some recipients is to be copied, and to themselves: what comes to them is the copy."""
    addresses = [parse_address(reason.recipient) if reason.recipient is not None else None for reason in reasons]
    return all(address is not None and address.key in recipients for address in addresses)


def _own_address(one: CopyRequest, *, secret: bool) -> Notice:
    reason = one.reasons[0]
    text = (
        f"{reason.attribute} at {reason.dn} names the author's own address {one.address}:"
        " no copy of their own mail is sent to them"
    )
    return Notice(text=text, confidential=secret)
