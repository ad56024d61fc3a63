"""One copy from when Postfix presents it to its answer: the books in threads, the archive's servers in the event loop.

However many copies wait for a server, none of them holds a thread. What the books are asked and told of copies that go
through is done for many at a time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

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


class Taking:
    """Takes copies from Postfix; all of its life in one event loop."""

    def __init__(self, handling: Handling, hops: Hops, threads: Executor) -> None:
        """Prepare.

        Args:
            handling: keeps the books.
            hops: hands copies on; may be replaced while copies are taken.
            threads: for whatever may have to wait for the disk or the directory.
        """
        self.hops = hops
        self._handling = handling
        self._threads = threads
        self._presented = Batches(handling.presented, threads)
        self._accepted = Batches(handling.accepted, threads)

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
            self._handling.count("deferred")
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
            wrapped = await self._in_thread(partial(handling.wrapped, copy, message))
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

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
