"""Which values of a chain count: ``override`` and ``union``, ``none``, expiry, invalid values."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar

from ldapmilter.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.directory.model import Chain, Holder
    from ldapmilter.policy.model import Inherit

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Found(Generic[ValueT]):
    """One usable value and where it stands."""

    holder: Holder
    attribute: str
    text: str
    value: ValueT


@dataclass(frozen=True, slots=True)
class Unusable:
    """A value that breaks the grammar or whose target does not exist."""

    holder: Holder
    attribute: str
    text: str
    problem: str


@dataclass(slots=True)
class Effective(Generic[ValueT]):
    """The values that count for one purpose, and what is wrong with those beside them."""

    found: list[Found[ValueT]]
    unusable: list[Unusable]
    none_beside_values: list[Holder]
    with_options: list[str]
    """What is to be said of attributes that are a purpose's but for an option."""

    @property
    def says_something(self) -> bool:
        """Whether there is anything to use or to report."""
        return bool(self.found or self.unusable or self.none_beside_values or self.with_options)


def effective(
    chain: Chain,
    attributes: Sequence[str],
    inherit: Inherit,
    read: Callable[[Holder, str], ValueT | None],
    *,
    ends: Callable[[str], bool] = lambda _text: False,
) -> Effective[ValueT]:
    """Return the values that count on a chain.

    Under ``override`` the first level with a usable value, or with ``none``, hides the rest; under
    ``union`` all levels add up and ``none`` takes nothing away. Policy groups are one level
    together. An unusable value is as if absent, so the next level shows, but it is reported. So is one
    under an attribute with an option (``ldapMilterArchiveBcc;lang-en``): options say of what kind a value
    is (RFC 4512 section 2.5), and policy has one kind.

    Args:
        chain: levels, most specific first.
        attributes: the attributes that serve this purpose.
        inherit: how levels combine.
        read: turns a value into its meaning; ``None`` means as if absent (expired, say); raises
            :class:`~ldapmilter.errors.InvalidValue` for one that cannot be used.
        ends: tells the value that ends inheritance (``none``).
    """
    outcome: Effective[ValueT] = Effective([], [], [], [])
    for _level, holders in groupby(chain, key=lambda holder: holder.level):
        before, ended_by = len(outcome.found), None
        for holder in holders:
            outcome.with_options += _with_options(holder, attributes) if holder.raw.with_options else ()
            for attribute in attributes:
                for text in holder.values(attribute):
                    if ends(text):
                        ended_by = holder
                        continue
                    try:
                        value = read(holder, text)
                    except InvalidValue as error:
                        outcome.unusable.append(Unusable(holder, attribute, text, str(error)))
                        continue
                    if value is not None:
                        outcome.found.append(Found(holder, attribute, text, value))
        level_has_values = len(outcome.found) > before
        if ended_by is not None and level_has_values:
            outcome.none_beside_values.append(ended_by)
        if inherit == "override" and (level_has_values or ended_by is not None):
            break
    return outcome


def _with_options(holder: Holder, attributes: Sequence[str]) -> Iterator[str]:
    spelled = {attribute.lower(): attribute for attribute in attributes}
    for name in holder.raw.with_options:
        base, _, options = name.partition(";")
        if base in spelled:
            yield f"{spelled[base]} at {holder.dn} has values with an option (;{options}), which are never used"
