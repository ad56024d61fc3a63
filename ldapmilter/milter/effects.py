"""From a decision to milter modifications: From, other header fields, recipients, in this order.

Called at the end of the message, the only stage at which libmilter can modify anything. The body
is never touched, and no header field names a policy or a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ldapmilter.mailbox.writing import fold

if TYPE_CHECKING:
    from ldapmilter.policy.model import Decision

NO_NOTIFICATION = "NOTIFY=NEVER"
"""RFC 3461 section 4.1: no bounce, delay notice or success report of a copy may reach the author."""


class Message(Protocol):
    """The part of libmilter's context that modifies a message."""

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        """Change, add (an index past the last) or delete (``None``) one header field of a name."""

    def addrcpt(self, recipient: str, parameters: str | None = ..., /) -> None:
        """Add an envelope recipient with ESMTP parameters in one string."""


def apply(message: Message, decision: Decision, from_count: int) -> None:
    """Carry out what is in mode ``apply``.

    Args:
        message: libmilter's context at the end of the message.
        decision: what to do.
        from_count: how many From fields the message has: one is left.
    """
    change = decision.applied_from
    if change is not None:
        # From the last to the second: deleting shifts the numbers of those that follow.
        for index in range(from_count, 1, -1):
            message.chgheader("From", index, None)
        message.chgheader("From", 1, fold("From", change.value))
    for copy in decision.applied_copies:
        message.addrcpt(f"<{copy.address.text}>", NO_NOTIFICATION)
