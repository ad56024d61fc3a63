"""A worker as its parent sees it: its process, its channel, its last report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import MAX_ANSWER, Message, RequestRefused, decode, encode
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class WorkerSilent(LdapmilterError):
    """A worker has not answered in time."""


class WorkerGone(LdapmilterError):
    """A worker ended before it answered; whatever it held is gone with it."""


class WorkerHandle:
    """One worker process."""

    def __init__(self, pid: int, channel: socket.socket, clock: Callable[[], float]) -> None:
        """Follow a process that has just been forked."""
        self.pid = pid
        self.started_at = self.heard_at = clock()
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.draining = False
        self.report: Message = {}
        """What it last said of itself."""
        self._clock = clock
        self._channel = channel
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    async def listen(self) -> None:
        """Take in what it says until it is gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._channel, limit=MAX_ANSWER)
        self._connected.set()
        try:
            with contextlib.suppress(OSError, ValueError):  # ValueError: a line past the limit
                while line := await reader.readline():
                    self._take(line)
        finally:
            self.gone.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(WorkerGone(f"worker {self.pid} is gone"))
            self._writer.close()

    def _take(self, line: bytes) -> None:
        self.heard_at = self._clock()
        try:
            message = decode(line)
        except RequestRefused:
            _log.exception("worker %d said something else than JSON", self.pid)
            return
        if "report" in message:
            self.report = message["report"]
        elif "ready" in message:
            self.ready.set()
        else:
            future = self._waiting.pop(int(message["number"]), None)
            if future is not None and not future.done():
                future.set_result(message)

    async def ask(self, request: Message, seconds: float) -> Message:
        """Return its answer to a request.

        Raises:
            WorkerSilent: none within so many seconds; it will still see the request when it can.
            WorkerGone: it ended.
        """
        try:
            return await asyncio.wait_for(self._ask(request), seconds)
        except asyncio.TimeoutError:
            message = f"worker {self.pid} has not answered within {seconds:g} s"
            raise WorkerSilent(message) from None

    async def _ask(self, request: Message) -> Message:
        await self._connected.wait()
        if self._writer is None or self.gone.is_set():
            message = f"worker {self.pid} is gone"
            raise WorkerGone(message)
        number = next(self._numbers)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(encode({**request, "number": number}))
            return await future
        except OSError as error:
            message = f"worker {self.pid} is gone"
            raise WorkerGone(message) from error
        finally:
            self._waiting.pop(number, None)

    def drain(self) -> None:
        """Let it finish what is in flight, and go."""
        self.draining = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
