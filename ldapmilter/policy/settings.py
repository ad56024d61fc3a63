"""The configuration that decisions obey; what the directory says comes on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field
from msgspec.structs import force_setattr

from ldapmilter.errors import InvalidValue

if TYPE_CHECKING:
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.delivery.settings import Delivery
    from ldapmilter.policy.effect import Direction, Mode
    from ldapmilter.policy.identity import IdentityPolicy, OnFailure

OnInvalid = Literal["tempfail", "ignore"]
Inherit = Literal["override", "union"]

_MOST_DAYS = 8
"""Days that a configuration is asked about at a time: today, and whatever ``explain`` wants to know."""


class CopyClass(Struct, frozen=True, kw_only=True):
    """A kind of BCC and the attributes that ask for it: one ``[copy NAME]`` section."""

    name: str
    sent_attributes: tuple[str, ...]
    received_attributes: tuple[str, ...]
    inherit: Inherit
    invalid_value: OnInvalid
    confidential: bool
    """Whether log and metrics tell nothing of its copies, and the audit has each on disk before the MTA is answered."""
    mode: Mode
    delivery: Delivery = "direct"
    """How its copies travel."""
    next_hop_domains: frozenset[str] | None = None
    """The domains that the relay has a next hop for, where copies travel by it; ``None``: it has one for any."""
    relay_domain: str | None = None
    """Where copies travel to the relay; ``None``: there is no relay."""

    def check_way(self, target: Address) -> None:
        """See that copies have a way to a target.

        Raises:
            InvalidValue: they have none.
        """
        if target.domain == self.relay_domain:
            msg = f"{target} is in the domain of the copy relay ([relay] domain), where nobody has a mailbox"
            raise InvalidValue(msg)
        if (
            self.delivery != "direct"
            and self.next_hop_domains is not None
            and target.domain not in self.next_hop_domains
        ):
            msg = f"{target}: the copy relay has no next hop for {target.domain} ([relay] next_hop_for)"
            raise InvalidValue(msg)

    def attributes(self, direction: Direction) -> tuple[str, ...]:
        """Return the attributes that ask for copies in one direction; none: it is switched off."""
        return self.sent_attributes if direction == "sent" else self.received_attributes


class FromPolicy(Struct, frozen=True, kw_only=True):
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
    sender: Literal["keep", "author"]
    """Whether a From that a rule or a recipient's value puts leaves the author in Sender."""
    reject_text: str
    """The text of a refusal (:mod:`.refusal_text`); empty: the one that comes with the product."""
    mode: Mode


class ListsPolicy(Struct, frozen=True, kw_only=True):
    """The ``[lists]`` section: what makes mailing lists of lists."""

    from_attributes: tuple[str, ...]
    reply_to_attributes: tuple[str, ...]
    headers_attributes: tuple[str, ...]
    header_field_attributes: tuple[str, ...]
    tag_attributes: tuple[str, ...]
    bounces_attributes: tuple[str, ...]
    inherit: Inherit
    mode: Mode

    def attributes(self) -> frozenset[str]:
        """Return every attribute that may hold a setting of a list."""
        return frozenset(
            (
                *self.from_attributes,
                *self.reply_to_attributes,
                *self.headers_attributes,
                *self.header_field_attributes,
                *self.tag_attributes,
                *self.bounces_attributes,
            )
        )

    @property
    def changes_sender(self) -> bool:
        """Whether the envelope sender of a post may change."""
        return bool(self.bounces_attributes) and self.mode == "apply"


class Policy(Struct, frozen=True, kw_only=True):
    """The sections of the configuration that decide."""

    copy_classes: tuple[CopyClass, ...]
    from_policy: FromPolicy
    lists: ListsPolicy
    mode: Mode
    directory_failure: OnFailure
    max_copies: int
    identity: IdentityPolicy
    relay_domain: str | None = None
    """Where copies travel to the relay: other mail to it is refused; ``None``: there is no relay."""
    confidential: frozenset[str] = frozenset()
    """The copy classes that neither the mail log nor the metrics may tell of; follows from the classes."""
    _days: dict[date, DatedPolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out once what every message asks."""
        secret = frozenset(copy_class.name for copy_class in self.copy_classes if copy_class.confidential)
        force_setattr(self, "confidential", secret)

    def on(self, day: date) -> DatedPolicy:
        """Return the one object for this configuration on a day (UTC): what is remembered is compared by it."""
        found = self._days.get(day)
        if found is None:
            if len(self._days) >= _MOST_DAYS:
                self._days.clear()
            found = self._days.setdefault(day, DatedPolicy(self, day))
        return found

    def attributes(self) -> frozenset[str]:
        """Return every attribute that may hold a policy value, as configured."""
        return self.secret_attributes() | self.lists.attributes()

    def secret_attributes(self) -> frozenset[str]:
        """Return those that only the milter and the administrators may read: all but the settings of lists."""
        names: set[str] = {
            *self.from_policy.sender_attributes,
            *self.from_policy.recipient_attributes,
            *self.from_policy.enforce_attributes,
        }
        for copy_class in self.copy_classes:
            names.update(copy_class.sent_attributes, copy_class.received_attributes)
        return frozenset(names)

    def modes(self) -> dict[str, Mode]:
        """Return the effective mode of each part, by its section of the configuration."""
        parts: dict[str, Mode] = {f"copy {c.name}": c.mode for c in self.copy_classes}
        return {**parts, "from": self.from_policy.mode, "lists": self.lists.mode}

    def switched_off(self) -> bool:
        """Whether every part is in mode ``pass``: no message needs a decision."""
        return all(mode == "pass" for mode in self.modes().values())

    def not_applied(self) -> tuple[str, ...]:
        """Return a sentence for each part that is not in mode ``apply``."""
        return tuple(
            f"[{section}] is in mode {mode}: nothing of it is applied"
            for section, mode in self.modes().items()
            if mode != "apply"
        )

    @property
    def hold_mode(self) -> Mode:
        """The mode of a hold-up that concerns every part: carried out when anything is applied."""
        return "apply" if self.applies() else "observe"

    def applies(self) -> bool:
        """Whether anything at all is in mode ``apply``: only then may a message be held up."""
        return "apply" in self.modes().values()


class DatedPolicy(Struct, frozen=True, eq=False):
    """What values count under beside the directory: a configuration, and the day (UTC) for ``until``."""

    policy: Policy
    today: date
