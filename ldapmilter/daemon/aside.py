"""Work that may hang, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


async def aside(work: Callable[[], ResultT]) -> ResultT:
    """Return what work returns, or raise what it raises, while the loop goes on.

    In a thread that the end of the process does not wait for, as it would for those of an executor.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultT] = loop.create_future()

    def settle(result: ResultT | None, error: BaseException | None) -> None:
        if future.done():  # cancelled: no caller waits
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # None where that is the result

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - whoever waits gets it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, error)

    try:
        threading.Thread(target=run, name="aside", daemon=True).start()
    except RuntimeError as error:
        raise CannotBegin(str(error)) from error
    return await future


class CannotBegin(LdapmilterError):
    """The system has no thread left."""


class StillBusy(LdapmilterError):
    """What was asked for is not done in time; the text says what."""


class Aside:
    """One piece of work at a time, each with a deadline: what hangs for good takes one thread, not many."""

    def __init__(self) -> None:
        """Nothing is done yet."""
        self._running = 0

    @property
    def busy(self) -> bool:
        """Whether something is being done still."""
        return self._running > 0

    async def do(self, what: str, work: Callable[[], ResultT], seconds: float) -> ResultT:
        """Return what work returns, or raise what it raises.

        Args:
            what: what it does, for the error.
            work: its result is dropped when it comes too late.
            seconds: how long it may take.

        Raises:
            StillBusy: it takes longer, or the one before still does.
        """
        if self.busy:
            message = f"{what}: what was begun before still hangs; is a file on a file system that does not answer?"
            raise StillBusy(message)

        def noted() -> ResultT:
            try:
                return work()
            finally:
                self._running -= 1

        async def begun() -> ResultT:
            self._running += 1
            try:
                return await aside(noted)
            except CannotBegin:
                self._running -= 1
                raise

        try:
            return await asyncio.wait_for(begun(), seconds)
        except asyncio.TimeoutError:
            message = f"{what}: not done within {seconds:g} s; is a file on a file system that does not answer?"
            raise StillBusy(message) from None
