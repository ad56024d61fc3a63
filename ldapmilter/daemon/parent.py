"""The parent process: it binds, forks, watches, reloads, and answers for all workers.

It runs no libmilter and asks no directory, so nothing a message does can hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from ldapmilter import __version__
from ldapmilter.config import load
from ldapmilter.daemon.channel import Message, RequestRefused
from ldapmilter.daemon.doors import Doors
from ldapmilter.daemon.fleet import Fleet
from ldapmilter.daemon.listener import listen
from ldapmilter.daemon.log import LogWriter
from ldapmilter.daemon.notify import notify, notify_reloading, watchdog_seconds
from ldapmilter.daemon.nudge import nudge
from ldapmilter.daemon.service import Standing, open_audit, same_directory
from ldapmilter.daemon.tally import SECONDS_BOUNDS, add
from ldapmilter.errors import LdapmilterError
from ldapmilter.metrics import Snapshot, page

if TYPE_CHECKING:
    from ldapmilter.config import Config
    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_NUDGES = 5
"""For each worker in a second: whoever accepts gets them, so one worker may get none for once."""
_REMINDER_SECONDS = 60.0
_HEARD_SECONDS = 3.0
"""Seconds in which a worker that lives reports, however short the watchdog's time is."""
_FLUSH_SECONDS = 10.0
_ASK_SECONDS = 5.0


