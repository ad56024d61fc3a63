"""What the daemon knows of itself at one moment: ``status`` shows parts of it, the metrics all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ldapmilter.daemon.seal_keeper import LastSeal
    from ldapmilter.postfix.transport import RouteState


class RelaySnapshot(Struct, frozen=True, kw_only=True):
    """What the daemon knows of the copy relay at one moment."""

    state: Mapping[str, Any]
    """As ``status`` has it: ``serves``, ``restarts``, ``waiting``, ``kept``, ``oldest`` (seconds since the epoch),
    ``counts``, ``problem``; numbers are ``None`` before the relay has reported."""
    now: float
    """Seconds since the epoch."""
    late_after: float
    """``[relay] late_after``."""
    confidential: bool
    """Whether copies of confidential classes travel by it."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """What the daemon knows of itself at one moment."""

    version: str
    counts: Mapping[str, Any]
    """The tally of all workers, those that are gone included."""
    confidential: bool
    """Whether what moves with confidential copies is shown."""
    bounds: tuple[float, ...]
    """Upper bounds, in seconds, of the buckets in ``counts["waits"]``."""
    workers: int
    workers_wanted: int
    restarts: int
    sessions: int
    in_flight: int
    cached: int
    """Answers in all caches."""
    servers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By URI, as far as they are known: ``up`` and ``readable``, 0 or 1, and ``last_answer`` since the epoch."""
    following: Mapping[str, Any] = field(default_factory=dict)
    """How changes of the directory are followed (:meth:`ChangeFollowing.as_json`); nothing: not known."""
    policy_hash: str = ""
    """The same on every MTA that decides alike."""
    not_applied: int
    """Parts of the policy that are not in mode ``apply``."""
    waiting: Sequence[Mapping[str, Any]] = ()
    """What mail waits for that came back: ``cause``, ``messages``, and the ``seconds`` of the longest."""
    route: RouteState | None = None
    """Whether Postfix hands copies to the copy relay; ``None``: there is none."""
    relay: RelaySnapshot | None = None
    """The copy relay; ``None``: there is none."""
    audit_fails: bool
    seal: LastSeal | None = None
    """The last seal of the audit; ``None``: none is known."""
    last_message: float | None
    started_at: float
    reloaded_at: float
    reload_failed: bool
