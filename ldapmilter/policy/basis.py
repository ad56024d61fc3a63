"""What one message is decided by: its facts are looked up once, whether or not the decision waits for the header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ldapmilter.policy.copies import CopyOutcome
    from ldapmilter.policy.facts import Facts
    from ldapmilter.policy.from_outcome import FromChoice, FromStays
    from ldapmilter.policy.list_values import UnusedSetting


class Basis(Struct):
    """Filled by the decision at DATA; the one at the end of the message goes on from it, ``explain`` looks into it."""

    facts: Facts | None = None
    """``None``: the parties of the mail were not looked up, or could not be."""
    copies: CopyOutcome | None = None
    """Which copies follow from the facts: the header changes none."""
    from_choice: FromChoice | None = None
    """Which value changes the From, as far as the facts go."""
    from_stays: tuple[FromStays, ...] = ()
    """Why the From stays in one way or another in which it could change; one at most for each."""
    unused_settings: tuple[UnusedSetting, ...] = ()
    """Settings of the list that decides which change nothing, and why."""

    def forget(self) -> None:
        """Forget an earlier decision."""
        self.facts = self.copies = self.from_choice = None
        self.from_stays = ()
        self.unused_settings = ()
