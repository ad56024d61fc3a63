"""A mailbox as it is written into a header: display name and address (RFC 5322 section 3.4).

Display names come from the directory and from other people's headers. Whatever they hold, what is
written is one mailbox with exactly this address: nothing breaks out of its place.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox import encoded_word

if TYPE_CHECKING:
    from ldapmilter.address import Address

# libmilter refuses to send more than 65,535 octets at once; 5,000 characters stay below that
# however they are encoded, and no real name is longer.
MAX_DISPLAY_NAME = 5000
MAX_VALUE_OCTETS = 60_000
"""Octets of a value, its name and folding besides, that libmilter is given."""

# RFC 2047 section 2 wants 76 octets of a line with encoded words, RFC 5322 section 2.1.1 asks 78
# of any and demands 998.
_LINE_OCTETS = 76
_MAX_LINE_OCTETS = 998

# Control, format, surrogate; line, paragraph and blank separators.
_NOT_TEXT = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_JOINERS = "\u200c\u200d"
# Persian and Indic spelling and joined emoji need the two joiners, between such characters only.
_STRAY_JOINER = re.compile(rf"(?<![^\x00-\x7f{_JOINERS}])[{_JOINERS}]|[{_JOINERS}](?![^\x00-\x7f{_JOINERS}])")

_PRINTABLE = re.compile(r"[ -~]*")
# The full stop and the blank make it an obs-phrase (RFC 5322 section 4.1) for readers that follow
# the letter, and plain text for all of them: "Legal Dept. <legal@example.com>" is what every mail
# program shows and most write.
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-][A-Za-z0-9!#$%&'*+/=?^_`{|}~\-. ]*")
# What stays on one line: an address with its quoted local part, else what blanks delimit.
_UNFOLDABLE = re.compile(r' *(?:<?"(?:[^"\\]|\\.)*"@[^ ]*|[^ ]+)')


class Mailbox(Struct, frozen=True, kw_only=True):
    """One mailbox of RFC 5322 section 3.4."""

    display_name: str
    """Decoded and clean (:func:`clean_display_name`); empty when there is none."""
    address: Address


def clean_display_name(text: str) -> str:
    """Return ``text`` as one line of visible text, at most ``MAX_DISPLAY_NAME`` characters.

    Controls, format characters (bidirectional ones among them), lone surrogates and every kind of
    blank become blanks, runs of them one, none at the ends.
    """
    if not text.isprintable():
        text = "".join(
            " " if unicodedata.category(character) in _NOT_TEXT and character not in _JOINERS else character
            for character in text
        )
        text = _STRAY_JOINER.sub(" ", text)
    text = " ".join(text.split())
    if len(text) > MAX_DISPLAY_NAME:
        text = text[:MAX_DISPLAY_NAME].rstrip(" " + _JOINERS)
    return text


def header_value(display_name: str, address: Address) -> str:
    """Return the unfolded ASCII value of a From header with this one mailbox.

    ``display_name`` may hold anything; it is cleaned first (:func:`clean_display_name`), and left
    out with its angle brackets when nothing remains.

    Raises:
        InvalidValue: the address is not ASCII, so no header can hold it (RFC 5322 section 3.4.1).
    """
    written = address.text
    if not _PRINTABLE.fullmatch(written):
        msg = f"{written!a} cannot stand in a header: an address there is ASCII"
        raise InvalidValue(msg)
    return in_brackets(display_name, written) if clean_display_name(display_name) else written


def in_brackets(display_name: str, inside: str) -> str:
    """Return what angle brackets hold (printable ASCII) behind a name; cleaned, and left out when nothing remains."""
    name = clean_display_name(display_name)
    return f"{_phrase(name)} <{inside}>" if name else f"<{inside}>"


def _phrase(name: str) -> str:
    # Readers decode what looks like an encoded word inside quotes too (RFC 2047 section 5 forbids
    # it), so quotes do not keep such a name as it is; encoding does.
    if not name.isascii() or "=?" in name:
        return encoded_word.encode(name)
    phrase = name
    if not _PLAIN_PHRASE.fullmatch(name):
        phrase = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    if max(map(len, phrase.split(" "))) > encoded_word.MAX_WORD_OCTETS:
        return encoded_word.encode(name)
    return phrase


def readable_value(text: str) -> str:
    """Return some other header's value so that it can be written again: printable ASCII, unfolded.

    What is plain ASCII stays; anything else becomes RFC 2047 words, control characters blanks.
    """
    cleaned = clean_display_name(text)
    return cleaned if cleaned.isascii() and _foldable(cleaned) else encoded_word.encode(cleaned)


def _foldable(text: str) -> bool:
    return max(map(len, text.split(" ")), default=0) <= encoded_word.MAX_WORD_OCTETS


def fold(name: str, value: str) -> str:
    r"""Return a header's value folded with ``\n`` before a blank (RFC 5322 section 2.2.3).

    That is the form libmilter takes; the MTA writes CRLF. Unfolded it is ``value`` again, but for
    blanks at its ends. Lines, the first with ``name`` and a colon before it, have at most 76 octets
    where a blank outside a quoted local part allows it.

    Raises:
        InvalidValue: ``value`` has other than printable ASCII, or a line cannot be kept below 998
            octets. Neither happens to what :func:`header_value` returns.
    """
    if not _PRINTABLE.fullmatch(value):
        msg = f"the value of {name} is not printable ASCII: {value[:80]!a}"
        raise InvalidValue(msg)
    value = value.strip(" ")
    used = len(name) + len(": ")
    if used + len(value) <= _LINE_OCTETS:
        return value
    lines: list[list[str]] = [[]]
    for unit in _UNFOLDABLE.findall(value):
        if lines[-1] and used + len(unit) > _LINE_OCTETS:
            lines.append([])
            used = 0
        lines[-1].append(unit)
        used += len(unit)
        if used > _MAX_LINE_OCTETS:
            msg = f"the value of {name} has no place to fold within {_MAX_LINE_OCTETS} octets"
            raise InvalidValue(msg)
    return "\n".join("".join(line) for line in lines)
