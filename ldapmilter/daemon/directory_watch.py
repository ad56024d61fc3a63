"""Whether the directory answers, as the whole daemon sees it: for the log, ``status`` and the metrics.

Every worker reports what its own connections heard last. An outage has one line when it begins and
one when it is over, for all workers together. A directory that comes and goes has few lines for all
its outages: the end is said only after it has answered for a while, and for longer each time.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from ldapmilter.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ldapmilter.directory.backend.store import ServerState

_log = logging.getLogger(__name__)

_STEADY: Final = 10.0
"""Seconds for which a server has to answer before its outage is said to be over."""
_LONGEST_STEADY: Final = 600.0
_SOON: Final = 600.0
"""An outage that begins within so many seconds of the end of the last one doubles that time."""

_MOST_CAUSES: Final = 5
"""Causes of one outage that are said."""
_SAID_AGAIN: Final = 3600.0
"""Seconds after which it is said again that a server hides the policy."""

_COARSE: Final = 10.0
"""Seconds to which the time of an answer is told."""

Edge = Literal["begins", "ends"]


class Server(Struct, frozen=True, kw_only=True):
    """One server, over all workers; times are monotonic seconds."""

    uri: str
    up: bool | None
    """Whether it answers every worker; ``None``: none has asked yet."""
    answered_at: float | None
    """When it last answered any."""
    failing_since: float | None
    confirmed: bool
    failure: str
    unreadable: str | None


def over_workers(reports: Iterable[Mapping[str, ServerState]]) -> list[Server]:
    """Put together what workers say of their servers, in the order in which they are asked."""
    said: dict[str, list[ServerState]] = {}
    for report in reports:
        for uri, state in report.items():
            said.setdefault(uri, []).append(state)
    return [_server(uri, states) for uri, states in said.items()]


def _server(uri: str, states: list[ServerState]) -> Server:
    known = [state["up"] for state in states if state["up"] is not None]
    answered = [state["answered_at"] for state in states if state["answered_at"] is not None]
    failing = [state["failing_since"] for state in states if state["failing_since"] is not None]
    return Server(
        uri=uri,
        up=all(known) if known else None,
        answered_at=max(answered, default=None),
        failing_since=min(failing, default=None),
        confirmed=any(state["confirmed"] for state in states),
        failure=next((state["failure"] for state in states if state["up"] is False), ""),
        unreadable=next((state["unreadable"] for state in states if state["unreadable"]), None),
    )


class Outages:
    """The outages of one server, or of all together, and when to say something of them."""

    def __init__(self) -> None:
        """Expect it to answer."""
        self.began: float | None = None
        """When the outage began that was last said to; ``None``: its end has been said, too."""
        self.length = 0.0
        """Of the outage that has just been said to be over."""
        self._answers_since: float | None = None
        self._steady = _STEADY
        self._ended = -math.inf

    def observe(self, *, up: bool | None, since: float | None, now: float) -> Edge | None:
        """Take note of how it is, and return what has to be said.

        Args:
            up: whether it answers; ``None``: it is not known (for certain).
            since: since when it does not.
            now: monotonic seconds.
        """
        if up is None:
            return None
        if not up:
            self._answers_since = None
            if self.began is not None:
                return None
            soon = now - self._ended < _SOON
            self._steady = min(2 * self._steady, _LONGEST_STEADY) if soon else _STEADY
            self.began = now if since is None else since
            return "begins"
        if self.began is None:
            return None
        if self._answers_since is None:
            self._answers_since = now
        if now - self._answers_since < self._steady:
            return None
        self.length = self._answers_since - self.began
        self.began, self._answers_since, self._ended = None, None, now
        return "ends"


class DirectoryWatch:
    """Follows the servers, and says when they begin to fail and when they answer again."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.servers: list[Server] = []
        self._all = Outages()
        self._each: dict[str, Outages] = {}
        self._causes: dict[str, list[str]] = {}
        """Of each server that is said to fail: why, as far as it was said."""
        self._hidden: dict[str, float] = {}
        """When it was last said that a server hides the policy, in monotonic seconds."""

    @property
    def up(self) -> bool | None:
        """Whether any server answers; ``None``: it is not known yet, or there is none to ask."""
        states = [server.up for server in self.servers]
        if any(states):
            return True
        return False if states and None not in states else None

    def take(self, reports: Iterable[Mapping[str, ServerState]], now: float | None = None) -> None:
        """Take over what the workers say now, and log what has to be said of it."""
        self.servers = over_workers(reports)
        moment = time.monotonic() if now is None else now
        for level, text in (*self._lines(moment), *self._other_causes(), *self._unreadable(moment)):
            _log.log(level, "directory: %s", text)

    def _lines(self, now: float) -> Iterator[tuple[int, str]]:
        self._each = {server.uri: self._each.get(server.uri) or Outages() for server in self.servers}
        edges = {
            server.uri: self._each[server.uri].observe(up=_certain(server), since=server.failing_since, now=now)
            for server in self.servers
        }
        certain = [_certain(server) for server in self.servers]
        none = bool(certain) and not any(server.up is not False for server in self.servers)
        up = True if self.up else (False if none and None not in certain else None)
        since = max((server.failing_since or now for server in self.servers), default=now)
        whole = self._all.observe(up=up, since=since, now=now)
        if whole == "begins":
            causes = "; ".join(f"{server.uri}: {server.failure}" for server in self.servers)
            yield logging.ERROR, f"no server answers since {clock_time(since, now)}: {causes}"
        elif whole == "ends":
            again = " ".join(server.uri for server in self.servers if server.up)
            yield logging.INFO, f"{again} answers again, after {in_words(self._all.length)} without any server"
        if whole is not None or len(self.servers) == 1:
            return
        for server in self.servers:
            outage = self._each[server.uri]
            if edges[server.uri] == "begins":
                when = clock_time(server.failing_since or now, now)
                yield logging.WARNING, f"{server.uri} fails since {when}, others answer: {server.failure}"
            elif edges[server.uri] == "ends":
                yield logging.INFO, f"{server.uri} answers again, after {in_words(outage.length)}"

    def _other_causes(self) -> Iterator[tuple[int, str]]:
        """Yield why a server fails now, where its outage began for another cause: it was restarted, say."""
        before, self._causes = self._causes, {}
        for server in self.servers:
            if server.up is not False or (self._all.began is None and self._each[server.uri].began is None):
                continue
            causes = self._causes[server.uri] = before.get(server.uri, [server.failure])
            if server.confirmed and server.failure not in causes and len(causes) < _MOST_CAUSES:
                causes.append(server.failure)
                yield logging.WARNING, f"{server.uri} still fails: {server.failure}"

    def _unreadable(self, now: float) -> Iterator[tuple[int, str]]:
        """Yield which servers begin to hide the policy, still do an hour later, or no longer do."""
        self._hidden = {server.uri: self._hidden[server.uri] for server in self.servers if server.uri in self._hidden}
        for server in self.servers:
            if server.unreadable is not None:
                if now - self._hidden.get(server.uri, -math.inf) >= _SAID_AGAIN:
                    self._hidden[server.uri] = now
                    yield logging.ERROR, f"{server.uri}: the policy cannot be read: {server.unreadable}"
            elif self._hidden.pop(server.uri, None) is not None:
                yield logging.INFO, f"{server.uri}: the policy can be read again"

    def problems(self, now: float) -> list[str]:
        """Return what is wrong now, in words."""
        found = []
        for server in self.servers:
            if server.failing_since is not None:
                when = f"{clock_time(server.failing_since, now)} ({in_words(now - server.failing_since)})"
                found.append(f"{server.uri} fails since {when}: {server.failure}")
            if server.unreadable is not None:
                found.append(f"{server.uri}: {server.unreadable}")
        return found

    def as_json(self, now: float) -> dict[str, Any]:
        """Return how the servers are, for ``status``; times are seconds since the epoch."""
        return {
            "up": self.up,
            "servers": [
                {
                    "uri": server.uri,
                    "up": server.up,
                    "answered_at": _since_epoch(server.answered_at, now),
                    "failing_since": _since_epoch(server.failing_since, now),
                    "failure": server.failure,
                    "unreadable": server.unreadable,
                }
                for server in self.servers
            ],
            "problems": self.problems(now),
        }

    def gauges(self, now: float) -> dict[str, dict[str, float]]:
        """Return the numbers of each server for the metrics, as far as they are known.

        The time of its last answer is told to ten seconds, which pass between two answers in any
        case: the very second would tell whether a message was searched for.
        """
        found: dict[str, dict[str, float]] = {}
        for server in self.servers:
            numbers = found.setdefault(server.uri, {})
            if server.up is not None:
                numbers["up"] = float(server.up)
            if (answered := _since_epoch(server.answered_at, now)) is not None:
                numbers["readable"] = float(server.unreadable is None)
                numbers["last_answer"] = answered - answered % _COARSE
        return found


def _certain(server: Server) -> bool | None:
    """Return whether a server answers, as far as a line of the log can rest on it."""
    return None if server.up is False and not server.confirmed else server.up


def _since_epoch(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(time.time() - (now - moment), 1)


def clock_time(then: float, now: float) -> str:
    """Return the local time of a moment in monotonic seconds, of this day or with its date."""
    moment = time.localtime(time.time() - (now - then))
    today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", moment)
