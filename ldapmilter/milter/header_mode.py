"""Whether the MTA waits for an answer to each header field, settled by what recent messages needed."""

from __future__ import annotations

_RANGE = 16
# A message that needs only its envelope spends a fifth of the milter's time on answers to its fields; one
# whose header is read spends half of it: benchmarks/README.md.
_READ_WEIGHT = 4


class HeaderMode:
    """How header fields are to travel on the next connection; it holds for the whole connection.

    Answered: the first answer can spare the rest (SKIP), best where no header is read. Unanswered:
    all fields come and the MTA does not wait, best where the From has to be counted. Any message is
    handled correctly in both modes.
    """

    def __init__(self) -> None:
        """Start with answered fields."""
        self._score = -_RANGE

    def header_read(self) -> None:
        """Count a message whose header was read to its end."""
        self._score = min(self._score + _READ_WEIGHT, _RANGE)

    def header_skipped(self) -> None:
        """Count a message with something to do whose header was not needed."""
        self._score = max(self._score - 1, -_RANGE)

    @property
    def unanswered(self) -> bool:
        """Whether to negotiate unanswered fields: enough recent messages had their headers read."""
        return self._score > 0
