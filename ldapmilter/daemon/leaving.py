"""How workers and their socket are let go of: messages in flight finish first, for a bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from ldapmilter.daemon.worker import DRAIN_SECONDS
from ldapmilter.daemon.worker_handle import WorkerGone, WorkerHandle, WorkerSilent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.daemon.listener import Listener

_log = logging.getLogger(__name__)

_REFUSE_SECONDS = 1.0
MARGIN = 5.0
"""Seconds that an answer may take beyond what was asked for."""


async def close(listener: Listener, workers: Iterable[WorkerHandle]) -> None:
    """Have a socket refuse connections from this moment on.

    A worker's libmilter polls its socket at intervals of seconds. Until it stops, the kernel would go on
    accepting connections that no process serves. libmilter takes a socket that is shut for a failure, so
    every worker is told to stop first.
    """
    listener.hide()
    asked = (worker.ask({"verb": "refuse"}, _REFUSE_SECONDS) for worker in workers)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    if not any(isinstance(outcome, WorkerSilent) for outcome in outcomes):
        listener.shut()
    listener.close()


async def retire(worker: WorkerHandle, seconds: float) -> None:
    """Have a worker end once it has no connection left, or after so many seconds."""
    with contextlib.suppress(WorkerGone, WorkerSilent):
        await worker.ask({"verb": "retire", "seconds": seconds}, MARGIN)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(worker.gone.wait(), seconds + MARGIN)
    await drain(worker)


async def drain(worker: WorkerHandle) -> None:
    """Have a worker finish its messages and end; kill it if it takes longer than it may."""
    worker.drain()
    try:
        await asyncio.wait_for(worker.gone.wait(), DRAIN_SECONDS + MARGIN)
    except asyncio.TimeoutError:
        _log.error("worker %d does not end: killed", worker.pid)
        worker.kill()
