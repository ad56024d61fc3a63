"""What one party brings into a decision: remembered between messages, by recipient and by author.

Nearly every recipient and author asks for nothing, and what they ask for changes with the directory
(which knows when to forget), the day and the configuration only. Tens of thousands of recipients
are remembered in every process, so what they have in common is kept once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ldapmilter.address import envelope_address
from ldapmilter.directory.groups import has_members
from ldapmilter.directory.model import Resolution
from ldapmilter.policy import from_enforce, from_rewrite
from ldapmilter.policy.copies import NOTHING_ASKED, Subject, ask

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry
    from ldapmilter.policy.copies import Asked
    from ldapmilter.policy.levels import Effective
    from ldapmilter.policy.model import Direction, Notice, Policy
    from ldapmilter.policy.rules import MailboxTemplate, SenderRule

Parties = tuple[tuple[Resolution, tuple[str, ...]], ...]
"""Addresses with the groups that lead to them."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Under what something counts beside the directory: one configuration, one day (UTC)."""

    policy: Policy
    today: date


_MOST_TERMS = 8
_terms: dict[tuple[int, date], Terms] = {}
"""By the identity of the configuration, which lives as long as what is kept here."""


def terms(policy: Policy, today: date) -> Terms:
    """Return the one object for a configuration and a day."""
    key = (id(policy), today)
    found = _terms.get(key)
    if found is None:
        if len(_terms) >= _MOST_TERMS:
            _terms.clear()
        found = _terms.setdefault(key, Terms(policy, today))
    return found


# -- recipients -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Wishes:
    """What a recipient's chains ask for."""

    terms: Terms
    asked: Asked = NOTHING_ASKED
    from_wishes: tuple[Effective[MailboxTemplate], ...] = ()
    """The From that our users should write to it with, for each of its chains that says something."""
    behind: tuple[Entry, ...] = ()
    """Its entries that others may be behind."""
    ambiguous: bool = False
    """Whether more than one entry answers."""

    @property
    def nothing(self) -> bool:
        """Whether they ask for nothing at all."""
        return not (self.asked is not NOTHING_ASKED or self.from_wishes or self.behind or self.ambiguous)


@lru_cache(maxsize=4)
def _no_wishes(of: Terms) -> Wishes:
    return Wishes(of)


class Recipient:
    """One envelope recipient: what it resolves to, and what that asks for.

    Attributes:
        wishes: what its chains ask for.
    """

    __slots__ = ("_meant", "wishes")

    def __init__(self, resolution: Resolution | None, wishes: Wishes) -> None:
        """Bring both together."""
        self._meant = resolution.entries if resolution is not None and _is_own_name(resolution) else resolution
        self.wishes = wishes

    @property
    def resolution(self) -> Resolution | None:
        """What it resolves to; ``None`` for what is no address: outside, and in nobody's directory."""
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
        and (entry.name, entry.name.written, entry.name.odd) == (address, address.written, address.odd)
    )


def work_out_recipients(
    texts: Collection[str], authors: Sequence[Resolution], directory: Directory, of: Terms
) -> dict[str, Recipient]:
    """Return what recipients bring, and let the directory remember it by their texts.

    First they are looked up all together, and with them whoever writes; then each for itself, from
    what is at hand now: it is remembered with the answers that it was made from, and no others.
    """
    if len(texts) + len(authors) > 1:
        _look_up_together(texts, authors, directory, of)
    found: dict[str, Recipient] = {}
    for text in texts:
        found.update(directory.work_out([text], lambda keys: _recipients(keys, directory, of)))
    return found


def _look_up_together(texts: Collection[str], authors: Sequence[Resolution], directory: Directory, of: Terms) -> None:
    """Ask the directory for what recipients and authors need, so that what follows finds it in memory."""
    addresses = [address for text in texts if (address := envelope_address(text)) is not None]
    groups: list[tuple[Direction, list[Resolution]]] = [
        ("sent", list(authors)),
        ("received", [one for one in directory.resolve(addresses).values() if one.hosted_domain and one.known]),
    ]
    chains = directory.chains({entry for _, group in groups for one in group for entry in one.entries})
    subjects = {
        direction: list(subjects_of(direction, tuple((one, ()) for one in group), chains, directory))
        for direction, group in groups
    }
    ask(subjects, of.policy.copy_classes, of.today, directory)


