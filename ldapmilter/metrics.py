"""The numbers of all workers as Prometheus metrics.

Made anew from the workers' reports at each scrape, so nothing of a worker that is gone is left but
what it had counted. The number of series is bounded: no label comes from a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the daemon knows of itself at one moment."""

    version: str
    counts: Mapping[str, Any]
    """The tally of all workers, those that are gone included."""
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
    """By URI: ``up`` and ``readable``, 0 or 1."""
    not_applied: int
    """Parts of the policy that are not in mode ``apply``."""
    last_message: float | None
    started_at: float
    reloaded_at: float
    reload_failed: bool


def page(snapshot: Snapshot) -> bytes:
    """Return the page that Prometheus scrapes (text format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(_Families(snapshot))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        yield from _counters(self._snapshot.counts)
        yield _histogram(self._snapshot)
        yield from _gauges(self._snapshot)


_EVENTS = {
    "copies": ("ldapmilter_copies", "Addresses that got a copy of a message"),
    "errors": ("ldapmilter_errors", "Unexpected errors; the message was told to wait (451)"),
    "unavailable": ("ldapmilter_unavailable", "Messages that wait because the directory could not be asked"),
    "incomplete": ("ldapmilter_incomplete", "Messages that went on although something could not be known"),
    "stale": ("ldapmilter_stale_decisions", "Decisions from answers past their time to live"),
    "invalid_values": ("ldapmilter_invalid_values", "Invalid policy values that decisions met"),
    "audit_failures": ("ldapmilter_audit_failures", "Lines that could not be written to the audit file"),
    "probes": ("ldapmilter_probes", "Messages of ldapmilter probe"),
    "dropped_log_lines": ("ldapmilter_dropped_log_lines", "Log lines that the log did not take in time"),
}
_CACHE_EVENTS = {
    "hits": "Answers from memory",
    "misses": "Answers that had to be fetched",
    "stale": "Answers past their time to live, served while the directory failed",
    "refreshed": "Answers fetched ahead of their expiry",
    "failures": "Fetches that failed",
}


def _counters(counts: Mapping[str, Any]) -> Iterator[Metric]:
    decisions = CounterMetricFamily("ldapmilter_decisions", "Messages decided, by verdict", labels=["verdict"])
    for verdict, count in _numbers(counts, "verdicts"):
        decisions.add_metric([verdict], count)
    yield decisions
    effects = CounterMetricFamily(
        "ldapmilter_effects", "Messages with an effect, by kind; copy classes are not told apart", labels=["effect"]
    )
    for effect, count in _numbers(counts, "effects"):
        effects.add_metric([effect], count)
    yield effects
    events = counts.get("events", {})
    for event, (name, text) in _EVENTS.items():
        yield CounterMetricFamily(name, text, value=events.get(event, 0))
    cache = counts.get("cache", {})
    for event, text in _CACHE_EVENTS.items():
        yield CounterMetricFamily(f"ldapmilter_cache_{event}", text, value=cache.get(event, 0))
    by_server = {
        "searches": CounterMetricFamily("ldapmilter_directory_searches", "LDAP searches", labels=["uri"]),
        "failures": CounterMetricFamily("ldapmilter_directory_failures", "LDAP failures", labels=["uri"]),
        "seconds": CounterMetricFamily(
            "ldapmilter_directory_search_seconds", "Seconds spent in LDAP searches", labels=["uri"]
        ),
    }
    for uri, numbers in sorted(counts.get("servers", {}).items()):
        for what, family in by_server.items():
            family.add_metric([uri], numbers.get(what, 0))
    yield from by_server.values()


def _numbers(counts: Mapping[str, Any], name: str) -> list[tuple[str, float]]:
    return sorted(counts.get(name, {}).items())


def _histogram(snapshot: Snapshot) -> Metric:
    waits = snapshot.counts.get("waits", {})
    buckets = []
    total = 0
    for position, bound in enumerate((*map(str, snapshot.bounds), "+Inf")):
        total += waits.get(str(position), 0)
        buckets.append((bound, total))
    return HistogramMetricFamily(
        "ldapmilter_decision_seconds",
        "Seconds that a message waited for its decision at DATA",
        buckets=buckets,
        sum_value=waits.get("seconds", 0),
    )


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily("ldapmilter_info", "The version that runs", labels=["version"])
    info.add_metric([snapshot.version], 1)
    yield info
    up = GaugeMetricFamily("ldapmilter_directory_up", "Whether every worker reaches the server", labels=["uri"])
    readable = GaugeMetricFamily(
        "ldapmilter_directory_policy_readable", "Whether the policy may be read on the server", labels=["uri"]
    )
    for uri, state in sorted(snapshot.servers.items()):
        up.add_metric([uri], state["up"])
        readable.add_metric([uri], state["readable"])
    yield from (up, readable)
    plain = {
        "ldapmilter_workers": ("Workers that serve", snapshot.workers),
        "ldapmilter_workers_wanted": ("Workers that there should be", snapshot.workers_wanted),
        "ldapmilter_sessions": ("Connections of the MTA", snapshot.sessions),
        "ldapmilter_messages_in_flight": ("Messages between MAIL and their verdict", snapshot.in_flight),
        "ldapmilter_cache_entries": ("Answers in the caches of all workers", snapshot.cached),
        "ldapmilter_parts_not_applied": ("Parts of the policy that only observe or pass", snapshot.not_applied),
        "ldapmilter_start_time_seconds": ("When the daemon started, since the epoch", snapshot.started_at),
        "ldapmilter_reload_time_seconds": ("When the configuration was last taken over", snapshot.reloaded_at),
        "ldapmilter_reload_failed": ("Whether the last reload was refused", float(snapshot.reload_failed)),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(name, text, value=value)
    if snapshot.last_message is not None:
        yield GaugeMetricFamily(
            "ldapmilter_last_message_time_seconds", "When the last message was decided", value=snapshot.last_message
        )
    yield CounterMetricFamily("ldapmilter_worker_restarts", "Workers that died", value=snapshot.restarts)
