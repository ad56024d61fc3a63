"""One line on its way to the audit file: what is to become of it, and what became of it."""

from __future__ import annotations

import threading


class WaitingLine:
    """One line on its way."""

    __slots__ = ("durable", "finished", "given_up", "is_trial", "octets", "problem", "settled", "stands", "takes_back")

    def __init__(
        self, octets: bytes, *, durable: bool = False, takes_back: WaitingLine | None = None, is_trial: bool = False
    ) -> None:
        """Begin to wait.

        Args:
            octets: the line; nothing: the file is only to be opened by its name again.
            durable: whether it has to be on disk.
            takes_back: the line that this one takes back, should that one stand there.
            is_trial: whether one of no octets is to find out besides whether others could be written.
        """
        self.octets = octets
        self.is_trial = is_trial
        self.durable = durable
        self.takes_back = takes_back
        self.finished = threading.Lock()
        """Held until it is settled."""
        self.finished.acquire()
        self.stands = False
        """Whether it stands in the file, though not on disk yet."""
        self.settled = False
        self.given_up = False
        """Whether no caller waits for it any more."""
        self.problem: str | None = None
        """Once settled: why it is not there, or may not be on disk."""

    @property
    def counts(self) -> bool:
        """Whether it takes up room among what waits."""
        return bool(self.octets) and self.takes_back is None

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be written: not to open the file, nor to take back what never came to stand there."""
        return bool(self.octets) and (self.takes_back is None or self.takes_back.stands)
