"""What ``explain`` wants to know of a decision beside the decision: whoever decides about mail keeps none of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ldapmilter.policy.effect import FromCause, Reason
    from ldapmilter.policy.facts import Facts


@dataclass(frozen=True, slots=True)
class FromStays:
    """Why the From stays, although a value would change it."""

    cause: Literal["exempt", "invalid", "no-account", "allowed"]
    text: str
    way: FromCause
    reasons: tuple[Reason, ...]
    """The values that would change it."""


@dataclass(slots=True)
class Witness:
    """Takes what one decision was made from."""

    facts: Facts | None = None
    """``None``: the parties of the mail were not looked up, or could not be."""
    from_stays: tuple[FromStays, ...] = ()
    """One at most for each way in which it could change."""

    def forget(self) -> None:
        """Forget an earlier decision."""
        self.facts, self.from_stays = None, ()
