"""The parent process: it binds, forks, watches, reloads, and answers for all workers.

It runs no libmilter and asks no directory, so nothing a message does can hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.daemon import crowd, libmilter
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.aside import aside
from ldapmilter.daemon.audit_trail import try_audit
from ldapmilter.daemon.fleet import Fleet
from ldapmilter.daemon.following import ChangeFollowing
from ldapmilter.daemon.listener import CannotListen, listen, refuse_beside_another
from ldapmilter.daemon.log import LogWriter
from ldapmilter.daemon.notify import notify, notify_reloading, watchdog_seconds
from ldapmilter.daemon.overview import Overview
from ldapmilter.daemon.parent_requests import answer
from ldapmilter.daemon.relay_keeper import RelayKeeper, relay_socket
from ldapmilter.daemon.relayed_copies import key_for
from ldapmilter.daemon.reminders import Reminders, not_applied
from ldapmilter.daemon.seal_keeper import SealKeeper
from ldapmilter.daemon.sockets import Sockets
from ldapmilter.daemon.spawning import Spawner
from ldapmilter.daemon.takeover import Takeover
from ldapmilter.daemon.wakeup import wake_up_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_WAKE_UPS = 5
"""For each worker in a second. Any worker may accept one, so a worker may miss a round."""
_REMINDER_SECONDS = 60.0
"""After which it is looked for what is not as it should be."""
_RELAY_SECONDS = 30.0
"""For which the copy relay is waited for at the start. Mail without copies by way of it needs none."""
_HEARD_SECONDS = 3.0
"""Seconds in which a worker that lives reports, however short the watchdog's time is."""


