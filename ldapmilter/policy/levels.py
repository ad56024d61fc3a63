"""Which values of a chain count: ``override`` and ``union``, ``none``, expiry, invalid values."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from msgspec import Struct, field

from ldapmilter.errors import InvalidValue
from ldapmilter.policy.effect import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.model import Chain, Holder, Level
    from ldapmilter.policy.settings import Inherit

ValueT = TypeVar("ValueT")

MOST_VALUES: Final = 1000
"""Values of one attribute on one entry that are read: a message takes as long as there are values."""


class Found(Struct, Generic[ValueT], frozen=True):
    """One usable value and where it stands."""

    holder: Holder
    attribute: str
    text: str
    value: ValueT


PassedOverCause = Literal["invalid", "expired", "accounts-only", "option", "none", "off", "hidden"]


class AsIfAbsent(Struct, frozen=True):
    """Why a value counts for nothing."""

    cause: PassedOverCause
    text: str


class PassedOver(Struct, frozen=True):
    """A value that counts for nothing, and why."""

    holder: Holder
    attribute: str
    text: str
    why: AsIfAbsent


def reason_of(one: Found[Any] | PassedOver, recipient: str | None = None, path: tuple[str, ...] = ()) -> Reason:
    """Return a value as a reason: where it stands, and for whom; ``path``: the groups that led to its recipient."""
    return Reason(
        level=one.holder.level,
        dn=one.holder.dn,
        attribute=one.attribute,
        value=one.text,
        recipient=recipient,
        group_path=path or one.holder.group_path,
    )


class Unusable(Struct, frozen=True):
    """A value that breaks the grammar or whose target does not exist."""

    holder: Holder
    attribute: str
    text: str
    problem: str

    def __str__(self) -> str:
        return f"invalid value of {self.attribute} at {self.holder.dn}: {self.problem}"


class Effective(Struct, Generic[ValueT]):
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
    read: Callable[[Holder, str], ValueT | AsIfAbsent],
    *,
    ends: Callable[[str], bool] = lambda _text: False,
    passed_over: list[PassedOver] | None = None,
) -> Effective[ValueT]:
    """Return the values that count on a chain.

    Under ``override`` the first level with a usable value, or with ``none``, hides the rest; under
    ``union`` all levels add up and ``none`` takes nothing away. Policy groups are one level
    together. An unusable value is as if absent, so the next level shows, but it is reported; more than
    :data:`MOST_VALUES` of one attribute are one. So is one under an attribute with an option
    (``ldapMilterArchiveBcc;lang-en``): options say of what kind a value is (RFC 4512 section 2.5), and
    policy has one kind.

    Args:
        chain: levels, most specific first.
        attributes: the attributes that serve this purpose.
        inherit: how levels combine.
        read: turns a value into its meaning, or says why it is as if absent (expired, say); raises
            :class:`~ldapmilter.errors.InvalidValue` for one that cannot be used.
        ends: tells the value that ends inheritance (``none``).
        passed_over: takes the values that count for nothing; ``None``: they are dropped.
    """
    reading = _Reading(attributes, read, ends, passed_over, _NONE[inherit])
    outcome = reading.outcome
    levels = groupby(chain, key=lambda holder: holder.level)
    for _level, holders in levels:
        before, ended_by = len(outcome.found), None
        for holder in holders:
            ended_by = holder if reading.entry(holder) else ended_by
        level_has_values = len(outcome.found) > before
        if ended_by is not None and level_has_values:
            outcome.none_beside_values.append(ended_by)
        if inherit == "override" and (level_has_values or ended_by is not None):
            if passed_over is not None:
                passed_over.extend(_hidden(levels, attributes, ended_by or outcome.found[before].holder))
            break
    return outcome


_NONE: Final[Mapping[Inherit, AsIfAbsent]] = {
    "override": AsIfAbsent("none", "none ends inheritance here"),
    "union": AsIfAbsent("none", "none asks for nothing, and takes nothing away (inherit = union)"),
}


class _Reading(Struct, Generic[ValueT]):
    """The values of one purpose, read entry by entry."""

    attributes: Sequence[str]
    read: Callable[[Holder, str], ValueT | AsIfAbsent]
    ends: Callable[[str], bool]
    passed_over: list[PassedOver] | None
    none: AsIfAbsent
    """What ``none`` means here."""
    outcome: Effective[ValueT] = field(default_factory=lambda: Effective([], [], [], []))

    def entry(self, holder: Holder) -> bool:
        """Read the values of an entry; return whether it says ``none``."""
        if holder.raw.with_options:
            for attribute, text in _with_options(holder, self.attributes):
                self.outcome.with_options.append(text)
                self._pass_over(holder, attribute, "", AsIfAbsent("option", text))
        ended = False
        for attribute in self.attributes:
            if problem := too_many(holder.raw, attribute):
                self._unusable(holder, attribute, "", problem)
                continue
            for text in holder.values(attribute):
                if self.ends(text):
                    ended = True
                    self._pass_over(holder, attribute, text, self.none)
                else:
                    self._value(holder, attribute, text)
        return ended

    def _value(self, holder: Holder, attribute: str, text: str) -> None:
        try:
            value = self.read(holder, text)
        except InvalidValue as error:
            self._unusable(holder, attribute, text, str(error))
            return
        if isinstance(value, AsIfAbsent):
            self._pass_over(holder, attribute, text, value)
        else:
            self.outcome.found.append(Found(holder, attribute, text, value))

    def _unusable(self, holder: Holder, attribute: str, text: str, problem: str) -> None:
        self.outcome.unusable.append(Unusable(holder, attribute, text, problem))
        self._pass_over(holder, attribute, text, AsIfAbsent("invalid", f"cannot be used: {problem}"))

    def _pass_over(self, holder: Holder, attribute: str, text: str, why: AsIfAbsent) -> None:
        if self.passed_over is not None:
            self.passed_over.append(PassedOver(holder, attribute, text, why))


def _hidden(
    levels: Iterable[tuple[Level, Iterable[Holder]]], attributes: Sequence[str], by: Holder
) -> Iterator[PassedOver]:
    """Yield the values of the levels that a nearer one hides."""
    why = AsIfAbsent("hidden", f"hidden by the value of the {by.level} level")
    for _level, holders in levels:
        for holder in holders:
            for attribute in attributes:
                for text in holder.values(attribute):
                    yield PassedOver(holder, attribute, text, why)


def too_many(raw: RawEntry, attribute: str) -> str | None:
    """Return what is wrong with the values of an attribute together: none of them is used; ``None``: nothing."""
    count = len(raw.all(attribute.lower()))
    return f"too many values: {count}, more than {MOST_VALUES}; none of them is used" if count > MOST_VALUES else None


def _with_options(holder: Holder, attributes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the attributes that have values with an option, and what is to be said of it."""
    spelled = {attribute.lower(): attribute for attribute in attributes}
    for name in holder.raw.with_options:
        base, _, options = name.partition(";")
        if base in spelled:
            text = f"{spelled[base]} at {holder.dn} has values with an option (;{options}), which are never used"
            yield spelled[base], text


def is_none(text: str) -> bool:
    """Whether a value is ``none``: inheritance ends here."""
    return text.strip().lower() == "none"
