"""What the chains of one party say: of a recipient, and of the sender.

Pure functions of a directory. They take many parties at once, so that the number of searches does
not grow with them, and say for which party they read: whoever remembers the results needs to know
which answers each was made from.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.groups import has_members
from ldapmilter.directory.model import Resolution
from ldapmilter.policy import from_enforce, from_rewrite
from ldapmilter.policy.copy_requests import NO_REQUESTS, Subject, requested_copies
from ldapmilter.policy.identity import Claim
from ldapmilter.policy.levels import Effective
from ldapmilter.policy.list_values import mailing_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry
    from ldapmilter.policy.copy_requests import CopyRequests
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.list_values import MailingList
    from ldapmilter.policy.model import Notice
    from ldapmilter.policy.rules import MailboxTemplate, SenderRule
    from ldapmilter.policy.settings import DatedPolicy

PartyName = str | Claim
"""A recipient, as the envelope has it, or who claims to be the sender."""


class RecipientPolicy(Struct, frozen=True, eq=False):
    """What a recipient's chains say."""

    dated: DatedPolicy
    requests: CopyRequests = NO_REQUESTS
    from_values: tuple[Effective[MailboxTemplate], ...] = ()
    """The From that our users should write to it with, for each of its chains that says something."""
    expandable: tuple[Entry, ...] = ()
    """Its entries that others may be behind."""
    mailing_list: MailingList | None = None
    """What it says of posts to it, where it is a list that says something."""
    ambiguous: bool = False
    """Whether more than one entry answers."""

    @property
    def nothing(self) -> bool:
        """Whether they say nothing at all."""
        return not (
            self.requests is not NO_REQUESTS
            or self.from_values
            or self.expandable
            or self.ambiguous
            or self.mailing_list
        )


@lru_cache(maxsize=4)
def _no_policy(dated: DatedPolicy) -> RecipientPolicy:
    """Return the one object for recipients whose chains say nothing, as nearly all do."""
    return RecipientPolicy(dated)


class Recipient:
    """One envelope recipient: what it resolves to, and what its chains say.

    Attributes:
        policy: what its chains say.
    """

    __slots__ = ("_meant", "policy")

    def __init__(self, resolution: Resolution | None, policy: RecipientPolicy) -> None:
        """Bring both together."""
        # Tens of thousands are remembered: the entry is there anyway, and mostly says all there is to say.
        self._meant = resolution.entries if resolution is not None and _is_own_name(resolution) else resolution
        self.policy = policy

    @property
    def resolution(self) -> Resolution | None:
        """What it resolves to; ``None`` for a text that is not an address: it counts as outside."""
        if not isinstance(self._meant, tuple):
            return self._meant
        name = self._meant[0].name
        return Resolution(address=name, entries=self._meant, hosted_domain=name.domain)


def _is_own_name(resolution: Resolution) -> bool:
    """Whether the entry alone says how an address resolves: it is the entry's name, as most are."""
    entry, address = resolution.entry, resolution.address
    return (
        entry is not None
        and resolution.match == "address"
        and resolution.known
        and resolution.hosted_domain == entry.name.domain
        and (entry.name, entry.name.written) == (address, address.written)
    )


class SenderPolicy(Struct, frozen=True, eq=False):
    """What the chain of a sender says."""

    requests: CopyRequests
    rules: Effective[SenderRule]
    enforcement: tuple[from_enforce.Rule | None, list[Notice]]

    @property
    def nothing(self) -> bool:
        """Whether it says nothing at all."""
        return self is _NOTHING_SAID


