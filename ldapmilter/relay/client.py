"""Handing a copy on: one transaction with an archive's server, by SMTP (RFC 5321) or LMTP (RFC 2033).

Postfix has looked at the message already; here its octets go out as they came. A connection that has served is
used again for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, NoReturn

from msgspec import Struct

from ldapmilter.relay.answers import ServerAnswer
from ldapmilter.relay.names import Names
from ldapmilter.relay.no_answer import NoAnswer
from ldapmilter.relay.outgoing import Outgoing, pieces
from ldapmilter.relay.terms import tls_context
from ldapmilter.relay.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.answers import Step
    from ldapmilter.relay.terms import Terms

GREETING_SECONDS: Final = 30.0
"""In which a server has to be reached and has to have greeted; MAIL, RCPT and DATA have as long each."""
_IDLE_SECONDS: Final = 5.0
_USES: Final = 100
"""Of one connection."""
_IDLE_CONNECTIONS: Final = 32
"""To one server."""


class _Connection(Struct):
    """A connection that has been greeted."""

    wire: Wire
    extensions: frozenset[str]
    uses: int = 0
    idle_since: float = 0.0


class CopyClient:
    """Hands copies on; all of its life in one event loop."""

    def __init__(self, terms: Terms, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            terms: how servers are talked to.
            clock: seconds, monotonic.
        """
        self._terms = terms
        self._clock = clock
        self._idle: dict[str, list[_Connection]] = defaultdict(list)
        self._context: ssl.SSLContext | None = None
        self._names = Names()
        self._is_closed = False

    async def hand_on(self, hop: NextHop, copy: Outgoing, until: float) -> ServerAnswer:
        """Hand a copy on to one server, and return what it said last.

        Args:
            hop: the server.
            copy: the copy.
            until: when to give up, by the clock.
        """
        while (connection := self._take_idle(hop)) is not None:
            answer = await self._transaction(connection, copy, until)
            if answer.step != "mail" or answer.code not in {None, 421}:
                return answer
            # It hung up while nobody looked: that says nothing of the server.
        try:
            connection = await self._open(hop, until)
        except NoAnswer as error:
            return error.answer
        return await self._transaction(connection, copy, until)

    async def try_out(self, hop: NextHop, sender: str, targets: Sequence[str], until: float) -> list[ServerAnswer]:
        """Ask one server whether it would take copies, and hand none on.

        Args:
            hop: the server.
            sender: the envelope sender; empty: the null sender.
            targets: whom the copies would be for.
            until: when to give up, by the clock.

        Returns:
            what it said last for each target, or to MAIL where there is none; fewer, where it said nothing more.
        """
        answers: list[ServerAnswer] = []
        try:
            connection = await self._open(hop, until)
        except NoAnswer as error:
            return [error.answer]
        try:
            for target in targets or ("",):
                copy = Outgoing(target=target, sender=sender, chunks=lambda: iter(()), eight_bit=False)
                commands = islice(self._commands(connection, copy, pipelined=False), 2 if target else 1)
                answers.append(await self._last_of(connection.wire, commands, until))
                await connection.wire.ask("mail", b"RSET", until)
        except NoAnswer as error:
            answers.append(error.answer)
        finally:
            connection.wire.close(politely=True)
        return answers[: len(targets) or 1]

    def close(self) -> None:
        """Hang up wherever nothing is going on, and where something is, after that."""
        self._is_closed = True
        idle = [connection for connections in self._idle.values() for connection in connections]
        self._idle.clear()
        for connection in idle:
            connection.wire.close(politely=True)

    # -- connections ------------------------------------------------------------------------

    def _take_idle(self, hop: NextHop) -> _Connection | None:
        connections = self._idle[hop.text]
        while connections:
            connection = connections.pop()
            if self._clock() - connection.idle_since < _IDLE_SECONDS and connection.wire.is_quiet():
                return connection
            connection.wire.close(politely=True)
        return None

    def _give_back(self, connection: _Connection) -> None:
        connection.uses += 1
        connection.idle_since = self._clock()
        connections = self._idle[connection.wire.hop.text]
        while connections and connection.idle_since - connections[0].idle_since >= _IDLE_SECONDS:
            connections.pop(0).wire.close(politely=True)
        if self._is_closed or connection.uses >= _USES or len(connections) >= _IDLE_CONNECTIONS:
            connection.wire.close(politely=True)
        else:
            connections.append(connection)

    async def _open(self, hop: NextHop, until: float) -> _Connection:
        """Connect and be greeted.

        Raises:
            NoAnswer: the server does not serve now.
        """
        until = min(until, self._clock() + GREETING_SECONDS)
        if self._terms.starttls == "no" or hop.path:
            return await self._greeted(hop, until, encrypted=False)
        try:
            return await self._greeted(hop, until, encrypted=True)
        except NoAnswer as error:
            if error.answer.step != "tls" or self._terms.starttls == "must":
                raise
        return await self._greeted(hop, until, encrypted=False)  # better than not at all (RFC 7435)

    async def _greeted(self, hop: NextHop, until: float, *, encrypted: bool) -> _Connection:
        wire = Wire(hop, self._names, self._clock)
        await wire.connect(until)
        try:
            await self._expect(wire, "banner", b"", until)
            extensions = await self._hello(wire, until)
            if encrypted and "STARTTLS" in extensions:
                context = await self._tls(hop)
                await self._expect(wire, "tls", b"STARTTLS", until)
                # Where it may go on in the clear, half of the time is left for that.
                clear = 0.0 if self._terms.starttls == "must" else (until - self._clock()) / 2
                await wire.encrypt(context, until - clear)
                extensions = await self._hello(wire, until)
            elif encrypted and self._terms.starttls == "must":
                self._give_up(hop, "it does not offer STARTTLS")
        except BaseException:
            wire.close()
            raise
        return _Connection(wire, extensions)

    async def _hello(self, wire: Wire, until: float) -> frozenset[str]:
        verb = b"LHLO " if wire.hop.kind == "lmtp" else b"EHLO "
        answer = await self._expect(wire, "hello", verb + self._terms.host_name.encode("ascii"), until)
        return frozenset(line.partition(" ")[0].upper() for line in answer.text.split("\n")[1:])

    @staticmethod
    def _give_up(hop: NextHop, why: str) -> NoReturn:
        raise NoAnswer(ServerAnswer(server=hop.text, step="tls", text=why))

    @staticmethod
    async def _expect(wire: Wire, step: Step, command: bytes, until: float) -> ServerAnswer:
        answer = await wire.ask(step, command, until)
        if answer.becomes != "goes on":
            raise NoAnswer(answer)
        return answer

    async def _tls(self, hop: NextHop) -> ssl.SSLContext:
        try:
            if self._context is None:
                self._context = await asyncio.get_running_loop().run_in_executor(None, tls_context, self._terms)
        except OSError as error:
            self._give_up(hop, f"the authorities cannot be read: {self._terms.ca_file}: {error.strerror or error}")
        return self._context

    # -- one transaction --------------------------------------------------------------------

    async def _transaction(self, connection: _Connection, copy: Outgoing, until: float) -> ServerAnswer:
        wire = connection.wire
        again = False
        try:
            answer = await self._last_of(
                wire, self._commands(connection, copy, pipelined="PIPELINING" in connection.extensions), until
            )
            if answer.becomes != "goes on":
                return answer
            answer = await wire.send_message(pieces(copy), until)
        except NoAnswer as error:
            return error.answer
        else:
            again = answer.becomes == "accepted"
            return answer
        finally:
            if again:
                self._give_back(connection)
            else:
                wire.close(politely=True)

    async def _last_of(self, wire: Wire, groups: Iterable[Sequence[tuple[Step, bytes]]], until: float) -> ServerAnswer:
        """Say commands, group by group, as long as the answers let it; return the last one that counts.

        Raises:
            NoAnswer: there is none.
        """
        for group in groups:
            wire.say(group[0][0], b"\r\n".join(command for _, command in group))
            for step, _ in group:
                answer = await wire.hear(step, self._soon(until))
                if answer.becomes != "goes on":
                    return answer
        return answer

    def _soon(self, until: float) -> float:
        return min(until, self._clock() + GREETING_SECONDS)

    @staticmethod
    def _commands(
        connection: _Connection,
        copy: Outgoing,
        *,
        pipelined: bool,
    ) -> Iterator[Sequence[tuple[Step, bytes]]]:
        """Yield what begins a transaction; what may be said in one breath (RFC 2920) as one group.

        DATA is apart: after it a server may wait for a message whose recipient it has refused.
        """
        body = b" BODY=8BITMIME" if copy.eight_bit and "8BITMIME" in connection.extensions else b""
        mail: tuple[Step, bytes] = "mail", b"MAIL FROM:<" + _path(copy.sender) + b">" + body
        rcpt: tuple[Step, bytes] = "rcpt", b"RCPT TO:<" + _path(copy.target) + b">"
        yield from [(mail, rcpt)] if pipelined else [(mail,), (rcpt,)]
        yield (("data", b"DATA"),)


def _path(address: str) -> bytes:
    octets = address.encode("utf-8")
    if any(octet < ord(" ") for octet in octets):
        message = "an address with a control character"
        raise ValueError(message)
    return octets
