"""Which From a message leaves with, by the sender's rules or the recipient's values.

Goals, in this order: exactly one From that an administrator wrote down; the sender's rules before
the recipient's; the most specific rule; a stable outcome when the directory hands values out in
any order; and a warning whenever a rule lost.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import make_address
from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import read_from
from ldapmilter.mailbox.writing import header_value
from ldapmilter.policy.effect import FromChange
from ldapmilter.policy.levels import Effective, Found, effective, is_none, reason_of
from ldapmilter.policy.model import Notice
from ldapmilter.policy.rules import MailboxTemplate, SenderRule, parse_mailbox, parse_sender_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ldapmilter.address import Address
    from ldapmilter.directory.model import Chain
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import FromCause, Reason
    from ldapmilter.policy.levels import PassedOver
    from ldapmilter.policy.matching import Addressee
    from ldapmilter.policy.settings import FromPolicy


class Author(Struct, frozen=True, kw_only=True):
    """The sender as templates see it."""

    address: Address
    """Primary address."""
    display_name: str


class Candidate(Struct, frozen=True):
    """A rule that matched one recipient, sortable: the smallest wins."""

    specificity: tuple[int, int]
    recipient_index: int
    text: str
    template: MailboxTemplate
    reason: Reason

    @property
    def order(self) -> tuple[tuple[int, int], int, str, str]:
        """Most specific first, then the earlier recipient, then the smaller value."""
        return (self.specificity, self.recipient_index, self.text, self.reason.dn)


class Winner(Struct, frozen=True):
    """The rule that decides the From, before the header is known."""

    template: MailboxTemplate
    cause: FromCause
    reasons: tuple[Reason, ...]


def sender_rules(
    chain: Chain, policy: FromPolicy, passed_over: list[PassedOver] | None = None
) -> Effective[SenderRule]:
    """Return the rules that count on a sender's chain; ``passed_over`` takes the others."""
    return effective(
        chain,
        policy.sender_attributes,
        "override",
        lambda _holder, text: parse_sender_rule(text),
        ends=is_none,
        passed_over=passed_over,
    )


def recipient_from_values(
    chain: Chain, policy: FromPolicy, passed_over: list[PassedOver] | None = None
) -> Effective[MailboxTemplate]:
    """Return the From that a recipient's chain asks our users to write with; ``passed_over`` takes the others."""
    return effective(
        chain,
        policy.recipient_attributes,
        "override",
        lambda _holder, text: parse_mailbox(text),
        ends=is_none,
        passed_over=passed_over,
    )


def choose_sender_rule(
    values: Effective[SenderRule], recipients: Sequence[Addressee], groups: Mapping[str, frozenset[str]]
) -> tuple[Winner | None, list[Notice]]:
    """Return the sender's rule that fires: any recipient, the most specific WHEN."""
    notices = _problems(values)
    candidates = [
        candidate
        for found in values.found
        for index, party in enumerate(recipients)
        if (candidate := _candidate(found, index, party, groups)) is not None
    ]
    return _best(candidates, "rewrite", notices)


def _candidate(
    found: Found[SenderRule], index: int, party: Addressee, groups: Mapping[str, frozenset[str]]
) -> Candidate | None:
    seen = party.match(found.value.when, groups)
    if seen is None:
        return None
    return Candidate(
        found.value.when.specificity, index, found.text, found.value.mailbox, reason_of(found, seen.address, seen.path)
    )


def choose_recipient_from(
    recipients: Sequence[tuple[str, Effective[MailboxTemplate]]],
) -> tuple[Winner | None, list[Notice]]:
    """Return the From that a recipient of the envelope asks our users to write with.

    Args:
        recipients: each envelope recipient that says something, as written, in order, and what it says.
    """
    candidates: list[Candidate] = []
    notices: list[Notice] = []
    for index, (recipient, values) in enumerate(recipients):
        notices.extend(_problems(values))
        candidates.extend(
            Candidate((0, 0), index, found.text, found.value, reason_of(found, recipient)) for found in values.found
        )
    return _best(candidates, "recipient", notices)


def _best(candidates: list[Candidate], cause: FromCause, notices: list[Notice]) -> tuple[Winner | None, list[Notice]]:
    """Pick the winner and warn about every recipient whose own best rule wanted another From."""
    if not candidates:
        return None, notices
    candidates.sort(key=lambda candidate: candidate.order)
    winner = candidates[0]
    first_of_recipient: dict[int, tuple[int, int]] = {}
    for candidate in candidates:
        best = first_of_recipient.setdefault(candidate.recipient_index, candidate.specificity)
        if candidate.specificity == best and candidate.template != winner.template:
            text = (
                f"conflicting From rules: {candidate.text!r} at {candidate.reason.dn}"
                f" (for {candidate.reason.recipient}) lost to {winner.text!r} at {winner.reason.dn}"
            )
            notices.append(Notice(text=text))
    reasons = tuple(
        candidate.reason
        for candidate in candidates
        if candidate.template == winner.template and candidate.specificity == winner.specificity
    )
    return Winner(winner.template, cause, reasons), notices


def _problems(values: Effective[SenderRule] | Effective[MailboxTemplate]) -> list[Notice]:
    notices = [Notice(text=str(bad), invalid_value_of="from", error=True) for bad in values.unusable]
    notices.extend(
        Notice(text=f"none beside From rules at {holder.dn}: the rules count") for holder in values.none_beside_values
    )
    notices.extend(Notice(text=text) for text in values.with_options)
    return notices


def render(
    winner: Winner,
    author: Author,
    headers: Headers | None,
    policy: FromPolicy,
    hosts: Callable[[str], bool],
) -> tuple[FromChange | None, list[Notice]]:
    """Return the From change that a winning rule makes for this author and message.

    Args:
        winner: the rule.
        author: the sender.
        headers: the message's header fields, or ``None`` when they are not known yet.
        policy: the ``[from]`` section.
        hosts: whether a domain is hosted by this directory.
    """
    from_name = ""
    if headers is not None and winner.template.needs_from_name:
        from_name = read_from(headers.values("from")).display_name
    try:
        # What the writer of the message chose is not remembered: it may be long.
        rendered = _rendered if not from_name else _rendered.__wrapped__
        sender = author.address
        value, domain = rendered(winner.template, sender.local, sender.domain, author.display_name, from_name)
    except InvalidValue as error:
        reason = winner.reasons[0]
        text = f"invalid value of {reason.attribute} at {reason.dn}: {error}"
        return None, [Notice(text=text, invalid_value_of="from", error=True)]
    notices = []
    if not hosts(domain):
        text = f"the From domain {domain} is not hosted by this directory: DMARC and replies may fail"
        notices.append(Notice(text=text))
    return FromChange(value=value, cause=winner.cause, reasons=winner.reasons, mode=policy.mode), notices


@lru_cache(maxsize=4096)
def _rendered(template: MailboxTemplate, local: str, domain: str, display_name: str, from_name: str) -> tuple[str, str]:
    """Return the header value that a template makes, and the domain of its address."""
    # By the parts of the address: addresses that differ in case only are equal, but look different.
    sender = make_address(local, domain)
    name, address = template.render(sender=sender, display_name=display_name, from_name=from_name)
    return header_value(name, address), address.domain
