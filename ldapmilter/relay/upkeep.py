"""What is looked after beside the copies: the state keeps up with the audit, ends that are owed are recorded.

Nobody waits for it. What cannot be done now is said, and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.errors import LdapmilterError
from ldapmilter.plain import plain
from ldapmilter.relay.adoption import adopt
from ldapmilter.relay.following import HORIZON

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ldapmilter.relay.handling import Handling

_log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
_TOGETHER_SECONDS: Final = 0.25
"""For which ends wait for others, so that the state takes them over in one step."""
_FORGET_SECONDS: Final = 3600.0
_TRY_SECONDS: Final = 5.0
"""After which a state or Maildir that could not be used is tried again."""
_TRY_LOST_SECONDS: Final = 60.0


class Upkeep:
    """Looks after the books of one relay; in its event loop, but for :meth:`begin` and :meth:`count`.

    Attributes:
        stirred: set when a copy was handled.
        numbers: what waits, what is kept, and since when the oldest waits.
    """

    def __init__(self, handling: Handling, threads: Executor) -> None:
        """Prepare.

        Args:
            handling: keeps the books.
            threads: for what takes the disk.
        """
        self.stirred = asyncio.Event()
        self.numbers: dict[str, Any] = {}
        self._handling = handling
        self._threads = threads
        self._counted_at = -math.inf
        self._adopted = False

    def begin(self) -> None:
        """Read what the audit says, before the first copy comes; what cannot be read is said, and read later."""
        try:
            self._keep_up()
        except LdapmilterError as error:
            self._handling.recording.cannot_record(error)

    async def run(self) -> None:
        """Keep up with the audit, and forget what is old; until it is cancelled."""
        await asyncio.gather(self._keep_in_step(), self._look_for_lost(), self._record_owed())

    async def _keep_in_step(self) -> None:
        loop = asyncio.get_running_loop()
        forgot_at, behind = 0.0, self._handling.recording.problem is not None
        while True:
            try:
                await loop.run_in_executor(self._threads, self._keep_up)
                if time.monotonic() - forgot_at >= _FORGET_SECONDS:
                    forgot_at = time.monotonic()
                    await loop.run_in_executor(self._threads, self._handling.state.forget, time.time() - HORIZON)
                if behind:
                    behind, self._handling.recording.problem = False, None
            except LdapmilterError as error:
                behind = True
                self._handling.recording.cannot_record(error)
                await asyncio.sleep(_TRY_SECONDS)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.stirred.wait(), _TICK_SECONDS)
            await asyncio.sleep(_TOGETHER_SECONDS)
            self.stirred.clear()

    async def _look_for_lost(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._threads, self._handling.following.lost.look)
            except LdapmilterError as error:
                _log.error("copies that are not known here are looked for again: %s", plain(str(error)))
                await asyncio.sleep(_TRY_LOST_SECONDS)
            await asyncio.sleep(_TICK_SECONDS)

    async def _record_owed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._handling.recording.owed():
                try:
                    await loop.run_in_executor(self._threads, self._handling.record_all_owed)
                except LdapmilterError as error:
                    self._handling.recording.cannot_record(error)
            await asyncio.sleep(_TRY_SECONDS)

    def _keep_up(self) -> None:
        """Read what the audit says that is new, and count; the first time see what is kept."""
        self._handling.lag.catch_up()
        if not self._adopted:
            adopt(self._handling.maildir, self._handling.state)
            self._adopted = True
        if time.monotonic() - self._counted_at >= _TICK_SECONDS:
            self.count()

    def count(self) -> None:
        """Count what waits and what is kept.

        Raises:
            StateError: the state cannot be read.
        """
        self._counted_at = time.monotonic()
        self.numbers = {
            "waiting": self._handling.state.count(state="waiting"),
            "kept": self._handling.state.count(state="ended", fate="kept"),
            "oldest": self._handling.state.oldest(),
        }
