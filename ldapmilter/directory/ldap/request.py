"""What is asked of an LDAP server, in the octets that it is asked in (RFC 4511, in BER with definite lengths).

ldap3 makes objects of pyasn1 of a filter's text and of each attribute that is asked for, and octets of these: more than
half of what a look-up of one address costs. A filter of ours is a value already, and there is no text that a value in
it would have to be escaped in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ldapmilter.directory.backend.filters import And, Equal, Not, Or, Ordered, Present, Substring

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.store import Scope

Control = tuple[str, bytes]
"""An OID and a value (RFC 4511 section 4.1.11); every control of ours is critical."""

PAGED_RESULTS: Final = "1.2.840.113556.1.4.319"
"""RFC 2696 section 2: pagedResultsControl."""

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_SEARCH, _COMPARE = 0x63, 0x6E
"""[APPLICATION 3] and [APPLICATION 14]."""
_CONTROLS = 0xA0
_AND, _OR, _NOT, _EQUAL, _SUBSTRINGS, _AT_LEAST, _PRESENT = 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0x87
_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82
_SCOPES: Final[dict[Scope, bytes]] = {"base": b"\x0a\x01\x00", "one": b"\x0a\x01\x01", "sub": b"\x0a\x01\x02"}
_FOLLOW_ALIASES = b"\x0a\x01\x03"
"""derefAlways."""
_TRUE, _FALSE = b"\x01\x01\xff", b"\x01\x01\x00"
_NO_TIME_LIMIT = b"\x02\x01\x00"
_NO_ATTRIBUTES = ("1.1",)
_SHORT = 0x80
"""A length below it is one octet; it marks the number of octets of any other."""


def message(number: int, operation: bytes, controls: Sequence[Control] = ()) -> bytes:
    """Return a whole message (section 4.1.1): its number, what is asked, and controls."""
    parts = _integer(number) + operation
    if controls:
        each = (_element(_SEQUENCE, _text(oid) + _TRUE + _element(_OCTETS, value)) for oid, value in controls)
        parts += _element(_CONTROLS, b"".join(each))
    return _element(_SEQUENCE, parts)


def search(base: str, scope: Scope, search_filter: Filter, attributes: tuple[str, ...], most: int = 0) -> bytes:
    """Return a search (section 4.5.1).

    Args:
        base: DN.
        scope: below it.
        search_filter: the filter.
        attributes: of the entries; none: none of them.
        most: entries at most; 0: all.

    Raises:
        ValueError: something cannot be spelt: half a surrogate pair, or an empty list of conditions.
    """
    return _element(
        _SEARCH,
        b"".join(
            (
                _text(base),
                _SCOPES[scope],
                _FOLLOW_ALIASES,
                _integer(most),
                _NO_TIME_LIMIT,
                _FALSE,
                filter_octets(search_filter),
                _selection(attributes or _NO_ATTRIBUTES),
            )
        ),
    )


def compare(dn: str, attribute: str, value: str) -> bytes:
    """Return a Compare (section 4.10)."""
    return _element(_COMPARE, _text(dn) + _element(_SEQUENCE, _text(attribute) + _text(value)))


def paged_results(size: int, cookie: bytes) -> Control:
    """Return what asks for a page (RFC 2696 section 3): so many entries, after those that came with the cookie."""
    return PAGED_RESULTS, _element(_SEQUENCE, _integer(size) + _element(_OCTETS, cookie))


def filter_octets(search_filter: Filter) -> bytes:
    """Return a filter (section 4.5.1.7).

    Raises:
        ValueError: it cannot be spelt; see :func:`search`.
    """
    if isinstance(search_filter, Equal):
        return _element(_EQUAL, _text(search_filter.attribute) + _text(search_filter.value))
    if isinstance(search_filter, Present):
        return _element(_PRESENT, search_filter.attribute.encode())
    if isinstance(search_filter, Substring):
        return _element(_SUBSTRINGS, _text(search_filter.attribute) + _element(_SEQUENCE, _parts(search_filter.parts)))
    if isinstance(search_filter, Ordered):
        return _element(_AT_LEAST, _text(search_filter.attribute) + _text(search_filter.value))
    if isinstance(search_filter, Not):
        return _element(_NOT, filter_octets(search_filter.part))
    if not search_filter.parts:
        msg = "a filter of no conditions"
        raise ValueError(msg)
    return _element(_AND if isinstance(search_filter, And) else _OR, _each(search_filter))


def _each(search_filter: And | Or) -> bytes:
    return b"".join([filter_octets(part) for part in search_filter.parts])


def _parts(parts: Sequence[str]) -> bytes:
    """Return the parts of a value: what it begins with, what is in it, and what it ends with, as far as they say so."""
    tags = (_INITIAL, *(_ANY for _ in parts[1:-1]), _FINAL)
    return b"".join(_element(tag, part.encode()) for tag, part in zip(tags, parts, strict=True) if part)


@lru_cache(maxsize=64)
def _selection(attributes: Iterable[str]) -> bytes:
    """Return the attributes that are asked for: of each kind of entry, always the same."""
    return _element(_SEQUENCE, b"".join(map(_text, attributes)))


def _text(text: str) -> bytes:
    return _element(_OCTETS, text.encode())


def _integer(value: int) -> bytes:
    return _element(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _SHORT:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT | len(length))) + length + content
