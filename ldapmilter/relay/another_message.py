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
_COMPARED = 200
"""Characters of a Message-ID: of a longer one the two sides may have kept different ends."""


def other_message_id(decided: str, found: Sequence[str]) -> str | None:
    """Return the Message-ID of a message that is not the decided one; ``None``: it is, or that cannot be told.

    Args:
        decided: the Message-ID that the milter saw, as the audit spells it; empty: none.
        found: every Message-ID of the message that comes.

    Whoever writes a message chooses its Message-ID, and must not have it taken for another one. So in doubt it is the
    one that was decided: octets that are not ASCII are not compared, for the audit spells them in its own way.
    """
    if not decided.isascii() or not all(map(str.isascii, found)):
        return None
    normal = _normal(decided)
    if not normal or not any(found) or any(_alike(normal, _normal(one)) for one in found):
        return None
    return plain(" ".join(found[0].split()))[:_MOST_CHARACTERS]


def _alike(one: str, other: str) -> bool:
    compared = min(len(one), len(other), _COMPARED)
    return one[:compared] == other[:compared]


def _normal(message_id: str) -> str:
    """Return what is compared: neither folding nor brackets nor case, as ``audit find`` does."""
    return "".join(message_id.split()).strip("<>").lower()
