"""The workers: as many as are configured, each alive, each with the configuration in force.

A worker that dies is replaced, at once the first time and with growing pauses while its successors
die young. One that has stopped reporting is killed and replaced. One that is full of connections that
are not from an MTA gets a successor. What ended workers had counted stays in the totals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from ldapmilter.daemon import leaving
from ldapmilter.daemon.asking import ask_all, ask_one
from ldapmilter.daemon.background import Background
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.health import LONGEST_PAUSE, RestartPauses, longest_silence, unheeded
from ldapmilter.daemon.leaving import MARGIN
from ldapmilter.daemon.tally import Numbers, add
from ldapmilter.daemon.waiting import news
from ldapmilter.daemon.worker import MAKE_ROOM_SECONDS, RETIRE_SECONDS
from ldapmilter.daemon.worker_handle import WorkerSilent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ldapmilter.config import Config
    from ldapmilter.daemon.active_configuration import ActiveConfiguration
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.listener import Listener
    from ldapmilter.daemon.spawning import Spawner
    from ldapmilter.daemon.worker_handle import WorkerHandle

_log = logging.getLogger(__name__)

_RELOAD_SECONDS = 30.0
"""For which a worker may take over a configuration, and wait for the directory besides."""
_HANDOVER_SECONDS = 10.0
"""In which a worker takes another listening socket over."""


class Fleet:
    """All workers of one parent."""

    def __init__(
        self,
        active: ActiveConfiguration,
        listener: Listener,
        spawner: Spawner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; :meth:`tick` starts the workers.

        Args:
            active: the configuration in force.
            listener: what the workers accept from.
            spawner: starts a worker.
            clock: seconds, monotonic.
        """
        self.listener = listener
        self.restarts = 0
        """How many workers died and were replaced."""
        self._active = active
        self._spawner = spawner
        self._clock = clock
        self._workers: dict[int, WorkerHandle] = {}
        self._background = Background()
        self._dying: set[WorkerHandle] = set()
        """Those that have ended, while their last report may still be on the way."""
        self._departed: Numbers = {}
        self.departed_at: float | None = None
        """When a worker was last found gone, with what it remembered: seconds since the epoch."""
        self._pauses = RestartPauses()
        self._not_before = 0.0
        self._ticked_at = clock()
        self._served_at = self._ticked_at
        self._stopping = False

    # -- who is there -----------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._active.config

    @property
    def switched_off(self) -> bool:
        """Whether no message needs a decision."""
        return self._active.switched_off

    @property
    def workers(self) -> list[WorkerHandle]:
        """The workers that serve, in the order of their start."""
        return [worker for worker in self._workers.values() if not worker.draining]

    @property
    def everyone(self) -> list[WorkerHandle]:
        """All workers that run, those that are on their way out too."""
        return list(self._workers.values())

    def counts(self) -> Numbers:
        """Return what all workers have counted, those that are gone included."""
        total = self._departed
        for worker in (*self._workers.values(), *self._dying):
            total = add(total, worker.report.get("counts", {}))
        return total

    # -- as many as there should be ---------------------------------------------------------

    def tick(self) -> None:
        """Bury what has died, kill what hangs, start what is missing; called whenever that may have changed."""
        now = self._clock()
        missed, self._ticked_at = unheeded(self._ticked_at, now), now
        silence = longest_silence(self.config.ldap.lookup_deadline)
        self._reap(now)
        for worker in self.workers:
            worker.heard_at = min(now, worker.heard_at + missed)  # what it said meanwhile is still to be read
            if now - worker.heard_at > silence:
                _log.error("worker %d has not reported for %d s: killed", worker.pid, now - worker.heard_at)
                worker.kill()
                worker.heard_at = now  # once is enough, unless it does not help
        self._make_room()
        while not self._stopping and len(self.workers) < self.config.milter.workers and now >= self._not_before:
            try:
                self._spawn()
            except OSError as error:
                _log.error("cannot start a worker: %s", error.strerror)
                self._not_before = now + LONGEST_PAUSE
        if self._serves():
            self._served_at = now

    def _serves(self) -> bool:
        """Tell whether a worker takes connections."""
        return any(worker.serving and not worker.report.get("full") for worker in self.workers)

    def none_serves(self, seconds: float) -> bool:
        """Tell whether no worker has taken connections for so many seconds, as of the last tick."""
        return not self._serves() and self._ticked_at - self._served_at >= seconds

    def _make_room(self) -> None:
        """Give a successor to a worker that is full of connections that are not from an MTA."""
        going = sum(worker.draining for worker in self._workers.values())
        for worker in self.workers:
            if worker.report.get("hopeless") and going < self.config.milter.workers and not self._stopping:
                going += 1
                _log.error("worker %d is replaced: %s", worker.pid, worker.report.get("crowded"))
                self._retire((worker,), MAKE_ROOM_SECONDS)

    def _reap(self, now: float) -> None:
        for worker in list(self._workers.values()):
            status = 0
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid == 0:
                    continue
            del self._workers[worker.pid]
            self._dying.add(worker)
            self.departed_at = time.time()
            self._background.begin(self._bury(worker))
            if worker.draining or self._stopping:
                continue
            self.restarts += 1
            pause = self._pauses.after(now - worker.started_at)
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
        worker = self._spawner.spawn(self._active, self.listener, self.warm_others)
        self._workers[worker.pid] = worker
        self._background.begin(worker.listen())

    # -- what they are told -----------------------------------------------------------------

    def warm_others(self, worker: WorkerHandle, request: Message) -> None:
        """Have the other workers read what a message waits for in one; returns at once."""
        seconds = self.config.ldap.lookup_deadline + MARGIN
        for other in () if self._stopping else self.workers:
            if other is not worker and other.ready.is_set():
                self._background.begin(other.warm(request, seconds))

    def share_what_waits(self) -> None:
        """Tell each worker which mail the others wait for, and what of its own went on there; returns at once."""
        reports = {worker: worker.report.get("waiting", {}) for worker in self.workers if worker.ready.is_set()}
        for worker, own in reports.items():
            told = news(own, [report for other, report in reports.items() if other is not worker])
            if told != worker.told:
                self._background.begin(worker.learn_what_waits(*told, MARGIN))

    async def try_out(self, config: Config) -> None:
        """Have a worker read the directory as a configuration has it; nothing changes.

        Raises:
            RequestRefused: it cannot be read, and why.
        """
        seconds = config.ldap.lookup_deadline + MARGIN
        answer = await ask_one(self.workers, {"verb": "try", "text": config.text}, seconds)
        if "error" in answer:
            raise RequestRefused(str(answer["error"]))

    async def reload(self, active: ActiveConfiguration) -> list[WorkerHandle]:
        """Let another configuration count in every worker, and for those that come later.

        Workers stay, with their caches and their messages in flight.

        Returns:
            the workers that did not take it over and were replaced.
        """
        self._active, config = active, active.config
        surplus = self.workers[config.milter.workers :]
        self._retire(surplus)
        seconds = _RELOAD_SECONDS + config.ldap.lookup_deadline
        answers, silent = await ask_all(self.everyone, {"verb": "reload", "text": config.text}, seconds)
        refusing = {int(answer["pid"]) for answer in answers if "error" in answer}
        for answer in answers:
            if "error" in answer:
                _log.error("worker %s: %s", answer["pid"], answer["error"])
        stubborn = [worker for worker in self.workers if worker in silent or worker.pid in refusing]
        self._retire(stubborn)
        self.tick()
        return stubborn

    async def listen_on(self, listener: Listener) -> None:
        """Have every worker accept from another socket; what is connected already stays connected."""
        before, self.listener = self.listener, listener
        workers = self.workers
        moved = (worker.listen_on(listener.socket, _HANDOVER_SECONDS) for worker in workers)
        outcomes = await asyncio.gather(*moved, return_exceptions=True)
        for worker, outcome in zip(workers, outcomes, strict=True):
            if isinstance(outcome, WorkerSilent):
                _log.error("worker %d did not take the new socket: killed", worker.pid)
                worker.kill()
        before.shut()  # libmilter waits on it for seconds yet, unless it is woken
        before.close()

    async def until_ready(self) -> bool:
        """Wait, for a while, until every worker serves; return whether as many do as there should be."""
        await asyncio.gather(*(worker.until_ready(_RELOAD_SECONDS) for worker in self.workers))
        return sum(worker.serving for worker in self.workers) >= self.config.milter.workers

    def any_lives(self, *, within: float) -> bool:
        """Tell whether a worker serves that has been heard in the last so many seconds."""
        since = self._clock() - within
        return any(worker.serving and worker.heard_at >= since for worker in self.workers)

    def _retire(self, workers: Iterable[WorkerHandle], seconds: float = RETIRE_SECONDS) -> None:
        """Let workers end once no connection is left, or after so many seconds."""
        for worker in workers:
            worker.draining = True
            self._background.begin(leaving.retire(worker, seconds))

    async def stop(self) -> None:
        """Refuse new connections, let messages in flight finish (bounded), and be gone."""
        self._stopping = True
        await leaving.close(self.listener, self._workers.values())
        await asyncio.gather(*(leaving.drain(worker) for worker in self._workers.values()))
        deadline = self._clock() + MARGIN
        while self._workers and self._clock() < deadline:
            self.tick()
            await asyncio.sleep(0.02)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"
