"""Requests of the parent to its workers, and their answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.worker_handle import WorkerGone, WorkerSilent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.worker_handle import WorkerHandle


async def ask_all(
    workers: Sequence[WorkerHandle], request: Message, seconds: float
) -> tuple[list[Message], list[WorkerHandle]]:
    """Ask every one of some workers.

    Returns:
        the answers, each with the ``pid`` of its worker; and who has not answered in time. One that is
        gone has nothing to say.
    """
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


async def ask_one(workers: Iterable[WorkerHandle], request: Message, seconds: float) -> Message:
    """Ask whichever of some workers answers, the least busy one first.

    Raises:
        RequestRefused: none did.
    """
    by_load = sorted(workers, key=lambda worker: worker.report.get("in_flight", 0))
    for worker in by_load:
        with contextlib.suppress(WorkerGone, WorkerSilent):
            return {**await worker.ask(request, seconds), "pid": worker.pid}
    message = "no worker answers"
    raise RequestRefused(message)
