"""Work that gathers while other work is being done."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ldapmilter.relay.batches import Batches
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture(name="threads")
def some_threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


class Doubling:
    """Doubles numbers; the first batch waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.may_go_on.wait(HANG)
        if 13 in numbers:
            raise ValueError(str(numbers))
        return [2 * number for number in numbers]


def test_what_comes_meanwhile_is_done_in_one_go(threads: ThreadPoolExecutor) -> None:
    work = Doubling()

    async def scene() -> None:
        doubled = Batches(work, threads)
        first = asyncio.ensure_future(doubled(1))
        await asyncio.get_running_loop().run_in_executor(threads, work.begun.wait, HANG)
        others = [asyncio.ensure_future(doubled(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        others[1].cancel()
        work.may_go_on.set()
        assert await first == 2
        assert (await others[0], await others[2]) == (4, 8)
        assert others[1].cancelled()
        assert await doubled(5) == 10

    asyncio.run(scene())
    assert work.batches == [[1], [2, 3, 4], [5]]


def test_an_error_is_that_of_its_batch_alone(threads: ThreadPoolExecutor) -> None:
    work = Doubling()
    work.may_go_on.set()

    async def scene() -> None:
        doubled = Batches(work, threads)
        with pytest.raises(ValueError, match="13"):
            await doubled(13)
        assert await doubled(1) == 2

    asyncio.run(scene())


def test_what_waits_when_the_threads_are_closed_is_told(threads: ThreadPoolExecutor) -> None:
    """And what is done by then has its result."""
    work = Doubling()

    async def scene() -> None:
        doubled = Batches(work, threads)
        first = asyncio.ensure_future(doubled(1))
        await asyncio.get_running_loop().run_in_executor(threads, work.begun.wait, HANG)
        second = asyncio.ensure_future(doubled(2))
        await asyncio.sleep(0)
        threads.shutdown(wait=False)
        work.may_go_on.set()
        done, waiting = await asyncio.wait({first, second}, timeout=HANG)
        assert (done, waiting) == ({first, second}, set())
        assert first.result() == 2
        for late in (second, asyncio.ensure_future(doubled(3))):
            with pytest.raises(RuntimeError, match="shutdown"):
                await late

    asyncio.run(scene())
    assert work.batches == [[1]]
