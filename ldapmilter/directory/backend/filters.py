"""LDAP search filters as values (RFC 4511 section 4.5.1.7).

A filter is built from parts, not written as text: no address, whatever it holds, can change the
meaning of a search. The embedded directory evaluates the same values that the LDAP client sends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Union

from msgspec import Struct

from ldapmilter.folding import fold_ascii, fold_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.backend.raw_entry import RawEntry

_MAX_DEPTH = 50


class Equal(Struct, frozen=True):
    """``(attribute=value)``."""

    attribute: str
    value: str


class Present(Struct, frozen=True):
    """``(attribute=*)``."""

    attribute: str


class Substring(Struct, frozen=True):
    """``(attribute=initial*any*final)``; empty first or last part: not anchored there."""

    attribute: str
    parts: tuple[str, ...]


class Ordered(Struct, frozen=True):
    """``(attribute>=value)``: the value or a greater one, by the attribute's ordering rule."""

    attribute: str
    value: str


class And(Struct, frozen=True):
    """``(&...)``: all of the parts."""

    parts: tuple[Filter, ...]


class Or(Struct, frozen=True):
    """``(|...)``: any of the parts."""

    parts: tuple[Filter, ...]


class Not(Struct, frozen=True):
    """``(!...)``."""

    part: Filter


Filter = Union[Equal, Present, Substring, Ordered, And, Or, Not]  # noqa: UP007 - evaluated at run time, on forward names


def any_of(attribute: str, values: Iterable[str]) -> Or:
    """Return the filter for an attribute holding any of the values."""
    return Or(tuple(Equal(attribute, value) for value in values))


def unescape_octets(text: str) -> str:
    r"""Undo ``\xx`` escapes, which spell octets of UTF-8 (RFC 4514 section 2.4, RFC 4515 section 3)."""
    octets = re.sub(
        rb"\\([0-9A-Fa-f]{2})", lambda match: bytes([int(match.group(1), 16)]), text.encode("utf-8", "surrogateescape")
    )
    return octets.decode("utf-8", "surrogateescape")


_ASCII_ONLY = frozenset(
    {"mail", "zimbramaildeliveryaddress", "zimbramailalias", "zimbraoldmailaddress", "zimbramailforwardingaddress"}
)
"""Attributes of IA5String: nothing matches an assertion that is none (RFC 4511 section 4.5.1.7)."""


def matches(search_filter: Filter, entry: RawEntry) -> bool:
    """Whether an entry matches, comparing without case as Zimbra's attributes do."""
    if isinstance(search_filter, And):
        return all(matches(part, entry) for part in search_filter.parts)
    if isinstance(search_filter, Or):
        return any(matches(part, entry) for part in search_filter.parts)
    if isinstance(search_filter, Not):
        return not matches(search_filter.part, entry)
    return _holds(search_filter, entry.all_subtypes(search_filter.attribute.lower()))


def _holds(search_filter: Equal | Present | Substring | Ordered, values: tuple[str, ...]) -> bool:
    if isinstance(search_filter, Present):
        return bool(values)
    if isinstance(search_filter, Ordered):
        return any(fold_value(value) >= fold_value(search_filter.value) for value in values)
    if isinstance(search_filter, Equal):
        is_ascii = search_filter.attribute.lower() in _ASCII_ONLY
        fold = fold_ascii if is_ascii else fold_value
        wanted = fold(search_filter.value)
        return not (is_ascii and not wanted.isascii()) and any(fold(value) == wanted for value in values)
    pattern = re.compile(".*".join(re.escape(fold_value(part)) for part in search_filter.parts), re.DOTALL)
    return any(pattern.fullmatch(fold_value(value)) for value in values)


def parse(text: str) -> Filter:
    """Parse a filter such as that of a ``memberURL``.

    Supports and, or, not, equality, presence and substrings; that is what Zimbra writes.

    Raises:
        ValueError: the text is no such filter.
    """
    search_filter, rest = _parse(text.strip(), 0)
    if rest:
        msg = f"text after the end of the filter: {rest!r}"
        raise ValueError(msg)
    return search_filter


def _parse(text: str, depth: int) -> tuple[Filter, str]:
    if depth > _MAX_DEPTH or not text.startswith("("):
        msg = f"a filter part starts with ( and nests at most {_MAX_DEPTH} deep: {text[:40]!r}"
        raise ValueError(msg)
    operator = text[1:2]
    if operator in {"&", "|", "!"}:
        parts: list[Filter] = []
        rest = text[2:]
        while rest.startswith("("):
            part, rest = _parse(rest, depth + 1)
            parts.append(part)
        if not rest.startswith(")") or (operator == "!" and len(parts) != 1):
            msg = f"unbalanced or malformed filter at {text[:40]!r}"
            raise ValueError(msg)
        if operator == "!":
            return Not(parts[0]), rest[1:]
        return (And if operator == "&" else Or)(tuple(parts)), rest[1:]
    body, closing, rest = text[1:].partition(")")
    attribute, equals, value = body.partition("=")
    if not closing or not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9.;-]*", attribute):
        msg = f"not an equality, presence or substring filter: {text[:40]!r}"
        raise ValueError(msg)
    return _simple(attribute, value), rest


def _simple(attribute: str, value: str) -> Filter:
    if value == "*":
        return Present(attribute)
    parts = tuple(unescape_octets(part) for part in value.split("*"))
    return Equal(attribute, parts[0]) if len(parts) == 1 else Substring(attribute, parts)
