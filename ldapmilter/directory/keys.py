"""What cached answers are about, and when two say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from ldapmilter.directory.model import Entry

if TYPE_CHECKING:
    from ldapmilter.address import Address


class Key(NamedTuple):
    """What one cached value is about, unless it is an address."""

    kind: str
    name: str = ""


CacheKey = Key | str
"""What one cached value is about: an address (or ``@domain`` for a catch-all) stands for itself.

There are tens of thousands of addresses, and their texts are there anyway.
"""
SITE = Key("site")
GRANTING = Key("granting-groups")
"""Every group with a grant to write as its members, or as itself."""
SOURCES = "sources"
"""Kind of what an account's DN stands for: its external accounts."""
OF_RIGHTS = frozenset({GRANTING.kind, SOURCES})
"""Kinds of answers to the question who may write as whom."""


def kind_of(key: CacheKey) -> str:
    """Return what a cached value is about: ``address``, ``site``, ``cos``, ``managed``, ..."""
    return "address" if isinstance(key, str) else key.kind


def name_of(key: CacheKey) -> str:
    """Return whom a cached value is about."""
    return key if isinstance(key, str) else key.name


class GroupMembers(Struct, frozen=True):
    """Who is in a dynamic group: entries, and external addresses of its static unit."""

    entries: tuple[Entry, ...] = ()
    addresses: tuple[Address, ...] = ()
    odd: tuple[str, ...] = ()
    """Values of the static unit that hold something else than addresses."""


def same_answer(before: object, after: object) -> bool:
    """Whether two answers say the same: entries are compared by all that was read of them."""
    if isinstance(before, Entry) and isinstance(after, Entry):
        return before.raw == after.raw
    if isinstance(before, tuple) and isinstance(after, tuple):
        return len(before) == len(after) and all(
            same_answer(one, other) for one, other in zip(before, after, strict=True)
        )
    if isinstance(before, GroupMembers) and isinstance(after, GroupMembers):
        return (before.addresses, before.odd) == (after.addresses, after.odd) and same_answer(
            before.entries, after.entries
        )
    return before == after
