"""The copy relay as the parent keeps it: its socket, its process, and what it last said of itself.

The relay is started by exec, with the socket that the parent has bound: Postfix's connections wait in it while the
relay is started again. Whatever becomes of it, no worker of the milter is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.daemon.background import Background
from ldapmilter.daemon.channel import RequestRefused, encode
from ldapmilter.daemon.health import LONGEST_PAUSE, RELAY_SILENCE, RelayPauses, unheeded
from ldapmilter.daemon.leaving import MARGIN
from ldapmilter.daemon.listener import CannotListen, listen_at
from ldapmilter.daemon.worker_handle import WorkerGone, WorkerHandle, WorkerSilent
from ldapmilter.delivery.settings import DRAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.listener import Listener
    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

COMMAND_SECONDS: Final = 300.0
"""The longest that an administrator's request may take: a copy that is sent again waits for its server."""
_RELOAD_SECONDS: Final = 10.0
_NOT_THE_RELAYS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What the service manager tells the parent alone."""


class RelayKeeper:
    """Keeps one relay alive while the configuration has one."""

    def __init__(self, config: Config, log: LogTarget, clock: Callable[[], float] = time.monotonic) -> None:
        """Bind the socket, where there is to be a relay; :meth:`tick` starts it.

        Args:
            config: what it runs under.
            log: where it writes its lines.
            clock: seconds, monotonic.

        Raises:
            CannotListen: the socket cannot be bound.
        """
        self._config = config
        self._log = log
        self._clock = clock
        self._listener: Listener | None = bound(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._handle: WorkerHandle | None = None
        self._ending = False
        """Whether its end is wanted; another one may follow."""
        self._stopping = False
        self._pauses = RelayPauses()
        self._not_before = 0.0
        self._ticked_at = clock()
        self.restarts = 0
        """How often it died."""
        self._background = Background()

    # -- alive ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Bury it when it has died, kill it when it hangs, start it when it is missing."""
        now = self._clock()
        missed, self._ticked_at = unheeded(self._ticked_at, now), now
        self._reap(now)
        if self._handle is not None:
            self._handle.heard_at = min(now, self._handle.heard_at + missed)
            if now - self._handle.heard_at > RELAY_SILENCE:
                _log.error("the copy relay (%d) has not reported for %d s: killed", self._handle.pid, RELAY_SILENCE)
                self._handle.kill()
                self._handle.heard_at = now
        if self._process is None and self._listener is not None and not self._stopping and now >= self._not_before:
            try:
                self._start(self._listener)
            except OSError as error:
                _log.error("cannot start the copy relay: %s", error.strerror)
                self._not_before = now + LONGEST_PAUSE

    def _reap(self, now: float) -> None:
        process, handle = self._process, self._handle
        if process is None or handle is None or (status := process.poll()) is None:
            return
        self._process = self._handle = None
        if self._ending or self._stopping:
            self._ending = False
            return
        self.restarts += 1
        pause = self._pauses.after(now)
        self._not_before = now + pause
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        if pause:
            _log.error("the copy relay ended three times within a minute (%s): copies wait for %g s", how, pause)
        else:
            _log.error("the copy relay (%d) ended (%s): started again", handle.pid, how)

    def _start(self, listener: Listener) -> None:
        ours, theirs = socket.socketpair()
        try:
            descriptors = (listener.fileno(), theirs.fileno())
            command = [sys.executable, "-m", "ldapmilter", "--config", str(self._config.file.absolute()), "relay"]
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [*command, "--log", self._log, "--inherit", *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={name: value for name, value in os.environ.items() if name not in _NOT_THE_RELAYS},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process = process
        self._handle = WorkerHandle(process.pid, ours, self._clock)
        self._background.begin(self._converse(self._handle, ours, encode({"text": self._config.text})))

    async def _converse(self, handle: WorkerHandle, channel: socket.socket, first: bytes) -> None:
        channel.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(channel, first)
        await handle.listen()

    async def until_ready(self, seconds: float) -> None:
        """Wait until the relay serves, if there is one, for so many seconds at most."""
        if self._handle is not None:
            await self._handle.until_ready(seconds)

    async def stop(self) -> None:
        """Refuse connections, let copies under way end (bounded), and be gone."""
        self._stopping = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.hide()
        await self._end()
        if listener is not None:
            listener.close()

    async def _end(self) -> None:
        """Have the relay end, if there is one; kill it if it takes longer than it may."""
        process, handle = self._process, self._handle
        if process is None or handle is None:
            return
        self._ending = True
        handle.drain()
        deadline = self._clock() + DRAIN_SECONDS + MARGIN
        while process.poll() is None and self._clock() < deadline:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(0.02)
        if process.poll() is None:
            _log.error("the copy relay does not end: killed")
            handle.kill()
            process.wait()
        self._reap(self._clock())

    # -- another configuration --------------------------------------------------------------

    def bind(self, config: Config) -> Listener | None:
        """Return the socket that another configuration wants: the one there is, another one, or none.

        Raises:
            CannotListen: it cannot be bound; nothing has changed then.
        """
        if config.relay.listen != self._config.relay.listen or not self._has_its_name():
            return bound(config)
        if self._listener is not None:
            self._listener.permit(config.relay)
        return self._listener

    def let_go(self, listener: Listener | None) -> None:
        """Let go of what :meth:`bind` returned, unless it is in use."""
        if listener is not None and listener is not self._listener:
            listener.close()

    def _has_its_name(self) -> bool:
        return self._listener is None or self._listener.has_its_name()

    async def follow(self, config: Config, listener: Listener | None) -> None:
        """Run under another configuration, with what :meth:`bind` returned for it."""
        before, self._config = self._listener, config
        if listener is before:
            if self._handle is None:
                self.tick()
                return
            with contextlib.suppress(WorkerGone, WorkerSilent):
                answer = await self._handle.ask({"verb": "reload", "text": config.text}, _RELOAD_SECONDS)
                if "error" not in answer and not answer.get("restart"):
                    return
        self._listener = listener
        await self._end()
        if before is not None and before is not listener:
            before.close()
        self._not_before = 0.0
        self.tick()

    async def look_after(self) -> None:
        """Bind the socket anew when its name is gone."""
        if self._has_its_name() or self._stopping:
            return
        try:
            listener = bound(self._config)
        except CannotListen:
            return  # problems() tells
        await self.follow(self._config, listener)
        _log.error("the socket of the copy relay was removed, so that no copy came: bound anew")

    # -- asking -----------------------------------------------------------------------------

    async def command(self, request: Message) -> Message:
        """Return the relay's answer to an administrator's request.

        Returns:
            the answer; ``{"unreachable": WHY}``: there is no relay that could answer.

        Raises:
            RequestRefused: who asks may not, or the relay says no.
        """
        if request.get("reads_audit") is not True:
            message = "only root and the daemon's user may send copies again, discard them, or have them learnt"
            raise RequestRefused(message)
        if self._handle is None or not self._handle.serving:
            return {"unreachable": "the copy relay does not serve" if self._listener else "[relay] listen is empty"}
        try:
            answer = await self._handle.ask(request, COMMAND_SECONDS)
        except (WorkerGone, WorkerSilent) as error:
            return {"unreachable": f"the copy relay has not answered: {error}"}
        if "error" in answer:
            raise RequestRefused(str(answer["error"]))
        answer.pop("number", None)
        return answer

    def as_json(self) -> dict[str, Any] | None:
        """Return the state of the relay, without an address in it; ``None``: there is to be none."""
        if self._listener is None:
            return None
        handle = self._handle
        report = handle.report if handle is not None else {}
        return {
            "pid": handle.pid if handle is not None else None,
            "serves": handle is not None and handle.serving,
            "seconds": round(self._clock() - handle.started_at, 1) if handle is not None else None,
            "restarts": self.restarts,
            **{name: report.get(name) for name in ("waiting", "kept", "oldest", "sessions", "octets")},
            "counts": report.get("counts", {}),
            "problem": report.get("problem"),
            "down": report.get("down", {}),
        }

    def problems(self) -> list[str]:
        """Return what keeps copies waiting, a line each."""
        if self._listener is None or self._stopping:
            return []
        found = []
        if not self._has_its_name():
            found.append("the socket of the copy relay is not found under its name any more")
        if self._handle is None:
            found.append("the copy relay does not run: copies by way of it wait; the log says why")
        elif (problem := self._handle.report.get("problem")) is not None:
            found.append(f"the copy relay defers copies: {problem}")
        return found


def bound(config: Config) -> Listener | None:
    """Bind the socket that a configuration wants for the relay; ``None``: it wants none.

    Raises:
        CannotListen: it cannot be bound.
    """
    relay = config.relay
    if relay.listen is None:
        return None
    return listen_at(relay.listen, relay.socket_mode, relay.socket_group, "relay")


def relay_socket(config: Config) -> Path | None:
    """Return the path of the relay's unix socket, if it has one."""
    listen = config.relay.listen
    return Path(listen.path) if listen is not None and listen.kind == "unix" else None
