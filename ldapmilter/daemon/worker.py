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
import socket
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from ldapmilter.config import parse
from ldapmilter.daemon import crowd, requests
from ldapmilter.daemon.channel import HANDOVER, Lines, Message, encode
from ldapmilter.daemon.deciding import Decider
from ldapmilter.daemon.libmilter import LibMilter
from ldapmilter.daemon.log import LogWriter
from ldapmilter.daemon.processes import close_other_descriptors, have_signal_when_parent_dies
from ldapmilter.daemon.reloading import warm_up
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ldapmilter.daemon.active_configuration import ActiveConfiguration
    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
DRAIN_SECONDS = 30.0
"""For which messages in flight are waited for, at most."""
RETIRE_SECONDS = 60.0
"""For which open connections are waited for, at most, when there is no hurry."""
MAKE_ROOM_SECONDS = 330.0
"""The same where the connections are too many: above ``smtpd_timeout`` (300 s), so that no SMTP session is cut."""
_GREETING_SECONDS = 0.5
"""In which a connection that has just been accepted says its first word, and counts."""
_MINUTE = 60.0
_AGAIN_SECONDS = 10.0
"""How often an audit that could not be written is tried."""
_FAILED = 70
"""EX_SOFTWARE."""


def become_worker(
    active: ActiveConfiguration, sockets: WorkerSockets, log: LogTarget, config_file: Path, most_connections: int
) -> NoReturn:
    """Turn this process, which has just been forked, into a worker; never returns."""
    status = _FAILED
    try:
        # One that is stopped goes on when its parent dies, sees that, and lets go of the listening socket.
        have_signal_when_parent_dies(signal.SIGCONT)
        close_other_descriptors({0, 1, 2, *sockets.descriptors()})
        writer = LogWriter(log)
        worker = Worker(Decider(active), sockets, writer, config_file, most_connections)
        status = worker.run()
        writer.close()
    except BaseException:  # noqa: BLE001 - a forked copy of the parent must not go on as the parent
        traceback.print_exc()
    finally:
        # libmilter's threads are still in C: an orderly end of the interpreter could meet them there.
        os._exit(status)


class WorkerSockets(Struct, frozen=True, kw_only=True):
    """What a worker has of its parent."""

    listening: socket.socket
    libmilter: int
    """The descriptor that libmilter accepts from."""
    channel: socket.socket
    """Requests and answers."""
    handover: socket.socket
    """Another listening socket comes this way (unix(7), ``SCM_RIGHTS``)."""

    def descriptors(self) -> tuple[int, ...]:
        """Return what has to stay open."""
        return (self.listening.fileno(), self.libmilter, self.channel.fileno(), self.handover.fileno())


