"""The headers of a message as an MTA holds them, and what a milter's requests make of them.

Names and values are bytes throughout: what a sender put there need not be text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]
"""Name and value; the value without the one blank after the colon, folded lines joined by LF."""

# Postfix's is_header: printable ASCII without blank and colon, then blanks, then the colon.
_HEADER_LINE = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MAILBOX_LINE = re.compile(rb">*From ")
# Postfix's own trace header, which it hides from milters (milter8_header) but counts on insertion.
_OWN_RECEIVED: Final = (b"Received", b"")


class HeaderModification(Struct, frozen=True, kw_only=True):
    """One request of a milter about headers, as it came (SMFIR_ADDHEADER, _INSHEADER, _CHGHEADER)."""

    kind: Literal["add", "insert", "change"]
    name: bytes
    value: bytes
    """Empty in a change: the header is deleted."""
    index: int = 0
    """Change: the n-th header of that name, from 1. Insert: the place, 0 above the MTA's own Received."""


def modified(
    headers: Sequence[Header], modifications: Iterable[HeaderModification], *, leading_space: bool = False
) -> tuple[Header, ...]:
    """Return headers after modifications, applied in order as Postfix does (cleanup_milter.c).

    ``headers`` are those that the milter saw. Postfix counts its own Received header, which is
    none of them, when it inserts, and passes over the topmost header when it changes or deletes;
    it is not part of the result, unless the milter inserted something above it and then changed it.
    With ``leading_space`` the milter writes the blank after the colon itself (SMFIP_HDR_LEADSPC).
    """
    held: list[Header] = [_OWN_RECEIVED, *headers]
    for modification in modifications:
        value = modification.value.removeprefix(b" ") if leading_space else modification.value
        new = (modification.name, _folded(value))
        if modification.kind == "add":
            held.append(new)
        elif modification.kind == "insert":
            held.insert(modification.index, new)
        else:
            place = _place(held, modification.name, modification.index)
            if not value:
                held[place : place + 1] = []
            else:
                held[place : place + 1] = [new]
    return tuple(header for header in held if header is not _OWN_RECEIVED)


def read_message(text: bytes) -> tuple[list[Header], bytes]:
    """Split a message (RFC 5322, LF or CRLF line ends) into the headers that a milter is shown and the body.

    As Postfix reads it: a header name is printable ASCII, folded lines stay in the value with LF
    between them, one blank after the colon goes, a leading mailbox line (``From ann Mon ...``) becomes
    ``X-Mailbox-Line``, and the first line that is not a header begins the body, with or without an
    empty line before it. The body is returned as it stands.
    """
    headers: list[Header] = []
    position = 0
    while position < len(text):
        end = text.find(b"\n", position) + 1 or len(text)
        line = text[position:end].rstrip(b"\n").removesuffix(b"\r")
        if not line:
            return headers, text[end:]
        if line[:1] in (b" ", b"\t") and headers:
            name, value = headers[-1]
            headers[-1] = (name, value + b"\n" + line)
        elif match := _HEADER_LINE.match(line):
            headers.append((match.group(1), line[match.end() :].removeprefix(b" ")))
        elif position == 0 and _MAILBOX_LINE.match(line):
            headers.append((b"X-Mailbox-Line", line))
        else:
            break
        position = end
    return headers, text[position:]


def _place(held: list[Header], name: bytes, index: int) -> int:
    """Return where the ``index``-th header of that name stands, or the end of the headers.

    Index 0 means 1 (sendmail's habit, which Postfix keeps).
    """
    left = max(index, 1)
    for place, (candidate, _) in enumerate(held):
        if place > 0 and candidate.lower() == name.lower():
            left -= 1
            if left == 0:
                return place
    return len(held)


def _folded(value: bytes) -> bytes:
    """Return a value with every further line made a continuation (cleanup_out_header)."""
    first, *further = value.split(b"\n")
    return b"\n".join([first, *(line if line[:1] in (b" ", b"\t") else b"\t" + line for line in further)])
