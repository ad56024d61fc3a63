"""Whether what could be read at the last check can be read still: asked once more after each answer.

Between two checks a right may be taken away, and what was found then would be believed. So an answer counts
when a Compare that began after it has come says that nothing less can be read. Those who wait at the same time
share one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.ldap.exchange import ServerFailed
from ldapmilter.directory.ldap.readability import LOOKED_AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ldapmilter.directory.backend.store import Deadline

NOT_ANSWERED = "whether the policy may be read was not answered in time"


class Expected(Struct, frozen=True):
    """What could be read of one entry."""

    dn: str
    attributes: tuple[str, ...]


class _Rounds(Struct):
    """The questions about one kind of entry, counted."""

    begun: int = 0
    held: int = 0
    """The last of them that was answered as expected."""
    running: bool = False


class Confirmation:
    """Asks one server whether what is expected holds, for any number of threads."""

    def __init__(self, ask: Callable[[Expected, float], int]) -> None:
        """Expect nothing yet.

        Args:
            ask: returns the code of a Compare that asserts all attributes, within so many seconds; raises ServerFailed.
        """
        self.expected: dict[str, Expected] = {}
        """By kind of entry, as the last check has found it; taken over as a whole."""
        self._ask = ask
        self._changed = threading.Condition()
        self._rounds: dict[str, _Rounds] = {}

    def holds(self, kinds: Iterable[str], deadline: Deadline) -> bool:
        """Whether entries of some kinds can be read as before, by a question that begins now or later.

        Raises:
            ServerFailed: no answer.
        """
        return all(self._holds(kind, deadline) for kind in kinds)

    def _holds(self, kind: str, deadline: Deadline) -> bool:
        with self._changed:
            rounds = self._rounds.setdefault(kind, _Rounds())
            before = rounds.begun
            while rounds.held <= before and rounds.running:
                if not self._changed.wait(deadline.remaining()):
                    raise ServerFailed(NOT_ANSWERED)
            if rounds.held > before:
                return True
            rounds.begun += 1
            number = rounds.begun
            rounds.running = True
            expected = self.expected.get(kind)
        held = False
        try:
            held = expected is not None and self._ask(expected, deadline.remaining()) in LOOKED_AT
        finally:
            with self._changed:
                rounds.running = False
                if held:
                    rounds.held = number
                self._changed.notify_all()
        return held
