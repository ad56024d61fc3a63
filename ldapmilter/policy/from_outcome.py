"""Which From a message leaves with: by the sender's rules, else the recipients' values, else enforcement.

What a list changes in its posts comes afterwards (:mod:`.lists`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from ldapmilter.errors import InvalidValue
from ldapmilter.policy import from_enforce, from_rewrite
from ldapmilter.policy.from_kept import (
    AUTOMATIC_FIELDS,
    CONTENT_FIELDS,
    RESENT_FIELDS,
    why_automatic,
    why_calendar,
    why_notification,
)
from ldapmilter.policy.left_behind import author_changes, fields_of_author, fields_of_original, original_changes
from ldapmilter.policy.model import Notice, Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Container

    from ldapmilter.address import Address
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import FromCause, FromChange, HeaderChange, Reason
    from ldapmilter.policy.facts import Facts


class FromStays(Struct, frozen=True):
    """Why the From stays, although a value would change it."""

    cause: Literal["exempt", "invalid", "no-account", "allowed"]
    text: str
    way: FromCause
    reasons: tuple[Reason, ...]
    """The values that would change it."""


class FromOutcome(Struct):
    """What becomes of the From, and what follows from that."""

    change: FromChange | None = None
    header_changes: list[HeaderChange] = field(default_factory=list)
    """Other fields that change because the From does, or is wrong."""
    refusal: Refusal | None = None
    stays: list[FromStays] = field(default_factory=list)
    """Why the From stays, although a value would change it."""
    headers_needed: set[str] = field(default_factory=set)
    """Header fields (lower case) to read before this is final."""
    notices: list[Notice] = field(default_factory=list)


class FromChoice(Struct, frozen=True):
    """Which value changes the From, unless something in the header speaks against it."""

    winner: from_rewrite.Winner | None = None
    notices: tuple[Notice, ...] = ()


def choose_value(facts: Facts) -> FromChoice:
    """Choose among the values of sender and recipients, as far as the envelope goes.

    Raises:
        DirectoryUnavailable: something that matters could not be asked.
    """
    sender_policy, requested = facts.sender_policy, facts.from_values()
    if facts.author.identity.address is None or sender_policy is None:
        return FromChoice()
    if not (sender_policy.rules.says_something or requested):
        return FromChoice()
    winner, notices = from_rewrite.choose_sender_rule(sender_policy.rules, facts.rule_parties, facts.groups)
    by_recipient, more = from_rewrite.choose_recipient_from(requested)
    if winner is None:
        return FromChoice(by_recipient, (*notices, *more))
    # A value that cannot be used is told; a conflict between values that do not count is not.
    return FromChoice(winner, (*notices, *(notice for notice in more if notice.invalid_value_of)))


def decide_from(facts: Facts, choice: FromChoice, headers: Headers | None) -> FromOutcome:
    """Return what becomes of the From.

    Args:
        facts: the parties of the message and what applies to them.
        choice: the value that changes the From (:func:`choose_value`).
        headers: the header fields that :attr:`FromOutcome.headers_needed` asks for; ``None``: they are still to come.

    Raises:
        DirectoryUnavailable: something that matters could not be asked.
    """
    deciding = _DecidingFrom(facts, headers)
    deciding.outcome.change = deciding.change(choice)
    return deciding.outcome


class _DecidingFrom:
    """One From in the making."""

    def __init__(self, facts: Facts, headers: Headers | None) -> None:
        self._facts = facts
        self._author = facts.author
        self._headers = headers
        self.outcome = FromOutcome()

    def change(self, choice: FromChoice) -> FromChange | None:
        """Return the From change: by the sender's rules, else the recipient's values, else enforcement.

        Notes the header fields that have to be read before it is final.
        """
        policy = self._facts.policy.from_policy
        if self._author.resolution is None or self._author.identity.address is None:
            return None
        winner = choice.winner
        self.outcome.notices.extend(choice.notices)
        if winner is None:
            return self._enforced()
        if (why := self._keeps_from()) is not None:
            change = self._enforced()
            if change is None and self.outcome.refusal is None:
                self.outcome.stays.append(FromStays("exempt", why, winner.cause, winner.reasons))
            return change
        if winner.template.needs_from_name:
            self.outcome.headers_needed.add("from")
        self.outcome.headers_needed |= fields_of_author(policy) | fields_of_original(policy)
        entry = self._author.entry
        author = from_rewrite.Author(
            address=self._author.identity.address, display_name=entry.display_name if entry is not None else ""
        )
        change, notices = from_rewrite.render(winner, author, self._headers, policy, self._facts.directory.hosts)
        self.outcome.notices.extend(notices)
        if change is None:
            text = ", ".join(notice.text for notice in notices)
            self.outcome.stays.append(FromStays("invalid", text, winner.cause, winner.reasons))
        elif self._headers is not None:
            try:
                self.outcome.header_changes.extend(author_changes(author, change, self._headers, policy))
            except InvalidValue as error:
                self.outcome.notices.append(Notice(text=f"no field names the author: {error}"))
            self.outcome.header_changes.extend(original_changes(change, self._headers, policy))
        return change

    def _enforced(self) -> FromChange | None:
        policy = self._facts.policy.from_policy
        sender_policy = self._facts.sender_policy
        if sender_policy is None:
            return None
        rule, notices = sender_policy.enforcement
        self.outcome.notices.extend(notices)
        account = self._author.entry
        if rule is None:
            return None
        if account is None:
            self.outcome.stays.append(FromStays("no-account", "the sender has no account", "enforce", rule.reasons))
            return None
        self._need_for_enforcement()
        if self._headers is None:
            return None
        if self._by_server and (why := why_automatic(self._headers) or why_calendar(self._headers)) is not None:
            self.outcome.stays.append(FromStays("exempt", why, "enforce", rule.reasons))
            return None
        outcome = from_enforce.enforce(
            rule, account, self._headers, self._facts.directory, policy, by_server=self._by_server
        )
        self.outcome.refusal = outcome.refusal
        self.outcome.header_changes.extend(outcome.header_changes)
        if outcome.change is not None:
            self.outcome.header_changes.extend(original_changes(outcome.change, self._headers, policy))
        elif outcome.refusal is None:
            self.outcome.stays.append(FromStays("allowed", outcome.why_allowed, "enforce", rule.reasons))
        return outcome.change

    def _need_for_enforcement(self) -> None:
        """Have the fields read that enforcement looks at or changes, before it is known whether From changes."""
        self.outcome.headers_needed |= from_enforce.fields_for(by_server=self._by_server)
        self.outcome.headers_needed |= fields_of_original(self._facts.policy.from_policy)
        if self._by_server:
            self.outcome.headers_needed |= AUTOMATIC_FIELDS | CONTENT_FIELDS

    @property
    def _by_server(self) -> bool:
        """Whether a mailbox server sends it, whose own header fields are trusted; those of a login are not."""
        return self._author.identity.source == "mailbox-host"

    def _keeps_from(self) -> str | None:
        """Return why no rule may change From: who hands the mail in has not written it, or the body repeats who has.

        Whether they may do so, enforcement decides.
        """
        self.outcome.headers_needed |= CONTENT_FIELDS
        if self._by_server:
            self.outcome.headers_needed |= AUTOMATIC_FIELDS | RESENT_FIELDS
        if self._headers is None:
            sender_policy = self._facts.sender_policy
            if sender_policy is not None and sender_policy.enforcement[0] is not None:
                self._need_for_enforcement()
            return None
        why = why_calendar(self._headers)
        if why is None and not self._facts.envelope.sender:
            why = why_notification(self._headers)
        if why is None and self._by_server:
            why = why_automatic(self._headers)
            if why is None and from_enforce.resent_by(self._headers, self._usable) is not None:
                why = "the user sends it on: its newest Resent-From or Resent-Sender is the user's own"
        return why

    def _usable(self, addresses: Collection[Address]) -> Container[str]:
        """Return the keys of those addresses that the sender may write as."""
        account, own = self._author.entry, self._author.identity.address
        if account is not None:
            return self._facts.directory.may_send_as(account, addresses)
        return frozenset(address.key for address in addresses if address == own)
