"""Watching over workers: who counts as hung, who is replaced when, and that nothing counted is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ldapmilter.daemon import fleet as fleet_module
from ldapmilter.daemon.channel import encode
from ldapmilter.daemon.fleet import Fleet
from ldapmilter.daemon.worker_handle import WorkerHandle
from tests.support.ports import wait_until


class World:
    """A fleet whose clock is ours and whose workers are processes that sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
        self.now = 1000.0
        self.spawned: list[float] = []
        self.channels: list[socket.socket] = []
        monkeypatch.setattr(fleet_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        config = SimpleNamespace(milter=SimpleNamespace(workers=workers))
        nothing: Any = None
        self.fleet = Fleet(config, nothing, nothing, nothing)  # type: ignore[arg-type]
        monkeypatch.setattr(self.fleet, "_spawn", self._spawn)

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
        worker = WorkerHandle(pid, ours, lambda: self.now)
        self.fleet._workers[pid] = worker
        self.fleet._keep(worker.listen())
        self.channels.append(theirs)
        self.spawned.append(self.now)

    def pass_time(self, seconds: float, *, ticking: bool = True) -> None:
        for _ in range(int(seconds)) if ticking else ():
            self.now += 1
            self.fleet.tick()
        if not ticking:
            self.now += seconds
            self.fleet.tick()

    async def report(self, number: int, counts: dict[str, Any]) -> None:
        """Have a worker report, and wait until it was read."""
        worker = list(self.fleet._workers.values())[number]
        self.channels[number].sendall(encode({"report": {"counts": counts}}))
        while worker.report.get("counts") != counts:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    def die(self) -> None:
        """End the one worker, and have that noticed."""
        (worker,) = self.fleet.workers
        worker.kill()
        wait_until(lambda: os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None, "its end")
        self.channels.pop().close()
        self.fleet.tick()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[WorkerHandle]:
    found: list[WorkerHandle] = []
    kill = WorkerHandle.kill

    def noted(self: WorkerHandle) -> None:
        found.append(self)
        kill(self)

    monkeypatch.setattr(WorkerHandle, "kill", noted)
    return found


async def end(world: World) -> None:
    for worker in list(world.fleet._workers.values()):
        worker._signal(signal.SIGKILL)
        os.waitpid(worker.pid, 0)  # noqa: ASYNC222 - it is dead
        await worker._connected.wait()
    for channel in world.channels:
        channel.close()
    await asyncio.gather(*world.fleet._tasks, return_exceptions=True)


def test_a_worker_that_is_silent_for_long_is_killed(
    monkeypatch: pytest.MonkeyPatch, killed: list[WorkerHandle]
) -> None:
    async def work() -> None:
        world = World(monkeypatch)
        world.fleet.tick()
        (worker,) = world.fleet.workers
        world.pass_time(20)
        assert killed == []
        world.pass_time(1)
        assert killed == [worker]
        await end(world)

    asyncio.run(work())


def test_a_parent_that_stood_still_itself_kills_nobody(
    monkeypatch: pytest.MonkeyPatch, killed: list[WorkerHandle]
) -> None:
    """It was stopped, or swapped out: what the workers said meanwhile is still to be read."""

    async def work() -> None:
        world = World(monkeypatch)
        world.fleet.tick()
        world.pass_time(300, ticking=False)
        world.pass_time(20)
        assert killed == []
        world.pass_time(1)
        assert len(killed) == 1
        await end(world)

    asyncio.run(work())


def test_workers_that_die_young_are_replaced_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        world = World(monkeypatch)
        world.fleet.tick()
        pauses = []
        for _ in range(9):
            world.die()
            died = world.now
            while not world.fleet.workers:
                world.now += 0.05
                world.fleet.tick()
            pauses.append(round(world.now - died, 2))
        assert pauses == sorted(pauses)
        assert pauses[0] <= 0.15
        assert pauses[-1] == pytest.approx(5, abs=0.1)
        world.pass_time(15)
        world.die()  # of old age
        assert len(world.fleet.workers) == 1
        assert world.fleet.restarts == 10
        await end(world)

    asyncio.run(work())


def test_what_a_dead_worker_counted_stays_at_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        world = World(monkeypatch)
        world.fleet.tick()
        await world.report(0, {"verdicts": {"accept": 7}})
        world.die()
        for _ in range(5):
            assert world.fleet.counts() == {"verdicts": {"accept": 7}}
            await asyncio.sleep(0.01)
        world.pass_time(1)
        await world.report(0, {"verdicts": {"accept": 1}})
        assert world.fleet.counts() == {"verdicts": {"accept": 8}}
        await end(world)

    asyncio.run(work())
