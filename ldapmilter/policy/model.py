"""The frozen values that a decision is made of: effects, reasons, verdict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.directory.model import Level
    from ldapmilter.message import Identity

Direction = Literal["sent", "received"]
"""Which party a copy is keyed by: the identity, or a recipient."""

Mode = Literal["apply", "observe", "pass"]
"""Whether effects happen; under ``observe`` and ``pass`` they are only told."""

Verdict = Literal["accept", "tempfail", "reject"]
FromCause = Literal["rewrite", "recipient", "enforce", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an effect happens: one value, where it stands, and who brought it into play."""

    level: Level
    dn: str
    attribute: str
    value: str
    recipient: str | None = None
    """The recipient, or the member of a group, that the value was matched by or found through."""
    group_path: tuple[str, ...] = ()
    """From the envelope recipient down to the group (or forwarding account) that led there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReason(Reason):
    """Why a copy is made: one value of a copy class."""

    copy_class: str
    direction: Direction
    ref: str | None = None
    """The ``ref=`` token of the value, for the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(ABC):
    """One thing that happens to a message, and why.

    Log, counts and audit go by these properties alone: they know no kind of effect.
    """

    reasons: tuple[Reason, ...]
    mode: Mode = "apply"

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the counts call it."""

    @property
    @abstractmethod
    def told(self) -> tuple[tuple[str, str], ...]:
        """What the mail log says of it: names and values, the effect's own first."""

    @property
    def made(self) -> bool:
        """Whether there is anything to do for it."""
        return True

    def public_reasons(self, confidential: frozenset[str]) -> tuple[Reason, ...] | None:
        """Return the reasons that log and counts may name; ``None``: they may not tell of the effect at all.

        Args:
            confidential: the copy classes that may not be told of.
        """
        del confidential
        return self.reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Effect):
    """One address that gets a copy of the message, and everything that asked for it."""

    address: Address
    reasons: tuple[CopyReason, ...]
    already: tuple[str, ...] = ()
    """The envelope recipients that are this address already, as :class:`Envelope` has them."""
    openly: bool = False
    """Whether none of the classes that asked is confidential."""
    added: bool = True
    """Whether the milter makes it: not where the mail to that recipient is all that there is to copy."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The copy classes that asked, without repetition, in order."""
        return tuple(dict.fromkeys(reason.copy_class for reason in self.reasons))

    @property
    def kind(self) -> str:
        """See the base class."""
        return "copy"

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """See the base class."""
        return (("copy", self.address.text), *([("already_a_recipient", "yes")] if self.already else []))

    @property
    def made(self) -> bool:
        """See the base class."""
        return self.added

    def public_reasons(self, confidential: frozenset[str]) -> tuple[Reason, ...] | None:
        """See the base class: nobody may learn of a copy that only confidential classes ask for."""
        return tuple(reason for reason in self.reasons if reason.copy_class not in confidential) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChange(Effect):
    """One header field: afterwards there is exactly one of its name, or none."""

    name: str
    value: str | None
    """ASCII, unfolded; ``None``: every field of the name goes."""
    verbatim: bool = False
    """Whether the value is written as it is: folded with LF, UTF-8."""
    beside: bool = False
    """Whether it comes beside those of its name that there are, which stay."""

    @property
    def kind(self) -> str:
        """See the base class."""
        return "header"

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """See the base class."""
        return (("header", f"{self.name}: {self.value}" if self.value is not None else f"{self.name} removed"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromChange(HeaderChange):
    """The From that the message leaves with."""

    name: str = "From"
    value: str
    """One mailbox, ASCII, unfolded."""
    cause: FromCause

    @property
    def kind(self) -> str:
        """See the base class."""
        return f"from-{self.cause}"

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """See the base class."""
        return (("from", self.value),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderChange(Effect):
    """The envelope sender that the message goes on with: where its bounces go."""

    address: Address

    @property
    def kind(self) -> str:
        """See the base class."""
        return "envelope-sender"

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """See the base class."""
        return (("envelope_sender", self.address.text),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPost:
    """What becomes of a message because it is a post to a list; its parts are effects of the decision, too."""

    address: Address
    """The list's."""
    from_change: FromChange | None = None
    header_changes: tuple[HeaderChange, ...] = ()
    sender_change: SenderChange | None = None
    left_alone: str | None = None
    """Why nothing of it changes, in words."""
    from_stays: str | None = None
    """Why the list does not change the From, in words; ``None`` where it does, or is not asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a message is rejected: an address in its From that is not the sender's to use."""

    reply: str
    """SMTP code, enhanced code (RFC 3463) and a text for the user."""
    address: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something an administrator should know about a decision.

    ``confidential`` marks what may go to whoever runs ``explain`` and to the audit, never to the
    mail log: it names who is under a legal copy.
    """

    text: str
    confidential: bool = False
    invalid_value_of: str | None = None
    """The copy class, or ``from``, whose value cannot be used; ``None`` for any other notice."""
    error: bool = False
    """Whether somebody has to mend something, as opposed to knowing about it."""
    of_list: bool = False
    """Whether it says what is the matter with a list that was written to, for which everybody's mail waits:
    the one cause that the log names for a message that waits."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome for one message.

    Under ``observe`` and ``pass`` it is what ``apply`` would do; ``mode`` (and the mode of each
    effect) says so, and whoever carries it out obeys.
    """

    identity: Identity
    verdict: Verdict = "accept"
    smtp_reply: str | None = None
    from_change: FromChange | None = None
    header_changes: tuple[HeaderChange, ...] = ()
    """Fields besides From that change, in order."""
    sender_change: SenderChange | None = None
    list_post: ListPost | None = None
    """What of it happens because of a list; ``None``: the message is no post to a list with settings."""
    refusal: Refusal | None = None
    """Why the verdict is ``reject``."""
    copies: tuple[Copy, ...] = ()
    mode: Mode = "apply"
    warnings: tuple[Notice, ...] = ()
    unavailable: bool = False
    """Whether the message waits because the directory could not be asked."""
    still_reading: bool = False
    """Whether the message waits, or goes on incomplete, because a group is still being read in the background."""
    incomplete: tuple[str, ...] = ()
    """What could not be known, in words; empty when everything that matters was known."""
    headers_needed: frozenset[str] = frozenset()
    """Header fields (lower case) to read before this decision is final; empty when it is.

    Those that the final decision may change are among them.
    """
    searches: int = 0
    """Searches that were sent to the directory for this decision."""
    decided_before: str | None = None
    """Why the message is left alone: it has been decided on an earlier hop; ``None`` as a rule."""
    stale: bool = False
    """Whether an entry past its time to live was used because the directory failed."""

    verdict_mode: Mode = "apply"
    """Whether the verdict is carried out: ``observe`` and ``pass`` never hold mail up."""
    waits_for: tuple[str, ...] = ()
    """What the message is told to wait for, in words that name no person; each once."""
    unknown_client: str | None = None
    """The client, where a hosted sender has neither a login nor a mailbox server behind it."""
    waits_in_secret: bool = False
    """Whether all that the message waits for, or would, is confidential."""

    @property
    def applied_verdict(self) -> Verdict:
        """The verdict that the MTA gets."""
        return self.verdict if self.verdict_mode == "apply" else "accept"

    @property
    def told_verdict(self) -> str:
        """The verdict for the log and the counts, as ``would-...`` where it is not carried out.

        Nobody notices a 451 that is only told, so one for a confidential reason is not told either.
        """
        if self.verdict_mode == "apply":
            return self.verdict
        return "accept" if self.waits_in_secret else f"would-{self.verdict}"

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All that happens to the message, in the order in which it is carried out: From, other fields, envelope."""
        changes = () if self.from_change is None else (self.from_change,)
        sender = () if self.sender_change is None else (self.sender_change,)
        return (*changes, *self.header_changes, *sender, *self.copies)

    @property
    def applied(self) -> tuple[Effect, ...]:
        """The effects that are carried out."""
        return tuple(effect for effect in self.effects if effect.mode == "apply" and effect.made)

    @property
    def applied_headers(self) -> tuple[HeaderChange, ...]:
        """The header fields that change, From first."""
        return tuple(effect for effect in self.applied if isinstance(effect, HeaderChange))

    @property
    def applied_sender(self) -> SenderChange | None:
        """The envelope sender that is put."""
        return next((effect for effect in self.applied if isinstance(effect, SenderChange)), None)

    @property
    def applied_copies(self) -> tuple[Copy, ...]:
        """The copies that are made."""
        return tuple(effect for effect in self.applied if isinstance(effect, Copy))

    @property
    def changed_fields(self) -> frozenset[str]:
        """The names (lower case) of the header fields that change.

        Their fields have to be counted while the header comes in: one of each name is left, or none.
        """
        return frozenset(change.name.lower() for change in self.applied_headers)


def reply_text(code: str) -> str:
    """Return the one text that a held-up message gets, whatever the cause.

    One text for all causes: a reply that told a broken legal value from a dead directory would
    betray the legal hold.
    """
    return f"{code} Temporary policy lookup failure, please try again later"


TEMPFAIL_REPLY = reply_text("451 4.3.0")
