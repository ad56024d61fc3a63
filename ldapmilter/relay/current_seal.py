"""The latest seal of the audit, as journal reports carry it: what stands in an archive proves the audit up to there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ldapmilter.audit.seals import latest_seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ldapmilter.audit.seals import Seal

SECONDS: Final = 5.0
"""For which it is not looked for again: there is a new one once a minute, and to find it takes reading back."""


class CurrentSeal:
    """Finds it, for any number of threads."""

    def __init__(
        self,
        audit: Path,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[Path], Seal | None] = latest_seal,
    ) -> None:
        """Prepare.

        Args:
            audit: the audit file of this host.
            clock: monotonic seconds.
            read: finds the latest seal of an audit.
        """
        self._audit = audit
        self._clock = clock
        self._read = read
        self._found: tuple[float, str | None] | None = None

    def __call__(self) -> str | None:
        """Return it as ``audit verify --seal`` takes it; ``None``: there is none that can be read."""
        now, found = self._clock(), self._found
        if found is None or now - found[0] >= SECONDS:
            seal = self._read(self._audit)
            found = self._found = (now, str(seal) if seal is not None else None)
        return found[1]
