"""Clients that send for our own domains without a login and are not mailbox servers.

Mail of a mailbox server behind NAT looks like this, and so does mail that forges its sender. Which it is, an
administrator sees from who is busiest.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_CLIENTS: Final = 256
"""Of one worker; past it those that were silent for a day go first, then the one of the lowest rank."""
_BUSIEST: Final = 10
_TOLD_FOR: Final = 24 * 3600.0


class _Seen(NamedTuple):
    """What one client has sent."""

    messages: int
    last: float
    """Seconds since the epoch."""
    rank: int
    """Its messages, and the rank of the client whose place it took: so whoever sends much is found, however many
    others come and go (the algorithm is known as Space-Saving)."""


class UnknownClients:
    """How many such messages each client sent to one worker, and when the last one."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def note(self, client: str, now: float) -> None:
        """Count a message; seconds since the epoch."""
        with self._lock:
            before = self._seen.pop(client, None) or _Seen(0, now, self._make_room(now))
            self._seen[client] = _Seen(before.messages + 1, now, before.rank + 1)

    def _make_room(self, now: float) -> int:
        """Forget a client if there are too many; return the rank that it had."""
        if len(self._seen) < _MOST_CLIENTS:
            return 0
        client, least = min(self._seen.items(), key=lambda one: (one[1].last >= now - _TOLD_FOR, one[1].rank))
        del self._seen[client]
        return least.rank

    def report(self) -> dict[str, tuple[int, float]]:
        """Return what there is: by client, how many and when last."""
        with self._lock:
            return {client: (one.messages, one.last) for client, one in self._seen.items()}


def busiest(reports: Iterable[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    """Return the clients of all workers that were heard in the last day, the busiest first, a bounded number."""
    total: dict[str, tuple[int, float]] = {}
    for report in reports:
        for client, (count, last) in report.items():
            before, latest = total.get(client, (0, 0.0))
            total[client] = (before + count, max(latest, last))
    recent = [(client, count, last) for client, (count, last) in total.items() if last >= now - _TOLD_FOR]
    recent.sort(key=lambda one: (-one[1], one[0]))
    return [{"client": client, "messages": count, "last": last} for client, count, last in recent[:_BUSIEST]]
