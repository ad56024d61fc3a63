"""Work for a thread that many ask for at a time: while some of it is being done, more gathers, and is done in one go.

To hand work to a thread and back costs two turns at the interpreter's lock and a wake-up of the event loop, which for
one copy is more than the work.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Batches(Generic[ItemT, ResultT]):
    """Has items worked on, one batch at a time; all of its life in one event loop."""

    def __init__(self, work: Callable[[Sequence[ItemT]], Sequence[ResultT]], threads: Executor) -> None:
        """Prepare.

        Args:
            work: called in a thread; returns a result for each item, in order.
            threads: where.
        """
        self._work = work
        self._threads = threads
        self._waiting: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        self._at_work = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is being worked on, and nothing waits for it."""
        await self._idle.wait()

    async def __call__(self, item: ItemT) -> ResultT:
        """Have one item worked on, with all others that wait; return its result.

        Raises:
            Exception: whatever the work has raised.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[ResultT] = loop.create_future()
        self._waiting.append((item, result))
        if not self._at_work:
            self._begin(loop)
        return await result

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        results = [result for _, result in batch]
        try:
            done = loop.run_in_executor(self._threads, self._work, [item for item, _ in batch])
        except RuntimeError as error:  # the threads are closed
            self._idle.set()
            _fail(results, error)
            return
        self._at_work = True
        self._idle.clear()
        done.add_done_callback(partial(self._end, loop, results))

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        results: Sequence[asyncio.Future[ResultT]],
        done: asyncio.Future[Sequence[ResultT]],
    ) -> None:
        self._at_work = False
        if self._waiting:
            self._begin(loop)
        else:
            self._idle.set()
        if done.cancelled():
            for result in results:
                result.cancel()
        elif (error := done.exception()) is not None:
            _fail(results, error)
        else:
            for result, value in zip(results, done.result(), strict=True):
                if not result.done():
                    result.set_result(value)


def _fail(results: Sequence[asyncio.Future[ResultT]], error: BaseException) -> None:
    for result in results:
        if not result.done():
            result.set_exception(error)
