"""Whether header fields are better answered or not: settled by the mail of late."""

from __future__ import annotations

_HABIT = 16
# Of the milter's time, a fifth of a message's that needs only its envelope, against half of one whose
# header is read: benchmarks/README.md.
_READ_WEIGHS = 4


class Habit:
    """What the mail of late needed, to negotiate by: how headers travel is settled for a whole connection.

    Either each header field is answered, so that the first answer can spare the rest (SKIP): best
    where no header is read. Or none is: all of them come and nobody waits, best where the From has
    to be counted. Both do right by any message.
    """

    def __init__(self) -> None:
        """Expect messages whose header is not read."""
        self._score = -_HABIT

    def read(self) -> None:
        """Note a message of which every header field had to be seen."""
        self._score = min(self._score + _READ_WEIGHS, _HABIT)

    def skipped(self) -> None:
        """Note a message whose header was not needed, or not to its end."""
        self._score = max(self._score - 1, -_HABIT)

    @property
    def reads(self) -> bool:
        """Whether enough messages with something to do had their headers read."""
        return self._score > 0
