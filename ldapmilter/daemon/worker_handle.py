"""A worker as its parent sees it: its process, its channel, its last report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from ldapmilter.daemon.channel import HANDOVER, MAX_ANSWER, Message, RequestRefused, decode, encode
from ldapmilter.daemon.warming import MOST_MESSAGES
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class WorkerSilent(LdapmilterError):
    """A worker has not answered in time."""


class WorkerGone(LdapmilterError):
    """A worker ended before it answered; whatever it held is gone with it."""


class WorkerHandle:
    """One worker process."""

    def __init__(
        self,
        pid: int,
        channel: socket.socket,
        clock: Callable[[], float],
        handover: socket.socket | None = None,
        *,
        put_off: Callable[[WorkerHandle, Message], None] | None = None,
    ) -> None:
        """Follow a process that has just been forked.

        Args:
            pid: the process.
            channel: where requests go and answers come from.
            clock: seconds, monotonic.
            handover: where another listening socket can be sent.
            put_off: called when it has put a message off for a group, with what the others are to be asked.
        """
        self.pid = pid
        self.started_at = self.heard_at = clock()
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.draining = False
        self.report: Message = {}
        """What it last said of itself."""
        self._clock = clock
        self._channel = channel
        self._handover = handover
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._put_off = put_off
        self._warming: set[bytes] = set()
        """What it was asked to read, until it has answered."""
        self.told: tuple[list[str], dict[str, float]] = ([], {})
        """What it was last told of mail that waits elsewhere."""

    @property
    def serving(self) -> bool:
        """Whether it has said that it serves, and has not ended."""
        return self.ready.is_set() and not self.gone.is_set()

    async def until_ready(self, seconds: float) -> None:
        """Wait until it serves or has ended, for so many seconds at most."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.ready, self.gone)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

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
            if self._handover is not None:
                self._handover.close()

    def _take(self, line: bytes) -> None:
        self.heard_at = self._clock()
        try:
            message = decode(line)
        except RequestRefused:
            _log.exception("worker %d sent a line that is not JSON", self.pid)
            return
        if "report" in message:
            self.report = message["report"]
        elif "ready" in message:
            self.ready.set()
        elif "warm" in message:
            if self._put_off is not None:
                self._put_off(self, message["warm"])
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

    async def warm(self, request: Message, seconds: float) -> None:
        """Have it read what a message waits for in another worker; beyond the bound not: mail is tried again.

        Args:
            request: what it is asked.
            seconds: after which another may take its place, answered or not.
        """
        key = encode(request)
        if key in self._warming or len(self._warming) >= MOST_MESSAGES:
            return
        self._warming.add(key)
        try:
            with contextlib.suppress(WorkerGone, WorkerSilent):
                await self.ask(request, seconds)
        finally:
            self._warming.discard(key)

    async def learn_what_waits(self, elsewhere: list[str], went_on: dict[str, float], seconds: float) -> None:
        """Tell it which mail others wait for, and what went on there (:mod:`ldapmilter.daemon.waiting`)."""
        self.told = elsewhere, went_on
        with contextlib.suppress(WorkerGone, WorkerSilent):
            await self.ask({"verb": "waiting", "elsewhere": elsewhere, "went_on": went_on}, seconds)

    async def listen_on(self, listening: socket.socket, seconds: float) -> None:
        """Have it accept from another socket.

        Raises:
            WorkerSilent: it has not said so within so many seconds.
            WorkerGone: it ended.
        """
        if self._handover is not None:
            try:
                socket.send_fds(self._handover, [HANDOVER], [listening.fileno()])
            except OSError as error:
                message = f"worker {self.pid} is gone"
                raise WorkerGone(message) from error
        answer = await self.ask({"verb": "listen"}, seconds)
        if "error" in answer:
            raise WorkerSilent(str(answer["error"]))

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
