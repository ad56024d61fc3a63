"""From a decision to milter modifications: From, other header fields, envelope, in this order.

Called at the end of the message, the only stage at which libmilter can modify anything. The body
is never touched, and no header field names a policy or a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import milter

from ldapmilter.mailbox.writing import fold
from ldapmilter.message import has_raw_octets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ldapmilter.policy.effect import Copy, HeaderChange
    from ldapmilter.policy.model import Decision

CHANGES_SENDER = milter.CHGFROM
"""What a changed envelope sender needs of the MTA besides."""
ACTIONS = milter.ADDRCPT | milter.ADDRCPT_PAR | milter.DELRCPT | milter.CHGHDRS | milter.ADDHDRS
"""What effects may need of the MTA. ADDRCPT_PAR: without NOTIFY=NEVER a copy would bounce to the author."""
NO_NOTIFICATION = "NOTIFY=NEVER"
"""RFC 3461 section 4.1: no bounce, delay notice or success report of a copy may reach the author."""


class MilterContext(Protocol):
    """The part of libmilter's context that modifies a message."""

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        """Change, add (an index past the last) or delete (``None``) one header field of a name."""

    def chgfrom(self, sender: str, /) -> None:
        """Change the envelope sender."""

    def delrcpt(self, recipient: str, /) -> None:
        """Delete the envelope recipients that came in this spelling."""

    def addrcpt(self, recipient: str, parameters: str | None = ..., /) -> None:
        """Add an envelope recipient with ESMTP parameters in one string."""


class Replaced(NamedTuple):
    """An envelope recipient whose place a copy takes."""

    recipient: str
    """As the decision names it (:attr:`Copy.replaces`)."""
    spelling: str
    """As the SMTP client wrote it: what the MTA knows it by."""
    notifications: str = ""
    """What the client asked for: ``NOTIFY`` and ``ORCPT`` (RFC 3461 section 4), or nothing."""


def apply(
    context: MilterContext, decision: Decision, counts: Mapping[str, int], replaced: Sequence[Replaced] = ()
) -> None:
    """Carry out what is in mode ``apply``.

    Args:
        context: libmilter's, at the end of the message.
        decision: what to do.
        counts: how many fields of each name (lower case) the message has.
        replaced: recipients whose place a copy takes.
    """
    left = dict(counts)
    for header in decision.applied_headers:
        _change_header(context, header, left)
    if (sender := decision.applied_sender) is not None:
        context.chgfrom(f"<{sender.address.text}>")
    # All of them before the first copy: deleting would reach what was just added.
    for spelling in dict.fromkeys(one.spelling for one in replaced):
        if _can_be_sent(spelling):
            context.delrcpt(f"<{spelling}>")
    for copy in decision.applied_copies:
        parameters = _notifications_of(copy, replaced)
        if copy.relayed and copy.relayed_as is None:
            message = "a copy by way of the relay has no token"
            raise RuntimeError(message)
        context.addrcpt(f"<{copy.relayed_as or copy.address.text}>", *([parameters] if parameters else []))


def _notifications_of(copy: Copy, replaced: Sequence[Replaced]) -> str:
    """Return what the author hears of a copy: nothing, unless they addressed it and it is no secret.

    A copy of a class that is not confidential takes the place of a recipient whose author has a right
    to a bounce: without one the mail would be lost in silence. That of a confidential class stays
    silent, since the recipient may have been refused, and a bounce would tell of the copy.
    """
    if copy.openly:
        for one in replaced:
            if one.recipient in copy.replaces:
                return one.notifications
    return NO_NOTIFICATION


def _can_be_sent(spelling: str) -> bool:
    """Whether libmilter can pass a spelling on: octets that are not UTF-8 came in, and do not go out."""
    return not has_raw_octets(spelling)


def _change_header(context: MilterContext, change: HeaderChange, left: dict[str, int]) -> None:
    """Leave one field of a name with a value, none at all (``None``), or one more; keep count of what is left."""
    name, value = change.name, change.value
    count = left.get(name.lower(), 0)
    written = value if value is None or change.verbatim else fold(name, value)
    if change.beside:
        context.chgheader(name, count + 1, written)
        left[name.lower()] = count + 1
        return
    left[name.lower()] = 0 if value is None else 1
    # From the last down: deleting shifts the numbers of those that follow.
    for index in range(count, 0 if value is None else 1, -1):
        context.chgheader(name, index, None)
    if value is not None:
        context.chgheader(name, 1, written)
