"""Mail that was told to wait and comes back: how much of it there is, for what, and for how long.

The client keeps the message: it is in no queue here. A message is known again by who sends it to whom. It
waits until it goes through, or until it has not come back for longer than it has taken before. What an outage
held up waits no more once the outage is over: its next try goes through, if there is one. Each try may meet
another worker: by their parent, workers learn what waits elsewhere, and what went on elsewhere.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ldapmilter.message import Envelope

_MOST_MESSAGES: Final = 1000
"""Of one worker; past it no more are taken: if each took another's place, none would be known when it comes back."""
_PATIENCE: Final = 3
"""How many times as long as between its last two tries a message may be silent."""
_LEAST_SECONDS, _MOST_SECONDS = 600.0, 4 * 3600.0
_LONG: Final = 3600.0
"""Seconds from which on the log says that mail waits."""
_AT_FIRST: Final = 3600.0
"""Seconds after a first try; Postfix comes back after at most ``maximal_backoff_time`` (4,000 s)."""


def key_of(envelope: Envelope) -> str:
    """Return by what a message is known again."""
    parts = (envelope.login or "", envelope.sender, *envelope.recipients)
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


class Waiting:
    """The messages that one worker told to wait."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._messages: dict[str, tuple[list[str], int, float, float, bool, float]] = {}
        """What each waits for, its tries, its first and last one, whether an outage was the cause of the last one,
        and until when it may be silent."""
        self._elsewhere: frozenset[str] = frozenset()
        """What waits as far as other workers know."""
        self._went_on: dict[str, float] = {}
        """Which of those went on here, and when."""

    def told_to_wait(self, envelope: Envelope, causes: Sequence[str], now: float, *, outage: bool) -> None:
        """Note a message that was told to wait.

        Args:
            envelope: the message's.
            causes: what it waits for.
            now: seconds since the epoch.
            outage: whether all mail has to wait for these causes.
        """
        key = key_of(envelope)
        with self._lock:
            before = self._messages.pop(key, None)
            tries, first, until = 0, now, now + _AT_FIRST
            if before is not None and now <= before[5]:
                tries, first = before[1], before[2]
                until = now + min(_MOST_SECONDS, max(_LEAST_SECONDS, _PATIENCE * (now - before[3])))
            if len(self._messages) >= _MOST_MESSAGES:
                self._forget(now)
                if len(self._messages) >= _MOST_MESSAGES:
                    return
            self._messages[key] = (list(causes), tries + 1, first, now, outage, until)

    def went_on(self, envelope: Envelope, now: float) -> None:
        """Forget a message that has gone through, and have the others forget it."""
        if self._messages or self._elsewhere:
            key = key_of(envelope)
            with self._lock:
                self._messages.pop(key, None)
                if key in self._elsewhere:
                    self._went_on[key] = now

    def learn(self, elsewhere: Collection[str], went_on: Mapping[str, float]) -> None:
        """Learn what waits as far as other workers know, and when which of the own ones went on there."""
        with self._lock:
            self._elsewhere = frozenset(elsewhere)
            self._went_on = {key: at for key, at in self._went_on.items() if key in self._elsewhere}
            for key, at in went_on.items():
                if key in self._messages and self._messages[key][3] <= at:
                    del self._messages[key]

    def report(self, now: float) -> dict[str, Any]:
        """Return ``messages`` that still wait, by key: causes, tries, first and last try, outage; and ``went_on``."""
        with self._lock:
            self._forget(now)
            messages = {key: [*one[:5]] for key, one in self._messages.items()}
            return {"messages": messages, "went_on": dict(self._went_on)}

    def _forget(self, now: float) -> None:
        """Forget what has been silent for too long; the lock is held."""
        self._messages = {key: one for key, one in self._messages.items() if now <= one[5]}


def news(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, float]]:
    """Return what a worker has to learn (:meth:`Waiting.learn`), from its report and those of the others."""
    waits = own.get("messages", {})
    elsewhere = sorted({key for other in others for key in other.get("messages", {})})
    went_on = [(at, key) for other in others for key, at in other.get("went_on", {}).items() if key in waits]
    return elsewhere[:_MOST_MESSAGES], {key: at for at, key in sorted(went_on)}


def by_cause(reports: Iterable[Mapping[str, Any]], now: float, well: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what mail waits for, over all workers: how many messages came back for it, and for how long.

    A first try may have been the last one; a message counts from its second.

    Args:
        reports: what :meth:`Waiting.report` returned in each worker.
        now: seconds since the epoch.
        well: the causes that hold nothing up now: no outage of theirs lasts.
    """
    messages: dict[str, tuple[list[str], int, float, float, bool]] = {}
    for report in reports:
        for key, (causes, tries, first, last, outage) in report.get("messages", {}).items():
            others, more, earlier, later, held = messages.get(key, (causes, 0, first, last, outage))
            newest = (others, held) if later > last else (causes, outage)
            messages[key] = (newest[0], tries + more, min(first, earlier), max(last, later), newest[1])
    found: dict[str, dict[str, Any]] = {}
    for causes, tries, first, _, outage in messages.values():
        if tries > 1 and not (outage and set(causes) <= {*well}):
            cause = " and ".join(causes)
            one = found.setdefault(cause, {"cause": cause, "messages": 0, "seconds": 0.0})
            one["messages"] += 1
            one["seconds"] = max(one["seconds"], round(now - first, 1))
    return sorted(found.values(), key=lambda one: (-one["seconds"], one["cause"]))


def reminders_of(waiting: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the log says of mail that has been waiting for long: the same for every cause.

    A line that only one cause could have would tell who is under a legal hold.
    """
    if not any(one["seconds"] >= _LONG for one in waiting):
        return []
    return ["mail has been told to wait for more than an hour: ldapmilter status says how much waits, and for what"]
