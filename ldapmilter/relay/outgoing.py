"""A copy on its way out, and its octets as a server gets them after DATA."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter.relay.stuffing import stuffed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

DISK_SECONDS: Final = 20.0
"""For which the disk may take to give a piece of a message: meanwhile the server takes no other copy."""
_PIECE_OCTETS: Final = 64 * 1024
"""Of a message that are gathered before they are sent."""


class Outgoing(Struct, frozen=True, kw_only=True):
    """A copy on its way out."""

    target: str
    """Its recipient."""
    sender: str
    """Its envelope sender; empty: the null sender."""
    chunks: Callable[[], Iterator[bytes]]
    """Its octets in pieces, anew for each server that is tried."""
    on_disk: bool = False
    """Whether the disk is read for them."""
    eight_bit: bool
    """Whether an octet of it has its highest bit set."""


async def pieces(copy: Outgoing) -> AsyncIterator[bytes]:
    """Yield a copy as it goes out after DATA, in pieces none of which, but the last, is small."""
    gathered = _gathered(stuffed(copy.chunks()))
    if not copy.on_disk:
        for piece in gathered:
            yield piece
        return
    loop = asyncio.get_running_loop()
    while read := await _in_time(loop.run_in_executor(None, next, gathered, b"")):
        yield read


async def _in_time(reading: Awaitable[bytes]) -> bytes:
    """Wait for the disk.

    Raises:
        OSError: it does not answer.
    """
    try:
        return await asyncio.wait_for(reading, DISK_SECONDS)
    except asyncio.TimeoutError as error:
        message = "the disk has the message and does not answer"
        raise OSError(message) from error


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    octets = 0
    for chunk in chunks:
        held.append(chunk)
        octets += len(chunk)
        if octets >= _PIECE_OCTETS:
            yield b"".join(held)
            held, octets = [], 0
    if held:
        yield b"".join(held)
