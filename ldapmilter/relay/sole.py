"""Whose a state and a Maildir are: one relay's, as long as it lives. Two would hand copies on twice."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.stored import StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ldapmilter.delivery.settings import RelaySettings

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PAUSE_SECONDS: Final = 0.1


class SoleRelay:
    """The right to one relay's files. The kernel gives it back when the process ends (flock(2))."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Prepare; nothing is taken yet.

        Args:
            clock: seconds, monotonic.
            sleep: waits for so many seconds.
        """
        self._clock = clock
        self._sleep = sleep
        self._descriptors: list[int] = []

    def take(self, settings: RelaySettings, seconds: float = 0.0) -> None:
        """Take it.

        Args:
            settings: name the files; the Maildir is there.
            seconds: for which to wait at most for another relay that ends.

        Raises:
            StateError: another process has it, or a place cannot be used.
        """
        until = self._clock() + seconds
        with contextlib.suppress(OSError):  # told below
            settings.state.parent.mkdir(mode=0o700, exist_ok=True)
        self._lock(
            settings.state.with_name(f".{settings.state.name}.relay"), f"[relay] state = {settings.state}", until
        )
        self._lock(settings.kept / ".relay", f"[relay] kept = {settings.kept}", until)

    def _lock(self, place: Path, what: str, until: float) -> None:
        try:
            descriptor = os.open(place, _FLAGS, 0o600)
        except OSError as error:
            message = f"{place}: cannot be used: {error.strerror}; it has to belong to the user that the daemon runs as"
            raise StateError(message) from error
        self._descriptors.append(descriptor)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if self._clock() >= until:
                    holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                    message = (
                        f"{what}: another copy relay (process {holder}) has it; stop that one, or give each a state and"
                        " a Maildir of its own"
                    )
                    raise StateError(message) from error
                self._sleep(_PAUSE_SECONDS)
            except OSError as error:
                message = f"{place}: cannot be locked: {error.strerror}"
                raise StateError(message) from error
            else:
                with contextlib.suppress(OSError):  # a full disk: the lock holds without the number
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                return

    def release(self) -> None:
        """Give it back."""
        while self._descriptors:
            os.close(self._descriptors.pop())
