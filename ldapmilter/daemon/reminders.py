"""What lasts is said when it begins and then once an hour, not again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.policy.settings import Policy

_AGAIN: Final = 3600.0
"""Seconds after which what lasts is said once more."""


class Reminders:
    """Remembers what was said."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._said: dict[str, float] = {}

    def said(self, text: str, now: float) -> None:
        """Take note of a text that was logged elsewhere; times are monotonic seconds."""
        self._said[text] = now

    def due(self, holding: Mapping[str, int], now: float) -> dict[str, int]:
        """Return which of the texts that hold now have to be said, each with its level; others are forgotten."""
        self._said = {text: when for text, when in self._said.items() if text in holding}
        due = {text: level for text, level in holding.items() if now - self._said.get(text, -math.inf) >= _AGAIN}
        self._said.update(dict.fromkeys(due, now))
        return due


def not_applied(policy: Policy) -> str | None:
    """Return one line on all parts of the policy that are not in mode ``apply``; ``None``: all are."""
    by_mode: dict[str, list[str]] = {}
    for section, mode in policy.modes().items():
        if mode != "apply":
            by_mode.setdefault(mode, []).append(f"[{section}]")
    parts = "; ".join(f"in mode {mode}: {' '.join(sections)}" for mode, sections in by_mode.items())
    if not parts:
        return None
    if policy.applies():
        return f"not everything of the policy is applied: {parts}"
    return f"nothing of the policy is applied: {parts}"
