"""What can happen to a message: kinds of effects, each with its mode and its reasons."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, StructMeta

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.delivery.settings import Delivery
    from ldapmilter.directory.model import Level

Direction = Literal["sent", "received"]
"""Which party a copy is keyed by: the identity, or a recipient."""

Mode = Literal["apply", "observe", "pass"]
"""Whether effects happen; under ``observe`` and ``pass`` they are only told."""

FromCause = Literal["rewrite", "recipient", "enforce", "list"]
"""What makes the From change."""


class Reason(Struct, frozen=True, kw_only=True):
    """Why an effect happens: one value, where it stands, and who brought it into play."""

    level: Level
    dn: str
    attribute: str
    value: str
    recipient: str | None = None
    """The recipient, or the member of a group, that the value was matched by or found through."""
    group_path: tuple[str, ...] = ()
    """From the envelope recipient down to the group (or forwarding account) that led there."""


class CopyReason(Reason, frozen=True, kw_only=True):
    """Why a copy is made: one value of a copy class."""

    copy_class: str
    direction: Direction
    ref: str | None = None
    """The ``ref=`` token of the value, for the audit."""


class _AbstractStruct(StructMeta, ABCMeta):
    """A Struct that cannot be made before all of its abstract methods are there."""


class Effect(Struct, metaclass=_AbstractStruct, frozen=True, kw_only=True):
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


class Copy(Effect, frozen=True, kw_only=True):
    """One address that gets a copy of the message, and everything that asked for it."""

    address: Address
    reasons: tuple[CopyReason, ...]
    already: tuple[str, ...] = ()
    """The envelope recipients that are this address already, as :class:`Envelope` has them."""
    openly: bool = False
    """Whether none of the classes that asked is confidential."""
    added: bool = True
    """Whether the milter makes it: not where the mail to that recipient is all that there is to copy."""
    delivery: Delivery = "direct"
    """How it travels."""
    relayed_as: str | None = None
    """``TOKEN@DOMAIN``, by which it comes to the relay; ``None`` of one that goes directly, or is not carried out."""

    @property
    def relayed(self) -> bool:
        """Whether it travels by way of the relay."""
        return self.delivery != "direct"

    @property
    def token(self) -> str | None:
        """What the relay knows it by."""
        return self.relayed_as.partition("@")[0] if self.relayed_as is not None else None

    @property
    def replaces(self) -> tuple[str, ...]:
        """The envelope recipients whose place it takes."""
        return () if self.relayed else self.already

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
        return (
            ("copy", self.address.text),
            *([("delivery", self.delivery)] if self.relayed else []),
            *([("already_a_recipient", "yes")] if self.already else []),
        )

    @property
    def made(self) -> bool:
        """See the base class."""
        return self.added

    def public_reasons(self, confidential: frozenset[str]) -> tuple[Reason, ...] | None:
        """See the base class. A copy that only confidential classes ask for is not told of."""
        return tuple(reason for reason in self.reasons if reason.copy_class not in confidential) or None


class HeaderChange(Effect, frozen=True, kw_only=True):
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
        if self.value is None:
            return (("header", f"{self.name} removed"),)
        unfolded = self.value.replace("\n\t", " ").replace("\n", "")
        return (("header", f"{self.name}: {unfolded}"),)


class FromChange(HeaderChange, frozen=True, kw_only=True):
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


class SenderChange(Effect, frozen=True, kw_only=True):
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
