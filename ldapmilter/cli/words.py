"""Figures in words, as verbs show them."""

from __future__ import annotations

import time


def counted(number: int, thing: str) -> str:
    """Return how many of a thing there are: ``1 file``, ``2 files``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def moment(seconds: float) -> str:
    """Return a time (seconds since the epoch) as this host's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
