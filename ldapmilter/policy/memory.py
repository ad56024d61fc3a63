"""What earlier messages found out about the parties of mail: the only module that remembers.

The functions of :mod:`.identity`, :mod:`.parties` and :mod:`.members` find things out from the directory.
This module calls them for what is not remembered, and has the directory keep the results, each for as
long as the answers stand that it was made from. What a value depends on besides the directory is in its
key, or (configuration and day, of which there is nearly always one) in the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from ldapmilter.address import envelope_address
from ldapmilter.policy import identity
from ldapmilter.policy.copy_requests import CopyRequests
from ldapmilter.policy.identity import Claim, Sender
from ldapmilter.policy.matching import Party
from ldapmilter.policy.members import GroupKeys, index_of_members, keys_of_group, requests_behind
from ldapmilter.policy.parties import Recipient, SenderPolicy, look_up_parties

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Record, RememberingDirectory
    from ldapmilter.directory.model import Entry, Resolution, Version
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.parties import PartyName
    from ldapmilter.policy.settings import DatedPolicy

ValueT = TypeVar("ValueT")


class MemoryKey(Generic[ValueT]):
    """What a value is remembered by.

    A :class:`~ldapmilter.policy.parties.Recipient` is remembered by its text in the envelope alone: there
    are tens of thousands, and the text is there anyway.
    """

    __slots__ = ()


class KnownSender(Struct, frozen=True, eq=False):
    """A sender who has an account, and what its chain says."""

    sender: Sender
    policy: SenderPolicy
    dated: DatedPolicy


class SenderKey(Struct, MemoryKey[KnownSender], frozen=True):
    """Whoever logs in by a name, or sends from a mailbox server by an address."""

    claim: Claim


class RequestsBehindKey(Struct, MemoryKey[CopyRequests], frozen=True):
    """What those behind a group or a forward request."""

    version: Version
    dated: DatedPolicy


class GroupKey(Struct, MemoryKey[GroupKeys], frozen=True):
    """Who is in the group of a condition."""

    operand: str


class MembersKey(Struct, MemoryKey[Party], frozen=True):
    """What the members of a group can be matched by."""

    version: Version


class Memory:
    """The parties of one message: as they are remembered, or found out now and then remembered."""

    def __init__(self, envelope: Envelope, directory: RememberingDirectory, dated: DatedPolicy) -> None:
        """Recall what there is; the addresses of all others are looked up together.

        Args:
            envelope: what the MTA said before the header.
            directory: the directory, bound to this message's deadline.
            dated: configuration and day.

        Raises:
            DirectoryUnavailable: it could not be asked which clients are mailbox servers.
        """
        self.directory = directory
        """Where what is not known yet is looked up."""
        self.dated = dated
        self._addresses: dict[str, Address | None] = {}
        self._records: dict[PartyName, Record] = {}
        self._senders: dict[Claim, Sender] = {}
        self._sender_policies: dict[Claim, SenderPolicy] = {}
        self._person: Claim | None = None
        self._claim = claim = identity.claim_of(envelope, directory, dated.policy.identity)
        keys: list[Hashable] = [*envelope.recipients]
        key = SenderKey(claim) if claim is not None else None
        if key is not None:
            keys.append(key)
        recalled: Mapping[Hashable, Any] = directory.recall(keys)
        self._recipients: dict[str, Recipient] = {}
        missing: dict[str, None] = {}
        for text in envelope.recipients:
            one: Recipient | None = recalled.get(text)
            if one is not None and one.policy.dated is dated:
                self._recipients[text] = one
            else:
                missing[text] = None
        self._missing = tuple(missing)
        if key is not None:
            self._take_over(key, recalled)
        if missing:
            self._prefetch(envelope)

    def _prefetch(self, envelope: Envelope) -> None:
        """Look up all addresses together that are not remembered."""
        login, texts = None, [*self._missing]
        if self._claim is None or self._claim not in self._senders:
            if self._claim is not None and self._claim.source == "sasl":
                login = self._claim.text
            else:
                texts.append(envelope.sender)
        addresses = [address for text in texts if (address := self.address(text)) is not None]
        self.directory.prefetch(login, addresses)

    def address(self, text: str) -> Address | None:
        """Return the address in an SMTP path of the envelope, parsed once; ``None``: it is no address."""
        if text not in self._addresses:
            self._addresses[text] = envelope_address(text)
        return self._addresses[text]

    def _reading_for(self, name: PartyName) -> Record:
        """Return the record of what is read for one party, and no other."""
        if name not in self._records:
            self._records[name] = self.directory.record()
        return self._records[name]

    # -- senders and recipients -------------------------------------------------------------

    def sender(self, headers: Headers | None) -> Sender:
        """Return who sends the message, and who wrote it where the header may say so.

        Raises:
            DirectoryUnavailable: the directory could not be asked.
            AmbiguousEntry: two entries answer.
        """
        if self._claim is None:
            return identity.UNKNOWN
        sender = self._sender(self._claim)
        if headers is None or not sender.asks_for_person or (name := identity.named_person(headers)) is None:
            return sender
        self._person = Claim("sasl", name)
        if self._person not in self._senders:
            key = SenderKey(self._person)
            self._take_over(key, self.directory.recall([key]))
        return identity.with_person(sender, name, self._sender(self._person))

    def _take_over(self, key: SenderKey, recalled: Mapping[Any, Any]) -> None:
        known = _value(recalled, key)
        if known is not None and known.dated is self.dated:
            self._senders[key.claim], self._sender_policies[key.claim] = known.sender, known.policy

    def _sender(self, claim: Claim) -> Sender:
        if claim not in self._senders:
            with self._reading_for(claim):
                self._senders[claim] = (
                    identity.by_login(claim.text, self.directory)
                    if claim.source == "sasl"
                    else identity.by_mailbox(self.address(claim.text), self.directory, self.dated.policy.identity)
                )
        return self._senders[claim]

    def look_up(self, sender: Sender) -> tuple[SenderPolicy | None, SenderPolicy | None]:
        """Find out what the chains of all parties say that are not remembered, together.

        Args:
            sender: who sends the message, and who wrote it (:meth:`sender`).

        Returns:
            what the sender's chain says, and that of the person who wrote; ``None``: there is no such party.

        Raises:
            DirectoryUnavailable: something that matters could not be asked.
        """
        policies = self._sender_policies
        unknown: dict[Claim, Resolution] = {}
        if self._claim is not None and sender.resolution is not None and self._claim not in policies:
            unknown[self._claim] = sender.resolution
        # Also of a person who is the mailbox itself: to be remembered.
        if self._person in self._senders and self._person not in policies:
            person = self._senders[self._person]
            if person.resolution is not None and person.entry is not None:
                unknown[self._person] = person.resolution
        if unknown or self._missing:
            self._look_up(unknown)
        return (
            policies.get(self._claim) if self._claim is not None and sender.resolution is not None else None,
            policies.get(self._person) if self._person is not None and sender.person is not None else None,
        )

    def _look_up(self, senders: Mapping[Claim, Resolution]) -> None:
        texts = {text: self.address(text) for text in self._missing}
        recipients, policies = look_up_parties(texts, senders, self.directory, self.dated, self._reading_for)
        for text, recipient in recipients.items():
            # Under the text that the directory has already, where it is the same.
            address = texts[text]
            key = address.key if address is not None and address.key == text else text
            self._records[text].keep(key, recipient)
        for claim, policy in policies.items():
            found = self._senders[claim]
            if found.entry is not None:  # whoever is unknown may have got an account a minute ago
                _keep(self._records[claim], SenderKey(claim), KnownSender(found, policy, self.dated))
        self._recipients.update(recipients)
        self._sender_policies.update(policies)
        self._missing = ()

    def recipients(self, texts: Sequence[str]) -> list[Recipient]:
        """Return the recipients, once they have been looked up (:meth:`look_up`)."""
        return [self._recipients[text] for text in texts]

    # -- what takes as long as a group is large ---------------------------------------------

    def requests_behind(self, entries: Collection[Entry]) -> list[CopyRequests]:
        """Return what those behind each group or forward request.

        Raises:
            StillReading: it takes longer than a message may wait.
        """
        dated = self.dated
        by_key = {RequestsBehindKey(entry.version, dated): entry for entry in entries}
        found = self.directory.large(
            by_key,
            lambda directory, keys: requests_behind({key: by_key[key] for key in keys}, directory, dated),
            lambda key: by_key[key].name.text,
        )
        return [found[key] for key in by_key]

    def groups(self, operands: Collection[str], about: Callable[[str], str]) -> dict[str, GroupKeys]:
        """Return who is in the groups of conditions, by their operands.

        Args:
            operands: addresses of groups.
            about: what a log may call the group of an operand.

        Raises:
            StillReading: it takes longer than a message may wait.
        """
        found = self.directory.large(
            {GroupKey(operand) for operand in operands},
            lambda directory, keys: {key: keys_of_group(key.operand, directory) for key in keys},
            lambda key: about(key.operand),
        )
        return {key.operand: group for key, group in found.items()}

    def members(self, groups: Collection[Entry]) -> list[Party]:
        """Return what the members of each group can be matched by.

        Raises:
            StillReading: it takes longer than a message may wait.
        """
        by_key = {MembersKey(group.version): group for group in groups}
        found = self.directory.large(
            by_key,
            lambda directory, keys: {key: index_of_members(by_key[key], directory) for key in keys},
            lambda key: by_key[key].name.text,
        )
        return list(found.values())


def _value(recalled: Mapping[Any, Any], key: MemoryKey[ValueT]) -> ValueT | None:
    """Return what was recalled by a key, with the type of its values."""
    value: ValueT | None = recalled.get(key)
    return value


def _keep(record: Record, key: MemoryKey[ValueT], value: ValueT) -> None:
    record.keep(key, value)
