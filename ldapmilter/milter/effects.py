"""From a decision to milter modifications: From, other header fields, recipients, in this order.

Called at the end of the message, the only stage at which libmilter can modify anything. The body
is never touched, and no header field names a policy or a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ldapmilter.mailbox.writing import fold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.policy.model import Decision

NO_NOTIFICATION = "NOTIFY=NEVER"
"""RFC 3461 section 4.1: no bounce, delay notice or success report of a copy may reach the author."""


class Message(Protocol):
    """The part of libmilter's context that modifies a message."""

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        """Change, add (an index past the last) or delete (``None``) one header field of a name."""

    def addrcpt(self, recipient: str, parameters: str | None = ..., /) -> None:
        """Add an envelope recipient with ESMTP parameters in one string."""


def apply(message: Message, decision: Decision, counts: Mapping[str, int]) -> None:
    """Carry out what is in mode ``apply``.

    Args:
        message: libmilter's context at the end of the message.
        decision: what to do.
        counts: how many fields of each name (lower case) the message has.
    """
    change = decision.applied_from
    if change is not None:
        _leave_one(message, "From", change.value, counts.get("from", 0))
    for header in decision.applied_header_changes:
        _leave_one(message, header.name, header.value, counts.get(header.name.lower(), 0))
    for copy in decision.applied_copies:
        message.addrcpt(f"<{copy.address.text}>", NO_NOTIFICATION)


def _leave_one(message: Message, name: str, value: str | None, count: int) -> None:
    """Leave one field of a name with a value, or (``None``) none at all."""
    # From the last down: deleting shifts the numbers of those that follow.
    for index in range(count, 0 if value is None else 1, -1):
        message.chgheader(name, index, None)
    if value is not None:
        message.chgheader(name, 1, fold(name, value))
