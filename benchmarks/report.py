"""Markdown: tables whose first figures are ratios of one run, and what was aimed at beside them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """The ratios of the rounds of a run."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one that counts."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f}-{max(self.values):.2f})"


def ratios(own: Sequence[float], reference: Sequence[float]) -> Spread:
    """Return what each round came to, against the reference in the same round."""
    return Spread(tuple(one / other for one, other in zip(own, reference, strict=True)))


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach."""

    bound: float
    at_least: bool = True

    def verdict(self, value: float) -> str:
        """Return the bound, and whether it is kept."""
        kept = value >= self.bound if self.at_least else value <= self.bound
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {'hit' if kept else '**miss**'}"


@dataclass(slots=True)
class Report:
    """The text in the making; every part is printed as soon as it is there."""

    parts: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.parts.append(text)
        print(text, flush=True)
        print(flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table."""
        lines = [_row(columns), _row(["---"] * len(columns)), *map(_row, rows)]
        self.say("\n".join(lines))

    def text(self) -> str:
        """Return all of it."""
        return "\n\n".join(self.parts) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def milliseconds(seconds: float) -> str:
    """Return a duration as text."""
    return f"{1000 * seconds:.2f} ms"


def number(value: float) -> str:
    """Return a whole number as text."""
    return f"{value:,.0f}"
