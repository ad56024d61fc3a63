"""Everything that a decision looks up, in as few searches as there can be.

The parties of the mail (the author, the recipients, whoever is behind a list or a forward), what
their chains ask for, and indexes by which rules match them. What depends on the directory only is
remembered there (:meth:`Directory.derived`), so that a list of ten thousand costs its look-up once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.address import envelope_address, parse_address
from ldapmilter.policy.brought import look_up_author, subjects_of, terms, work_out_recipients
from ldapmilter.policy.copies import NOTHING_ASKED, ask
from ldapmilter.policy.matching import Parties, Party, Single, group_keys
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry, Expansion
    from ldapmilter.identity import Author
    from ldapmilter.message import Envelope
    from ldapmilter.policy.brought import Recipient
    from ldapmilter.policy.copies import Asked
    from ldapmilter.policy.levels import Effective
    from ldapmilter.policy.matching import One
    from ldapmilter.policy.model import Direction, Policy
    from ldapmilter.policy.rules import MailboxTemplate, When


class LookedUp:
    """The parties of one message and what applies to them."""

    def __init__(
        self,
        envelope: Envelope,
        directory: Directory,
        policy: Policy,
        today: date,
        author: Author,
        remembered: Mapping[Any, Any],
    ) -> None:
        """Look everything up.

        Args:
            envelope: what the MTA said before the header.
            directory: the directory, bound to this message's deadline.
            policy: the configuration.
            today: the day in UTC.
            author: who sends.
            remembered: recipients that are known already, by their texts.

        Raises:
            DirectoryUnavailable: something that matters could not be asked.
        """
        self.envelope = envelope
        self.directory = directory
        self.policy = policy
        self.terms = terms(policy, today)
        self.author = author
        self.notices: list[Notice] = []
        self.truncations: dict[str, None] = {}
        """Which list or bound was too much, in words."""
        self.recipients = self._look_up_recipients(remembered)
        self.wishing = [
            (text, one)
            for text, one in zip(envelope.recipients, self.recipients, strict=True)
            if not one.wishes.nothing
        ]
        """Recipients that ask for anything."""
        self._warn_of_twins()
        self.roots = list(dict.fromkeys(entry for _, one in self.wishing for entry in one.wishes.behind))
        self.expansions = self._expand(self.roots)
        author_too, person = author.resolution, author.person
        self.by_author = look_up_author(author_too, directory, self.terms) if author_too is not None else None
        self.by_person = look_up_author(person, directory, self.terms) if person is not None else None
        self.asked = self._ask()
        self.groups = self._look_up_groups()
        self.sender_party = self._sender_party()
        self._parties: list[Parties] | None = None

    # -- using it ---------------------------------------------------------------------------

    def matches(self, when: When, direction: Direction) -> bool:
        """Whether the other party of a direction matches a condition."""
        if direction == "received":
            return self.sender_party.match(when, self.groups) is not None
        return any(parties.match(when, self.groups) is not None for parties in self.parties)

    @property
    def parties(self) -> list[Parties]:
        """What rules can match each recipient by."""
        if self._parties is None:
            self._parties = [
                self._index(text, one) for text, one in zip(self.envelope.recipients, self.recipients, strict=True)
            ]
        return self._parties

    def from_wishes(self) -> list[tuple[str, Effective[MailboxTemplate]]]:
        """Return what the recipients say of the From, in order."""
        return [(text, wish) for text, one in self.wishing for wish in one.wishes.from_wishes]

    # -- looking up -------------------------------------------------------------------------

    def _look_up_recipients(self, remembered: Mapping[Any, Any]) -> list[Recipient]:
        of, texts = self.terms, self.envelope.recipients
        known: dict[str, Recipient] = {}
        missing: dict[str, None] = {}
        for text in texts:
            one = remembered.get(text)
            if one is not None and one.wishes.terms is of:
                known[text] = one
            else:
                missing[text] = None
        if missing:
            authors = [one for one in (self.author.resolution, self.author.person) if one is not None]
            known.update(work_out_recipients(missing, authors, self.directory, of))
        return [known[text] for text in texts]

    def _warn_of_twins(self) -> None:
        for text, one in self.wishing:
            if one.wishes.ambiguous and one.resolution is not None:
                names = " and ".join(sorted(entry.dn for entry in one.resolution.entries))
                self.notices.append(Notice(text=f"two entries answer to the recipient {text}: {names}", error=True))

    def _expand(self, entries: Collection[Entry]) -> Mapping[str, Expansion]:
        expansions = self.directory.expand(entries) if entries else {}
        self.truncations.update((expansion.truncated, None) for expansion in expansions.values() if expansion.truncated)
        return expansions

    def _ask(self) -> list[Asked]:
        """Return what the author, every recipient, and everybody behind one ask for."""
        asked = [by.asked for by in (self.by_author, self.by_person) if by is not None]
        # Two spellings of a recipient that mean the same ask once.
        once = {one.resolution.address.text: one for _, one in self.wishing if one.resolution is not None}
        asked.extend(one.wishes.asked for one in once.values())
        behind: dict[Hashable, Entry] = {
            ("behind", entry.version, self.terms): entry for entry in self.roots if self.expansions[entry.dn].members
        }
        if behind:
            found = self.directory.derived(behind, lambda keys: self._behind({key: behind[key] for key in keys}))
            asked.extend(found[key] for key in behind)
        return [one for one in asked if one is not NOTHING_ASKED]

    def _behind(self, entries: Mapping[Hashable, Entry]) -> dict[Hashable, Asked]:
        """Ask the chains of those behind entries; all that is read is read in here: the answer falls with it."""
        expansions = self.directory.expand(entries.values())
        parties = {
            key: tuple((member.resolution, member.path) for member in expansions[entry.dn].members)
            for key, entry in entries.items()
        }
        members = {entry for group in parties.values() for resolution, _ in group for entry in resolution.entries}
        chains = self.directory.chains(members) if members else {}
        subjects = {key: list(subjects_of("received", group, chains, self.directory)) for key, group in parties.items()}
        return ask(subjects, self.policy.copy_classes, self.terms.today, self.directory)

    def _look_up_groups(self) -> dict[str, frozenset[str]]:
        """Return, for each ``group:`` operand in any rule that may count, who is in the group."""
        conditions = {when for asked in self.asked for when in asked.conditions()}
        if self.by_author is not None:
            conditions.update(found.value.when for found in self.by_author.rules.found)
        if not conditions:
            return {}
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

    def _index(self, text: str, recipient: Recipient) -> Parties:
        """Return what a recipient can match by: itself, then (for a group) its members."""
        direct = Single(text, recipient.resolution)
        groups = {("party", entry.version): entry for entry in recipient.wishes.behind if entry.kind == "group"}
        if not groups:
            return Parties(direct)
        members = self.directory.derived(groups, lambda keys: {key: self._members(groups[key]) for key in keys})
        return Parties(direct, tuple(members.values()))

    def _members(self, group: Entry) -> Party:
        party = Party()
        for member in self.directory.expand([group])[group.dn].members:
            if not member.by_forward:
                party.add(member.resolution, member.path)
        return party

    def _sender_party(self) -> One:
        """Return the author's addresses, else the envelope sender: what ``with`` of a received copy sees."""
        resolution = self.author.resolution
        if resolution is None:
            address = envelope_address(self.envelope.sender)
            resolution = self.directory.sender(address) if address is not None else None
        return Single(self.envelope.sender, resolution)
