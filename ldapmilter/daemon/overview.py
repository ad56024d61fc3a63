"""What the parent knows of the whole daemon: for ``status``, the metrics and the reminders in the log.

Made from the workers' last reports; nothing here asks or changes anything.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ldapmilter import __version__
from ldapmilter.daemon import copy_route, crowd
from ldapmilter.daemon.directory_watch import DirectoryWatch
from ldapmilter.daemon.invalid_values import InvalidValues
from ldapmilter.daemon.policy_hash import policy_hash
from ldapmilter.daemon.snapshot import RelaySnapshot, Snapshot
from ldapmilter.daemon.tally import SECONDS_BOUNDS, add
from ldapmilter.daemon.unknown_clients import busiest
from ldapmilter.daemon.waiting import by_cause, reminders_of
from ldapmilter.policy.verdict import WAITS_FOR_AUDIT, WAITS_FOR_DIRECTORY, WAITS_FOR_RELAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.fleet import Fleet
    from ldapmilter.daemon.following import ChangeFollowing
    from ldapmilter.daemon.log import LogWriter
    from ldapmilter.daemon.relay_keeper import RelayKeeper
    from ldapmilter.daemon.seal_keeper import SealKeeper
    from ldapmilter.daemon.sockets import Sockets
    from ldapmilter.postfix.transport import Route

_RECENT_SECONDS = 3600.0
"""For which an invalid value that was met is a problem in ``status``: a deferred message has come back by then."""


class RefusedReload(Struct, frozen=True, kw_only=True):
    """A reload that was refused."""

    error: str
    at: float
    """Seconds since the epoch."""
    digest: str | None
    """Of the file's text; ``None``: it could not be read."""


