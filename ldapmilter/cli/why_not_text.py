"""What does not happen to a message, in words, for ``explain``: few lines, so that one screen answers why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.cli import effect_text
from ldapmilter.policy.not_applied import entry_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ldapmilter.policy.effect import FromCause
    from ldapmilter.policy.explanation import NotAppliedDocument

WAYS: dict[FromCause, str] = {
    "rewrite": "sender's rule",
    "recipient": "recipient's From",
    "enforce": "enforcement",
    "list": "list",
}
_MOST_VALUES = 2
_MANY = 3
"""Reasons with values of their own past which one value is shown of each, in one line: a screen has 24."""


class WhyNotText:
    """The lines about what does not happen to one message."""

    def __init__(self, not_applied: Iterable[NotAppliedDocument]) -> None:
        """Put those together that have the same reason."""
        every = list(not_applied)
        self._ways = _together((WAYS[one["way"]], one) for one in every if one["way"] not in {None, "list"})
        self._lists = [one for one in every if one["way"] == "list" and one["cause"] != "mode"]
        # Where only the mode is why, the copy itself says so.
        self._copies = _together(
            (f"{one['class']} {one['direction']}", one)
            for one in every
            if one["class"] is not None and one["cause"] != "mode"
        )
        self._brief = (
            sum(bool(one["values"]) for one in (*self._ways.values(), *self._copies.values(), *self._lists)) > _MANY
        )

    def of_from(self) -> Iterator[str]:
        """Yield why the From stays."""
        for names, one in self._ways.items():
            yield from self._lines(f"            {names}", one)

    def of_lists(self) -> Iterator[str]:
        """Yield why settings of lists do not count."""
        for one in self._lists:
            yield from self._lines("list      not used", {**one, "text": one["text"].removeprefix("cannot be used: ")})

    def of_copies(self) -> Iterator[str]:
        """Yield why copies are not made."""
        for names, one in self._copies.items():
            yield from self._lines(f"no copy   {names}", one)

    def _lines(self, about: str, one: NotAppliedDocument) -> Iterator[str]:
        # The line of the identity has said why the sender is not known.
        text = "nobody is known to send it" if one["cause"] == "no-identity" else one["text"]
        values = one["values"]
        shown = values[: 1 if self._brief else _MOST_VALUES]
        further = f", and {len(values) - len(shown)} more (--json)" if len(values) > len(shown) else ""
        if shown and self._brief:
            (value,) = shown
            where = f"{value['level']} {entry_name(value['dn'])}"
            yield f"{about}: {text}: {value['attribute']}: {value['value']} [{where}]{further}"
            return
        yield f"{about}: {text}"
        for place, value in enumerate(shown):
            because = effect_text.because(value)
            line = because if place == 0 else f"also {because}: {value['text']}"
            yield f"              {line}" + (further if value is shown[-1] else "")


def _together(every: Iterable[tuple[str, NotAppliedDocument]]) -> dict[str, NotAppliedDocument]:
    """Return each reason once, by the names of all that it holds for."""
    names: dict[str, list[str]] = {}
    first: dict[str, NotAppliedDocument] = {}
    for name, one in every:
        key = repr((one["text"], one["values"]))
        names.setdefault(key, []).append(name)
        first.setdefault(key, one)
    return {", ".join(names[key]): one for key, one in first.items()}
