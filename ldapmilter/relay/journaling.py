"""What a copy is handed on as: itself, or a journal report around it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.relay.decided import decided
from ldapmilter.relay.ends import as_text
from ldapmilter.relay.expansion import Expanded, expand, expand_as_known
from ldapmilter.relay.report import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.relay.original import Original
    from ldapmilter.relay.report import ReportSettings
    from ldapmilter.relay.stored import KnownCopy


class Wrapped(Protocol):
    """A message as its archive gets it."""

    @property
    def eight_bit(self) -> bool:
        """Whether an octet of it is not ASCII."""

    def chunks(self) -> Iterator[bytes]:
        """Yield its octets in pieces, any number of times."""


class Views(Protocol):
    """Makes views of the directory."""

    def __call__(self, *, memory_only: bool = False) -> Directory:
        """Return a strict one, with a deadline of its own."""


class Messages(Protocol):
    """What the state knows of messages."""

    def record(self, message: int | None) -> dict[str, Any] | None:
        """Return the decision's line of the audit; ``None``: it is not there."""

    def expansion(self, message: int | None) -> str | None:
        """Return what was stored."""

    def store_expansion(self, message: int, text: str) -> None:
        """Store who the recipients of a message lead to."""


class Journaling:
    """Wraps journaled copies; a tracked one goes on as it came.

    Attributes:
        directory: makes views of the directory.
        settings: of reports.
    """

    def __init__(
        self,
        directory: Views,
        state: Messages,
        settings: ReportSettings,
        *,
        seal: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Wrap by what a state knows.

        Args:
            directory: see the attribute.
            state: what is known of messages; who the recipients lead to is read once, and stored there.
            settings: see the attribute.
            seal: returns the latest seal of the audit, if there is one.
            clock: seconds since the epoch.
        """
        self.directory = directory
        self.settings = settings
        self._state = state
        self._seal = seal
        self._clock = clock

    def __call__(self, copy: KnownCopy, message: Original, *, last_chance: bool, memory_only: bool = False) -> Wrapped:
        """Return what the archive gets.

        Args:
            copy: what is known of the copy.
            message: its octets as they came.
            last_chance: whether it is kept when it is not through now: what cannot be read is left out.
            memory_only: whether the directory is not to be waited for.

        Raises:
            DirectoryUnavailable: somebody whom the message went to cannot be looked up now.
        """
        if copy.delivery != "journal" or copy.other_message_id is not None:
            return message  # a report would say of another message who sent it to whom
        record = self._state.record(copy.message)
        said = decided(record, copy.token) if record is not None else None
        if said is None or copy.message is None:
            raise DirectoryUnavailable("the state has not the decision that the report tells of")
        expanded = self._expanded(copy.message, said.offered, last_chance=last_chance, memory_only=memory_only)
        return build(said, expanded, message, self.settings, self._seal())

    def _expanded(self, message: int, offered: Sequence[str], *, last_chance: bool, memory_only: bool) -> Expanded:
        if (stored := self._state.expansion(message)) is not None:
            return Expanded.from_json(json.loads(stored))
        now = as_text(self._clock())
        try:
            found = expand(offered, self.directory(memory_only=memory_only), now)
        except DirectoryUnavailable:
            if not last_chance:
                raise
            found = expand_as_known(offered, self.directory(), now)
        self._state.store_expansion(message, json.dumps(found.as_json(), separators=(",", ":")))
        return found
