"""The parent's thread that seals the audit; neither the parent nor a worker waits for it."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.audit.sealing import Sealing
from ldapmilter.audit.sole import SoleSealer
from ldapmilter.daemon.reminders import Reminders
from ldapmilter.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ldapmilter.audit.seals import Seal

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
"""Between two looks at the file: whoever has a line waits for four of them when it is rotated."""
_LAST_SECONDS = 3.0
"""For which the last seal is waited for."""
_ROTATED_SECONDS = 5.0
"""For which a reload waits until the file is followed."""


class LastSeal(Struct, frozen=True):
    """The last seal that this process has made, or found."""

    number: int
    at: float
    """Seconds since the epoch."""


class SealKeeper:
    """Seals the audit that the configuration names, if any."""

    def __init__(self, audit: Path | None) -> None:
        """Take the right to seal it; nothing is sealed before :meth:`start`.

        Raises:
            AuditError: another process seals it.
        """
        self._audit = audit
        self._work = _SealThread(audit) if audit is not None else None
        if self._work is not None:
            self._work.take()

    @property
    def last(self) -> LastSeal | None:
        """The last seal; ``None``: there is none yet, or no audit."""
        return self._work.last if self._work is not None else None

    def start(self) -> None:
        """Begin to seal."""
        if self._work is not None:
            self._work.start()

    def look_now(self) -> None:
        """Have the file followed at once: it was rotated. Returns when that is done, or takes too long."""
        if self._work is not None:
            self._work.look_now()

    def follow(self, audit: Path | None) -> None:
        """Seal another audit from now on, if that is another one."""
        if audit != self._audit:
            self.stop()
            self._audit = audit
            self._work = _SealThread(audit) if audit is not None else None
            self.start()

    def stop(self) -> None:
        """Make the last seal, and give the audit up; waits for the disk for a few seconds at most."""
        work, self._work = self._work, None
        if work is not None:
            work.end()


class _SealThread:
    """The thread for one audit. It keeps the right to seal until it has ended, however long its disk takes."""

    def __init__(self, audit: Path) -> None:
        self._sealing = Sealing(audit)
        self._sole = SoleSealer(audit)
        self._changed = threading.Condition()
        self._begun = self._done = 0
        """How many looks have been begun, and done."""
        self._hurried = self._ending = False
        self._thread = threading.Thread(target=self._run, name="seals", daemon=True)
        self._reminders = Reminders()
        self._failed = False
        self.last: LastSeal | None = None

    def take(self) -> None:
        """Take the right to seal now.

        Raises:
            AuditError: another process has it.
        """
        self._sole.take()

    def start(self) -> None:
        self._thread.start()

    def look_now(self) -> None:
        with self._changed:
            wanted = self._begun + 1
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= wanted, _ROTATED_SECONDS)

    def end(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.ident is None:
            self._sole.release()
        else:
            self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._hurried, _LOOK_SECONDS)
                ending, told, self._hurried = self._ending, self._hurried, False
                self._begun += 1
            self._do(self._sealing.finish if ending else partial(self._sealing.look, rotated=told))
            with self._changed:
                self._done = self._begun
                self._changed.notify_all()
            if ending:
                self._sole.release()
                return

    def _do(self, work: Callable[[], Seal | None]) -> None:
        try:
            if not self._sole.is_taken:
                self._sole.take()
            seal = work()
            newest = self._sealing.newest
            if newest is not None and (self.last is None or newest.n != self.last.number):
                self.last = LastSeal(newest.n, time.time())
        except AuditError as error:
            self._failed = True
            for text in self._reminders.due({f"the audit cannot be sealed: {error}": logging.ERROR}, time.monotonic()):
                _log.error("%s", text)
        except Exception:  # noqa: BLE001 - the next look is another chance
            _log.exception("unexpected error while the audit is sealed")
        else:
            if seal is not None:
                _log.info("audit seal %s", seal)
            if self._failed:
                self._failed = False
                self._reminders = Reminders()
                _log.warning("the audit can be sealed again")
