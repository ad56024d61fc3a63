"""The workers: as many as there should be, each alive, each with the configuration that counts.

A worker that dies is replaced, at once the first time and with growing pauses while its successors
die young; one that has stopped reporting is killed and replaced. What the dead had counted stays in
the totals.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.tally import Numbers, add
from ldapmilter.daemon.worker import DRAIN_SECONDS, RETIRE_SECONDS, become_worker
from ldapmilter.daemon.worker_handle import WorkerGone, WorkerHandle, WorkerSilent

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.listener import Listener
    from ldapmilter.daemon.log import LogTarget
    from ldapmilter.daemon.service import Standing

_log = logging.getLogger(__name__)

_YOUNG = 10.0
"""Seconds that a worker has to live for its death to be no sign of a crash loop."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SILENT = 20.0
"""Seconds without a report after which a worker counts as hung."""
_LATE = 5.0
"""Seconds between two ticks after which this process itself must have stood still."""
_RELOAD_SECONDS = 30.0
"""For which a worker may take over a configuration, and wait for the directory besides."""
_OLD_BACKLOG = 0.5
"""Seconds for which the workers of before still accept after the socket was replaced."""
_REFUSE_SECONDS = 1.0
_MARGIN = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Fleet:
    """All workers of one parent."""

    def __init__(self, config: Config, standing: Standing, listener: Listener, log: LogTarget) -> None:
        """Prepare; :meth:`tick` starts the workers."""
        self.config = config
        self.listener = listener
        self.restarts = 0
        """How many workers died and were replaced."""
        self._standing = standing
        self._log = log
        self._workers: dict[int, WorkerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dying: set[WorkerHandle] = set()
        """Those that have ended, while their last report may still be on the way."""
        self._departed: Numbers = {}
        self._young_deaths = 0
        self._not_before = 0.0
        self._ticked_at = time.monotonic()
        self._stopping = False

    # -- who is there -----------------------------------------------------------------------

    @property
    def workers(self) -> list[WorkerHandle]:
        """The workers that serve, in the order of their start."""
        return [worker for worker in self._workers.values() if not worker.draining]

    def counts(self) -> Numbers:
        """Return what all workers have counted, those that are gone included."""
        total = self._departed
        for worker in (*self._workers.values(), *self._dying):
            total = add(total, worker.report.get("counts", {}))
        return total

    # -- as many as there should be ---------------------------------------------------------

    def tick(self) -> None:
        """Bury what has died, kill what hangs, start what is missing; called whenever that may have changed."""
        now = time.monotonic()
        stood_still, self._ticked_at = now - self._ticked_at > _LATE, now
        for worker in self.workers:
            if stood_still:
                worker.heard_at = now  # what it said meanwhile is still to be read
            elif now - worker.heard_at > _SILENT:
                _log.error("worker %d has not been heard for %g s: killed", worker.pid, _SILENT)
                worker.kill()
        self._reap(now)
        while not self._stopping and len(self.workers) < self.config.milter.workers and now >= self._not_before:
            try:
                self._spawn()
            except OSError as error:
                _log.error("cannot start a worker: %s", error.strerror)
                self._not_before = now + _LONGEST_PAUSE

    def _reap(self, now: float) -> None:
        for worker in list(self._workers.values()):
            status = 0
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid == 0:
                    continue
            del self._workers[worker.pid]
            self._dying.add(worker)
            self._keep(self._bury(worker))
            if worker.draining or self._stopping:
                continue
            self.restarts += 1
            young = now - worker.started_at < _YOUNG
            self._young_deaths = self._young_deaths + 1 if young else 0
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._young_deaths - 1)) if young else 0.0
            self._not_before = now + pause
            _log.error("worker %d ended (%s): replaced in %g s", worker.pid, _ending(status), pause)
            asyncio.get_running_loop().call_later(pause, self.tick)

    async def _bury(self, worker: WorkerHandle) -> None:
        # What it said last may still be on the way.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(worker.gone.wait(), 1)
        self._dying.discard(worker)
        self._departed = add(self._departed, worker.report.get("counts", {}))

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        gc.collect()
        if not gc.get_freeze_count():
            # Once and for all: looking for garbage copies the pages that earlier workers share.
            gc.freeze()
        # Until the child has handlers of its own, a signal to it would be taken for one to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                become_worker(self._standing, self.listener.socket, theirs, self._log, self.config.file)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        worker = WorkerHandle(pid, ours, time.monotonic)
        self._workers[pid] = worker
        self._keep(worker.listen())

    # -- what they are told -----------------------------------------------------------------

    async def ask_all(self, request: Message, seconds: float) -> tuple[list[Message], list[WorkerHandle]]:
        """Ask every worker, those that are on their way out too.

        Returns:
            the answers, and who has not answered in time. One that is gone has nothing to say.
        """
        workers = list(self._workers.values())
        outcomes = await asyncio.gather(*(worker.ask(request, seconds) for worker in workers), return_exceptions=True)
        answers: list[Message] = []
        silent: list[WorkerHandle] = []
        for worker, outcome in zip(workers, outcomes, strict=True):
            if isinstance(outcome, WorkerSilent):
                silent.append(worker)
            elif isinstance(outcome, dict):
                answers.append({**outcome, "pid": worker.pid})
            elif not isinstance(outcome, WorkerGone):
                raise outcome
        return answers, silent

    async def ask_one(self, request: Message, seconds: float) -> Message:
        """Ask whichever worker answers, the least busy one first.

        Raises:
            RequestRefused: none did.
        """
        by_load = sorted(self.workers, key=lambda worker: worker.report.get("in_flight", 0))
        for worker in by_load:
            with contextlib.suppress(WorkerGone, WorkerSilent):
                return {**await worker.ask(request, seconds), "pid": worker.pid}
        message = "no worker answers"
        raise RequestRefused(message)

    async def try_out(self, config: Config) -> None:
        """Have a worker read the directory as a configuration has it; nothing changes.

        Raises:
            RequestRefused: it cannot be read, and why.
        """
        seconds = config.ldap.lookup_deadline + _MARGIN
        answer = await self.ask_one({"verb": "try", "text": config.text}, seconds)
        if "error" in answer:
            raise RequestRefused(str(answer["error"]))

    async def reload(self, config: Config, standing: Standing, listener: Listener) -> list[WorkerHandle]:
        """Let another configuration count in every worker, and for those that come later.

        Workers stay, with their caches and their messages in flight, unless the socket is another.

        Returns:
            the workers that did not take it over and were replaced.
        """
        old_listener, self.listener = self.listener, listener
        self.config, self._standing = config, standing
        if listener is not old_listener:
            leaving = self.workers
            for worker in leaving:
                worker.draining = True  # counts as leaving from now on, so that successors are started
            self._young_deaths, self._not_before = 0, 0.0
            self.tick()
            await asyncio.gather(*(self._until_ready(worker) for worker in self.workers))
            if listener.shares_port(old_listener):
                old_listener.turn_away()  # or whoever comes would be lost between the last accept and its end
            await asyncio.sleep(_OLD_BACKLOG)
            await self._close(old_listener, leaving)
            self._retire(leaving)
            return []
        surplus = self.workers[config.milter.workers :]
        self._retire(surplus)
        seconds = _RELOAD_SECONDS + config.ldap.lookup_deadline
        answers, silent = await self.ask_all({"verb": "reload", "text": config.text}, seconds)
        refusing = {int(answer["pid"]) for answer in answers if "error" in answer}
        for answer in answers:
            if "error" in answer:
                _log.error("worker %s: %s", answer["pid"], answer["error"])
        stubborn = [worker for worker in self.workers if worker in silent or worker.pid in refusing]
        self._retire(stubborn)
        self.tick()
        return stubborn

    async def _until_ready(self, worker: WorkerHandle) -> None:
        """Wait until a worker serves or is gone, for a while."""
        waits = [asyncio.ensure_future(event.wait()) for event in (worker.ready, worker.gone)]
        try:
            await asyncio.wait(waits, timeout=_RELOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def until_ready(self) -> bool:
        """Wait, for a while, until every worker serves; return whether as many do as there should be."""
        await asyncio.gather(*(self._until_ready(worker) for worker in self.workers))
        serving = sum(worker.ready.is_set() and not worker.gone.is_set() for worker in self.workers)
        return serving >= self.config.milter.workers

    def any_lives(self, *, within: float) -> bool:
        """Tell whether a worker serves that has been heard in the last so many seconds."""
        since = time.monotonic() - within
        return any(
            worker.ready.is_set() and not worker.gone.is_set() and worker.heard_at >= since for worker in self.workers
        )

    async def _close(self, listener: Listener, workers: Iterable[WorkerHandle]) -> None:
        """Let nobody connect to a socket any more, from this moment on.

        A worker's libmilter waits on it for seconds yet, and as long the kernel would go on taking
        connections in that nobody serves. It must not be shut under one that would take that for a
        failure, so first they all turn away from it.
        """
        listener.hide()
        asked = (worker.ask({"verb": "refuse"}, _REFUSE_SECONDS) for worker in workers)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        if not any(isinstance(outcome, WorkerSilent) for outcome in outcomes):
            listener.shut()
        listener.close()

    def _retire(self, workers: Iterable[WorkerHandle]) -> None:
        """Let workers go once nobody is connected to them any more: there is no hurry."""
        for worker in workers:
            worker.draining = True
            self._keep(self._see_off_gently(worker))

    async def _see_off_gently(self, worker: WorkerHandle) -> None:
        with contextlib.suppress(WorkerGone, WorkerSilent):
            await worker.ask({"verb": "retire"}, _MARGIN)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(worker.gone.wait(), RETIRE_SECONDS + _MARGIN)
        await self._see_off(worker)

    async def _see_off(self, worker: WorkerHandle) -> None:
        """Have a worker finish its messages, and kill it if that takes longer than it may."""
        worker.drain()
        try:
            await asyncio.wait_for(worker.gone.wait(), DRAIN_SECONDS + _MARGIN)
        except asyncio.TimeoutError:
            _log.error("worker %d does not end: killed", worker.pid)
            worker.kill()

    async def stop(self) -> None:
        """Refuse new connections, let messages in flight finish (bounded), and be gone."""
        self._stopping = True
        await self._close(self.listener, self._workers.values())
        await asyncio.gather(*(self._see_off(worker) for worker in self._workers.values()))
        deadline = time.monotonic() + _MARGIN
        while self._workers and time.monotonic() < deadline:
            self.tick()
            await asyncio.sleep(0.02)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"
