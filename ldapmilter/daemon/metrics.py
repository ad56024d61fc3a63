"""The numbers of all workers as Prometheus metrics.

Made anew from the workers' reports at each scrape, so nothing of a worker that is gone is left but
what it had counted. The number of series is bounded: no label comes from a message.

A reader of the page can send a message and look what has moved. So nothing is on it that a
confidential copy moves: neither what counts such copies nor how much was searched or found in memory
for them. ``[metrics] confidential = yes`` puts that on the page, for a page that few can read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ldapmilter.daemon.relay_metrics import relay_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from ldapmilter.daemon.snapshot import Snapshot


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
        if self._snapshot.relay is not None:
            yield from relay_metrics(self._snapshot.relay, confidential=self._snapshot.confidential)
        if self._snapshot.confidential:
            yield from _confidential(self._snapshot)


_EVENTS = {
    "copies": ("ldapmilter_copies", "Addresses that got a copy of a message; confidential classes are not counted"),
    "errors": ("ldapmilter_errors", "Unexpected errors; the message was deferred (451)"),
    "incomplete": ("ldapmilter_incomplete", "Messages that went on although something could not be known"),
    "stale": ("ldapmilter_stale_decisions", "Decisions from answers past their time to live"),
    "invalid_values": (
        "ldapmilter_invalid_values",
        "Invalid policy values met by messages that went on; confidential classes are not counted",
    ),
    "unknown_clients": (
        "ldapmilter_unknown_client_messages",
        "Messages with a sender of a hosted domain, without a login, from no mailbox server",
    ),
    "probes": ("ldapmilter_probes", "Messages of ldapmilter probe"),
    "dropped_log_lines": ("ldapmilter_dropped_log_lines", "Log lines that the log did not take in time"),
}
_CONFIDENTIAL_EVENTS = {
    "messages": ("ldapmilter_confidential_messages", "Messages with a copy of a confidential class"),
    "copies": ("ldapmilter_confidential_copies", "Addresses that got a copy of a confidential class"),
    "invalid_values": ("ldapmilter_confidential_invalid_values", "Invalid values of confidential classes met"),
    "unavailable": ("ldapmilter_unavailable", "Messages deferred because the directory could not be asked"),
}
_CACHE_EVENTS = {
    "hits": "Answers from the cache",
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
        "ldapmilter_effects", "Messages with an effect, by kind; confidential copies are not counted", labels=["effect"]
    )
    for effect, count in _numbers(counts, "effects"):
        effects.add_metric([effect], count)
    yield effects
    events = counts.get("events", {})
    for event, (name, text) in _EVENTS.items():
        yield CounterMetricFamily(name, text, value=events.get(event, 0))
    failures = CounterMetricFamily("ldapmilter_directory_failures", "LDAP failures", labels=["uri"])
    for uri, numbers in _by_server(counts):
        failures.add_metric([uri], numbers.get("failures", 0))
    yield failures


def _confidential(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield what moves with confidential copies, by counting them or by what they ask of the directory."""
    counts = snapshot.counts
    confidential = counts.get("confidential", {})
    for event, (name, text) in _CONFIDENTIAL_EVENTS.items():
        yield CounterMetricFamily(name, text, value=confidential.get(event, 0))
    yield CounterMetricFamily(
        "ldapmilter_audit_failures",
        "Lines that could not be written to the audit file",
        value=counts.get("events", {}).get("audit_failures", 0),
    )
    waiting = GaugeMetricFamily(
        "ldapmilter_confidential_waiting_messages",
        "Messages that have come back, by what they wait for",
        labels=["cause"],
    )
    for one in snapshot.waiting:
        waiting.add_metric([one["cause"]], one["messages"])
    if snapshot.waiting:
        yield waiting
    cache = counts.get("cache", {})
    for event, text in _CACHE_EVENTS.items():
        yield CounterMetricFamily(f"ldapmilter_cache_{event}", text, value=cache.get(event, 0))
    yield GaugeMetricFamily("ldapmilter_cache_entries", "Answers in the caches of all workers", value=snapshot.cached)
    searches = CounterMetricFamily("ldapmilter_directory_searches", "LDAP searches", labels=["uri"])
    seconds = CounterMetricFamily(
        "ldapmilter_directory_search_seconds", "Seconds spent in LDAP searches", labels=["uri"]
    )
    for uri, numbers in _by_server(counts):
        searches.add_metric([uri], numbers.get("searches", 0))
        seconds.add_metric([uri], numbers.get("seconds", 0))
    yield from (searches, seconds)


