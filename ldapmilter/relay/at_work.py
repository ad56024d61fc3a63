"""Which copies are at work: one session, or one command, has a token at a time."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AtWork:
    """Keeps all others from a token; for any number of threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._tokens: set[str] = set()

    @contextlib.contextmanager
    def on(self, token: str) -> Iterator[bool]:
        """Have a token until the end of the block; yields whether it was free."""
        with self._lock:
            mine = token not in self._tokens
            self._tokens.add(token)
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._tokens.discard(token)
