"""While no worker serves, whoever connects is hung up on."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

from ldapmilter.daemon.turn_away import TurnAway

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def listening_at(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(200)
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listening


async def end_of(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


def test_those_that_wait_and_those_that_come_are_hung_up_on(tmp_path: Path) -> None:
    async def work() -> None:
        with listening_at(tmp_path / "s") as listening:
            waiting = [asyncio.create_task(end_of(tmp_path / "s")) for _ in range(150)]
            await asyncio.sleep(0)
            turn_away = TurnAway()
            turn_away.begin(listening)
            turn_away.begin(listening)
            assert set(await asyncio.gather(*waiting)) == {b""}
            assert await end_of(tmp_path / "s") == b""
            turn_away.end()
            turn_away.end()
            with socket.socket(socket.AF_UNIX) as later:
                later.connect(str(tmp_path / "s"))
                await asyncio.sleep(0.01)
                listening.accept()[0].close()  # it was left to the workers

    asyncio.run(work())


def test_without_a_descriptor_it_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted(socket.socket):
        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            Exhausted.tries += 1
            if Exhausted.tries == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def work() -> None:
        monkeypatch.setattr("ldapmilter.daemon.turn_away._PAUSE", 0.0)
        with listening_at(tmp_path / "s") as plain, Exhausted(fileno=plain.detach()) as listening:
            turn_away = TurnAway()
            turn_away.begin(listening)
            assert await end_of(tmp_path / "s") == b""
            assert Exhausted.tries >= 2
            turn_away.end()

    asyncio.run(work())
