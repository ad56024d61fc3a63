"""The parent and its copy relay: started, watched, reloaded, ended; its process is made up, and so is the clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon.channel import RequestRefused, decode, encode
from ldapmilter.daemon.health import LONGEST_PAUSE, RELAY_SILENCE
from ldapmilter.daemon.leaving import MARGIN
from ldapmilter.daemon.relay_keeper import RelayKeeper
from ldapmilter.daemon.worker_handle import WorkerHandle
from ldapmilter.delivery.settings import DRAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message

    Run = Callable[[Callable[["World"], Coroutine[Any, Any, None]]], None]


class Process:
    """What the keeper takes for the relay's process; it ends when it is told, unless it is stubborn."""

    def __init__(self, world: World, command: list[str], pass_fds: tuple[int, int], env: dict[str, str]) -> None:
        self.world, self.command, self.env = world, command, env
        self.listening = os.fstat(pass_fds[0]).st_ino
        self.channel = socket.socket(fileno=os.dup(pass_fds[1]))
        self.pid = 100_000_000 + len(world.processes)  # beyond any that there can be
        self.status: int | None = None
        self.stubborn = False
        self.signals: list[int] = []

    def poll(self) -> int | None:
        if self.status is None and self.signals:
            self.world.now += 1  # whoever waits for its end sees time pass
        return self.status

    def wait(self) -> int | None:
        return self.status

    def die(self, status: int) -> None:
        self.status = status
        self.channel.close()

    def told(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or not self.stubborn:
            self.die(-number)


class World:
    """A keeper whose clock is ours."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.directory = directory
        self.path = directory / "relay.sock"
        self.processes: list[Process] = []
        self.cannot_start: OSError | None = None
        self.keeper = RelayKeeper(self.config(), "stderr", lambda: self.now)

    def config(self, *, listens: bool = True, next_hop: str = "smtp:[a.test]:25") -> Config:
        text = f"[ldap]\nuri = ldif:x\n[relay]\nsocket_group =\nnext_hop = {next_hop}\n"
        return parse(f"{text}listen = {f'unix:{self.path}' if listens else ''}\n", self.directory / "config.ini")

    def popen(self, command: list[str], *, stdin: int, pass_fds: tuple[int, int], env: dict[str, str]) -> Process:
        assert stdin == subprocess.DEVNULL
        if self.cannot_start is not None:
            raise self.cannot_start
        self.processes.append(Process(self, command, pass_fds, env))
        return self.processes[-1]

    @property
    def process(self) -> Process:
        return self.processes[-1]

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.keeper.tick()

    async def says(self, message: Message, until: Callable[[WorkerHandle], object]) -> None:
        """Have the relay say something, and wait until it was read."""
        self.process.channel.sendall(encode(message))
        handle = self.keeper._handle
        assert handle is not None
        while not until(handle):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    async def serves(self) -> None:
        await self.says({"ready": True}, lambda handle: handle.serving)

    async def reports(self, **report: object) -> None:
        await self.says({"report": report}, lambda handle: handle.report == report)

    async def asked(self) -> Message:
        """Return what the relay is told next."""
        self.process.channel.setblocking(False)  # noqa: FBT003 - the standard library's signature
        octets = b""
        while not octets.endswith(b"\n"):
            octets += await asyncio.get_running_loop().sock_recv(self.process.channel, 1 << 16)
        return decode(octets)

    async def answers(self, work: Coroutine[Any, Any, Any], **answer: object) -> Any:
        """Have the relay answer what some work asks it; return what the work does."""
        doing = asyncio.ensure_future(work)
        number = (await self.asked())["number"]
        self.process.channel.sendall(encode({**answer, "number": number}))
        return await doing


@pytest.fixture(name="run")
def in_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    async def whole(work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        world = World(tmp_path)
        monkeypatch.setattr(subprocess, "Popen", world.popen)
        by_pid = lambda handle, number: world.processes[handle.pid - 100_000_000].told(number)  # noqa: E731 - a method
        monkeypatch.setattr(WorkerHandle, "_signal", by_pid)
        try:
            await work(world)
        finally:
            for process in world.processes:
                process.channel.close()
            if world.keeper._listener is not None:
                world.keeper._listener.close()
            await asyncio.gather(*world.keeper._background.tasks, return_exceptions=True)

    return lambda work: asyncio.run(whole(work))


def test_it_is_started_with_its_socket_and_told_its_configuration(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")

    async def work(world: World) -> None:
        world.keeper.tick()
        process = world.process
        assert process.command[1:6] == ["-m", "ldapmilter", "--config", str(world.directory / "config.ini"), "relay"]
        assert "--inherit" in process.command
        assert "NOTIFY_SOCKET" not in process.env
        listener = world.keeper._listener
        assert listener is not None
        assert process.listening == os.fstat(listener.fileno()).st_ino
        assert await world.asked() == {"text": world.config().text}
        world.keeper.tick()
        assert len(world.processes) == 1

    run(work)


def test_one_that_dies_is_started_again_and_the_third_time_in_a_minute_later(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        for number in range(2):
            world.process.die(1)
            world.pass_time(1)
            assert len(world.processes) == number + 2
        assert world.keeper.problems() == []
        world.process.die(-signal.SIGSEGV)
        world.pass_time(60)
        assert len(world.processes) == 3
        assert world.keeper.problems() == ["the copy relay does not run: copies by way of it wait; the log says why"]
        world.pass_time(1)
        assert (len(world.processes), world.keeper.restarts) == (4, 3)
        assert world.keeper.problems() == []

    run(work)
    assert "ended (exit status 1): started again" in caplog.text
    assert "the copy relay ended three times within a minute (signal 11): copies wait for 60 s" in caplog.text


def test_one_that_cannot_be_started_is_tried_again_in_a_while(run: Run) -> None:
    async def work(world: World) -> None:
        world.cannot_start = OSError(12, "Cannot allocate memory")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as the kernel has it
        world.pass_time(1)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
        world.cannot_start = None
        world.pass_time(int(LONGEST_PAUSE) - 1)
        assert world.processes == []
        world.pass_time(1)
        assert len(world.processes) == 1

    run(work)


def test_one_that_reports_nothing_is_killed(run: Run) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        world.pass_time(int(RELAY_SILENCE))
        await world.reports(waiting=1)
        world.pass_time(int(RELAY_SILENCE))
        assert world.process.signals == []
        world.pass_time(1)
        assert world.processes[0].signals == [signal.SIGKILL]
        world.pass_time(1)
        assert len(world.processes) == 2

    run(work)


def test_a_parent_that_stood_still_itself_kills_no_relay(run: Run) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        world.now += 300
        world.keeper.tick()
        assert world.process.signals == []

    run(work)


def test_without_a_relay_in_the_configuration_there_is_none(run: Run) -> None:
    async def work(world: World) -> None:
        await world.keeper.follow(world.config(listens=False), world.keeper.bind(world.config(listens=False)))
        world.pass_time(5)
        assert world.processes == []
        assert (world.keeper.as_json(), world.keeper.problems(), world.path.exists()) == (None, [], False)
        assert await world.keeper.command({"reads_audit": True}) == {"unreachable": "[relay] listen is empty"}
        await world.keeper.until_ready(1)
        await world.keeper.look_after()
        await world.keeper.stop()

    run(work)


def test_what_is_said_of_it(run: Run) -> None:
    async def work(world: World) -> None:
        told = world.keeper.as_json()
        assert told is not None
        assert (told["pid"], told["serves"], told["waiting"], told["counts"]) == (None, False, None, {})
        world.keeper.tick()
        await world.serves()
        await world.reports(waiting=2, kept=1, oldest=9.5, sessions=3, octets=4, counts={"kept": 1}, problem="full")
        world.now += 2
        assert world.keeper.as_json() == {
            "pid": world.process.pid,
            "serves": True,
            "seconds": 2.0,
            "restarts": 0,
            "waiting": 2,
            "kept": 1,
            "oldest": 9.5,
            "sessions": 3,
            "octets": 4,
            "counts": {"kept": 1},
            "problem": "full",
            "down": {},
        }
        assert world.keeper.problems() == ["the copy relay defers copies: full"]

    run(work)


def test_an_administrators_request(run: Run) -> None:
    async def work(world: World) -> None:
        request: Message = {"verb": "copies", "reads_audit": True}
        with pytest.raises(RequestRefused, match="only root and the daemon's user"):
            await world.keeper.command({"verb": "copies"})
        assert await world.keeper.command(request) == {"unreachable": "the copy relay does not serve"}
        world.keeper.tick()
        await world.asked()  # its configuration
        await world.serves()
        assert await world.answers(world.keeper.command(request), results=[1]) == {"results": [1]}
        with pytest.raises(RequestRefused, match="no such file"):
            await world.answers(world.keeper.command(request), error="no such file")
        asking = asyncio.ensure_future(world.keeper.command(request))
        await world.asked()
        world.process.die(1)
        assert "has not answered" in (await asking)["unreachable"]

    run(work)


def test_a_reload_leaves_the_process_that_takes_it(run: Run) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        await world.asked()
        other = world.config(next_hop="smtp:[b.test]:25")
        listener = world.keeper.bind(other)
        assert listener is world.keeper._listener
        await world.answers(world.keeper.follow(other, listener), restart=False)
        assert (len(world.processes), world.process.signals) == (1, [])
        for answer in ({"restart": True}, {"error": "no key"}):
            before = world.process
            await world.answers(world.keeper.follow(other, world.keeper.bind(other)), **answer)
            assert before.signals == [signal.SIGTERM]
            assert world.process is not before
            assert await world.asked() == {"text": other.text}
        assert (world.keeper.restarts, world.path.exists()) == (0, True)

    run(work)


def test_a_reload_starts_one_that_waits_to_be_started(run: Run) -> None:
    async def work(world: World) -> None:
        await world.keeper.follow(world.config(), world.keeper.bind(world.config()))
        assert len(world.processes) == 1

    run(work)


def test_the_end_is_waited_for_and_no_longer_than_a_drain_takes(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        world.process.stubborn = True
        begun = world.now
        await world.keeper.stop()
        assert world.process.signals == [signal.SIGTERM, signal.SIGKILL]
        assert world.now - begun <= DRAIN_SECONDS + MARGIN + 2
        assert not world.path.exists()
        world.pass_time(5)
        assert (len(world.processes), world.keeper.restarts) == (1, 0)
        assert world.keeper.problems() == []

    run(work)
    assert "the copy relay does not end: killed" in caplog.text


def test_a_socket_whose_name_was_removed_is_bound_anew(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def work(world: World) -> None:
        world.keeper.tick()
        await world.keeper.look_after()
        assert len(world.processes) == 1
        world.path.unlink()
        assert world.keeper.problems() == ["the socket of the copy relay is not found under its name any more"]
        world.path.mkdir()
        with contextlib.suppress(OSError):
            await world.keeper.look_after()  # it cannot be bound
        assert (len(world.processes), world.process.signals) == (1, [])
        world.path.rmdir()
        await world.keeper.look_after()
        assert (len(world.processes), world.processes[0].signals) == (2, [signal.SIGTERM])
        assert world.process.listening != world.processes[0].listening
        assert world.keeper.problems() == []

    run(work)
    assert "bound anew" in caplog.text
