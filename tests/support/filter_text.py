"""Search filters as text (RFC 4515), which ldap3 takes: what the product sends is held against it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import And, Equal, Not, Ordered, Present, Substring

if TYPE_CHECKING:
    from ldapmilter.directory.backend.filters import Filter


def escape(value: str) -> str:
    r"""Escape an assertion value (RFC 4515 section 3): ``*``, ``(``, ``)``, ``\`` and NUL.

    Other control characters and outer white space too, which libraries take off a value.
    """
    return re.sub(r"[*()\\\x00-\x1f\x7f]|^\s+|\s+\Z", lambda match: _in_hexadecimal(match.group()), value)


def _in_hexadecimal(text: str) -> str:
    return "".join(f"\\{octet:02x}" for octet in text.encode("utf-8", "surrogateescape"))


def render(search_filter: Filter) -> str:
    """Return the text form that LDAP libraries take."""
    if isinstance(search_filter, Equal):
        return f"({search_filter.attribute}={escape(search_filter.value)})"
    if isinstance(search_filter, Present):
        return f"({search_filter.attribute}=*)"
    if isinstance(search_filter, Substring):
        return f"({search_filter.attribute}={'*'.join(escape(part) for part in search_filter.parts)})"
    if isinstance(search_filter, Ordered):
        return f"({search_filter.attribute}>={escape(search_filter.value)})"
    if isinstance(search_filter, Not):
        return f"(!{render(search_filter.part)})"
    operator = "&" if isinstance(search_filter, And) else "|"
    return f"({operator}{''.join(render(part) for part in search_filter.parts)})"
