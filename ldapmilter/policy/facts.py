"""Everything that one decision knows, looked up in as few searches as there can be.

The parties of the mail (the sender, the recipients, whoever is behind a list or a forward), what
their chains say, and which conditions of rules they match. What of it is remembered between messages
is the business of :mod:`.memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.errors import StillReading
from ldapmilter.policy.copy_requests import NO_REQUESTS
from ldapmilter.policy.matching import Addressee, Single
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ldapmilter.directory.interface import RememberingDirectory
    from ldapmilter.directory.model import Entry, Expansion
    from ldapmilter.message import Envelope
    from ldapmilter.policy.copy_requests import CopyRequests
    from ldapmilter.policy.effect import Direction
    from ldapmilter.policy.identity import Sender
    from ldapmilter.policy.levels import Effective
    from ldapmilter.policy.matching import One
    from ldapmilter.policy.memory import Memory
    from ldapmilter.policy.parties import Recipient
    from ldapmilter.policy.rules import MailboxTemplate
    from ldapmilter.policy.settings import DatedPolicy, Policy
    from ldapmilter.policy.when import When


class Facts:
    """The parties of one message and what applies to them."""

    def __init__(
        self, envelope: Envelope, directory: RememberingDirectory, policy: Policy, memory: Memory, author: Sender
    ) -> None:
        """Look everything up.

        Args:
            envelope: what the MTA said before the header.
            directory: the directory, bound to this message's deadline.
            policy: the configuration.
            memory: of this message's parties.
            author: who sends.

        Raises:
            DirectoryUnavailable: something that matters could not be asked.
        """
        self.envelope = envelope
        self.directory = directory
        self.policy = policy
        self.author = author
        self.memory = memory
        self.notices: list[Notice] = []
        self.truncations: dict[str, Notice] = {}
        """Which list or bound was too much, by its words."""
        self.sender_policy, self.person_policy = memory.look_up(author)
        self.recipients = memory.recipients(envelope.recipients)
        self.concerned = [
            (text, one)
            for text, one in zip(envelope.recipients, self.recipients, strict=True)
            if not one.policy.nothing
        ]
        """Recipients that ask for anything."""
        senders = [one for one in (self.sender_policy, self.person_policy) if one is not None and not one.nothing]
        self.lists = [one.policy.mailing_list for _, one in self.concerned if one.policy.mailing_list is not None]
        """What lists among the recipients say of posts to them."""
        self.quiet = not (self.concerned or senders)
        """Whether no party's chains say anything, as in most mail."""
        self.roots: list[Entry] = []
        self.expansions: Mapping[str, Expansion] = {}
        self.requests: list[CopyRequests] = []
        self.groups: Mapping[str, frozenset[str]] = {}
        if not self.quiet:
            self._look_up_the_rest()
        self.sender_party = self._sender_party()
        self._parties: list[Addressee] | None = None

    def stand(self, dated: DatedPolicy) -> bool:
        """Whether they may be gone on from: for the same configuration and day, and everything was known and fresh."""
        directory = self.directory
        return self.memory.dated is dated and not (directory.failures or directory.stale or directory.still_reading)

    def go_on(self, directory: RememberingDirectory) -> None:
        """Look up what else matters in a directory that is bound to another deadline."""
        directory.go_on_from(self.directory)
        self.directory = self.memory.directory = directory

    # -- using it ---------------------------------------------------------------------------

    @property
    def unknown_client(self) -> str | None:
        """The client that sends for a hosted domain without a login, where it is no mailbox server."""
        envelope, sender = self.envelope, self.sender_party.resolution
        if envelope.login or envelope.submitted_locally or self.author.resolution is not None or self.author.unclear:
            return None
        return envelope.client if sender is not None and sender.hosted_domain is not None else None

    def matches(self, when: When, direction: Direction) -> bool:
        """Whether the other party of a direction matches a condition."""
        return any(other.match(when, self.groups) is not None for other in self.others(direction))

    def others(self, direction: Direction) -> Sequence[One | Addressee]:
        """Return the other party of a direction: the recipients, or the sender."""
        return self.parties if direction == "sent" else [self.sender_party]

    @property
    def rule_parties(self) -> list[Addressee]:
        """What the sender's From rules match each recipient by (``[from] match_members``)."""
        if self.policy.from_policy.match_members:
            return self.parties
        return [Addressee(party.direct) for party in self.parties]

    @property
    def parties(self) -> list[Addressee]:
        """What rules can match each recipient by."""
        if self._parties is None:
            self._parties = [
                self._index(text, one) for text, one in zip(self.envelope.recipients, self.recipients, strict=True)
            ]
        return self._parties

    def from_values(self) -> list[tuple[str, Effective[MailboxTemplate]]]:
        """Return what the recipients say of the From, in order."""
        return [(text, values) for text, one in self.concerned for values in one.policy.from_values]

    # -- looking up -------------------------------------------------------------------------

    def _look_up_the_rest(self) -> None:
        """Look up what matters because somebody's chains say something."""
        self._warn_of_twins()
        self.roots = list(dict.fromkeys(entry for _, one in self.concerned for entry in one.policy.expandable))
        self.expansions = self._expand(self.roots)
        self.requests = self._requests()
        self.groups = self._look_up_groups()

    def _warn_of_twins(self) -> None:
        for text, one in self.concerned:
            if one.policy.ambiguous and one.resolution is not None:
                names = " and ".join(sorted(entry.dn for entry in one.resolution.entries))
                self.notices.append(Notice(text=f"two entries answer to the recipient {text}: {names}", error=True))

    def _expand(self, entries: Collection[Entry]) -> Mapping[str, Expansion]:
        expansions = self.directory.expand(entries) if entries else {}
        for expansion in expansions.values():
            if (text := expansion.truncated) is not None:
                self.truncations[text] = Notice(text=text, error=True, of_list=True)
        return expansions

    def _requests(self) -> list[CopyRequests]:
        """Return what the author, every recipient, and everybody behind one ask for."""
        requests = [by.requests for by in (self.sender_policy, self.person_policy) if by is not None]
        # Two spellings of a recipient that mean the same ask once.
        once = {one.resolution.address.text: one for _, one in self.concerned if one.resolution is not None}
        requests.extend(one.policy.requests for one in once.values())
        behind = [entry for entry in self.roots if self.expansions[entry.dn].members]
        if behind:
            requests.extend(self.memory.requests_behind(behind))
        return [one for one in requests if one is not NO_REQUESTS]

    def _look_up_groups(self) -> dict[str, frozenset[str]]:
        """Return, for each ``group:`` operand in any rule that may count, who is in the group."""
        conditions = {when for one_party in self.requests for when in one_party.conditions()}
        if self.sender_policy is not None:
            conditions.update(found.value.when for found in self.sender_policy.rules.found)
        operands = {when.operand for when in conditions if when.kind == "group"}
        if not operands:
            return {}
        public = self._public_operands()
        failed_before = len(self.directory.failures)
        try:
            # Which group a confidential value looks at is as confidential as the value.
            found = self.memory.groups(
                operands, lambda operand: operand if operand in public else "a group that a value looks at"
            )
        except StillReading as error:
            error.confidential = not public.issuperset(operands)
            raise
        if not public.issuperset(operands):
            failures = self.directory.failures[failed_before:]
            self.notices.extend(Notice(text=text, error=True, confidential=True) for text in failures)
        for operand, group in found.items():
            for text in group.truncated:
                self.truncations.setdefault(text, Notice(text=text, error=True, confidential=operand not in public))
        return {operand: group.keys for operand, group in found.items()}

    def _public_operands(self) -> set[str]:
        """Return the operands of ``with=`` in everything but confidential copies."""
        secret = self.policy.confidential
        public = {one.when for one_party in self.requests for one in one_party.requests if one.copy_class not in secret}
        public.update(
            bad.when for one_party in self.requests for bad in one_party.broken if bad.copy_class not in secret
        )
        if self.sender_policy is not None:
            public.update(found.value.when for found in self.sender_policy.rules.found)
        return {when.operand for when in public if when is not None}

    def _index(self, text: str, recipient: Recipient) -> Addressee:
        """Return what a recipient can match by: itself, then (for a group) its members."""
        direct = Single(text, recipient.resolution)
        groups = [entry for entry in recipient.policy.expandable if entry.kind == "group"]
        return Addressee(direct, tuple(self.memory.members(groups)) if groups else ())

    def _sender_party(self) -> Single:
        """Return the author's addresses, else the envelope sender: what ``with`` of a received copy sees."""
        resolution = self.author.resolution
        if resolution is None:
            address = self.memory.address(self.envelope.sender)
            resolution = self.directory.sender(address) if address is not None else None
        return Single(self.envelope.sender, resolution)
