"""The numbers of the copy relay as Prometheus metrics.

Whoever sends a message can look what has moved. So of a relay that carries confidential copies the page says how
it is, not how many copies there are, unless it may show what moves with confidential copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from ldapmilter.daemon.snapshot import RelaySnapshot


def relay_metrics(relay: RelaySnapshot, *, confidential: bool) -> Iterator[Metric]:
    """Yield the metrics of the relay.

    Args:
        relay: what is known of it.
        confidential: whether what moves with confidential copies is shown.
    """
    state = relay.state
    oldest = _age(relay)
    always = {
        "ldapmilter_relay_up": ("Whether the copy relay serves", bool(state.get("serves"))),
        "ldapmilter_relay_late": (
            "Whether a copy waits for longer than [relay] late_after",
            oldest > relay.late_after,
        ),
        "ldapmilter_relay_keeps": (
            "Whether copies are kept that were refused, or not through in time",
            bool(state.get("kept")),
        ),
        "ldapmilter_relay_defers": (
            "Whether the relay defers all copies, since it cannot record what becomes of them",
            state.get("problem") is not None,
        ),
    }
    for name, (text, value) in always.items():
        yield GaugeMetricFamily(name, text, value=float(value))
    yield CounterMetricFamily("ldapmilter_relay_restarts", "How often the copy relay died", value=state["restarts"])
    if relay.confidential and not confidential:
        return
    numbers = {
        "ldapmilter_relay_waiting_copies": ("Copies that the relay has seen, and that are not through", "waiting"),
        "ldapmilter_relay_kept_copies": ("Copies that are kept", "kept"),
    }
    for name, (text, key) in numbers.items():
        yield GaugeMetricFamily(name, text, value=state.get(key) or 0)
    yield GaugeMetricFamily(
        "ldapmilter_relay_oldest_seconds", "Since the oldest copy that waits was decided", value=oldest
    )
    counts = state.get("counts") or {}
    for end, text in {
        "accepted": "Copies that their archive's server has accepted, since the relay was started",
        "refused": "Copies that their archive's server has refused, since the relay was started",
    }.items():
        yield CounterMetricFamily(f"ldapmilter_relay_{end}", text, value=counts.get(end, 0))


def _age(relay: RelaySnapshot) -> float:
    oldest = relay.state.get("oldest")
    return max(0.0, relay.now - oldest) if oldest is not None else 0.0
