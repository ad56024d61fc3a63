"""What the MTA says by macros, whatever octets are in it."""

from __future__ import annotations

from typing import Any

from ldapmilter.address import envelope_address
from ldapmilter.message import PROBE_MACRO

CONNECT_MACROS = f"{{client_addr}} {{client_port}} {{daemon_port}} {PROBE_MACRO}"
"""What a session needs to know of its client; Postfix sends the addresses and ports only when asked."""
_UNREADABLE = "?"
_PORT_DIGITS = 5


def macro(context: Any, name: str) -> str | None:  # noqa: ANN401 - C type
    """Return the value of a macro; ``None`` when it was not sent."""
    try:
        value: str | None = context.getsymval(name)
    except UnicodeDecodeError:
        return _UNREADABLE  # a login that is not UTF-8 is still a login, which no account has
    return value


def port(text: str | None) -> int | None:
    """Return the port that a macro's value says."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS else None


def as_text(octets: bytes) -> str:
    """Return octets as text with ``surrogateescape``."""
    return octets.decode("utf-8", "surrogateescape")


def as_delivered(context: Any, macro: str, written: str) -> str:  # noqa: ANN401 - C type
    """Return an address as the MTA understood it, by its macro, rather than as the client wrote it.

    Postfix takes comments, stray blanks, quotes around the whole and other spellings in MAIL and
    RCPT, completes a missing domain, and delivers to what it made of them, octets that are not UTF-8
    included: so must policy.
    """
    try:
        understood = context.getsymval(macro)
    except UnicodeDecodeError as error:
        understood = as_text(error.object)
    if understood and understood != written and envelope_address(understood) is not None:
        return str(understood)
    return written
