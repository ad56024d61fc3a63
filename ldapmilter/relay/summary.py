"""How the copies that travel by the relay are, in numbers: for monitoring. No address is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ldapmilter.durations import in_words

if TYPE_CHECKING:
    from ldapmilter.relay.stored import StateReader

Level = Literal["ok", "warning", "critical"]

CRITICAL_AFTER: Final = 14_400.0
"""Seconds that a copy waits, past which that is critical whatever ``late_after`` is."""
HIDDEN_AFTER: Final = 5 * 86_400.0
"""Seconds after which a copy that never came is counted no more: its message was refused, or quarantined."""
MANY: Final = 20
"""Copies that were decided while none at all came: one alone may be of a message that was refused."""
_ON_ITS_WAY: Final = 1 / 15
"""Share of ``late_after`` that a copy may take from its decision to the relay: a burst is no alarm."""


class CopyNumbers(Struct, frozen=True, kw_only=True):
    """The numbers of one moment."""

    waiting: int
    """Copies that the relay has seen, and that are not through."""
    oldest_seconds: float
    """Since the oldest of them was decided; 0: there is none."""
    kept: int
    """Copies in the Maildir."""
    unseen: int
    """Copies that were decided in the last five days and never came."""
    stopped_seconds: float | None
    """For how long no copy came while many were decided; ``None``: all is as usual."""


def summary_of(state: StateReader, now: float, late_after: float) -> CopyNumbers:
    """Return the numbers of a state.

    Args:
        state: of the relay.
        now: seconds since the epoch.
        late_after: ``[relay] late_after``.

    Raises:
        StateError: it cannot be read.
    """
    oldest = state.oldest()
    return CopyNumbers(
        waiting=state.count(state="waiting"),
        oldest_seconds=max(0.0, now - oldest) if oldest is not None else 0.0,
        kept=state.count(state="ended", fate="kept"),
        unseen=state.count(state="decided", since=now - HIDDEN_AFTER),
        stopped_seconds=_stopped(state, now, late_after),
    )


def _stopped(state: StateReader, now: float, late_after: float) -> float | None:
    begun = state.last_seen() or state.oldest("decided")
    if begun is None or now - begun < late_after:
        return None
    since = max(begun, now - HIDDEN_AFTER)
    on_their_way = state.count(state="decided", since=now - late_after * _ON_ITS_WAY)
    missing = state.count(state="decided", since=since) - on_their_way
    return now - since if missing >= MANY else None


def level_of(summary: CopyNumbers, late_after: float) -> Level:
    """Return how bad the numbers are."""
    if summary.kept or summary.stopped_seconds is not None or summary.oldest_seconds > CRITICAL_AFTER:
        return "critical"
    return "warning" if summary.oldest_seconds > late_after else "ok"


def in_text(summary: CopyNumbers) -> str:
    """Return the numbers in one line."""
    parts = [f"{_count(summary.waiting)} waiting"]
    if summary.waiting:
        parts[0] += f", the oldest for {in_words(summary.oldest_seconds)}"
    parts.append(f"{_count(summary.kept)} kept")
    if summary.unseen:
        parts.append(f"{_count(summary.unseen)} decided that did not come")
    if summary.stopped_seconds is not None:
        parts.append(f"none has come for {in_words(summary.stopped_seconds)}: is the relay routed?")
    return "; ".join(parts)


def _count(number: int) -> str:
    return f"{number} copy" if number == 1 else f"{number} copies"
