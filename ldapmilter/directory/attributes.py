"""The attributes of one entry, in little room.

Every process keeps tens of thousands of entries. Most of them have the same attributes, and the
same values of some (classes, the COS): names and such values are kept once for all entries that
have the same. What is an entry's own is one string, taken apart when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

_COMMON: Final = frozenset({"objectclass", "zimbracosid", "zimbraisaclgroup", "zimbraisexternalvirtualaccount"})
"""Beside the attributes of policy: what many entries have the same values of."""
_POLICY_PREFIX: Final = "ldapmilter"
_MOST_SHAPES: Final = 4096
_BETWEEN_ATTRIBUTES: Final = "\x1e"
_BETWEEN_VALUES: Final = "\x1f"

DefaultT = TypeVar("DefaultT")
Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What entries have in common."""

    positions: dict[str, int]
    """Names of the attributes that are an entry's own, and their places in its text."""
    common: dict[str, Values]


_shapes: dict[tuple[object, ...], _Shape] = {}


class Attributes(Mapping[str, Values]):
    """Attribute names in lower case to their values; what has no values is left out."""

    __slots__ = ("_own", "_shape")

    def __init__(self, attributes: Mapping[str, Values]) -> None:
        """Keep what is given; a value that holds one of the separators makes all values common ones."""
        odd = any(
            _BETWEEN_ATTRIBUTES in value or _BETWEEN_VALUES in value
            for values in attributes.values()
            for value in values
        )
        common: dict[str, Values] = {}
        own: dict[str, Values] = {}
        for name in sorted(attributes):
            if values := attributes[name]:
                shared = odd or name in _COMMON or name.startswith(_POLICY_PREFIX)
                (common if shared else own)[name] = values
        self._shape = _shape_of(own, common)
        self._own = _BETWEEN_ATTRIBUTES.join(_BETWEEN_VALUES.join(values) for values in own.values())

    def __getitem__(self, name: str) -> Values:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Values | DefaultT | None = None) -> Values | DefaultT | None:  # type: ignore[override]
        """Return the values of an attribute."""
        found = self._find(name)
        return default if found is None else found

    def _find(self, name: str) -> Values | None:
        position = self._shape.positions.get(name)
        if position is None:
            return self._shape.common.get(name)
        text = self._own.split(_BETWEEN_ATTRIBUTES, position + 1)[position]
        return tuple(text.split(_BETWEEN_VALUES))

    def __iter__(self) -> Iterator[str]:
        yield from self._shape.positions
        yield from self._shape.common

    def __len__(self) -> int:
        return len(self._shape.positions) + len(self._shape.common)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Attributes):
            return self._own == other._own and (self._shape is other._shape or self._shape == other._shape)
        return Mapping.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]  # as of every mapping

    def __repr__(self) -> str:
        return f"Attributes({dict(self)!r})"


def _shape_of(own: Mapping[str, Values], common: dict[str, Values]) -> _Shape:
    """Return the one object for all entries that have these names and these common values."""
    key = (tuple(own), tuple(common.items()))
    found = _shapes.get(key)
    if found is None:
        if len(_shapes) >= _MOST_SHAPES:
            _shapes.clear()
        found = _shapes[key] = _Shape({name: position for position, name in enumerate(own)}, common)
    return found
