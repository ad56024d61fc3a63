"""Who gets a copy, and why: archive, legal and any other class the configuration names.

Two steps. First every chain is asked for its values (:func:`ask`): what it says depends on the
directory and the day only, so it can be remembered, for a list of ten thousand members as well as
for one account. Then the message decides which of them count (:func:`copies_for`): the other party
of a ``with=``, the author, and who is a recipient already.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.errors import InvalidValue
from ldapmilter.policy.levels import Effective, effective
from ldapmilter.policy.model import Copy, Notice, Reason
from ldapmilter.policy.rules import CopyRule, parse_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory, KeyT
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One address that chains ask a copy for, under one condition."""

    copy_class: str
    direction: Direction
    address: Address
    keys: frozenset[str]
    """Under which the address is the same as another (:attr:`Resolution.identity_keys`)."""
    when: When | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A value that cannot be used."""

    copy_class: str
    direction: Direction
    when: When | None
    """Its condition, when that could be read."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Everything that some subjects' chains say about copies."""

    asks: tuple[Ask, ...] = ()
    broken: tuple[Broken, ...] = ()
    remarks: tuple[Notice, ...] = ()

    def conditions(self) -> set[When]:
        """Return every condition that a message has to be held against."""
        conditions = {one.when for one in self.asks} | {bad.when for bad in self.broken}
        return {when for when in conditions if when is not None}


NOTHING_ASKED = Asked()
"""The one object for whoever asks for nothing, as nearly everybody does."""


def ask(
    subjects: Mapping[KeyT, Sequence[Subject]], classes: Sequence[CopyClass], today: date, directory: Directory
) -> dict[KeyT, Asked]:
    """Return what the subjects of each key ask for.

    Copy addresses are looked up, all together: one in a hosted domain that does not exist is
    invalid, so the next level may show and name further ones.

    Args:
        subjects: the author and the recipients, in order, under keys of the caller's.
        classes: the copy classes of the configuration.
        today: the day in UTC, for ``until``.
        directory: where copy addresses are looked up.

    Raises:
        DirectoryUnavailable: a copy address could not be looked up.
    """
    targets: dict[str, Resolution] = {}
    while True:  # ends: every round looks up what was missing, and a chain names a bounded number
        missing: dict[str, Address] = {}
        asked = {key: _ask(group, classes, today, targets, missing) for key, group in subjects.items()}
        if not missing:
            return asked
        targets.update(directory.resolve(list(missing.values())))


def _ask(
    subjects: Sequence[Subject],
    classes: Sequence[CopyClass],
    today: date,
    targets: Mapping[str, Resolution],
    missing: dict[str, Address],
) -> Asked:
    found: dict[tuple[str, Direction, str, When | None], tuple[Address, list[Reason]]] = {}
    broken: list[Broken] = []
    remarks: dict[str, Notice] = {}
    for copy_class in classes:
        for subject in subjects:
            values = _effective_copies(subject, copy_class, today, targets, missing)
            for one in values.found:
                rule, address = one.value
                key = (copy_class.name, subject.direction, address.key, rule.when)
                found.setdefault(key, (address, []))[1].append(
                    Reason(
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
    asks = [
        Ask(
            copy_class=class_name,
            direction=direction,
            address=address,
            keys=targets[address.key].identity_keys,
            when=when,
            reasons=tuple(reasons),
        )
        for (class_name, direction, _, when), (address, reasons) in found.items()
        if address.key in targets
    ]
    if not (found or broken or remarks):
        return NOTHING_ASKED
    return Asked(asks=tuple(asks), broken=tuple(dict.fromkeys(broken)), remarks=tuple(remarks.values()))


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

    return effective(subject.chain, copy_class.attributes(subject.direction), copy_class.inherit, read, ends=is_none)


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
                text=f"invalid value of {bad.attribute} at {bad.holder.dn}: {bad.problem}",
            )
        )
    return found


def copies_for(
    asked: Sequence[Asked],
    classes: Sequence[CopyClass],
    matches: Callable[[When, Direction], bool],
    author: Resolution | None,
    envelope: Sequence[Resolution],
) -> tuple[tuple[Copy, ...], list[Notice]]:
    """Return the copies that a message gets, in a stable order, and what is wrong with the values.

    De-duplicated across classes, directions and recipients, and against the envelope: an address
    that is already a recipient gets no second copy, since Postfix would deliver twice when a
    milter adds a recipient that the envelope has.

    Args:
        asked: what the chains of the author and the recipients ask for.
        classes: the copy classes of the configuration.
        matches: whether the other party of a direction matches a ``with=``.
        author: the sender's account; a value on its own chain naming itself is skipped.
        envelope: the envelope recipients.
    """
    notices: dict[str, Notice] = {}
    own = author.identity_keys if author is not None else frozenset()
    merged: dict[str, list[Ask]] = {}
    leader: dict[str, str] = {}
    for copy_class in classes:
        name, secret = copy_class.name, copy_class.confidential
        for item in asked:
            for bad in item.broken:
                if bad.copy_class == name:
                    # One that is not for this message holds nothing up, but is not passed over in silence.
                    concerns = bad.when is None or matches(bad.when, bad.direction)
                    if concerns or bad.text not in notices:
                        notices[bad.text] = Notice(
                            text=bad.text, confidential=secret, invalid_value_of=name if concerns else None, error=True
                        )
            for one in item.asks:
                if one.copy_class != name or (one.when is not None and not matches(one.when, one.direction)):
                    continue
                if one.direction == "sent" and not own.isdisjoint(one.keys):
                    notice = _own_address(one, secret=secret)
                    notices[notice.text] = notice
                    continue
                chief = next((leader[key] for key in sorted(one.keys) if key in leader), one.address.key)
                leader.update(dict.fromkeys(one.keys, chief))
                merged.setdefault(chief, []).append(one)
    for item in asked:
        notices.update((remark.text, remark) for remark in item.remarks)
    modes = {copy_class.name: copy_class.mode for copy_class in classes}
    present = set(itertools.chain.from_iterable(one.identity_keys for one in envelope)) if merged else set()
    copies = tuple(
        Copy(
            address=group[0].address,
            reasons=tuple(reason for one in group for reason in one.reasons),
            mode=min((modes[one.copy_class] for one in group), key=("apply", "observe", "pass").index),
        )
        for group in merged.values()
        if all(present.isdisjoint(one.keys) for one in group)
    )
    return copies, list(notices.values())


def _own_address(one: Ask, *, secret: bool) -> Notice:
    reason = one.reasons[0]
    text = (
        f"{reason.attribute} at {reason.dn} names the author's own address {one.address}:"
        " no copy of their own mail is sent to them"
    )
    return Notice(text=text, confidential=secret)
