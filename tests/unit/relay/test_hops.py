"""Which of several next hops are tried, and which are left alone for a while."""

from __future__ import annotations

import asyncio

from ldapmilter.delivery.next_hop import NextHop, parse_next_hops
from ldapmilter.relay.answers import ServerAnswer
from ldapmilter.relay.hops import DOWN_SECONDS, Hops
from ldapmilter.relay.outgoing import Outgoing

FIRST, SECOND = parse_next_hops("smtp:[one.example]:25 lmtp:unix:/two")
COPY = Outgoing(target="v@a.example", sender="", chunks=lambda: iter(()), eight_bit=False)


class Servers:
    """Two servers that answer as told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers = {FIRST: ("end", 250), SECOND: ("end", 250)}
        self.silent: set[NextHop] = set()
        self.asked: list[NextHop] = []
        self.hops = Hops(self, lambda: self.now)  # type: ignore[arg-type]

    async def hand_on(self, hop: NextHop, _copy: Outgoing, _until: float) -> ServerAnswer:
        self.asked.append(hop)
        step, code = self.answers[hop]
        return ServerAnswer(server=hop.text, step=step, code=code, text="told", silent=hop in self.silent)  # type: ignore[arg-type]

    def ask(self, seconds: float = 100.0) -> tuple[str, str, list[NextHop]]:
        self.asked = []
        answer = asyncio.run(self.hops.hand_on((FIRST, SECOND), COPY, self.now + seconds))
        return answer.becomes, answer.server, self.asked


def test_the_first_that_settles_it_is_the_last_that_is_asked() -> None:
    servers = Servers()
    assert servers.ask() == ("accepted", FIRST.text, [FIRST])
    servers.answers[FIRST] = ("rcpt", 550)
    assert servers.ask() == ("refused", FIRST.text, [FIRST])
    servers.answers[FIRST] = ("rcpt", 450)
    assert servers.ask() == ("accepted", SECOND.text, [FIRST, SECOND])
    servers.answers[SECOND] = ("mail", 451)
    assert servers.ask() == ("next hop", FIRST.text, [FIRST, SECOND])


def test_one_that_is_not_reached_is_left_alone_for_a_while() -> None:
    servers = Servers()
    servers.answers[FIRST] = ("connect", None)  # type: ignore[assignment]
    assert servers.ask() == ("accepted", SECOND.text, [FIRST, SECOND])
    assert servers.hops.down() == {FIRST.text: "told"}
    assert servers.ask() == ("accepted", SECOND.text, [SECOND])
    servers.now = DOWN_SECONDS
    assert servers.ask() == ("accepted", SECOND.text, [FIRST, SECOND])


def test_one_that_falls_silent_does_not_make_every_copy_wait_for_it() -> None:
    servers = Servers()
    servers.answers[FIRST] = ("end", None)  # type: ignore[assignment]
    servers.silent = {FIRST}
    assert servers.ask() == ("accepted", SECOND.text, [FIRST, SECOND])
    assert servers.ask() == ("accepted", SECOND.text, [SECOND])


def test_a_copy_that_has_waited_here_says_nothing_of_the_server() -> None:
    servers = Servers()
    assert servers.ask(1.0)[0::2] == ("next hop", [])
    assert servers.hops.down() == {}


def test_no_way() -> None:
    answer = asyncio.run(Servers().hops.hand_on((), COPY, 100.0))
    assert (answer.becomes, answer.text) == ("next hop", "no next hop takes copies for its domain")
