"""The follower as its parent sees it: begun again when it dies or hangs; what it tells goes to every worker."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from ldapmilter.daemon.active_configuration import same_directory
from ldapmilter.daemon.asking import ask_all
from ldapmilter.daemon.background import Background
from ldapmilter.daemon.channel import MAX_ANSWER, RequestRefused, decode
from ldapmilter.daemon.follower_process import become_follower
from ldapmilter.daemon.health import RestartPauses
from ldapmilter.daemon.processes import signals_held_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.fleet import Fleet
    from ldapmilter.daemon.log import LogTarget

_log = logging.getLogger(__name__)

_SILENT = 60.0
"""Seconds without a word after which the follower is killed: longer than every wait in it that ends."""
_CONFIRM_SECONDS = 30.0
"""For which workers are waited for that are told of a change."""
_NOT_YET = "not begun yet"


class ChangeFollowing:
    """The follower of one parent, or none."""

    def __init__(self, fleet: Fleet, log: LogTarget, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; :meth:`tick` begins."""
        self._fleet = fleet
        self._log = log
        self._clock = clock
        self._config: Config | None = None
        self._pid: int | None = None
        self._heard_at = self._began_at = clock()
        self._not_before = 0.0
        self._pauses = RestartPauses()
        self._background = Background()
        self._state: Message = {}
        self._past = {"changes": 0, "outdated": 0}
        self._answers = 0
        self._replaced = False
        """Whether the follower that runs is ended on purpose."""
        self._said: str | None = None

    # -- what it knows ----------------------------------------------------------------------

    @property
    def why_not(self) -> str:
        """Why no server is followed, in words; empty: one is."""
        config = self._fleet.config
        if not config.ldap.follows:
            return "[ldap] follow_changes = no" if config.ldap.follow_changes == "no" else "the directory is a file"
        if self._fleet.switched_off:
            return "no message needs the directory (mode = pass)"
        return str(self._state.get("why_not", _NOT_YET)) if self._pid is not None else "the follower is begun again"

    def as_json(self) -> dict[str, Any]:
        """Return how following goes, for ``status`` and the metrics.

        Returns:
            ``server`` (null: none), ``why_not`` (null: one is followed), ``seconds_behind`` (null likewise); since the
            start ``changes`` (entries that were seen to change), ``answers`` (that changed or became outdated for it,
            in all workers) and ``outdated`` (how often anything might have changed).
        """
        why_not = self.why_not
        behind = None if why_not else round(max(0.0, self._clock() - self._state["caught_up_at"]), 1)
        return {
            "server": None if why_not else self._state["uri"],
            "why_not": why_not or None,
            "seconds_behind": behind,
            "changes": self._count("changes"),
            "answers": self._answers,
            "outdated": self._count("outdated"),
        }

    def _count(self, name: str) -> int:
        return self._past[name] + int(self._state.get(name, 0))

    # -- that it lives ----------------------------------------------------------------------

    def tick(self) -> None:
        """Bury, kill or begin the follower, as is due; called every second."""
        now = self._clock()
        self._reap(now)
        config = self._fleet.config
        wanted = config if config.ldap.follows and not self._fleet.switched_off else None
        if self._pid is not None and not _asks_the_same(wanted, self._config):
            self._replaced = True
            self._kill()  # and begun anew by what counts now, when it is gone
        elif self._pid is not None and now - self._heard_at > _SILENT:
            _log.error("the process that follows changes has said nothing for %d s: killed", now - self._heard_at)
            self._kill()
            self._heard_at = now
        if self._pid is None and wanted is not None and now >= self._not_before:
            try:
                self._spawn(wanted, now)
            except OSError as error:
                _log.error("cannot follow changes: %s", error.strerror)
                self._not_before = now + _SILENT
        self._say(self.why_not)

    def _say(self, why_not: str) -> None:
        """Log once whether changes are followed."""
        if why_not in {self._said, _NOT_YET} or not self._fleet.config.ldap.follows:
            return
        before, self._said = self._said, why_not
        if not why_not:
            _log.info("changes of %s are followed", self._state["uri"])
        elif before is None or not before:
            _log.warning("changes of the directory are not followed, and act within [cache] ttl: %s", why_not)

    def _reap(self, now: float) -> None:
        if self._pid is None:
            return
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid == 0:
                return
            if not self._replaced:
                _log.error("the process that follows changes ended (status %d): begun again", status)
        self._pid, self._replaced = None, False
        self._past = {name: self._count(name) for name in self._past}
        self._state = {}
        self._not_before = now + self._pauses.after(now - self._began_at)

    def _spawn(self, config: Config, now: float) -> None:
        ours, theirs = socket.socketpair()
        gc.collect()
        try:
            with signals_held_back():
                pid = os.fork()
                if pid == 0:
                    become_follower(config, theirs, self._log)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pid, self._config = pid, config
        self._heard_at = self._began_at = now
        self._background.begin(self._listen(ours, pid))

    def _kill(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the follower."""
        self._not_before = float("inf")
        self._kill()
        if self._pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = None

    # -- what it tells ----------------------------------------------------------------------

    async def _listen(self, channel: socket.socket, pid: int) -> None:
        reader, writer = await asyncio.open_connection(sock=channel, limit=MAX_ANSWER)
        try:
            with contextlib.suppress(OSError, ValueError):
                while line := await reader.readline():
                    if pid == self._pid:
                        self._take(line)
        finally:
            writer.close()

    def _take(self, line: bytes) -> None:
        self._heard_at = self._clock()
        try:
            message = decode(line)
        except RequestRefused:
            _log.exception("the process that follows changes sent a line that is not JSON")
            return
        if "state" in message:
            self._state = message["state"]
        elif "changed" in message:
            self._background.begin(self._tell({"verb": "changed", "entries": message["changed"]}))
        elif "outdated" in message:
            _log.info("all that is held of the directory is asked for anew: %s", message["outdated"])
            self._background.begin(self._tell({"verb": "outdated"}))

    async def _tell(self, request: Message) -> None:
        """Tell every worker; one that hangs is killed by the fleet, and begins with an empty cache."""
        answers, silent = await ask_all(self._fleet.everyone, request, _CONFIRM_SECONDS)
        self._answers += sum(int(answer.get("answers", 0)) for answer in answers)
        for worker in silent:
            _log.error("worker %d has not confirmed a change: killed", worker.pid)
            worker.kill()


def _asks_the_same(wanted: Config | None, config: Config | None) -> bool:
    """Whether a follower that was begun by one configuration does for another."""
    return wanted is not None and config is not None and same_directory(wanted, config)