class Overview:
    """The state of the whole daemon."""

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        sockets: Sockets,
        log: LogWriter,
        descriptors: int,
        relay: RelayKeeper,
        following: ChangeFollowing,
        seals: SealKeeper,
    ) -> None:
        """Begin when the daemon starts.

        Args:
            config: what it runs under.
            fleet: its workers.
            sockets: its sockets.
            log: writes this process's lines.
            descriptors: the limit of open files.
            relay: keeps the copy relay.
            following: what follows changes of the directory.
            seals: seals the audit.
        """
        self.config = config
        """What all workers run under."""
        self.refused: RefusedReload | None = None
        """The last reload, where it was refused."""
        self._fleet = fleet
        self._sockets = sockets
        self._copy_relay = relay
        self._log = log
        self._following = following
        self._seals = seals
        self._descriptors = descriptors
        self._most_connections = crowd.most_connections(descriptors)
        self._started_at = self._reloaded_at = time.time()
        self._directory = DirectoryWatch()
        self._lost_route = copy_route.LostRoute()
        self._invalid_values = InvalidValues(self._started_at)

    def reloaded(self, config: Config) -> None:
        """Note that all workers run under another configuration."""
        self.config, self._reloaded_at, self.refused = config, time.time(), None

    def take_reports(self) -> None:
        """Take over what the workers last reported."""
        reports = [worker.report for worker in self._fleet.workers]
        self._directory.take(report.get("servers", {}) for report in reports)
        self._invalid_values.take(report.get("invalid_values", {}) for report in reports)

    def reminders(self) -> Iterator[str]:
        """Yield what is an error for as long as it lasts, a line each."""
        yield from self._own_problems()
        yield from self._invalid_values.due(time.time())
        yield from reminders_of(self._waiting())

    def news(self) -> Iterator[str]:
        """Yield what has come right since this was last asked, a line each."""
        if (text := self._lost_route.follow(self._route)) is not None:
            yield text

    def _own_problems(self) -> Iterator[str]:
        yield from self._sockets.problems()
        yield from self._copy_relay.problems()
        if (text := copy_route.problem(self._route, self.config.relay.listen)) is not None:
            yield text

    def few_descriptors(self) -> Iterator[str]:
        """Yield a line where the limit of open files is too low."""
        if self._most_connections < crowd.FEW:
            yield (
                f"the limit of open files is {self._descriptors}, so a worker takes {self._most_connections}"
                " connections only: raise the hard limit (systemd: LimitNOFILE, supervisord: minfds)"
            )

    def status(self) -> Message:
        """Return what ``ldapmilter status`` shows."""
        self.take_reports()
        snapshot, refused, now = self.snapshot(), self.refused, time.monotonic()
        workers = self._fleet.workers
        crowded = [text for worker in workers if (text := worker.report.get("crowded"))]
        return {
            "version": snapshot.version,
            "pid": os.getpid(),
            "socket": str(self.config.milter.socket),
            "config": str(self.config.file.absolute()),
            "started_at": snapshot.started_at,
            "reloaded_at": snapshot.reloaded_at,
            "reload_failure": None if refused is None else refused.error,
            "reload_failed_at": None if refused is None else refused.at,
            "reload_failed_digest": None if refused is None else refused.digest,
            "workers_wanted": snapshot.workers_wanted,
            "restarts": snapshot.restarts,
            "workers": [
                {
                    "pid": worker.pid,
                    "seconds": round(now - worker.started_at, 1),
                    "silent_for": round(now - worker.heard_at, 1),
                    "in_flight": worker.report.get("in_flight", 0),
                    "cached": worker.report.get("cached", 0),
                }
                for worker in workers
            ],
            "directory": {"embedded": self.config.ldap.embedded, **self._directory.as_json(now)},
            "following": self._following.as_json(),
            "own_problems": [*self._own_problems(), *crowded, *self.few_descriptors()],
            "connections": sum(worker.report.get("connections", 0) for worker in workers),
            "most_connections": self._most_connections,
            "descriptors": self._descriptors,
            "rebound": self._sockets.rebound_at,
            "not_applied": list(self.config.policy.not_applied()),
            "invalid_values": self._invalid_values.since(time.time() - _RECENT_SECONDS),
            "unknown_clients": busiest((worker.report.get("unknown_clients", {}) for worker in workers), time.time()),
            "waiting": self._waiting(),
            "relay": self._relay(),
            "audit_fails": snapshot.audit_fails,
            "seal": None if snapshot.seal is None else {"number": snapshot.seal.number, "at": snapshot.seal.at},
            "last_message": snapshot.last_message,
            "counts": snapshot.counts,
            "cached": snapshot.cached,
        }

    def snapshot(self) -> Snapshot:
        """Return the numbers of now."""
        reports = [worker.report for worker in self._fleet.workers]
        times = [report["last_message"] for report in reports if report.get("last_message") is not None]
        return Snapshot(
            version=__version__,
            counts=add(self._fleet.counts(), {"events": {"dropped_log_lines": self._log.dropped}}),
            confidential=self.config.confidential_metrics,
            bounds=SECONDS_BOUNDS,
            workers=sum(worker.ready.is_set() for worker in self._fleet.workers),
            workers_wanted=self.config.milter.workers,
            restarts=self._fleet.restarts,
            sessions=sum(report.get("sessions", 0) for report in reports),
            in_flight=sum(report.get("in_flight", 0) for report in reports),
            cached=sum(report.get("cached", 0) for report in reports),
            servers=self._directory.gauges(time.monotonic()),
            following=self._following.as_json(),
            policy_hash=policy_hash(self.config),
            not_applied=len(self.config.policy.not_applied()),
            waiting=self._waiting(),
            route=None if self._route is None else self._route.state,
            relay=self._relay_numbers(),
            audit_fails=self._audit_fails,
            seal=self._seals.last,
            last_message=max(times, default=None),
            started_at=self._started_at,
            reloaded_at=self._reloaded_at,
            reload_failed=self.refused is not None,
        )

    @property
    def _audit_fails(self) -> bool:
        return any(worker.report.get("audit_fails", False) for worker in self._fleet.workers)

    @property
    def _route(self) -> Route | None:
        """The worst of what the workers know of the way to the relay; ``None``: there is none."""
        reports = (worker.report.get("route") for worker in self._fleet.workers)
        return copy_route.worst(one for one in reports if one is not None)

    def _relay(self) -> dict[str, Any] | None:
        """Return how the copy relay is, and how it is reached; ``None``: there is none."""
        listen, found = self.config.relay.listen, self._route
        if listen is None:
            return None
        return {
            "listen": str(listen),
            "domain": self.config.relay.domain,
            "route": found.state if found is not None else "unknown",
            "route_text": found.text if found is not None else "no worker has reported yet",
            "late_after": self.config.relay.late_after,
            **(self._copy_relay.as_json() or {}),
        }

    def _relay_numbers(self) -> RelaySnapshot | None:
        """Return what the metrics say of the copy relay; ``None``: there is none."""
        state = self._copy_relay.as_json()
        if state is None:
            return None
        policy = self.config.policy
        by_relay = {one.name for one in policy.copy_classes if one.delivery != "direct"}
        return RelaySnapshot(
            state=state,
            now=time.time(),
            late_after=self.config.relay.late_after,
            confidential=not by_relay.isdisjoint(policy.confidential),
        )

    def _waiting(self) -> list[dict[str, Any]]:
        """Return what mail waits for, as :func:`by_cause` does."""
        well = {
            *(WAITS_FOR_DIRECTORY if self._directory.up else ()),
            *(WAITS_FOR_AUDIT if not self._audit_fails else ()),
            *(WAITS_FOR_RELAY if self._route is None or self._route.state == "routed" else ()),
        }
        return by_cause((worker.report.get("waiting", {}) for worker in self._fleet.workers), time.time(), well)
