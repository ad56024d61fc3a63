"""The metrics page, read back with Prometheus's own parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from ldapmilter.daemon.tally import SECONDS_BOUNDS, Tally, add
from ldapmilter.message import Identity
from ldapmilter.metrics import Snapshot, page
from ldapmilter.policy.model import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY = Identity(source="none")


def snapshot(counts: Mapping[str, Any], **more: Any) -> Snapshot:
    values: dict[str, Any] = {
        "version": "1.2.3",
        "counts": counts,
        "bounds": SECONDS_BOUNDS,
        "workers": 1,
        "workers_wanted": 2,
        "restarts": 3,
        "sessions": 4,
        "in_flight": 5,
        "cached": 6,
        "not_applied": 1,
        "last_message": None,
        "started_at": 1000.0,
        "reloaded_at": 2000.0,
        "reload_failed": True,
    }
    return Snapshot(**{**values, **more})


def samples(shown: Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of the page by name and labels."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(page(shown).decode()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(shown: Snapshot, name: str, **labels: str) -> float:
    return samples(shown)[name, tuple(sorted(labels.items()))]


def test_a_daemon_that_has_done_nothing_yet() -> None:
    shown = snapshot(Tally().numbers())
    assert value(shown, "ldapmilter_info", version="1.2.3") == 1
    assert value(shown, "ldapmilter_workers") == 1
    assert value(shown, "ldapmilter_workers_wanted") == 2
    assert value(shown, "ldapmilter_worker_restarts_total") == 3
    assert value(shown, "ldapmilter_reload_failed") == 1
    assert value(shown, "ldapmilter_errors_total") == 0
    assert value(shown, "ldapmilter_decision_seconds_count") == 0
    assert not [name for name, _ in samples(shown) if name == "ldapmilter_last_message_time_seconds"]
    assert value(snapshot({}, last_message=1234.5), "ldapmilter_last_message_time_seconds") == 1234.5


def test_decisions_and_waits_of_two_workers_add_up() -> None:
    one, other = Tally(), Tally()
    one.decided(Decision(identity=NOBODY))
    one.waited(0.00005)
    other.decided(Decision(identity=NOBODY, verdict="tempfail"))
    other.waited(0.3)
    other.waited(60.0)
    shown = snapshot(add(one.numbers(), other.numbers()))
    assert value(shown, "ldapmilter_decisions_total", verdict="accept") == 1
    assert value(shown, "ldapmilter_decisions_total", verdict="tempfail") == 1
    buckets = [count for (name, _), count in samples(shown).items() if name == "ldapmilter_decision_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="0.0001") == 1
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="0.5") == 2
    assert value(shown, "ldapmilter_decision_seconds_bucket", le="+Inf") == 3
    assert value(shown, "ldapmilter_decision_seconds_count") == 3
    assert abs(value(shown, "ldapmilter_decision_seconds_sum") - 60.30005) < 1e-6


def test_every_event_that_is_counted_is_shown() -> None:
    tally = Tally()
    decision = Decision(identity=NOBODY, stale=True, unavailable=True, incomplete=("a", "b"))
    tally.decided(decision)
    for event in ("probes", "errors", "audit_failures", "dropped_log_lines"):
        tally.happened(event)
    shown = samples(snapshot(tally.numbers()))
    for name in (
        "stale_decisions",
        "unavailable",
        "incomplete",
        "probes",
        "errors",
        "audit_failures",
        "dropped_log_lines",
    ):
        assert shown[f"ldapmilter_{name}_total", ()] == 1


def test_no_label_comes_from_a_message() -> None:
    tally = Tally()
    before = len(samples(snapshot(tally.numbers())))
    for number in range(1000):
        tally.decided(Decision(identity=NOBODY, warnings=(), incomplete=(f"user-{number}@example.test",)))
    text = page(snapshot(tally.numbers())).decode()
    assert "example.test" not in text
    assert len(samples(snapshot(tally.numbers()))) == before + 1
    labels = {name for _, pairs in samples(snapshot(tally.numbers())) for name, _ in pairs}
    assert labels <= {"verdict", "effect", "uri", "version", "le"}
