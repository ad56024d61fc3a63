"""The text that a refused message gets: one line of an SMTP reply, in the words of the site."""

from __future__ import annotations

import re

from ldapmilter.plain import plain

_CODE = "550 5.7.1 "
_MAX_TEXT = 512 - len(_CODE) - len("\r\n")
"""RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets, code and line end included."""
_ROOM = 100
"""Octets that each placeholder is sure to have."""
_PLACEHOLDER = re.compile(r"\{(from|address)\}")
_HAS_CODE = re.compile(r"[245][0-9][0-9](?![0-9])")

ALLOWED = (
    "one line of printable ASCII without the reply code, with {from} (the address that is not the sender's) and"
    f" {{address}} (the one to use); at most {_MAX_TEXT} characters, {_ROOM} counted for each of them"
)


def read_reject_text(text: str) -> str:
    """Return the text of ``[from] reject_text``; empty: the text that comes with the product.

    Raises:
        ValueError: it cannot stand in a reply.
    """
    fixed, count = _PLACEHOLDER.subn("", text)
    if re.search(r"[^ -~]|[{}]", fixed) or _HAS_CODE.match(text) or len(fixed) + count * _ROOM > _MAX_TEXT:
        raise ValueError(ALLOWED)
    return text


def refusal_reply(text: str, *, foreign: str, own: str) -> str:
    """Return the whole reply.

    Args:
        text: with placeholders (:func:`read_reject_text`).
        foreign: the address that is not the sender's, as the message has it.
        own: the address to use.
    """
    fixed, count = _PLACEHOLDER.subn("", text)
    room = (_MAX_TEXT - len(fixed)) // max(1, count)
    values = {"from": _fit(foreign, room), "address": _fit(own, room)}
    return _CODE + _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _fit(text: str, room: int) -> str:
    """Return what comes from mail as ASCII that steers nothing, in the room that there is."""
    shown = plain(text).encode("ascii", "backslashreplace").decode("ascii")
    return shown if len(shown) <= room else shown[: room - len("...")] + "..."
