"""What did not happen to a message, and why: the values of :mod:`.why_not`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct

from ldapmilter.directory.backend.dn import parts, take_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.model import Holder
    from ldapmilter.policy.effect import Direction, FromCause, Reason

ValueCause = Literal[
    "mode",
    "max-copies",
    "own-address",
    "exempt",
    "already",
    "allowed",
    "no-account",
    "no-match",
    "not-addressed",
    "no-group",
    "invalid",
    "expired",
    "accounts-only",
    "option",
    "off",
    "none",
    "hidden",
    "outranked",
    "list-only",
]
"""Why one value did not count, the nearest to counting first."""
Cause = Literal[
    ValueCause,
    "no-value",
    "no-identity",
    "no-entry",
    "not-hosted",
    "switched-off",
    "undecided",
]
"""Why something does not happen: by its nearest value, or (the last six) without any."""

_ORDER = {cause: place for place, cause in enumerate(get_args(ValueCause))}
_LEVELS = ("account", "group", "policy-group", "cos", "domain", "global")
_MOST_NAMES = 2


class UnusedValue(Struct, frozen=True, kw_only=True):
    """One value that did not count."""

    cause: ValueCause
    text: str
    """The same in words."""
    reason: Reason
    """The value, where it stands, and for whom it was looked at."""

    @property
    def distance(self) -> tuple[int, int]:
        """How far it was from counting: sort key."""
        return (_ORDER[self.cause], _LEVELS.index(self.reason.level))


class NotApplied(Struct, frozen=True, kw_only=True):
    """A copy that is not made, for one class and direction; one way in which the From does not change; or a post."""

    copy_class: str | None = None
    direction: Direction | None = None
    """Of a copy."""
    way: FromCause | None = None
    """Of the From; ``list``: of all that a list may change."""
    cause: Cause
    text: str
    values: tuple[UnusedValue, ...] = ()
    """The values that did not count, the nearest first."""
    looked_at: tuple[Holder, ...] = ()
    """The entries on which there could be values, most specific first."""


def nearest_first(values: Iterable[UnusedValue]) -> tuple[UnusedValue, ...]:
    """Return each value once, the nearest to counting first."""
    once: dict[tuple[str, str, str, str], UnusedValue] = {}
    for one in values:
        once.setdefault((one.cause, one.reason.dn, one.reason.attribute, one.reason.value), one)
    return tuple(sorted(once.values(), key=lambda one: one.distance))


def names_of(names: Iterable[str]) -> str:
    """Return some names, in few words however many there are."""
    every = list(dict.fromkeys(names))
    further = len(every) - _MOST_NAMES
    shown = (", " if further > 0 else " and ").join(every[:_MOST_NAMES])
    return f"{shown} and {further} more" if further > 0 else shown


def levels_in_words(holders: Iterable[Holder]) -> str:
    """Return the levels that were looked at, each with the names of its entries."""
    by_level: dict[str, list[str]] = {}
    for holder in holders:
        by_level.setdefault(holder.level, []).append(entry_name(holder.dn))
    return ", ".join(
        "global config" if level == "global" else f"{level} {names_of(by_level[level])}"
        for level in _LEVELS
        if level in by_level
    )


def entry_name(dn: str) -> str:
    """Return what people call an entry: the first part of its DN, of a domain all parts."""
    if dn.lower().startswith("dc="):
        return ".".join(part.partition("=")[2] for part in parts(dn))
    return take_apart(dn).value
