"""What a session needs from the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ldapmilter.message import Envelope, HandledMessage, Headers
    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.model import Decision


class Counting(Protocol):
    """Counts what is in flight."""

    def session_began(self) -> None:
        """Count a connection."""

    def session_ended(self) -> None:
        """Count a connection that is closed."""

    def message_began(self) -> int:
        """Count a message in flight; return what to hand to :meth:`message_ended`."""

    def message_ended(self, epoch: int) -> None:
        """Count a message that is through."""


class Deciding(Protocol):
    """What a session needs from the daemon."""

    def decide(self, envelope: Envelope, headers: Headers | None, basis: Basis) -> Decision | None:
        """Return the decision, or ``None`` when policy is switched off (mode ``pass``).

        Args:
            envelope: what the MTA said before the header.
            headers: the header fields that the decision at DATA asked for; ``None`` at DATA.
            basis: what the message is decided by: the same object for both decisions.
        """

    def settle(self, message: HandledMessage, decision: Decision) -> Decision:
        """Return what is to be carried out of a final decision, at the end of the message."""

    @property
    def changes_sender(self) -> bool:
        """Whether a message may come whose envelope sender is to change."""

    @property
    def keeps_message_ids(self) -> bool:
        """Whether the header of a message with a copy is worth reading for the Message-ID alone."""

    def done(self, message: HandledMessage, decision: Decision) -> None:
        """Take note of a decision that is about to be carried out.

        Raises:
            LdapmilterError: the note cannot be taken and has to be: the message waits.
        """

    def replaces_recipients(self) -> bool:
        """Whether a copy has to take the place of a recipient that it is already."""

    def failed(self) -> None:
        """Take note of an unexpected error, for which a message waits."""

    def gave_up(self, message: HandledMessage, error: BaseException) -> None:
        """Take note of a message that is told to wait because of an error."""

    @property
    def in_flight(self) -> Counting:
        """What counts connections and messages."""
