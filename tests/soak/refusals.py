"""A milter of somebody else's behind ours, as Zimbra's own is: it refuses recipients and messages at random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.support.later_milter import LaterMilter

if TYPE_CHECKING:
    from collections.abc import Collection

_RECIPIENT: Final = 0.15
_MESSAGE: Final = 0.03
"""How often a recipient, and a message at its end, is refused."""


class RandomRefusals(LaterMilter):
    """Refuses whoever it likes; ours is never told."""

    def __init__(self, seed: int, spared: Collection[str]) -> None:
        """Listen; nothing is answered yet.

        Args:
            seed: what draws the refusals.
            spared: recipients that are never refused, in lower case.
        """
        super().__init__()
        self._choice = random.Random(seed)
        self._spared = frozenset(spared)

    def is_refused(self, recipient: str) -> bool:
        """Tell whether a recipient is refused this time."""
        return recipient not in self._spared and self._choice.random() < _RECIPIENT

    def is_all_refused(self) -> bool:
        """Tell whether a message is refused at its end this time."""
        return self._choice.random() < _MESSAGE
