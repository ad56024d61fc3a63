"""How slapd compares texts: without case, and without blanks that mean nothing.

RFC 4518 section 2.6.1 as OpenLDAP does it: blanks in front and at the end are dropped, several in a
row are one. Only U+0020 is a blank: a tab or a line end is a character like any other. What is found
by a search is compared here once more, so it has to be compared alike.
"""

from __future__ import annotations

import unicodedata


def fold_ascii(value: str) -> str:
    """Return a value as ``caseIgnoreIA5Match`` compares it, which addresses have.

    What is not ASCII is not a value of that syntax, and equal to nothing: it stays as it is, but for its
    blanks. Some letters (U+212A) would else turn into ASCII ones, and so into another person's address.
    """
    plain = _squeezed(value)
    return plain.lower() if plain.isascii() else plain


def fold_value(value: str) -> str:
    """Return a value as ``caseIgnoreMatch`` compares it: what is not an address, such as an id or a name."""
    if value.isascii():
        return _squeezed(value).lower() or value[:1]
    # Letter by letter, as slapd does: some have a lower case of two letters.
    lowered = "".join(letter.lower()[:1] for letter in value)
    return _squeezed(unicodedata.normalize("NFKC", lowered)) or " "


def _squeezed(value: str) -> str:
    return " ".join(filter(None, value.split(" "))) if " " in value else value
