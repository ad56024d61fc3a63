"""The next hops of a copy, in order: which are tried, and which need not be for a while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.answers import ServerAnswer, decisive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.client import CopyClient
    from ldapmilter.relay.outgoing import Outgoing

DOWN_SECONDS: Final = 30.0
"""For which a server that could not be reached, or fell silent, is not tried."""
_TOO_LATE_SECONDS: Final = 5.0
"""Before Postfix has to be answered."""
_AT_A_TIME: Final = 12
"""Transactions with one server. Postfix has 20 for the relay (``default_destination_concurrency_limit``): a server
that is silent must not have all of them."""
_TURN_SECONDS: Final = 20.0
"""For which a copy waits until a server has done with others."""


class Hops:
    """Hands copies on to the first of several servers that settles it; all of its life in one event loop."""

    def __init__(self, client: CopyClient, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with all servers up.

        Args:
            client: talks to one server.
            clock: seconds, monotonic; the client's.
        """
        self._client = client
        self._clock = clock
        self._down: dict[str, tuple[float, str]] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}

    async def hand_on(self, hops: Sequence[NextHop], copy: Outgoing, until: float) -> ServerAnswer:
        """Hand a copy on; return the answer that tells what becomes of it.

        Args:
            hops: the servers, in order.
            copy: the copy.
            until: when to give up, by the clock.
        """
        if not hops:
            return ServerAnswer(server="", step="connect", text="no next hop takes copies for its domain")
        answers: list[ServerAnswer] = []
        for hop in hops:
            answers.append(await self._ask(hop, copy, until))
            if answers[-1].becomes in {"accepted", "refused"}:
                break
        return decisive(answers)

    def down(self) -> dict[str, str]:
        """Return the servers that are not tried at present, and why."""
        now = self._clock()
        return {hop: why for hop, (until, why) in self._down.items() if now < until}

    async def _ask(self, hop: NextHop, copy: Outgoing, until: float) -> ServerAnswer:
        if until - self._clock() < _TOO_LATE_SECONDS:  # the copy has waited here, which says nothing of the server
            return ServerAnswer(server=hop.text, step="connect", text="no time is left to try it")
        if (why := self.down().get(hop.text)) is not None:
            return ServerAnswer(server=hop.text, step="connect", text=f"not tried again yet: {why}")
        turn = self._turns.setdefault(hop.text, asyncio.Semaphore(_AT_A_TIME))
        try:
            if turn.locked():
                await asyncio.wait_for(turn.acquire(), min(_TURN_SECONDS, until - self._clock()))
            else:
                await turn.acquire()
        except asyncio.TimeoutError:
            return ServerAnswer(server=hop.text, step="connect", text="busy with other copies")
        try:
            answer = await self._client.hand_on(hop, copy, until)
        except ValueError as error:  # an address that cannot be said
            return ServerAnswer(server=hop.text, step="rcpt", text=str(error))
        finally:
            turn.release()
        if answer.hop_is_down:
            self._down[hop.text] = self._clock() + DOWN_SECONDS, answer.text or str(answer.code)
        return answer
