"""Who gets a copy, and why: archive, legal and any other class the configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.errors import InvalidValue
from ldapmilter.policy.levels import Effective, effective
from ldapmilter.policy.model import Copy, Notice, Reason
from ldapmilter.policy.rules import CopyRule, parse_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Holder, Resolution
    from ldapmilter.policy.model import CopyClass, Direction
    from ldapmilter.policy.rules import When


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """One copy that one value asks for."""

    address: Address
    reason: Reason
    copy_class: CopyClass


@dataclass(slots=True)
class Gathered:
    """What all chains ask for, before de-duplication."""

    wanted: list[Wanted]
    notices: list[Notice]
    missing: dict[str, Address]
    """Copy targets that have not been looked up yet."""


def gather(
    subjects: Sequence[Subject],
    classes: Sequence[CopyClass],
    today: date,
    targets: Mapping[str, Resolution],
    matches: Callable[[When, Direction], bool],
) -> Gathered:
    """Return every copy that the subjects' chains ask for.

    Args:
        subjects: the author and the recipients, in order.
        classes: the copy classes of the configuration.
        today: the day in UTC, for ``until``.
        targets: what is known about copy addresses, by key; one that is not in here is taken for
            valid and listed as missing.
        matches: whether the other party of a direction matches a ``with=``.
    """
    gathered = Gathered([], [], {})
    for copy_class in classes:
        for subject in subjects:
            values = _effective_copies(subject, copy_class, today, targets, gathered.missing)
            _note_problems(values, subject, copy_class, gathered.notices, matches)
            gathered.wanted.extend(
                Wanted(
                    address,
                    Reason(
                        level=found.holder.level,
                        dn=found.holder.dn,
                        attribute=found.attribute,
                        value=found.text,
                        recipient=subject.recipient,
                        group_path=subject.path,
                        copy_class=copy_class.name,
                        direction=subject.direction,
                        ref=rule.ref,
                    ),
                    copy_class,
                )
                for found in values.found
                for rule, address in (found.value,)
                if rule.when is None or matches(rule.when, subject.direction)
            )
    return gathered


def _attributes(copy_class: CopyClass, direction: Direction) -> tuple[str, ...]:
    return copy_class.sent_attributes if direction == "sent" else copy_class.received_attributes


def _effective_copies(
    subject: Subject,
    copy_class: CopyClass,
    today: date,
    targets: Mapping[str, Resolution],
    missing: dict[str, Address],
) -> Effective[tuple[CopyRule, Address]]:
    def read(_holder: Holder, text: str) -> tuple[CopyRule, Address] | None:
        rule = parse_copy(text)
        if not isinstance(rule, CopyRule) or rule.expired(today) or (rule.personal and subject.account is None):
            return None
        address = rule.address_for(subject.account if rule.personal else None)
        resolution = targets.get(address.key)
        if resolution is None:
            missing[address.key] = address
        elif resolution.known and resolution.hosted_domain is not None and not resolution.entries:
            message = f"{address} does not exist, although this directory hosts {address.domain}"
            raise InvalidValue(message)
        return rule, address

    return effective(subject.chain, _attributes(copy_class, subject.direction), copy_class.inherit, read, ends=is_none)


def is_none(text: str) -> bool:
    """Whether a value is ``none``: inheritance ends here."""
    return text.strip().lower() == "none"


def _note_problems(
    values: Effective[tuple[CopyRule, Address]],
    subject: Subject,
    copy_class: CopyClass,
    notices: list[Notice],
    matches: Callable[[When, Direction], bool],
) -> None:
    for bad in values.unusable:
        try:
            rule = parse_copy(bad.text)
        except InvalidValue:
            rule = None
        if isinstance(rule, CopyRule) and rule.when is not None and not matches(rule.when, subject.direction):
            continue  # its target does not exist, but this message would not have gone there
        text = f"invalid value of {bad.attribute} at {bad.holder.dn}: {bad.problem}"
        notices.append(Notice(text=text, confidential=copy_class.confidential, invalid_value_of=copy_class.name))
    for holder in values.none_beside_values:
        text = f"none beside addresses for {copy_class.name} ({subject.direction}) at {holder.dn}: the addresses count"
        notices.append(Notice(text=text, confidential=copy_class.confidential))


def copies_for(
    subjects: Sequence[Subject],
    classes: Sequence[CopyClass],
    today: date,
    directory: Directory,
    matches: Callable[[When, Direction], bool],
    author: Resolution | None,
    envelope: Sequence[Resolution],
) -> tuple[tuple[Copy, ...], list[Notice]]:
    """Return the copies that policy adds to a message, in a stable order.

    De-duplicated across classes, directions and recipients, and against the envelope: an address
    that is already a recipient gets no second copy, since Postfix would deliver twice when a
    milter adds a recipient that the envelope has.

    Args:
        subjects: the author and the recipients, in order.
        classes: the copy classes of the configuration.
        today: the day in UTC.
        directory: where copy addresses are looked up.
        matches: whether the other party of a direction matches a ``with=``.
        author: the sender's account; a value on its own chain naming itself is skipped.
        envelope: the envelope recipients.

    Raises:
        DirectoryUnavailable: a copy address could not be looked up.
    """
    targets: dict[str, Resolution] = {}
    while True:  # ends: every round either finds nothing missing or looks up what was missing
        gathered = gather(subjects, classes, today, targets, matches)
        if not gathered.missing:
            break
        targets.update(directory.resolve(list(gathered.missing.values())))
    present = {key for recipient in envelope for key in recipient.identity_keys}
    own = author.identity_keys if author is not None else frozenset()
    merged: dict[str, list[Wanted]] = {}
    leader: dict[str, str] = {}
    for wanted in gathered.wanted:
        keys = targets[wanted.address.key].identity_keys
        if wanted.reason.direction == "sent" and not own.isdisjoint(keys):
            gathered.notices.append(_own_address(wanted))
            continue
        name = next((leader[key] for key in sorted(keys) if key in leader), wanted.address.key)
        leader.update(dict.fromkeys(keys, name))
        merged.setdefault(name, []).append(wanted)
    copies = tuple(
        _copy(group)
        for group in merged.values()
        if present.isdisjoint(key for wanted in group for key in targets[wanted.address.key].identity_keys)
    )
    return copies, list(_unique(gathered.notices))


def _copy(group: list[Wanted]) -> Copy:
    modes = {wanted.copy_class.mode for wanted in group}
    mode = next(mode for mode in ("apply", "observe", "pass") if mode in modes)
    return Copy(address=group[0].address, reasons=tuple(wanted.reason for wanted in group), mode=mode)


def _own_address(wanted: Wanted) -> Notice:
    text = (
        f"{wanted.reason.attribute} at {wanted.reason.dn} names the author's own address"
        f" {wanted.address}: no copy of their own mail is sent to them"
    )
    return Notice(text=text, confidential=wanted.copy_class.confidential)


def _unique(notices: Sequence[Notice]) -> Iterator[Notice]:
    seen: set[str] = set()
    for notice in notices:
        if notice.text not in seen:
            seen.add(notice.text)
            yield notice
