"""One LDAP entry as a back end returns it, in little room.

Every process keeps tens of thousands of entries. Most of them have the same attributes, the same
values of some (classes, the COS) and the same parent: those are kept once for all entries that have
the same. What is an entry's own is one string, taken apart when it is asked for.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMON: Final = frozenset({"objectclass", "zimbracosid", "zimbraisaclgroup", "zimbraisexternalvirtualaccount"})
"""Beside the attributes of policy: what many entries have the same values of."""
_POLICY_PREFIX: Final = "ldapmilter"
_MOST_SHAPES: Final = 4096
_BETWEEN_ATTRIBUTES: Final = "\x1e"
_BETWEEN_VALUES: Final = "\x1f"

Values = tuple[str, ...]


class _Shape(Struct, frozen=True):
    """What entries have in common."""

    below: str
    """What follows the first part of the DN, with its comma."""
    positions: dict[str, int]
    """Names of the attributes that are an entry's own, and their places in its text."""
    common: dict[str, Values]
    with_options: tuple[str, ...]
    """Which names carry options."""


_shapes: dict[tuple[object, ...], _Shape] = {}


class RawEntry:
    """Decoded text, nothing interpreted."""

    __slots__ = ("_own", "_shape")

    def __init__(self, dn: str, attributes: Mapping[str, Values]) -> None:
        """Keep what a back end found.

        Args:
            dn: the distinguished name as the directory spells it.
            attributes: attribute names in lower case to their values; what has no values is left out.
        """
        rdn, comma, parent = dn.partition(",")
        texts = [dn, *(value for values in attributes.values() for value in values)]
        # A text that holds one of the separators makes everything common.
        odd = any(_BETWEEN_ATTRIBUTES in text or _BETWEEN_VALUES in text for text in texts)
        common: dict[str, Values] = {}
        own: dict[str, Values] = {}
        for name in sorted(attributes):
            if values := attributes[name]:
                shared = odd or name in _COMMON or name.startswith(_POLICY_PREFIX)
                (common if shared else own)[name] = values
        self._shape = _shape_of(dn if odd else comma + parent, own, common)
        self._own = "" if odd else _BETWEEN_ATTRIBUTES.join((rdn, *map(_BETWEEN_VALUES.join, own.values())))

    @property
    def dn(self) -> str:
        """The distinguished name as the directory spells it."""
        return self._own.partition(_BETWEEN_ATTRIBUTES)[0] + self._shape.below

    @property
    def attributes(self) -> Mapping[str, Values]:
        """Attribute names in lower case to their values."""
        return MappingProxyType({name: self.all(name) for name in (*self._shape.positions, *self._shape.common)})

    @property
    def classes(self) -> frozenset[str]:
        """The values of ``objectClass``, in lower case."""
        return frozenset(map(str.lower, self.all("objectclass")))

    def first(self, name: str) -> str | None:
        """Return the first value of an attribute (lower case), or ``None`` when it has none."""
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> Values:
        """Return every value of an attribute (lower case)."""
        position = self._shape.positions.get(name)
        if position is None:
            return self._shape.common.get(name, ())
        text = self._own.split(_BETWEEN_ATTRIBUTES, position + 1)[position]
        return tuple(text.split(_BETWEEN_VALUES))

    @property
    def with_options(self) -> tuple[str, ...]:
        """Names of attributes that carry options: ``displayname;lang-en`` (RFC 4512 section 2.5).

        A server returns them, and finds an entry by them, when the attribute itself is asked for. They
        are not that attribute: :meth:`all` does not count their values as its own.
        """
        return self._shape.with_options

    def all_subtypes(self, name: str) -> Values:
        """Return the values that a filter finds an entry by: an attribute's, with whatever options."""
        if not self.with_options:
            return self.all(name)
        names = (name, *(one for one in self.with_options if one.partition(";")[0] == name))
        return tuple(value for one in names for value in self.all(one))

    def is_true(self, name: str) -> bool:
        """Whether a boolean attribute (LDAP syntax 7) is ``TRUE``."""
        return (self.first(name) or "").upper() == "TRUE"

    def is_false(self, name: str) -> bool:
        """Whether it is ``FALSE``: unset, it is neither."""
        return (self.first(name) or "").upper() == "FALSE"

    def __eq__(self, other: object) -> bool:
        """Whether the other one has the same DN and says the same."""
        if not isinstance(other, RawEntry):
            return NotImplemented
        return self._own == other._own and (self._shape is other._shape or self._shape == other._shape)

    def __hash__(self) -> int:
        return hash(self._own)

    def __repr__(self) -> str:
        return f"RawEntry({self.dn!r}, {dict(self.attributes)!r})"


def _shape_of(below: str, own: Mapping[str, Values], common: dict[str, Values]) -> _Shape:
    """Return the one object for all entries that have these names, these common values and this parent."""
    key = (below, tuple(own), tuple(common.items()))
    found = _shapes.get(key)
    if found is None:
        if len(_shapes) >= _MOST_SHAPES:
            _shapes.clear()
        positions = {name: position for position, name in enumerate(own, 1)}
        with_options = tuple(name for name in (*own, *common) if ";" in name)
        found = _shapes[key] = _Shape(below, positions, common, with_options)
    return found
