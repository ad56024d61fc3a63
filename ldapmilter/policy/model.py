"""The frozen values that a decision is made from and made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.directory.model import Level
    from ldapmilter.identity import IdentityPolicy, OnFailure
    from ldapmilter.message import Identity

Direction = Literal["sent", "received"]
"""Which party a copy is keyed by: the identity, or a recipient."""

Mode = Literal["apply", "observe", "pass"]
"""Whether effects happen; under ``observe`` and ``pass`` they are only told."""

Verdict = Literal["accept", "tempfail", "reject"]
FromCause = Literal["rewrite", "recipient", "enforce"]
OnInvalid = Literal["tempfail", "ignore"]
Inherit = Literal["override", "union"]


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
    copy_class: str | None = None
    direction: Direction | None = None
    ref: str | None = None
    """The ``ref=`` token of a copy value, for the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One address that gets a copy of the message, and everything that asked for it."""

    address: Address
    reasons: tuple[Reason, ...]
    mode: Mode = "apply"

    @property
    def classes(self) -> tuple[str, ...]:
        """The copy classes that asked, without repetition, in order."""
        return tuple(dict.fromkeys(reason.copy_class for reason in self.reasons if reason.copy_class))


@dataclass(frozen=True, slots=True, kw_only=True)
class FromChange:
    """The From that the message leaves with."""

    value: str
    """The header value: one mailbox, ASCII, unfolded."""
    cause: FromCause
    reasons: tuple[Reason, ...]
    mode: Mode = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChange:
    """One header field besides From: afterwards there is exactly one of its name, or none."""

    name: str
    value: str | None
    """ASCII, unfolded; ``None``: every field of the name goes."""
    mode: Mode = "apply"


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
    refusal: Refusal | None = None
    """Why the verdict is ``reject``."""
    copies: tuple[Copy, ...] = ()
    mode: Mode = "apply"
    warnings: tuple[Notice, ...] = ()
    unavailable: bool = False
    """Whether the message waits because the directory could not be asked."""
    incomplete: tuple[str, ...] = ()
    """What could not be known, in words; empty when everything that matters was known."""
    headers_needed: frozenset[str] = frozenset()
    """Header fields (lower case) to read before this decision is final; empty when it is."""
    searches: int = 0
    """Searches that were sent to the directory for this decision."""
    decided_before: str | None = None
    """Why the message is left alone: it has been decided on an earlier hop; ``None`` as a rule."""
    stale: bool = False
    """Whether an entry past its time to live was used because the directory failed."""

    verdict_mode: Mode = "apply"
    """Whether the verdict is carried out: ``observe`` and ``pass`` never hold mail up."""

    @property
    def applied_verdict(self) -> Verdict:
        """The verdict that the MTA gets."""
        return self.verdict if self.verdict_mode == "apply" else "accept"

    @property
    def applied_from(self) -> FromChange | None:
        """The From change that is carried out, if any."""
        change = self.from_change
        return change if change is not None and change.mode == "apply" else None

    @property
    def applied_header_changes(self) -> tuple[HeaderChange, ...]:
        """The changes of other header fields that are carried out."""
        return tuple(change for change in self.header_changes if change.mode == "apply")

    @property
    def applied_copies(self) -> tuple[Copy, ...]:
        """The copies that are carried out."""
        return tuple(copy for copy in self.copies if copy.mode == "apply")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyClass:
    """A kind of BCC and the attributes that ask for it: one ``[copy NAME]`` section."""

    name: str
    sent_attributes: tuple[str, ...]
    received_attributes: tuple[str, ...]
    inherit: Inherit
    invalid_value: OnInvalid
    mode: Mode

    @property
    def confidential(self) -> bool:
        """Whether the mail log may not name its copies: every class but plain archiving."""
        return self.name != "archive"

    def attributes(self, direction: Direction) -> tuple[str, ...]:
        """Return the attributes that ask for copies in one direction; none: it is switched off."""
        return self.sent_attributes if direction == "sent" else self.received_attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPolicy:
    """The ``[from]`` section."""

    sender_attributes: tuple[str, ...]
    recipient_attributes: tuple[str, ...]
    enforce_attributes: tuple[str, ...]
    match_members: bool
    invalid_value: OnInvalid
    reply_to: Literal["keep", "author"]
    """Whether a changed From leaves the author's address in Reply-To."""
    original_from_header: str
    """Name of a header field that keeps the old From; empty: none."""
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The configuration that decisions obey; what the directory says comes on top."""

    copy_classes: tuple[CopyClass, ...]
    from_policy: FromPolicy
    mode: Mode
    directory_failure: OnFailure
    max_copies: int
    identity: IdentityPolicy

    def attributes(self) -> frozenset[str]:
        """Return every attribute that may hold a policy value, as configured."""
        names: set[str] = {
            *self.from_policy.sender_attributes,
            *self.from_policy.recipient_attributes,
            *self.from_policy.enforce_attributes,
        }
        for copy_class in self.copy_classes:
            names.update(copy_class.sent_attributes, copy_class.received_attributes)
        return frozenset(names)

    def _modes(self) -> dict[str, Mode]:
        """Return the effective mode of each part, by its section of the configuration."""
        parts: dict[str, Mode] = {f"copy {c.name}": c.mode for c in self.copy_classes}
        return {**parts, "from": self.from_policy.mode}

    def switched_off(self) -> bool:
        """Whether every part is in mode ``pass``: no message needs a decision."""
        return all(mode == "pass" for mode in self._modes().values())

    def not_applied(self) -> tuple[str, ...]:
        """Return a sentence for each part that is not in mode ``apply``."""
        return tuple(
            f"[{section}] is in mode {mode}: nothing of it is applied"
            for section, mode in self._modes().items()
            if mode != "apply"
        )

    @property
    def hold_mode(self) -> Mode:
        """The mode of a hold-up that concerns every part: carried out when anything is applied."""
        return "apply" if self.applies() else "observe"

    def applies(self) -> bool:
        """Whether anything at all is in mode ``apply``: only then may a message be held up."""
        return "apply" in self._modes().values()


def reply_text(code: str) -> str:
    """Return the one text that a held-up message gets, whatever the cause.

    One text for all causes: a reply that told a broken legal value from a dead directory would
    betray the legal hold.
    """
    return f"{code} Temporary policy lookup failure, please try again later"


TEMPFAIL_REPLY = reply_text("451 4.3.0")