def _by_server(counts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    return sorted(counts.get("servers", {}).items())


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


def _following(following: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield how changes are followed. How many answers they concerned is not told: it would tell who is in memory."""
    if not following:
        return
    yield GaugeMetricFamily(
        "ldapmilter_following",
        "Whether changes of the directory are followed, and act within seconds",
        value=float(following["why_not"] is None),
    )
    if following["seconds_behind"] is not None:
        yield GaugeMetricFamily(
            "ldapmilter_following_behind_seconds",
            "Age of what is known of changes of the directory",
            value=following["seconds_behind"],
        )
    yield CounterMetricFamily(
        "ldapmilter_following_changes", "Entries that were seen to change", value=following["changes"]
    )
    yield CounterMetricFamily(
        "ldapmilter_following_outdated",
        "How often everything in the caches was asked for anew",
        value=following["outdated"],
    )


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily("ldapmilter_info", "The version that runs", labels=["version"])
    info.add_metric([snapshot.version], 1)
    yield info
    policy = GaugeMetricFamily(
        "ldapmilter_policy_configuration_info",
        "The options that decide: the same on MTAs that decide alike",
        labels=["hash"],
    )
    policy.add_metric([snapshot.policy_hash], 1)
    yield policy
    yield from _following(snapshot.following)
    by_server = {
        "up": GaugeMetricFamily(
            "ldapmilter_directory_up", "Whether the server's last answer to every worker came", labels=["uri"]
        ),
        "readable": GaugeMetricFamily(
            "ldapmilter_directory_policy_readable", "Whether the policy may be read on the server", labels=["uri"]
        ),
        "last_answer": GaugeMetricFamily(
            "ldapmilter_directory_last_answer_time_seconds",
            "When the server last answered, since the epoch, to ten seconds",
            labels=["uri"],
        ),
    }
    for uri, state in sorted(snapshot.servers.items()):
        for what, number in state.items():
            by_server[what].add_metric([uri], number)
    yield from by_server.values()
    plain = {
        "ldapmilter_workers": ("Workers that serve", snapshot.workers),
        "ldapmilter_workers_wanted": ("Workers that are configured", snapshot.workers_wanted),
        "ldapmilter_sessions": ("Connections of the MTA", snapshot.sessions),
        "ldapmilter_messages_in_flight": ("Messages between MAIL and their verdict", snapshot.in_flight),
        "ldapmilter_parts_not_applied": ("Parts of the policy that only observe or pass", snapshot.not_applied),
        "ldapmilter_start_time_seconds": ("When the daemon started, since the epoch", snapshot.started_at),
        "ldapmilter_reload_time_seconds": ("When the configuration was last taken over", snapshot.reloaded_at),
        "ldapmilter_reload_failed": ("Whether the last reload was refused", float(snapshot.reload_failed)),
        "ldapmilter_waiting_messages": (
            "Messages that were told to wait, have come back and wait again",
            sum(one["messages"] for one in snapshot.waiting),
        ),
        "ldapmilter_waiting_oldest_seconds": (
            "For how long the first of them has been waiting",
            max((one["seconds"] for one in snapshot.waiting), default=0),
        ),
        "ldapmilter_audit_failing": ("Whether the audit file could not be written", float(snapshot.audit_fails)),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(name, text, value=value)
    if snapshot.route is not None:
        yield GaugeMetricFamily(
            "ldapmilter_relay_route_unknown",
            "Whether it is not known if Postfix hands copies to the copy relay",
            value=float(snapshot.route == "unknown"),
        )
        yield GaugeMetricFamily(
            "ldapmilter_relay_not_routed",
            "Whether Postfix does not hand copies to the copy relay, so that mail with such copies waits",
            value=float(snapshot.route == "not routed"),
        )
    if snapshot.seal is not None:
        yield GaugeMetricFamily("ldapmilter_audit_seal", "The number of the last seal", value=snapshot.seal.number)
        yield GaugeMetricFamily(
            "ldapmilter_audit_seal_time_seconds",
            "When the audit was last sealed, since the epoch: once a minute, with or without mail",
            value=snapshot.seal.at,
        )
    if snapshot.last_message is not None:
        yield GaugeMetricFamily(
            "ldapmilter_last_message_time_seconds", "When the last message was decided", value=snapshot.last_message
        )
    yield CounterMetricFamily("ldapmilter_worker_restarts", "Workers that died", value=snapshot.restarts)
