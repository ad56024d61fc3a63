"""The parties of a decision, the entries looked at, and their values that did not count: for ``explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import parse_address
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.policy import identity
from ldapmilter.policy.effect import Reason
from ldapmilter.policy.levels import reason_of
from ldapmilter.policy.matching import why_no_match
from ldapmilter.policy.not_applied import UnusedValue, levels_in_words, names_of
from ldapmilter.policy.parties import receives_policy, subjects_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.directory.model import Entry, Holder, Resolution
    from ldapmilter.policy.copy_requests import Subject
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.facts import Facts
    from ldapmilter.policy.levels import PassedOver
    from ldapmilter.policy.matching import Addressee, One
    from ldapmilter.policy.not_applied import Cause
    from ldapmilter.policy.when import When

_MOST_ACCOUNTS = 5
"""Accounts of which it is asked which lists they are in: each costs searches."""


class Asked:
    """The parties whose chains were asked.

    Attributes:
        facts: what the decision was made from.
        sent: the sender, and the person who wrote, where that is another account.
        received: the recipients that have levels.
        behind: those behind lists and forwards.
    """

    def __init__(self, facts: Facts) -> None:
        """Read the chains of all parties again.

        Raises:
            DirectoryUnavailable: they could not be read.
        """
        self.facts = facts
        author = facts.author
        self.sent = self._subjects("sent", [(one, ()) for one in (author.resolution, author.person) if one is not None])
        recipients = [one.resolution for one in facts.recipients]
        self.received = self._subjects(
            "received", [(one, ()) for one in recipients if one is not None and receives_policy(one)]
        )
        self.behind = self._subjects(
            "received",
            [(member.resolution, member.path) for root in facts.roots for member in facts.expansions[root.dn].members],
        )
        self._unasked: str | None = None
        """Why it is not known which lists an account is on."""
        self._lists: dict[Entry, dict[Entry, tuple[str, ...]]] = {}

    def _subjects(self, direction: Direction, parties: Sequence[tuple[Resolution, tuple[str, ...]]]) -> list[Subject]:
        directory = self.facts.directory
        entries = {entry for resolution, _ in parties for entry in resolution.entries}
        chains = directory.chains(entries) if entries else {}
        return list(subjects_of(direction, parties, chains, directory))

    @property
    def mailbox(self) -> list[Subject]:
        """The sender, whose From rules count: never those of the person who wrote from that mailbox."""
        return self.sent[:1]

    def levels(self, direction: Direction, *, behind: bool = True) -> tuple[Holder, ...]:
        """Return the entries that were looked at in a direction, with or without those behind lists."""
        subjects = self.sent if direction == "sent" else [*self.received, *(self.behind if behind else ())]
        return tuple({holder.dn: holder for subject in subjects for holder in subject.chain}.values())

    def _accounts(self, direction: Direction) -> list[Entry]:
        """Return the accounts among the sender, or the recipients themselves."""
        author = self.facts.author
        parties = [author.resolution] if direction == "sent" else [one.resolution for one in self.facts.recipients]
        entries = {entry: None for one in parties if one is not None for entry in one.entries}
        return [entry for entry in entries if entry.kind == "account"]

    def of_lists(self, direction: Direction, attributes: Sequence[str]) -> Iterator[UnusedValue]:
        """Yield the values of lists that an account is on without having them as a level."""
        for account in self._accounts(direction)[:_MOST_ACCOUNTS]:
            for group, path in self._lists_around(account).items():
                for attribute in attributes:
                    for text in group.raw.all(attribute.lower()):
                        reason = Reason(level="group", dn=group.dn, attribute=attribute, value=text, group_path=path)
                        why = f"without {APPLIES_TO_MEMBERS} TRUE the values of {group.name} are not its members'"
                        yield UnusedValue(cause="list-only", text=why, reason=reason)

    def _lists_around(self, account: Entry) -> dict[Entry, tuple[str, ...]]:
        """Return the groups that an account is in and whose values are not its members'."""
        if account not in self._lists:
            try:
                around = self.facts.directory.groups_around(account)
            except DirectoryUnavailable as error:
                around, self._unasked = {}, str(error)
            self._lists[account] = {
                group: path for group, path in around.items() if not group.raw.is_true(APPLIES_TO_MEMBERS.lower())
            }
        return self._lists[account]

    # -- values -----------------------------------------------------------------------------

    def unused(self, one: PassedOver, subject: Subject) -> UnusedValue:
        """Return a value of a chain that was passed over."""
        reason = reason_of(one, subject.recipient, subject.path)
        return UnusedValue(cause=one.why.cause, text=one.why.text, reason=reason)

    def mismatch(
        self, when: When, reason: Reason, others: Sequence[One | Addressee], direction: Direction
    ) -> UnusedValue:
        """Return a value whose condition the other party of a direction does not match."""
        if when.kind == "group" and (problem := self._no_group(when.operand)) is not None:
            return UnusedValue(cause="no-group", text=problem, reason=reason)
        text = why_no_match(when, others, sender=direction == "received")
        return UnusedValue(cause="no-match", text=text, reason=reason)

    def _no_group(self, operand: str) -> str | None:
        """Return why the address of a condition is no group; ``None``: it is one."""
        address = parse_address(operand)
        found = self.facts.directory.resolve([address])[address.key].entries if address is not None else ()
        if any(entry.kind == "group" for entry in found):
            return None
        return f"{operand} is an account, not a list" if found else f"there is no list {operand}"

    # -- where there are no values ----------------------------------------------------------

    def nothing_found(self, direction: Direction, *, behind: bool = True) -> tuple[Cause, str]:
        """Return why no value can count in a direction: there is no party with levels, or its levels have no value."""
        holders = self.levels(direction, behind=behind)
        cause, text = self._of_sender(holders) if direction == "sent" else self._of_recipients(holders)
        if self._unasked is not None:
            return "undecided", f"{text}; on which lists they are could not be asked: {self._unasked}"
        return cause, text

    def _of_sender(self, holders: Sequence[Holder]) -> tuple[Cause, str]:
        facts, author = self.facts, self.facts.author
        if author.unclear is not None:
            return "no-identity", author.unclear
        if author.resolution is None:
            return "no-identity", (
                identity.why_nobody(facts.envelope, facts.directory, facts.policy.identity)
                or f"the envelope sender {facts.envelope.sender} is in no domain that this directory hosts"
            )
        levels = levels_in_words(holders) or "any level"
        if author.entry is None:
            return "no-entry", f"{author.resolution.address.text} has no account; no value on {levels}"
        return "no-value", f"no value on {levels}"

    def _of_recipients(self, holders: Sequence[Holder]) -> tuple[Cause, str]:
        outside: list[str] = []
        absent: list[str] = []
        unread: list[str] = []
        for text, one in zip(self.facts.envelope.recipients, self.facts.recipients, strict=True):
            resolution = one.resolution
            if resolution is None or resolution.hosted_domain is None:
                outside.append(text)
            elif not resolution.known:
                unread.append(text)
            elif not resolution.entries:
                absent.append(text)
        if unread:
            return "undecided", f"{names_of(unread)}: could not be looked up"
        remarks = []
        if outside:
            remarks.append(f"in no domain that this directory hosts: {names_of(outside)}")
        if absent:
            remarks.append(f"no such address: {names_of(absent)}")
        if not holders:
            return "not-hosted", "; ".join(remarks) or "there is no recipient"
        anybody = any(one.resolution is not None and one.resolution.entries for one in self.facts.recipients)
        cause: Cause = "no-value" if anybody else "no-entry"
        return cause, "; ".join([*remarks, f"no value on {levels_in_words(holders)}"])
