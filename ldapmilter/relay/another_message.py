"""Whether what comes as a copy is the message that was decided. Pure.

A content filter tells recipients of what it holds back, and a copy's recipient is one: the notice comes with the copy's
token, and the message itself only when it is released. They are told apart by the Message-ID (RFC 5322 section 3.6.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_CHARACTERS = 900


def other_message_id(decided: str, found: Sequence[str]) -> str | None:
    """Return the Message-ID of a message that is not the decided one; ``None``: it is, or that cannot be told.

    Args:
        decided: the Message-ID that the milter saw; empty: none. As the audit holds it: what was not UTF-8 is not
            there any more, so one that is not ASCII tells nothing.
        found: every Message-ID of the message that comes.
    """
    if not decided or not decided.isascii() or not any(found) or _normal(decided) in map(_normal, found):
        return None
    return plain(" ".join(found[0].split()))[:_MOST_CHARACTERS]


def _normal(message_id: str) -> str:
    """Return what is compared: neither folding nor brackets nor case, as ``audit find`` does."""
    return "".join(message_id.split()).strip("<>").lower()
