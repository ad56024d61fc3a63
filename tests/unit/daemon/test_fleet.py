"""Watching over workers: who counts as hung, who is replaced when, and that nothing counted is lost."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.daemon.channel import Message, decode, encode
from ldapmilter.daemon.fleet import Fleet
from ldapmilter.daemon.spawning import Spawner
from ldapmilter.daemon.warming import MOST_MESSAGES
from ldapmilter.daemon.worker_handle import WorkerHandle
from tests.support.ports import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


class World:
    """A fleet whose clock is ours and whose workers are processes that sleep."""

    def __init__(self, workers: int = 1, lookup_deadline: float = 10.0, spawner: Any = None) -> None:
        self.now = 1000.0
        self.channels: list[socket.socket] = []
        self._told = itertools.count()
        milter, ldap = SimpleNamespace(workers=workers), SimpleNamespace(lookup_deadline=lookup_deadline)
        active: Any = SimpleNamespace(config=SimpleNamespace(milter=milter, ldap=ldap, file=None))
        listener: Any = SimpleNamespace(socket=None)
        used: Any = spawner or self
        self.fleet = Fleet(active, listener, used, lambda: self.now)

    def spawn(
        self, _active: object, _listener: object, put_off: Callable[[WorkerHandle, Message], None]
    ) -> WorkerHandle:
        """Start a process that sleeps."""
        ours, theirs = socket.socketpair()
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
        self.channels.append(theirs)
        return WorkerHandle(pid, ours, lambda: self.now, put_off=put_off)

    def pass_time(self, seconds: float, *, ticking: bool = True) -> None:
        for _ in range(int(seconds)) if ticking else ():
            self.now += 1
            self.fleet.tick()
        if not ticking:
            self.now += seconds
            self.fleet.tick()

    async def report(self, number: int, counts: dict[str, Any], **more: object) -> None:
        """Have a worker report, and wait until it was read."""
        worker = list(self.fleet._workers.values())[number]
        report = {"counts": counts, **more}
        self.channels[number].sendall(encode({"report": report}))
        while worker.report != report:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    async def ready(self, number: int) -> None:
        """Have a worker say that it serves, and wait until it was read."""
        self.channels[number].sendall(encode({"ready": True}))
        await list(self.fleet._workers.values())[number].ready.wait()

    async def put_off(self, number: int, *requests: Message) -> None:
        """Have a worker say that it has put messages off, and wait until it was read."""
        for request in requests:
            self.channels[number].sendall(encode({"warm": request}))
        await self.report(number, {"told": next(self._told)})

    def asked(self, number: int) -> list[Message]:
        """Return what a worker was asked, since the last time."""
        channel = self.channels[number]
        channel.settimeout(0)
        try:
            octets = channel.recv(1 << 20)
        except BlockingIOError:
            octets = b""
        finally:
            channel.settimeout(None)
        return [decode(line) for line in octets.splitlines()]

    def die(self) -> None:
        """End the one worker, and have that noticed."""
        (worker,) = self.fleet.workers
        worker.kill()
        wait_until(lambda: os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None, "its end")
        self.channels.pop().close()
        self.fleet.tick()


def descriptors() -> list[str]:
    """Return what this process has open."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


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
    await asyncio.gather(*world.fleet._background.tasks, return_exceptions=True)


def test_a_worker_is_killed_when_it_is_silent_for_longer_than_a_look_up_takes(killed: list[WorkerHandle]) -> None:
    async def work() -> None:
        world = World(lookup_deadline=10.0)
        world.fleet.tick()
        (worker,) = world.fleet.workers
        world.pass_time(11)
        assert killed == []
        world.pass_time(1)
        assert killed == [worker]
        await end(world)

    asyncio.run(work())


@pytest.mark.parametrize("stall", [4.0, 300.0])
def test_a_parent_that_stood_still_itself_kills_nobody(killed: list[WorkerHandle], stall: float) -> None:
    """It was stopped, or swapped out: what the workers said meanwhile is still to be read."""

    async def work() -> None:
        world = World(lookup_deadline=1.0)
        world.fleet.tick()
        world.pass_time(stall, ticking=False)
        world.pass_time(3)
        assert killed == []
        world.pass_time(1)
        assert len(killed) == 1
        await end(world)

    asyncio.run(work())


def test_a_stall_after_a_report_is_no_credit_for_later(killed: list[WorkerHandle]) -> None:
    async def work() -> None:
        world = World(lookup_deadline=1.0)
        world.fleet.tick()
        world.now += 300
        await world.report(0, {})  # read before the first tick
        world.fleet.tick()
        world.pass_time(5)
        assert killed == []
        world.pass_time(1)
        assert len(killed) == 1
        await end(world)

    asyncio.run(work())


