r"""Distinguished names as text (RFC 4514): their parts, and what is escaped in them.

A comma inside a value is escaped, as ``\,`` or ``\2C``; only one that is not parts two names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ldapmilter.directory.backend.filters import unescape_octets

_ESCAPED_OR_COMMA = re.compile(r"\\.|,", re.DOTALL)
_ESCAPED_SPECIAL = re.compile(r"\\([^0-9A-Fa-f])", re.DOTALL)


class Name(NamedTuple):
    """A DN, taken apart at its first part."""

    attribute: str
    value: str
    """As it is spelt, escapes included."""
    parent: str


def parts(dn: str) -> list[str]:
    """Return the parts of a DN as they are spelt, without the blanks around them."""
    if "\\" not in dn:
        return [part.strip() for part in dn.split(",")]
    found: list[str] = []
    start = 0
    for match in _ESCAPED_OR_COMMA.finditer(dn):
        if match.group() == ",":
            found.append(_stripped(dn[start : match.start()]))
            start = match.end()
    return [*found, _stripped(dn[start:])]


def _stripped(part: str) -> str:
    """Return a part without the blanks around it; one at the end that is escaped is its own."""
    bare = part.lstrip()
    end = len(bare.rstrip())
    escapes = end - len(bare[:end].rstrip("\\"))
    return bare[: end + escapes % 2]


def take_apart(dn: str) -> Name:
    """Return the first attribute of a DN, its value, and the DN above; empty texts: there is none."""
    first, *above = parts(dn)
    attribute, _, value = first.partition("=")
    return Name(attribute.strip(), value.lstrip(), ",".join(above))


def fold_dn(dn: str) -> str:
    """Return a DN in a form to compare by: without case, without blanks around commas."""
    return ",".join(parts(dn)).casefold()


def unescaped(value: str) -> str:
    r"""Undo the escapes of a DN's value (section 2.4): ``\2B`` and ``\+``."""
    # Escaped specials become escaped octets first, so that one pass undoes both.
    return unescape_octets(_ESCAPED_SPECIAL.sub(lambda match: f"\\{ord(match[1]):02x}", value))
