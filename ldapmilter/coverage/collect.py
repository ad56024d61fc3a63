"""From the directory to rows: what the daemon would do with each entry's mail, page by page.

No verdict is made here. The levels of an entry come from the directory's ``chains``, what they ask
for from :func:`~ldapmilter.policy.copy_requests.requested_copies`, and which of that a message gets from
:func:`~ldapmilter.policy.copies.copies_for`: what the daemon calls for every message.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.coverage.model import Cell, Column, Given, Kind, Origin, Row
from ldapmilter.directory.entries import SYSTEM_ACCOUNT
from ldapmilter.directory.model import Resolution
from ldapmilter.policy.copies import copies_for
from ldapmilter.policy.copy_requests import Subject, requested_copies
from ldapmilter.policy.levels import is_none
from ldapmilter.policy.rules import CopyRule, parse_copy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry
    from ldapmilter.policy.copy_requests import CopyRequests
    from ldapmilter.policy.effect import Copy, CopyReason, Direction
    from ldapmilter.policy.model import Notice
    from ldapmilter.policy.settings import CopyClass
    from ldapmilter.policy.when import When

_ALWAYS = date.min
"""A day on which no value has expired yet."""
_Key = tuple[str, "Direction"]
"""DN and direction: whose mail, and which way it goes."""


def columns_of(
    classes: Sequence[CopyClass], wanted: Collection[str] = (), direction: Direction | None = None
) -> tuple[Column, ...]:
    """Return the columns of a report: each class and direction that has attributes.

    Args:
        classes: the configuration's.
        wanted: names of classes; empty: all.
        direction: only this one.
    """
    directions: tuple[Direction, ...] = ("sent", "received")
    return tuple(
        Column(
            copy_class=one.name,
            direction=way,
            inherit=one.inherit,
            invalid_value=one.invalid_value,
            mode=one.mode,
        )
        for one in classes
        if not wanted or one.name in wanted
        for way in directions
        if direction in {None, way} and one.attributes(way)
    )


def rows_of(
    entries: Sequence[Entry], columns: Sequence[Column], classes: Sequence[CopyClass], today: date, directory: Directory
) -> Iterator[Row]:
    """Yield the row of each entry, in order.

    Args:
        entries: one page of accounts and groups.
        columns: what is asked about each.
        classes: the configuration's copy classes.
        today: the day in UTC.
        directory: one view, whose deadline is for this page.

    Raises:
        DirectoryUnavailable: something could not be asked; the rows would not be true without it.
    """
    shown = {column.copy_class for column in columns}
    asking = _Asking([one for one in classes if one.name in shown], today, directory)
    chains = directory.chains(entries)
    directions = tuple(dict.fromkeys(column.direction for column in columns))
    subjects = {
        (entry.dn, direction): (entry, _subject(entry, direction, chains[entry.dn]))
        for entry in entries
        for direction in directions
        if entry.kind == "account" or direction == "received"
    }
    answers = {one.name: asking.everything(subjects, one) for one in asking.classes}
    for entry in entries:
        yield Row(
            address=entry.name,
            display_name=entry.display_name,
            kind=_kind(entry),
            dn=entry.dn,
            cells=tuple(
                answers[column.copy_class][entry.dn, column.direction]
                if (entry.dn, column.direction) in subjects
                else None
                for column in columns
            ),
        )


def _subject(entry: Entry, direction: Direction, chain: Chain) -> Subject:
    return Subject(
        direction=direction,
        chain=chain,
        account=entry.name if entry.kind == "account" else None,
        recipient=entry.name.text if direction == "received" else None,
    )


def _kind(entry: Entry) -> Kind:
    classes = entry.raw.classes
    if entry.kind == "group":
        return "dynamic group" if "zimbragroup" in classes else "list"
    if entry.raw.is_true(SYSTEM_ACCOUNT.lower()):
        return "system account"
    return "resource" if "zimbracalendarresource" in classes else "account"


class _Asking(Struct, frozen=True):
    """The policy's answers for one page of entries."""

    classes: Sequence[CopyClass]
    today: date
    directory: Directory

    def everything(self, subjects: Mapping[_Key, tuple[Entry, Subject]], copy_class: CopyClass) -> dict[_Key, Cell]:
        """Return the cell of every subject for one class."""
        asked = self._ask({key: one for key, (_, one) in subjects.items()}, copy_class, self.today)
        limited = {key: one for key, (_, one) in subjects.items() if _names_a_day(one, copy_class)}
        ever = self._ask(limited, copy_class, _ALWAYS)
        return {
            key: self._cell(entry, subject, copy_class, asked[key], ever.get(key))
            for key, (entry, subject) in subjects.items()
        }

    def _ask(self, subjects: Mapping[_Key, Subject], copy_class: CopyClass, day: date) -> dict[_Key, CopyRequests]:
        return requested_copies({key: [one] for key, one in subjects.items()}, [copy_class], day, self.directory)

    def _cell(
        self, entry: Entry, subject: Subject, copy_class: CopyClass, asked: CopyRequests, ever: CopyRequests | None
    ) -> Cell:
        own: frozenset[str] = frozenset()
        if subject.direction == "sent":
            own = Resolution(address=entry.name, entries=(entry,), hosted_domain=entry.name.domain).identity_keys

        def given(what: CopyRequests) -> tuple[tuple[Given, ...], list[Notice]]:
            copies, notices = copies_for([what], [copy_class], lambda _when, _direction: True, own, ())
            return tuple(_given(copies)), notices

        copies, notices = given(asked)
        ever_given = given(ever)[0] if ever is not None else ()
        ends = not copies and copy_class.inherit == "override"
        return Cell(
            copies=copies,
            expired=tuple(one for one in ever_given if one.origin.until is not None and self.today > one.origin.until),
            invalid=tuple(sorted(notice.text for notice in notices if notice.error)),
            remarks=tuple(sorted(notice.text for notice in notices if not notice.error)),
            ended_by=_first_none(subject.chain, copy_class.attributes(subject.direction)) if ends else None,
        )


def _names_a_day(subject: Subject, copy_class: CopyClass) -> bool:
    """Whether any value on a chain may have expired."""
    return any(
        "until=" in text.lower()
        for holder in subject.chain
        for attribute in copy_class.attributes(subject.direction)
        for text in holder.values(attribute)
    )


def _first_none(chain: Chain, attributes: Sequence[str]) -> str | None:
    """Return the entry whose ``none`` is why levels above it do not count."""
    for holder in chain:
        if any(is_none(text) for attribute in attributes for text in holder.values(attribute)):
            return holder.dn
    return None


def _given(copies: Sequence[Copy]) -> Iterator[Given]:
    for one in copies:
        for reason in one.reasons:
            yield Given(address=one.address.text, origin=_origin(reason))


def _origin(reason: CopyReason) -> Origin:
    rule = parse_copy(reason.value)
    when = rule.when if isinstance(rule, CopyRule) else None
    return Origin(
        level=reason.level,
        dn=reason.dn,
        attribute=reason.attribute,
        value=reason.value,
        group_path=reason.group_path,
        condition=_words(when) if when is not None and when.kind != "any" else None,
        until=rule.until if isinstance(rule, CopyRule) else None,
        ref=reason.ref,
    )


def _words(when: When) -> str:
    """Return a condition as it is written in a value."""
    prefix = {"group": "group:", "subdomains": "."}.get(when.kind, "")
    return f"{prefix}{when.operand}" if when.operand else when.kind
