"""One worker process: libmilter beside the main thread, which obeys the parent and the signals.

A worker is told everything by its parent over a channel and reports once a second, which is also how
the parent knows that it lives. Without its parent it finishes what is in flight and goes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from ldapmilter.config import parse
from ldapmilter.daemon import requests
from ldapmilter.daemon.channel import Lines, Message, encode
from ldapmilter.daemon.libmilter import LibMilter
from ldapmilter.daemon.log import LogWriter
from ldapmilter.daemon.service import Service, Standing
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
DRAIN_SECONDS = 30.0
"""For which messages in flight are waited for, at most."""
RETIRE_SECONDS = 60.0
"""For which open connections are waited for, at most, when there is no hurry."""
_GREETING_SECONDS = 0.5
"""In which a connection that has just been accepted says its first word, and counts."""
_MINUTE = 60.0
_FAILED = 70
"""EX_SOFTWARE."""


def become_worker(
    standing: Standing, listening: socket.socket, channel: socket.socket, log: LogTarget, config_file: Path
) -> NoReturn:
    """Turn this process, which has just been forked, into a worker; never returns."""
    status = _FAILED
    try:
        _close_other_descriptors({0, 1, 2, listening.fileno(), channel.fileno()})
        writer = LogWriter(log)
        worker = Worker(Service(standing), channel, writer, config_file)
        status = worker.run(listening)
        writer.close()
    except BaseException:  # noqa: BLE001 - a forked copy of the parent must not go on as the parent
        traceback.print_exc()
    finally:
        # libmilter's threads are still in C: an orderly end of the interpreter could meet them there.
        os._exit(status)


def _close_other_descriptors(keep: set[int]) -> None:
    """Let go of the parent's: another worker's channel held here would outlive the parent."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


class Worker:
    """The main thread of a worker."""

    def __init__(self, service: Service, channel: socket.socket, log: LogWriter, config_file: Path) -> None:
        """Obey a channel."""
        self._service = service
        self._channel = channel
        self._log = log
        self._config_file = config_file
        self._sending = threading.Lock()
        self._reloading = threading.Lock()
        self._ended = threading.Event()
        self._retire: tuple[float, float] | None = None
        """When to leave at the earliest and at the latest; ``None``: stay."""
        self._wake_reading, self._wake_writing = os.pipe()
        os.set_blocking(self._wake_writing, False)

    def run(self, listening: socket.socket) -> int:
        """Serve until SIGTERM, or until the parent is gone; return the exit status."""
        signal.set_wakeup_fd(self._wake_writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        # Those two are the parent's: a terminal and a careless killall send them to everybody.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # What was there before the fork is shared with the parent; looking at it would copy it.
        gc.freeze()
        # Decoding answers makes hundreds of short-lived objects per entry; collecting every 700 of
        # them would cost a fifth of a large look-up, and waiting for 20,000 megabytes.
        gc.set_threshold(5_000, 20, 50)
        self._libmilter = LibMilter(listening, self._service)
        listening.close()
        self._libmilter.start(self._libmilter_ended)
        warm_up = threading.Thread(
            target=self._service.warm_up, args=(self._service.standing,), name="warm-up", daemon=True
        )
        warm_up.start()
        self._send({"ready": True})
        status = self._obey()
        self._libmilter.refuse_new_connections()
        left = self._service.wait_for_messages(DRAIN_SECONDS)
        if left:
            _log.warning("worker stopped with %d messages in flight", left)
        self._report()
        self._service.close()
        return status

    def _libmilter_ended(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_writing, b"\0")

    def _obey(self) -> int:
        lines = Lines(self._channel)
        next_report = next_minute = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_report:
                self._report()
                next_report = now + REPORT_SECONDS
            if now >= next_minute:
                next_minute = now + _MINUTE
                self._service.every_minute()
            sources: list[Any] = [self._wake_reading, self._channel]
            ready, _, _ = select.select(sources, [], [], max(0.0, next_report - now))
            if self._wake_reading in ready and signal.SIGTERM in os.read(self._wake_reading, 64):
                return 0
            if self._ended.is_set():
                return 1
            if self._retire is not None and now >= self._retire[self._service.sessions > 0]:
                return 0
            if self._channel in ready:
                for request in lines.receive():
                    threading.Thread(target=self._answer, args=(request,), daemon=True).start()
                if lines.ended:
                    _log.error("the parent process is gone: worker stops")
                    return 1

    def _report(self) -> None:
        self._send({"report": requests.report(self._service, dropped_lines=self._log.dropped)})

    def _answer(self, request: Message) -> None:
        answer: Message
        try:
            answer = self._serve(request)
        except LdapmilterError as error:
            answer = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - whoever asks must get an answer
            _log.exception("unexpected error in %s", request.get("verb"))
            answer = {"error": f"unexpected {type(error).__name__}: {error}"}
        self._send({**answer, "number": request.get("number")})

    def _serve(self, request: Message) -> dict[str, Any]:
        if request["verb"] == "report":
            self._report()
            return {}
        if request["verb"] == "refuse":
            self._libmilter.refuse_new_connections()
            return {}
        if request["verb"] == "retire":
            self._libmilter.refuse_new_connections()
            now = time.monotonic()
            self._retire = (now + _GREETING_SECONDS, now + RETIRE_SECONDS)
            return {}
        if request["verb"] == "try":
            return requests.try_out(parse(request["text"], self._config_file))
        if request["verb"] == "reload":
            with self._reloading:
                self._service.take_over(parse(request["text"], self._config_file))
            return {}
        return requests.serve(self._service, request)

    def _send(self, message: Message) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._channel.sendall(encode(message))