class Parent:
    """One running daemon."""

    def __init__(self, config: Config, log: LogTarget, writer: LogWriter) -> None:
        """Prepare to run under a configuration, in the loop that is to run it; signals count from here on.

        Args:
            config: what to run under.
            log: where the workers write their lines.
            writer: what writes this process's own.

        Raises:
            ConfigError: it cannot be used.
            AuditError: the audit file cannot be written.
            CannotListen: the milter's socket cannot be bound.
        """
        # Before anything is bound: whoever finds a socket may send a signal, and it must not end this process unasked.
        self._stop_wanted, self._reload_wanted = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_wanted.set)
        loop.add_signal_handler(signal.SIGINT, self._stop_wanted.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        refuse_beside_another(_unix_sockets(config))
        active = ActiveConfiguration.of(config)
        try_audit(config)  # once, before every worker does
        key_for(config)
        self._seals = SealKeeper(config.audit)
        descriptors = crowd.raise_descriptor_limit()
        listener = listen(config.milter)
        try:
            reserved = libmilter.reserve(listener.socket.family)
            self._relay = RelayKeeper(config, log)
        except OSError as error:
            listener.close()
            raise CannotListen(str(error)) from error
        except CannotListen:
            listener.close()
            raise
        spawner = Spawner(log=log, libmilter=reserved, most_connections=crowd.most_connections(descriptors))
        self._fleet = Fleet(active, listener, spawner)
        self._sockets = Sockets(self._fleet, self._answer, lambda: self._overview.snapshot())  # noqa: PLW0108 - made below
        self._following = ChangeFollowing(self._fleet, log)
        parts = (self._relay, self._following, self._seals)
        self._overview = Overview(config, self._fleet, self._sockets, writer, descriptors, *parts)
        self._reminders, self._broken = Reminders(), Reminders()
        self._takeover = Takeover(self._fleet, self._sockets, self._overview, self._reminders, self._relay)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit status.

        Raises:
            CannotListen: the control socket or the metrics port cannot be bound.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._bury)
        await self._sockets.open(self._overview.config)
        self._fleet.tick()
        self._relay.tick()
        self._seals.start()
        self._following.tick()
        _log.info("listening on %s", self._overview.config.milter.socket)
        always = (self._tick, self._look_after, self._remind, self._reload_when_told)
        background = [loop.create_task(work()) for work in always]
        if (seconds := watchdog_seconds()) is not None:
            background.append(loop.create_task(self._feed_watchdog(seconds)))
        await self._stop_wanted.wait()
        notify("STOPPING=1")
        for task in background:
            task.cancel()
        self._sockets.close()
        self._following.stop()
        await asyncio.gather(self._fleet.stop(), self._relay.stop())
        await aside(self._seals.stop)
        _log.info("stopped")
        return 0

    async def _answer(self, request: Message) -> Message:
        if request.get("verb") == "copies":
            return await self._relay.command(request)
        return await answer(request, self._fleet, self._overview, self._takeover)

    def _bury(self) -> None:
        self._fleet.tick()
        self._relay.tick()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                self._bury()
                self._fleet.share_what_waits()
                self._following.tick()
                self._sockets.answer_for_workers()
                self._overview.take_reports()
                self._say_what_is_wrong()
                wake_up_threads(self._fleet.listener, _WAKE_UPS * len(self._fleet.workers))
            except Exception:  # noqa: BLE001 - whatever it is, the next second is another chance
                _log.exception("unexpected error while looking after the workers")

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                await self._sockets.look_after(self._overview.config)
                await self._relay.look_after()
            except Exception:  # noqa: BLE001 - whatever it is, the next second is another chance
                _log.exception("unexpected error while looking after the sockets")

    async def _remind(self) -> None:
        """Log what the configuration leaves undone: when it begins, and once an hour."""
        for text in self._overview.few_descriptors():
            _log.warning("%s", text)
        while True:
            await self._say_what_is_not_in_force()
            await asyncio.sleep(_REMINDER_SECONDS)

    async def _say_what_is_not_in_force(self) -> None:
        holding = await self._takeover.reminder()
        if (text := not_applied(self._overview.config.policy)) is not None:
            holding[text] = logging.WARNING
        for text, level in self._reminders.due(holding, time.monotonic()).items():
            _log.log(level, "%s", text)

    def _say_what_is_wrong(self) -> None:
        holding = dict.fromkeys(self._overview.reminders(), logging.ERROR)
        for text in self._broken.due(holding, time.monotonic()):
            _log.error("%s", text)
        for text in self._overview.news():
            _log.info("%s", text)

    async def _feed_watchdog(self, seconds: float) -> None:
        """Tell systemd every so many seconds that mail is served; nothing while no worker serves."""
        while True:
            if self._fleet.any_lives(within=max(seconds, _HEARD_SECONDS)):
                notify("WATCHDOG=1")
                await asyncio.sleep(seconds)
            else:
                await asyncio.sleep(min(seconds, _TICK_SECONDS))

    async def _reload_when_told(self) -> None:
        """Tell systemd when all workers serve, and from then on reload whenever it is asked for."""
        while not await self._fleet.until_ready():  # noqa: ASYNC110 - who there is changes while it is waited for
            await asyncio.sleep(_TICK_SECONDS)
        await self._relay.until_ready(_RELAY_SECONDS)
        self._say_ready()
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            notify_reloading()
            await aside(self._seals.look_now)  # first: a line in a file that was rotated is sealed there
            await self._takeover.reload()
            await aside(partial(self._seals.follow, self._overview.config.audit))
            await self._say_what_is_not_in_force()
            self._say_ready()

    def _say_ready(self) -> None:
        status = "; ".join([f"{len(self._fleet.workers)} workers serve", *self._relay.problems()])
        if (refused := self._overview.refused) is not None:
            status += f"; the configuration was not reloaded: {refused.error}"
        notify("READY=1", f"STATUS={' '.join(status.split())}")


def _unix_sockets(config: Config) -> Iterator[Path]:
    if config.milter.socket.kind == "unix":
        yield Path(config.milter.socket.path)
    if config.control is not None:
        yield config.control
    if (relay := relay_socket(config)) is not None:
        yield relay


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
