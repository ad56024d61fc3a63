"""Everything that a decision looks up, in as few searches as there can be.

The parties of the mail (the author, the recipients, whoever is behind a list or a forward), what
their chains ask for, and indexes by which rules match them. What depends on the directory only is
remembered there (:meth:`Directory.derived`), so that a list of ten thousand costs its look-up once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.address import envelope_address, parse_address
from ldapmilter.policy import from_rewrite
from ldapmilter.policy.copies import Subject, ask
from ldapmilter.policy.matching import Parties, Party, Seen, group_keys
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution
    from ldapmilter.identity import Author
    from ldapmilter.message import Envelope
    from ldapmilter.policy.copies import Asked
    from ldapmilter.policy.model import Direction, Policy
    from ldapmilter.policy.rules import When


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient and what it resolves to."""

    text: str
    resolution: Resolution | None
    """``None`` for what is no address: outside, and in nobody's directory."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The account or group, if any (or, in hand-made data, more than one)."""
        return self.resolution.entries if self.resolution is not None else ()


_Parties = tuple[tuple["Resolution", tuple[str, ...]], ...]
"""Addresses with the groups that lead to them."""


@dataclass(frozen=True, slots=True)
class _Question:
    """Whose chains are asked for copies: one party's, or those of everybody behind an entry."""

    direction: Direction
    party: Resolution | None = None
    behind: Entry | None = None


def _parties_of(question: _Question, expansions: Mapping[str, Expansion]) -> _Parties:
    if question.behind is not None:
        return tuple((member.resolution, member.path) for member in expansions[question.behind.dn].members)
    return ((question.party, ()),) if question.party is not None else ()