def _recipients(texts: Collection[str], directory: Directory, of: Terms) -> dict[str, Recipient]:
    addresses = {text: envelope_address(text) for text in texts}
    resolved = directory.resolve([address for address in addresses.values() if address is not None])
    resolutions = {text: resolved[address.key] if address is not None else None for text, address in addresses.items()}
    asking = {
        text: resolution
        for text, resolution in resolutions.items()
        if resolution is not None and resolution.hosted_domain is not None and resolution.known
    }
    chains = directory.chains({entry for resolution in asking.values() for entry in resolution.entries})
    subjects = {
        text: list(subjects_of("received", ((resolution, ()),), chains, directory))
        for text, resolution in asking.items()
    }
    asked = ask(subjects, of.policy.copy_classes, of.today, directory)
    found: dict[str, Recipient] = {}
    for text, resolution in resolutions.items():
        wishes = _no_wishes(of)
        if text in asking and resolution is not None:
            wishes = _wishes(resolution, asked[text], [subject.chain for subject in subjects[text]], of)
        # Remembered by the text that the directory remembers it by where it is the same.
        key = resolution.address.key if resolution is not None else text
        found[key if key == text else text] = Recipient(resolution, wishes)
    return found


def _wishes(resolution: Resolution, asked: Asked, chains: Sequence[Chain], of: Terms) -> Wishes:
    all_wishes = (from_rewrite.recipient_wishes(chain, of.policy.from_policy) for chain in chains)
    wishes = Wishes(
        of,
        asked,
        tuple(one for one in all_wishes if one.says_something),
        tuple(entry for entry in resolution.entries if has_members(entry)),
        len(resolution.entries) > 1,
    )
    return _no_wishes(of) if wishes.nothing else wishes


# -- authors --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Author:
    """What the chain of a sender says."""

    asked: Asked
    rules: Effective[SenderRule]
    enforcement: tuple[from_enforce.Rule | None, list[Notice]]


def look_up_author(resolution: Resolution, directory: Directory, of: Terms) -> Author:
    """Return what the chain of a sender says, remembered as long as it stands."""
    key: Hashable = ("author", names(resolution), of)

    def make(_keys: Collection[Hashable]) -> dict[Hashable, Author]:
        directory.sender(resolution.address)  # what is not in the key is read in here, so that it falls with it
        chain = chain_of(resolution, directory, author=True)
        chains = {entry.dn: chain for entry in resolution.entries}
        subjects = list(subjects_of("sent", ((resolution, ()),), chains, directory))
        policy = of.policy.from_policy
        return {
            key: Author(
                ask({key: subjects}, of.policy.copy_classes, of.today, directory)[key],
                from_rewrite.sender_rules(chain, policy),
                from_enforce.choose(chain, policy),
            )
        }

    return directory.derived([key], make)[key]


def names(resolution: Resolution) -> tuple[Hashable, ...]:
    """Return what a resolution's chain depends on: its entries as they were read, or address and domain."""
    if resolution.entries:
        return tuple(entry.version for entry in resolution.entries)
    return (resolution.address.key, resolution.hosted_domain or "")


# -- chains ---------------------------------------------------------------------------------


def chain_of(resolution: Resolution, directory: Directory, *, author: bool = False) -> Chain:
    """Return the levels for one party; an unknown login outside the hosted domains has the global one."""
    if (entry := resolution.entry) is not None:
        return directory.chains([entry])[entry.dn]
    if not resolution.known or resolution.entries or (resolution.hosted_domain is None and not author):
        return ()
    return directory.domain_chain(resolution.hosted_domain or "")


def subjects_of(
    direction: Direction, parties: Parties, chains: Mapping[str, Chain], directory: Directory
) -> Iterator[Subject]:
    """Yield each party once, with the chain that its copies come from."""
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
        if not resolution.entries and (chain := chain_of(resolution, directory, author=sent)):
            yield Subject(direction=direction, chain=chain, account=None, recipient=recipient, path=path)
