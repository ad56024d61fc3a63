"""One copy from when Postfix presents it to its answer: the books in threads, the archive's servers in the event loop.

However many copies wait for a server, none of them holds a thread. What the books are asked and told of copies that go
through is done for many at a time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ldapmilter.relay.batches import Batches
from ldapmilter.relay.outgoing import Outgoing
from ldapmilter.relay.replies import BUSY, DONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from ldapmilter.relay.handling import Handling
    from ldapmilter.relay.hops import Hops
    from ldapmilter.relay.journaling import Wrapped
    from ldapmilter.relay.spool import Spooled

ResultT = TypeVar("ResultT")

_DIRECTORY_THREADS: Final = 32
"""Copies that wait for the directory at a time."""


class Taking:
    """Takes copies from Postfix; all of its life in one event loop."""

    def __init__(self, handling: Handling, hops: Hops, threads: Executor) -> None:
        """Prepare.

        Args:
            handling: keeps the books.
            hops: hands copies on; may be replaced while copies are taken.
            threads: for what may have to wait for the disk.
        """
        self.hops = hops
        self._handling = handling
        self._threads = threads
        # Threads of their own: copies that wait for the directory, or are kept on a slow disk, hold up no other.
        self._asking = ThreadPoolExecutor(_DIRECTORY_THREADS, thread_name_prefix="directory")
        self._books = ThreadPoolExecutor(2, thread_name_prefix="books")
        self._presented = Batches(handling.presented, self._books)
        self._accepted = Batches(handling.accepted, self._books)

    def close(self) -> None:
        """Take no more; a thread that still waits is left to the end of the process."""
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._books.shutdown(wait=False, cancel_futures=True)

    async def recorded(self) -> None:
        """Wait until all that servers have accepted is recorded, or could not be."""
        await self._accepted.idle()

    async def take(self, token: str, message: Spooled, until: float) -> str:
        """Take a copy that Postfix presents; return the reply.

        Args:
            token: a valid one.
            message: its octets.
            until: when Postfix has to be answered, by the clock of the hops.
        """
        with self._handling.at_work.on(token) as mine:
            reply = await self._take(token, message, until) if mine else BUSY
            if mine:
                self._handling.lag.settled(token)
        if reply != DONE:
            self._handling.recording.count("deferred")
        return reply

    async def _take(self, token: str, message: Spooled, until: float) -> str:
        handling = self._handling
        presented = await self._presented((token, message))
        if isinstance(presented, str):
            return presented
        copy = presented.copy
        if not copy.is_known or copy.state == "ended":
            return await self._in_thread(partial(handling.without_a_server, copy, message))
        wrapped: Wrapped | str | None = presented.wrapped
        if wrapped is None:
            wrapped = await self._in_thread(partial(handling.wrapped, copy, message), self._asking)
        if isinstance(wrapped, str):
            return wrapped
        outgoing = Outgoing(
            target=copy.target,
            sender=handling.settings.envelope_sender,
            chunks=wrapped.chunks,
            on_disk=message.on_disk,
            eight_bit=wrapped.eight_bit,
        )
        answer = await self.hops.hand_on(handling.hops_for(copy.target), outgoing, until)
        if answer.becomes == "accepted":
            return await self._accepted((copy, answer))
        return await self._in_thread(partial(handling.not_accepted, copy, wrapped, answer))

    async def _in_thread(self, work: Callable[[], ResultT], threads: Executor | None = None) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(threads or self._threads, work)
