"""Mail whose From rightly names another person than the sender: which header fields say so.

Automatic replies, mail that a user redirects (Resent fields), calendar mail, disposition notifications.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ldapmilter.message import Headers

AUTOMATIC_FIELDS = frozenset({"auto-submitted", "x-zimbra-forwarded"})
"""An automatic reply (RFC 3834), or a redirect by a mail filter (Zimbra's own field)."""
CONTENT_FIELDS = frozenset({"content-type", "content-class"})
_SEPARATOR = "received"
RESENT_FIELDS = frozenset(
    {
        "resent-date",
        "resent-from",
        "resent-sender",
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "resent-message-id",
        _SEPARATOR,
    }
)
"""What tells one block of Resent fields from the next (RFC 5322 section 3.6.6)."""
_COMMENT = re.compile(r"\([^()]*\)")
_MOST_TEXT = 4096
"""Characters of a field that are looked at: a media type and its parameters are short."""
_NOTIFICATION = re.compile(r';report-type="?disposition-notification"?(?:;|$)')


def is_automatic(headers: Headers) -> bool:
    """Whether a message says that it is automatic: Auto-Submitted with another value than ``no`` (RFC 3834)."""
    values = (re.split(r"[;(]", value, maxsplit=1)[0].strip().lower() for value in headers.values("auto-submitted"))
    return any(value != "no" for value in values)


def why_automatic(headers: Headers) -> str | None:
    """Return by which field a mailbox server marks the message as automatic; ``None``: a user wrote it.

    ``no`` is RFC 3834's way of saying "not automatic".
    """
    if is_automatic(headers):
        return "an automatic reply (Auto-Submitted) that a mailbox server sent"
    if headers.values("x-zimbra-forwarded"):
        return "a redirect by a mail filter (X-Zimbra-Forwarded) that a mailbox server sent"
    return None


def why_calendar(headers: Headers) -> str | None:
    """Return by what the message is an invitation or an answer to one; ``None``: it is none.

    ``Content-Type: text/calendar`` (RFC 6047), or a ``Content-Class`` of Exchange's that says calendar. Who organizes
    and who attends stands in the body. A calendar part inside a ``multipart`` cannot be seen in the header.
    """
    types = [_plain(value).partition(";")[0] for value in headers.values("content-type")]
    if (types and set(types) == {"text/calendar"}) or any(
        "calendar" in value[:_MOST_TEXT].lower() for value in headers.values("content-class")
    ):
        return "calendar mail (Content-Type or Content-Class), whose body names who organizes and who attends"
    return None


def why_notification(headers: Headers) -> str | None:
    """Return by what the message is a disposition notification (RFC 8098: "read", "deleted"); ``None``: it is none."""
    values = [_plain(value) for value in headers.values("content-type")]
    if values and all(value.startswith("multipart/report;") and _NOTIFICATION.search(value) for value in values):
        return "a disposition notification (multipart/report), which its user's address has to stand in"
    return None


def _plain(value: str) -> str:
    """Return a media type with its parameters, in lower case, without comments and blanks (RFC 2045 section 5.1)."""
    return "".join(_COMMENT.sub("", value[:_MOST_TEXT]).split()).lower()


class Resent(Struct, frozen=True):
    """Who redirected a message that another person had written (RFC 5322 section 3.6.6)."""

    froms: tuple[str, ...]
    """Values of Resent-From."""
    senders: tuple[str, ...]
    """Values of Resent-Sender."""


def newest_resent(headers: Headers) -> Resent | None:
    """Return the newest block of Resent fields; ``None``: the message was not redirected.

    Each redirection puts a block of its own before all others (RFC 5322 section 3.6.6). No block has a field
    twice, and none goes on behind a trace field.
    """
    block: list[tuple[str, str]] = []
    for name, value in headers.fields:
        if name not in RESENT_FIELDS:
            continue
        if name == _SEPARATOR and not block:
            continue
        if name == _SEPARATOR or name in (seen for seen, _ in block):
            break
        block.append((name, value))
    froms, senders = (
        tuple(value for name, value in block if name == wanted) for wanted in ("resent-from", "resent-sender")
    )
    return Resent(froms, senders) if froms or senders else None
