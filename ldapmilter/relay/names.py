"""The way to archives' servers: their names are looked up apart from everything else that waits for a thread.

The system's resolver cannot be told to give up, and asks for half a minute where nobody answers. So each name is
looked up once at a time, for all who wait for it, in a thread that nothing else needs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ldapmilter.delivery.next_hop import NextHop

ResultT = TypeVar("ResultT")

_NAMES_AT_A_TIME: Final = 32


class Names:
    """Looks up names, and connects; all of its life in one event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._threads = ThreadPoolExecutor(_NAMES_AT_A_TIME, thread_name_prefix="name")
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def connect(self, protocol: asyncio.Protocol, hop: NextHop, until: float, clock: Callable[[], float]) -> None:
        """Connect to the first of a server's addresses that takes it; each of them has its share of the time.

        Raises:
            OSError: none does, or there is none, or not in time.
        """
        loop = asyncio.get_running_loop()
        if hop.kind == "lmtp" and hop.path:
            await _in_time(loop.create_unix_connection(lambda: protocol, hop.path), until - clock())
            return
        addresses = await _in_time(self.addresses(hop.host), until - clock())
        for number, address in enumerate(addresses, 1):
            share = (until - clock()) / (len(addresses) - number + 1)
            try:
                await _in_time(loop.create_connection(lambda: protocol, address, hop.port), share)
            except OSError:
                if number == len(addresses):
                    raise
            else:
                return

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses of a host, in the system's order; an address is its own.

        Raises:
            OSError: it has none, or that cannot be found out now.
            ValueError: it cannot be a host's name.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return (host,)
        looking = self._under_way.get(host)
        if looking is None:
            looking = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
            self._under_way[host] = looking
            looking.add_done_callback(lambda done: self._over(host, done))
        return await asyncio.shield(looking)

    def _over(self, host: str, done: asyncio.Future[Sequence[str]]) -> None:
        del self._under_way[host]
        if not done.cancelled():
            done.exception()  # it is nobody's where none waits any more


async def _in_time(work: Awaitable[ResultT], seconds: float) -> ResultT:
    """Wait for something.

    Raises:
        TimeoutError: not in time.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError from None  # Python 3.10 has two


def _look_up(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