class LookedUp:
    """The parties of one message and what applies to them."""

    def __init__(self, envelope: Envelope, directory: Directory, policy: Policy, today: date, author: Author) -> None:
        """Look everything up.

        Raises:
            DirectoryUnavailable: something that matters could not be asked.
        """
        self.envelope = envelope
        self.directory = directory
        self.policy = policy
        self.today = today
        self.author = author
        self.notices: list[Notice] = []
        self.truncations: dict[str, None] = {}
        """Which list or bound was too much, in words."""
        self.recipients = self._look_up_recipients()
        self.roots = list(dict.fromkeys(entry for recipient in self.recipients for entry in recipient.entries))
        self.expansions = self._expand(self.roots)
        self.asked = self._ask()
        self.author_chain = self._chain(author.resolution) if author.resolution is not None else ()
        self.groups = self._look_up_groups()
        self.parties = [self._parties(recipient) for recipient in self.recipients]
        self.sender_party = self._sender_party()

    # -- using it ---------------------------------------------------------------------------

    def matches(self, when: When, direction: Direction) -> bool:
        """Whether the other party of a direction matches a condition."""
        if direction == "received":
            return self.sender_party.match(when, self.groups) is not None
        return any(parties.match(when, self.groups) is not None for parties in self.parties)

    def recipient_chains(self) -> list[tuple[Seen, Chain]]:
        """Return the chain of every envelope recipient that has one, in order."""
        chains = self.directory.chains({entry for recipient in self.recipients for entry in recipient.entries})
        found: list[tuple[Seen, Chain]] = []
        for recipient in self.recipients:
            resolution = recipient.resolution
            found.extend((Seen(recipient.text), chains[entry.dn]) for entry in recipient.entries)
            if resolution is not None and not resolution.entries and resolution.known and resolution.hosted_domain:
                found.append((Seen(recipient.text), self.directory.domain_chain(resolution.hosted_domain)))
        return found

    # -- looking up -------------------------------------------------------------------------

    def _look_up_recipients(self) -> list[Recipient]:
        addresses = [envelope_address(text) for text in self.envelope.recipients]
        resolved = self.directory.resolve([address for address in addresses if address is not None])
        recipients = [
            Recipient(text, resolved[address.key] if address is not None else None)
            for text, address in zip(self.envelope.recipients, addresses, strict=True)
        ]
        for recipient in recipients:
            if len(recipient.entries) > 1:
                names = " and ".join(sorted(entry.dn for entry in recipient.entries))
                text = f"two entries answer to the recipient {recipient.text}: {names}"
                self.notices.append(Notice(text=text, error=True))
        return recipients

    def _expand(self, entries: Collection[Entry]) -> Mapping[str, Expansion]:
        expansions = self.directory.expand(entries) if entries else {}
        self.truncations.update((expansion.truncated, None) for expansion in expansions.values() if expansion.truncated)
        return expansions

    def _ask(self) -> list[Asked]:
        """Ask the chains of the author, of every recipient, and of everybody behind one."""
        questions: dict[Hashable, _Question] = {}
        for author in (self.author.resolution, self.author.person):
            if author is not None:
                questions[("sent", _names(author), self.today)] = _Question("sent", party=author)
        for recipient in self.recipients:
            resolution = recipient.resolution
            if resolution is None or resolution.hosted_domain is None or not resolution.known:
                continue  # nobody here, or nobody we could ask about
            key = ("received", _names(resolution), resolution.address.text, self.today)
            questions[key] = _Question("received", party=resolution)
        for entry in self.roots:
            if self.expansions[entry.dn].members:
                questions[("behind", entry.version, self.today)] = _Question("received", behind=entry)
        answers = self.directory.derived(questions, lambda keys: self._answer({key: questions[key] for key in keys}))
        return [answers[key] for key in questions]

    def _answer(self, questions: Mapping[Hashable, _Question]) -> dict[Hashable, Asked]:
        """Ask the chains. Whatever is not in the key is read in here, so that the answer falls with it."""
        senders = [q.party.address for q in questions.values() if q.party is not None and q.direction == "sent"]
        for address in senders:
            self.directory.sender(address)
        self.directory.resolve(
            [q.party.address for q in questions.values() if q.party is not None and q.direction == "received"]
        )
        expansions = self.directory.expand([q.behind for q in questions.values() if q.behind is not None])
        parties = {key: _parties_of(question, expansions) for key, question in questions.items()}
        entries = {entry for group in parties.values() for resolution, _ in group for entry in resolution.entries}
        chains = self.directory.chains(entries) if entries else {}
        subjects = {
            key: list(self._subjects(question.direction, parties[key], chains)) for key, question in questions.items()
        }
        return ask(subjects, self.policy.copy_classes, self.today, self.directory)

    def _subjects(self, direction: Direction, parties: _Parties, chains: Mapping[str, Chain]) -> Iterator[Subject]:
        """Yield each party once, with the chain that its copies come from."""
        seen: set[str] = set()
        for resolution, path in parties:
            recipient = resolution.address.text if direction == "received" else None
            for entry in resolution.entries:
                if entry.dn not in seen:
                    seen.add(entry.dn)
                    account = entry.name if entry.kind == "account" else None
                    yield Subject(
                        direction=direction,
                        chain=chains[entry.dn],
                        account=account,
                        recipient=recipient,
                        path=path,
                    )
            if not resolution.entries and (chain := self._chain(resolution)):
                yield Subject(direction=direction, chain=chain, account=None, recipient=recipient, path=path)

    def _chain(self, resolution: Resolution) -> Chain:
        """Return the levels for one party; an unknown login outside the hosted domains has the global one."""
        if (entry := resolution.entry) is not None:
            return self.directory.chains([entry])[entry.dn]
        if not resolution.known or resolution.entries:
            return ()
        if resolution.hosted_domain is None and resolution is not self.author.resolution:
            return ()
        return self.directory.domain_chain(resolution.hosted_domain or "")

    def _look_up_groups(self) -> dict[str, frozenset[str]]:
        """Return, for each ``group:`` operand in any rule that may count, who is in the group."""
        conditions = {when for asked in self.asked for when in asked.conditions()}
        conditions |= from_rewrite.conditions(self.author_chain, self.policy.from_policy)
        keys = {("group", when.operand) for when in conditions if when.kind == "group"}
        found = self.directory.derived(keys, lambda missing: {key: self._read_group(key[1]) for key in missing})
        for _keys, truncated in found.values():
            self.truncations.update(dict.fromkeys(truncated))
        return {operand: members for (_, operand), (members, _) in found.items()}

    def _read_group(self, operand: str) -> tuple[frozenset[str], tuple[str, ...]]:
        address = parse_address(operand)
        if address is None:
            return frozenset(), ()
        own = self.directory.resolve([address])[address.key]
        expansions = self.directory.expand([entry for entry in own.entries if entry.kind == "group"])
        members = [
            member.resolution
            for expansion in expansions.values()
            for member in expansion.members
            if not member.by_forward
        ]
        return group_keys(own, members), tuple(e.truncated for e in expansions.values() if e.truncated)

    def _parties(self, recipient: Recipient) -> Parties:
        """Index what a recipient can match by: itself, then (for a group) its members."""
        direct = Party()
        if recipient.resolution is None:
            direct.add_outsider(Seen(recipient.text))
        else:
            direct.add(recipient.resolution)
        groups = {("party", entry.version): entry for entry in recipient.entries if entry.kind == "group"}
        members = self.directory.derived(groups, lambda keys: {key: self._members(groups[key]) for key in keys})
        return Parties(direct, tuple(members.values()))

    def _members(self, group: Entry) -> Party:
        party = Party()
        for member in self.directory.expand([group])[group.dn].members:
            if not member.by_forward:
                party.add(member.resolution, member.path)
        return party

    def _sender_party(self) -> Party:
        """Index the author's addresses, else the envelope sender: what ``with`` of a received copy sees."""
        party = Party()
        resolution = self.author.resolution
        if resolution is None:
            address = envelope_address(self.envelope.sender)
            resolution = self.directory.sender(address) if address is not None else None
        if resolution is None:
            party.add_outsider(Seen(self.envelope.sender))
        else:
            party.add(resolution)
        return party


def _names(resolution: Resolution) -> tuple[Hashable, ...]:
    """Return what a resolution's chain depends on: its entries as they were read, or address and domain."""
    if resolution.entries:
        return tuple(entry.version for entry in resolution.entries)
    return (resolution.address.key, resolution.hosted_domain or "")