class Worker:
    """The main thread of a worker."""

    def __init__(
        self, decider: Decider, sockets: WorkerSockets, log: LogWriter, config_file: Path, most_connections: int
    ) -> None:
        """Obey a channel."""
        self._decider = decider
        self._sockets = sockets
        self._channel = sockets.channel
        self._log = log
        self._config_file = config_file
        self._crowd = crowd.Crowd(most_connections)
        self._crowded: crowd.State | None = None
        self._sending = threading.Lock()
        self._reloading = threading.Lock()
        self._ended = threading.Event()
        self._retire: tuple[float, float] | None = None
        """When to leave at the earliest and at the latest; ``None``: stay."""
        self._leaving = False
        """Whether no connection is taken any more, however few there are."""
        self._next_report = self._next_try = self._next_minute = time.monotonic()
        self._wake_reading, self._wake_writing = os.pipe()
        os.set_blocking(self._wake_writing, False)

    def run(self) -> int:
        """Serve until SIGTERM, or until the parent is gone; return the exit status."""
        signal.set_wakeup_fd(self._wake_writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        # Those two are the parent's: a terminal and a careless killall send them to every process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # What was there before the fork is shared with the parent; looking at it would copy it.
        gc.freeze()
        # Decoding answers makes hundreds of short-lived objects per entry; collecting every 700 of
        # them would cost a fifth of a large look-up, and waiting for 20,000 megabytes.
        gc.set_threshold(5_000, 20, 50)
        # Before the first message: until it is known, one may be delivered twice.
        self._decider.recipient_filter.ask_within()
        self._decider.relayed_copies.route.ask_within()
        self._libmilter = LibMilter(self._sockets.libmilter, self._sockets.listening, self._decider)
        self._libmilter.start(self._libmilter_ended)
        warming = threading.Thread(
            target=warm_up, args=(self._decider.configurations.active,), name="warm-up", daemon=True
        )
        warming.start()
        self._send({"ready": True})
        status = self._obey()
        self._libmilter.refuse_new_connections()
        left = self._decider.in_flight.wait_for_messages(DRAIN_SECONDS)
        if left:
            _log.warning("worker stopped with %d messages in flight", left)
        self._report()
        self._decider.close()
        return status

    def _libmilter_ended(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_writing, b"\0")

    def _obey(self) -> int:
        lines = Lines(self._channel)
        while True:
            now = time.monotonic()
            self._do_what_is_due(now)
            sources: list[Any] = [self._wake_reading, self._channel]
            ready, _, _ = select.select(sources, [], [], max(0.0, self._next_report - now))
            if self._wake_reading in ready and signal.SIGTERM in os.read(self._wake_reading, 64):
                return 0
            if self._ended.is_set():
                return 1
            if self._may_leave(now):
                return 0
            if self._channel in ready:
                for request in lines.receive():
                    self._take_up(request)
                if lines.ended:
                    _log.error("the parent process is gone: worker stops")
                    self._libmilter.shut()  # whoever starts next may have its place at once
                    return 1

    def _do_what_is_due(self, now: float) -> None:
        if now >= self._next_report:
            self._look_at_connections(now)
            self._decider.configurations.ask_quiet_servers()
            self._decider.relayed_copies.route.look()
            self._report()
            self._next_report = now + REPORT_SECONDS
        if now >= self._next_try:  # before what fails is said, so that it stands for a while
            self._next_try = now + _AGAIN_SECONDS
            self._decider.audit.try_again()
        if now >= self._next_minute:
            self._next_minute = now + _MINUTE
            self._decider.audit.look()
            self._decider.configurations.close_retired()
            self._decider.recipient_filter.ask_within(0)
            self._decider.relayed_copies.route.ask_within(0)
            self._say_how_crowded()

    def _take_up(self, request: Message) -> None:
        try:
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()
        except RuntimeError as error:  # the system has no more threads for us
            self._send({"error": f"worker {os.getpid()}: {error}", "number": request.get("number")})

    def _may_leave(self, now: float) -> bool:
        return self._retire is not None and now >= self._retire[self._decider.in_flight.sessions > 0]

    def _look_at_connections(self, now: float) -> None:
        """Take no more connections than there may be, and those again when there is room."""
        before, sessions = self._crowded, self._decider.in_flight.sessions
        self._crowded = self._crowd.look(
            now,
            connections=crowd.count(self._libmilter.listening, sessions),
            sessions=sessions,
            in_flight=self._decider.in_flight.messages,
        )
        if self._crowded.full or self._leaving:
            self._libmilter.refuse_new_connections()
        else:
            self._libmilter.accept_again()
        if before is None or before.problem is None or self._crowded.full > before.full:
            self._say_how_crowded()

    def _say_how_crowded(self) -> None:
        if self._crowded is not None and self._crowded.problem is not None:
            _log.warning("%s", self._crowded.problem)

    def _report(self) -> None:
        report = requests.report(self._decider, dropped_lines=self._log.dropped)
        if (state := self._crowded) is not None:
            report |= {
                "connections": state.connections,
                "full": state.full,
                "hopeless": state.hopeless,
                "crowded": state.problem,
            }
        self._send({"report": report})
        for request in self._decider.put_off.take():
            self._send({"warm": request})

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
        verbs: Mapping[str, Callable[[Message], dict[str, Any] | None]] = {
            "report": lambda _: self._report(),
            "refuse": lambda _: self._leave_connections_alone(),
            "listen": lambda _: self._take_socket(),
            "retire": self._begin_to_retire,
            "try": lambda asked: requests.try_out(parse(asked["text"], self._config_file)),
            "reload": self._reload,
        }
        serving = verbs.get(request["verb"])
        return requests.serve(self._decider, request) if serving is None else serving(request) or {}

    def _leave_connections_alone(self) -> None:
        self._leaving = True
        self._libmilter.refuse_new_connections()

    def _begin_to_retire(self, request: Message) -> None:
        now = time.monotonic()
        self._retire = (now + _GREETING_SECONDS, now + request["seconds"])
        self._leave_connections_alone()

    def _reload(self, request: Message) -> None:
        with self._reloading:
            self._decider.configurations.take_over(parse(request["text"], self._config_file))

    def _take_socket(self) -> None:
        """Listen on what the parent has sent."""
        _, descriptors, _, _ = socket.recv_fds(self._sockets.handover, len(HANDOVER), 1, socket.MSG_DONTWAIT)
        if not descriptors:
            message = "no listening socket came with the request"
            raise OSError(message)
        self._libmilter.listen_on(socket.socket(fileno=descriptors[0]))

    def _send(self, message: Message) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._channel.sendall(encode(message))