def look_up_parties(
    recipients: Mapping[str, Address | None],
    senders: Mapping[Claim, Resolution],
    directory: Directory,
    dated: DatedPolicy,
    reading_for: Callable[[PartyName], AbstractContextManager[object]] = lambda _name: nullcontext(),
) -> tuple[dict[str, Recipient], dict[Claim, SenderPolicy]]:
    """Return what the chains of recipients and senders say, looked up together.

    Args:
        recipients: their addresses, by the recipients as the envelope has them; ``None``: no address.
        senders: what they resolve to.
        directory: the directory, bound to this message's deadline.
        dated: configuration and day.
        reading_for: is entered around everything that is read for one party, and for no other.

    Raises:
        DirectoryUnavailable: something that matters could not be asked.
    """
    resolutions: dict[str, Resolution | None] = {}
    for text, address in recipients.items():
        with reading_for(text):
            resolutions[text] = directory.resolve([address])[address.key] if address is not None else None
    concerned: dict[PartyName, tuple[Direction, Resolution]] = {
        **{claim: ("sent", resolution) for claim, resolution in senders.items()},
        **{
            text: ("received", resolution)
            for text, resolution in resolutions.items()
            if resolution is not None and receives_policy(resolution)
        },
    }
    if len(concerned) > 1:
        directory.prefetch_levels({entry for _, resolution in concerned.values() for entry in resolution.entries})
    subjects: dict[PartyName, list[Subject]] = {}
    for name, (direction, resolution) in concerned.items():
        with reading_for(name):
            by_dn = directory.chains(resolution.entries) if resolution.entries else {}
            subjects[name] = list(subjects_of(direction, [(resolution, ())], by_dn, directory))
    requests = requested_copies(subjects, dated.policy.copy_classes, dated.today, directory, reading_for)
    lists: dict[str, MailingList | None] = {}
    for text, meant in resolutions.items():
        entry = meant.entry if meant is not None and text in concerned else None
        if entry is not None and entry.kind == "group":
            with reading_for(text):
                lists[text] = mailing_list(entry, subjects[text][0].chain, dated.policy.lists, directory)
    return (
        {
            text: Recipient(
                resolution, _recipient_policy(resolution, requests[text], subjects[text], lists.get(text), dated)
            )
            if text in concerned and resolution is not None
            else Recipient(resolution, _no_policy(dated))
            for text, resolution in resolutions.items()
        },
        {claim: _sender_policy(requests[claim], subjects[claim], dated) for claim in senders},
    )


def _recipient_policy(
    resolution: Resolution,
    requests: CopyRequests,
    subjects: Sequence[Subject],
    posts: MailingList | None,
    dated: DatedPolicy,
) -> RecipientPolicy:
    from_values = (from_rewrite.recipient_from_values(one.chain, dated.policy.from_policy) for one in subjects)
    policy = RecipientPolicy(
        dated,
        requests,
        tuple(values for values in from_values if values.says_something),
        tuple(entry for entry in resolution.entries if has_members(entry)),
        posts,
        len(resolution.entries) > 1,
    )
    return _no_policy(dated) if policy.nothing else policy


def _sender_policy(requests: CopyRequests, subjects: Sequence[Subject], dated: DatedPolicy) -> SenderPolicy:
    chain, policy = subjects[0].chain if subjects else (), dated.policy.from_policy
    rules, (rule, notices) = from_rewrite.sender_rules(chain, policy), from_enforce.choose(chain, policy)
    if requests is NO_REQUESTS and not (rules.says_something or rule or notices):
        return _NOTHING_SAID
    return SenderPolicy(requests, rules, (rule, notices))


_NOTHING_SAID = SenderPolicy(NO_REQUESTS, Effective([], [], [], []), (None, []))
"""The one object for senders whose chain says nothing, as nearly all do."""


def receives_policy(recipient: Resolution) -> bool:
    """Whether a recipient has any levels: it is in a hosted domain, and could be looked up."""
    return recipient.hosted_domain is not None and recipient.known


def subjects_of(
    direction: Direction,
    parties: Iterable[tuple[Resolution, tuple[str, ...]]],
    chains: Mapping[str, Chain],
    directory: Directory,
) -> Iterator[Subject]:
    """Yield each party once, with the chain that its copies come from.

    Args:
        direction: sent by them, or received.
        parties: what they resolve to, and the groups that lead to them.
        chains: those of their entries, by DN.
        directory: where the levels of addresses without entry are.
    """
    seen: set[str] = set()
    sent = direction == "sent"
    for resolution, path in parties:
        recipient = None if sent else resolution.address.text
        for entry in resolution.entries:
            if entry.dn not in seen:
                seen.add(entry.dn)
                account = entry.name if entry.kind == "account" else None
                yield Subject(
                    direction=direction, chain=chains[entry.dn], account=account, recipient=recipient, path=path
                )
        if not resolution.entries and (chain := _chain_without_entry(resolution, directory, sent=sent)):
            unread = resolution.unread or not resolution.address.is_readable
            hosted_but_unread = resolution.hosted_domain is not None and unread
            yield Subject(
                direction=direction,
                chain=chain,
                account=None,
                recipient=recipient,
                path=path,
                unread=resolution.address if hosted_but_unread else None,
            )


def _chain_without_entry(resolution: Resolution, directory: Directory, *, sent: bool) -> Chain:
    """Return the levels of an address without entry; a login outside the hosted domains has the global one."""
    if not resolution.known or (resolution.hosted_domain is None and not sent):
        return ()
    return directory.domain_chain(resolution.hosted_domain or "")
