"""Work beside the event loop: its outcome is that of the call, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ldapmilter.daemon.aside import Aside, StillBusy, aside
from ldapmilter.errors import AuditError, ConfigError


def test_the_loop_goes_on_while_work_hangs() -> None:
    may_end = threading.Event()

    async def both() -> str:
        work = asyncio.ensure_future(aside(lambda: f"done: {may_end.wait(60)}"))
        await asyncio.sleep(0)
        assert not work.done()
        may_end.set()
        return await work

    assert asyncio.run(both()) == "done: True"


def test_an_error_is_that_of_the_call() -> None:
    def fails() -> None:
        raise AuditError("why")

    async def fail() -> None:
        await aside(fails)

    with pytest.raises(AuditError, match="why"):
        asyncio.run(fail())


def test_nobody_waits_any_more() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(60)
        ended.set()

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aside(work), 0.01)
        may_end.set()
        assert ended.wait(60)
        await asyncio.sleep(0.01)

    asyncio.run(give_up())


def test_results_and_errors_come_through() -> None:
    def broken() -> None:
        message = "no"
        raise ConfigError(message)

    async def work() -> None:
        aside = Aside()
        assert await aside.do("counting", lambda: 7, 60) == 7
        with pytest.raises(ConfigError, match="no"):
            await aside.do("counting", broken, 60)
        assert await aside.do("counting", lambda: 8, 60) == 8

    asyncio.run(work())


def test_what_hangs_is_named_and_blocks_only_its_like() -> None:
    release = threading.Event()

    async def work() -> None:
        aside = Aside()
        with pytest.raises(StillBusy, match=r"reading x: not done within 0\.01 s"):
            await aside.do("reading x", release.wait, 0.01)
        with pytest.raises(StillBusy, match="what was begun before still hangs"):
            await aside.do("reading x", lambda: 1, 60)
        release.set()
        with pytest.raises(StillBusy, match="within 0 s"):
            await Aside().do("reading x", lambda: 1, 0)  # too late before it began
        while aside.busy:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert await aside.do("reading x", lambda: 2, 60) == 2

    asyncio.run(work())
