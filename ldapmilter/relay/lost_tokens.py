"""Tokens that the state does not know, looked for in all of the audit, however old.

That takes as long as all files take to read. So no session waits for it: the copy waits in Postfix's queue, and
all tokens that are asked for meanwhile are looked for in one go.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.audit.reading import BAD_STREAM, MAX_LINE_BYTES, files_of, object_on, opened, why
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ldapmilter.relay.state import RelayState

MARK: Final = b'"token":"'
"""In each line that tells of a copy."""
BATCH: Final = 1000
"""Lines about copies that go over in one step."""
_TOKEN: Final = re.compile(MARK + rb"([0-9a-f]+)\"")
_PAUSE_SECONDS: Final = 60.0
"""Between two readings of all files."""
_AGAIN_SECONDS: Final = 600.0
"""After which a token that stood nowhere is looked for again."""
_REMEMBERED_SECONDS: Final = 86_400.0
"""For which it is known that a token stood nowhere: longer than Postfix waits before it comes again."""


class LostTokens:
    """Looks for them; for any number of threads that ask, and one that reads."""

    def __init__(self, audit: Path, state: RelayState, clock: Callable[[], float] = time.time) -> None:
        """Prepare; nothing is read yet.

        Args:
            audit: the file that the daemon writes; its rotated siblings lie beside it.
            state: where what is found goes.
            clock: seconds since the epoch.
        """
        self._audit = audit
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: set[bytes] = set()
        self._nowhere: dict[bytes, float] = {}
        """When it was found that a token stands nowhere."""
        self._read_at: float | None = None

    def stands_nowhere(self, token: str) -> bool:
        """Whether a token was looked for and not found; has it looked for, unless that was just now."""
        name, now = token.encode("ascii"), self._clock()
        with self._lock:
            at = self._nowhere.get(name)
            if at is None or not 0 <= now - at < _AGAIN_SECONDS:
                self._wanted.add(name)
            return at is not None

    def look(self) -> None:
        """Look for all that was asked for, unless all files were read a moment ago.

        Raises:
            AuditError: the audit cannot be read; it is tried again.
            StateError: the state cannot be written.
        """
        now = self._clock()
        with self._lock:
            if not self._wanted or (self._read_at is not None and 0 <= now - self._read_at < _PAUSE_SECONDS):
                return
            wanted = frozenset(self._wanted)
        found: set[bytes] = set()
        try:
            for name in files_of(self._audit):
                found |= self._take_over(name, wanted)
        finally:
            self._read_at = self._clock()
        with self._lock:
            self._wanted -= wanted
            kept = {token: at for token, at in self._nowhere.items() if now - at < _REMEMBERED_SECONDS}
            self._nowhere = {**kept, **dict.fromkeys(wanted - found, now)}
            for token in found:
                self._nowhere.pop(token, None)

    def begin_anew(self) -> None:
        """Know nothing of what stands nowhere: there is more to read now, or less is known."""
        with self._lock:
            self._nowhere.clear()

    def _take_over(self, name: Path, wanted: frozenset[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        batch: list[dict[str, Any]] = []
        for line, value in lines_with(name, self._audit, lambda line: not wanted.isdisjoint(_TOKEN.findall(line))):
            found |= wanted.intersection(_TOKEN.findall(line))
            batch.append(value)
            if len(batch) >= BATCH:
                self._state.take(batch)
                batch = []
        self._state.take(batch)
        return found


def lines_with(name: Path, audit: Path, is_wanted: Callable[[bytes], bool]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the lines of a file that are wanted, and what they say.

    Raises:
        AuditError: it cannot be read.
    """
    try:
        with opened(name, audit) as stream:
            while line := stream.lines.readline(MAX_LINE_BYTES):
                if is_wanted(line) and (value := object_on(line)) is not None:
                    yield line, value
    except BAD_STREAM as error:
        message = f"{name}: the relay cannot read the audit: {why(name, error)}"
        raise AuditError(message) from error
