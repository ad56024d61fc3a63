"""What a decision is: its verdict, its effects, and what is to be said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.message import Identity
    from ldapmilter.policy.effect import Copy, Effect, FromChange, HeaderChange, Mode, Reason, SenderChange

Verdict = Literal["accept", "tempfail", "reject"]


class ListPost(Struct, frozen=True, kw_only=True):
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


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a message is rejected: an address in its From that is not the sender's to use."""

    reply: str
    """SMTP code, enhanced code (RFC 3463) and a text for the user."""
    address: str
    reasons: tuple[Reason, ...]


class Notice(Struct, frozen=True, kw_only=True):
    """Something an administrator should know about a decision.

    ``confidential`` marks what may go to whoever runs ``explain`` and to the audit, never to the
    mail log: it names who is under a legal copy.
    """

    text: str
    confidential: bool = False
    invalid_value_of: str | None = None
    """The copy class, or ``from``, whose value cannot be used; ``None`` for any other notice."""
    error: bool = False
    """Whether an administrator has to correct something; else it is for information."""
    of_list: bool = False
    """Whether it says what is the matter with a list that was written to, for which everybody's mail waits:
    the one cause that the log names for a message that waits."""

    def __str__(self) -> str:
        return self.text


class Decision(Struct, frozen=True, kw_only=True):
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
    waits_because: tuple[str, ...] = ()
    """What exactly it waits, or would wait, for: those of the warnings that are why; they may name people."""
    unknown_client: str | None = None
    """The client, where a hosted sender has neither a login nor a mailbox server behind it."""
    waits_in_secret: bool = False
    """Whether all that the message waits for, or would, is confidential."""

    @property
    def uneventful(self) -> bool:
        """Whether nothing happens to the message and nothing is to be said of it, as of most mail."""
        return not (
            self.verdict != "accept"
            or self.effects
            or self.warnings
            or self.headers_needed
            or self.incomplete
            or self.stale
            or self.unavailable
            or self.refusal is not None
            or self.unknown_client is not None
            or self.decided_before is not None
        )

    @property
    def applied_verdict(self) -> Verdict:
        """The verdict that the MTA gets."""
        return self.verdict if self.verdict_mode == "apply" else "accept"

    @property
    def told_verdict(self) -> str:
        """The verdict for the log and the counts, as ``would-...`` where it is not carried out.

        A 451 for a confidential reason that is not carried out is not told: it would show that there is such a value.
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
        return tuple([effect for effect in self.effects if effect.mode == "apply" and effect.made])

    @property
    def applied_headers(self) -> tuple[HeaderChange, ...]:
        """The header fields that change, From first."""
        changes = self.header_changes if self.from_change is None else (self.from_change, *self.header_changes)
        return tuple([change for change in changes if change.mode == "apply" and change.made]) if changes else ()

    @property
    def applied_sender(self) -> SenderChange | None:
        """The envelope sender that is put."""
        change = self.sender_change
        return change if change is not None and change.mode == "apply" and change.made else None

    @property
    def applied_copies(self) -> tuple[Copy, ...]:
        """The copies that are made."""
        return tuple([copy for copy in self.copies if copy.mode == "apply" and copy.made])

    @property
    def changed_fields(self) -> frozenset[str]:
        """The names (lower case) of the header fields that change.

        Their fields have to be counted while the header comes in: one of each name is left, or none.
        """
        if self.from_change is None and not self.header_changes:  # as of most mail
            return frozenset()
        return frozenset([change.name.lower() for change in self.applied_headers])


def reply_text(code: str) -> str:
    """Return the one text that a held-up message gets, whatever the cause.

    One text for all causes: a reply that told a broken legal value from a dead directory would
    betray the legal hold.
    """
    return f"{code} Temporary policy lookup failure, please try again later"


TEMPFAIL_REPLY = reply_text("451 4.3.0")