def test_no_worker_serves_until_one_is_ready_and_takes_connections() -> None:
    async def work() -> None:
        world = World()
        world.fleet.tick()
        assert not world.fleet.none_serves(3)
        world.pass_time(3)
        assert world.fleet.none_serves(3)
        await world.ready(0)
        assert not world.fleet.none_serves(3)
        world.pass_time(1)
        await world.report(0, {}, full=True)
        world.pass_time(2)
        assert not world.fleet.none_serves(3)  # not for that long yet
        world.pass_time(1)
        assert world.fleet.none_serves(3)
        await world.report(0, {}, full=False)
        assert not world.fleet.none_serves(3)
        await end(world)

    asyncio.run(work())


def test_a_worker_that_is_full_of_nobody_gets_a_successor_and_not_more_at_a_time_than_there_are_workers() -> None:
    async def work() -> None:
        world = World()
        world.fleet.tick()
        first = world.fleet.workers
        await world.report(0, {}, hopeless=True)
        world.pass_time(1)
        second = world.fleet.workers
        assert len(second) == 1
        assert second != first
        assert first[0].draining
        await world.report(1, {}, hopeless=True)
        world.pass_time(5)
        assert world.fleet.workers == second
        await end(world)

    asyncio.run(work())


def test_a_worker_that_cannot_be_forked_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    async def work() -> None:
        monkeypatch.setattr(os, "fork", refused)
        world = World(spawner=Spawner(log="stderr", libmilter=-1, most_connections=100))
        before = descriptors()
        world.fleet.tick()
        assert world.fleet.workers == []
        assert descriptors() == before
        world.pass_time(4)
        assert world.fleet.none_serves(3)

    asyncio.run(work())


def test_a_worker_that_dies_young_is_replaced_after_a_pause_and_an_old_one_at_once() -> None:
    async def work() -> None:
        world = World()
        world.fleet.tick()
        world.die()
        assert world.fleet.workers == []
        world.now += 0.2
        world.fleet.tick()
        assert len(world.fleet.workers) == 1
        world.pass_time(15)
        world.die()
        assert len(world.fleet.workers) == 1
        assert world.fleet.restarts == 2
        await end(world)

    asyncio.run(work())


def test_what_a_dead_worker_counted_stays_at_every_moment() -> None:
    async def work() -> None:
        world = World()
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


def reading(number: int) -> Message:
    """Return the request to read what a message to some list needs."""
    return {"verb": "warm", "recipients": [f"list{number}@example.test"]}


def recipients(asked: list[Message]) -> list[str]:
    return [recipient for request in asked for recipient in request["recipients"]]


def test_the_other_workers_read_what_one_puts_off_for() -> None:
    async def work() -> None:
        world = World(workers=5)
        world.fleet.tick()
        for number in (0, 1, 2, 3):  # the last is not ready
            await world.ready(number)
        world.fleet.workers[3].draining = True
        await world.put_off(0, reading(1))
        await asyncio.sleep(0)
        assert [recipients(world.asked(number)) for number in range(5)] == [
            [],
            ["list1@example.test"],
            ["list1@example.test"],
            [],
            [],
        ]
        # One on its way out tells the others still.
        await world.put_off(3, reading(2))
        await asyncio.sleep(0)
        assert recipients(world.asked(0)) == ["list2@example.test"]
        world.asked(1)
        world.fleet._stopping = True
        await world.put_off(0, reading(3))
        await asyncio.sleep(0)
        assert world.asked(1) == []
        await end(world)

    asyncio.run(work())


def test_a_worker_is_asked_to_read_few_things_at_a_time_and_none_twice() -> None:
    async def work() -> None:
        world = World(workers=2)
        world.fleet.tick()
        await world.ready(0)
        await world.ready(1)
        many = 3 * MOST_MESSAGES
        await world.put_off(0, *(reading(number) for number in range(many) for _ in range(2)))
        await asyncio.sleep(0)
        asked = world.asked(1)
        assert recipients(asked) == [f"list{number}@example.test" for number in range(MOST_MESSAGES)]
        # What it has answered, whatever it says, makes room.
        world.channels[1].sendall(encode({"error": "no", "number": asked[0]["number"]}))
        await world.report(1, {"answered": 1})
        while len(world.fleet.workers[1]._warming) == MOST_MESSAGES:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        await world.put_off(0, *(reading(number) for number in range(1, many)))
        await asyncio.sleep(0)
        assert recipients(world.asked(1)) == [f"list{MOST_MESSAGES}@example.test"]
        await end(world)

    asyncio.run(work())