class Parent:
    """One running daemon."""

    def __init__(self, config: Config, log: LogTarget, writer: LogWriter) -> None:
        """Prepare to run under a configuration.

        Args:
            config: what to run under.
            log: where the workers write their lines.
            writer: what writes this process's own.

        Raises:
            ConfigError: it cannot be used.
            AuditError: the audit file cannot be written.
            CannotListen: the milter's socket cannot be bound.
        """
        self._config = config
        self._writer = writer
        standing = _usable(config)
        self._fleet = Fleet(config, standing, listen(config.milter), log)
        self._doors = Doors(self.answer, lambda: page(self._snapshot()))
        self._started_at = self._reloaded_at = time.time()
        self._reload_failure: str | None = None
        self._stop_wanted = asyncio.Event()
        self._reload_wanted = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit status.

        Raises:
            CannotListen: the control socket or the metrics port cannot be bound.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_wanted.set)
        loop.add_signal_handler(signal.SIGINT, self._stop_wanted.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        loop.add_signal_handler(signal.SIGCHLD, self._fleet.tick)
        try:
            self._doors = await self._doors.follow(self._config)
        except LdapmilterError:
            self._fleet.listener.close()
            raise
        self._fleet.tick()
        _log.info("listening on %s", self._config.milter.socket)
        background = [loop.create_task(work()) for work in (self._tick, self._remind, self._reload_when_told)]
        if (seconds := watchdog_seconds()) is not None:
            background.append(loop.create_task(self._feed_watchdog(seconds)))
        await self._stop_wanted.wait()
        notify("STOPPING=1")
        for task in background:
            task.cancel()
        self._doors.close_but()
        await self._fleet.stop()
        _log.info("stopped")
        return 0

    # -- what goes on all the time ----------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                self._fleet.tick()
                nudge(self._fleet.listener, _NUDGES * len(self._fleet.workers))
            except Exception:  # noqa: BLE001 - whatever it is, the next second is another chance
                _log.exception("unexpected error while looking after the workers")

    async def _remind(self) -> None:
        """Say once a minute what is not as it should be."""
        while True:
            for text in self._config.policy.not_applied():
                _log.warning("%s", text)
            if self._reload_failure is not None:
                _log.error("the configuration was not reloaded: %s", self._reload_failure)
            await asyncio.sleep(_REMINDER_SECONDS)

    async def _feed_watchdog(self, seconds: float) -> None:
        """Say every so many seconds that mail is served; while nobody serves, say nothing, and look often."""
        while True:
            if self._fleet.any_lives(within=max(seconds, _HEARD_SECONDS)):
                notify("WATCHDOG=1")
                await asyncio.sleep(seconds)
            else:
                await asyncio.sleep(min(seconds, _TICK_SECONDS))

    # -- reload -----------------------------------------------------------------------------

    async def _reload_when_told(self) -> None:
        """Say when all workers serve, and from then on reload whenever it is asked for."""
        while not await self._fleet.until_ready():  # noqa: ASYNC110 - who there is changes while it is waited for
            await asyncio.sleep(_TICK_SECONDS)
        self._say_ready()
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            notify_reloading()
            try:
                await self._reload()
            except (LdapmilterError, OSError) as error:
                self._reload_failure = str(error)
                _log.error("the configuration was not reloaded, the one of before goes on: %s", error)
            except Exception as error:  # noqa: BLE001 - the next SIGHUP must find somebody who listens
                self._reload_failure = f"unexpected {type(error).__name__}: {error}"
                _log.exception("the configuration was not reloaded: unexpected error")
            self._say_ready()

    def _say_ready(self) -> None:
        status = f"{len(self._fleet.workers)} workers serve"
        if self._reload_failure is not None:
            status += f"; the configuration was not reloaded: {self._reload_failure}"
        notify("READY=1", f"STATUS={' '.join(status.split())}")

    async def _reload(self) -> None:
        """Take the configuration over; nothing changes unless all of it can be.

        Raises:
            LdapmilterError: it cannot be used.
        """
        config = load(self._config.file)
        standing = _usable(config)
        if self._would_forget(config, standing):
            await self._check_directory(config)
        doors = await self._doors.follow(config)
        listener = self._fleet.listener
        try:
            if _milter_door(config) != _milter_door(self._config):
                listener = listen(config.milter, replacing=listener)
        except LdapmilterError:
            doors.close_but(self._doors)
            raise
        self._doors.close_but(doors)
        self._doors = doors
        replaced = await self._fleet.reload(config, standing, listener)
        self._config, self._reloaded_at, self._reload_failure = config, time.time(), None
        _log.info(
            "configuration reloaded in %d workers%s",
            len(self._fleet.workers),
            f"; {len(replaced)} were replaced" if replaced else "",
        )
        for text in config.policy.not_applied():
            _log.warning("%s", text)

    def _would_forget(self, config: Config, standing: Standing) -> bool:
        """Tell whether a reload begins with empty caches, and the next message needs the directory."""
        if standing.switched_off or standing.opened.embedded:
            return False
        return not same_directory(config, self._config) or _milter_door(config) != _milter_door(self._config)

    async def _check_directory(self, config: Config) -> None:
        """Let what is known be forgotten only for a directory that answers now.

        During an outage it is all that keeps mail going, and it is right as long as its configuration counts.

        Raises:
            RequestRefused: it does not answer, or hides what policy needs.
        """
        try:
            await self._fleet.try_out(config)
        except RequestRefused as error:
            message = (
                f"the directory cannot be read with it, and all that is known would be forgotten ({error}); "
                "reload again when it can be read, or restart to take it over now"
            )
            raise RequestRefused(message) from error

    # -- answers ----------------------------------------------------------------------------

    async def answer(self, request: Message) -> Message:
        """Return the answer to a request on the control socket.

        Raises:
            RequestRefused: there is no such verb, or nobody can answer.
        """
        verb = request.get("verb")
        if verb == "status":
            await self._fleet.ask_all({"verb": "report"}, _ASK_SECONDS)
            return self._status()
        if verb == "flush":
            return await self._flush(request)
        if verb == "show":
            answers, silent = await self._fleet.ask_all(request, _ASK_SECONDS)
            return {"workers": answers, "silent": [worker.pid for worker in silent]}
        if verb == "explain":
            return await self._fleet.ask_one(request, self._config.ldap.lookup_deadline + _ASK_SECONDS)
        message = f"no such verb: {verb!r}"
        raise RequestRefused(message)

    async def _flush(self, request: Message) -> Message:
        answers, silent = await self._fleet.ask_all(request, _FLUSH_SECONDS)
        for answer in answers:
            if "error" in answer:
                raise RequestRefused(str(answer["error"]))
        entries = sum(answer["entries"] for answer in answers)
        # Nobody waits for one that hangs; its successor begins with an empty cache.
        for worker in silent:
            _log.error("worker %d has not confirmed a flush: killed", worker.pid)
            worker.kill()
        return {"entries": entries, "workers": len(answers), "killed": [worker.pid for worker in silent]}

    def _status(self) -> Message:
        snapshot = self._snapshot()
        return {
            "version": snapshot.version,
            "pid": os.getpid(),
            "socket": str(self._config.milter.socket),
            "config": str(self._config.file),
            "started_at": snapshot.started_at,
            "reloaded_at": snapshot.reloaded_at,
            "reload_failure": self._reload_failure,
            "workers_wanted": snapshot.workers_wanted,
            "restarts": snapshot.restarts,
            "workers": [
                {
                    "pid": worker.pid,
                    "seconds": round(time.monotonic() - worker.started_at, 1),
                    "silent_for": round(time.monotonic() - worker.heard_at, 1),
                    "in_flight": worker.report.get("in_flight", 0),
                    "cached": worker.report.get("cached", 0),
                }
                for worker in self._fleet.workers
            ],
            "problems": self._problems(),
            "not_applied": list(self._config.policy.not_applied()),
            "last_message": snapshot.last_message,
            "counts": snapshot.counts,
            "cached": snapshot.cached,
        }

    def _problems(self) -> list[str]:
        found = [text for worker in self._fleet.workers for text in worker.report.get("problems", ())]
        return list(dict.fromkeys(found))

    def _snapshot(self) -> Snapshot:
        reports: list[dict[str, Any]] = [worker.report for worker in self._fleet.workers]
        times = [report["last_message"] for report in reports if report.get("last_message") is not None]
        return Snapshot(
            version=__version__,
            counts=add(self._fleet.counts(), {"events": {"dropped_log_lines": self._writer.dropped}}),
            bounds=SECONDS_BOUNDS,
            workers=sum(worker.ready.is_set() for worker in self._fleet.workers),
            workers_wanted=self._config.milter.workers,
            restarts=self._fleet.restarts,
            sessions=sum(report.get("sessions", 0) for report in reports),
            in_flight=sum(report.get("in_flight", 0) for report in reports),
            cached=sum(report.get("cached", 0) for report in reports),
            servers=_servers(reports),
            not_applied=len(self._config.policy.not_applied()),
            last_message=max(times, default=None),
            started_at=self._started_at,
            reloaded_at=self._reloaded_at,
            reload_failed=self._reload_failure is not None,
        )


def _servers(reports: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each server's state: up, and readable, where every worker says so."""
    servers: dict[str, dict[str, float]] = {}
    for report in reports:
        for uri, state in report.get("servers", {}).items():
            seen = servers.setdefault(uri, {name: float(value) for name, value in state.items()})
            servers[uri] = {name: min(value, float(state[name])) for name, value in seen.items()}
    return servers


def _usable(config: Config) -> Standing:
    """Return what counts under a configuration, after trying what only workers will do.

    Raises:
        ConfigError: the directory cannot be opened as configured.
        AuditError: the audit file cannot be written.
    """
    standing = Standing.of(config)
    if (audit := open_audit(config)) is not None:
        audit.close()
    return standing


def _milter_door(config: Config) -> tuple[object, ...]:
    milter = config.milter
    if milter.socket.kind != "unix":
        return (milter.socket,)  # mode and group mean nothing there, and a port cannot be bound twice
    return (milter.socket, milter.socket_mode, milter.socket_group)


def run(config: Config, log: LogTarget) -> int:
    """Run the daemon in this process; return its exit status.

    Raises:
        ConfigError: the configuration cannot be used.
        CannotListen: a socket cannot be bound.
    """
    writer = LogWriter(log)  # a log that is stuck must not keep the parent from its signals and workers

    async def main() -> int:
        return await Parent(config, log, writer).run()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            return asyncio.run(main())
        return 0
    finally:
        writer.close()
