"""The metrics of the copy relay: how it is on every page, how many copies only where nobody can learn from it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ldapmilter.daemon.relay_metrics import relay_metrics
from ldapmilter.daemon.snapshot import RelaySnapshot

STATE: Final = {
    "serves": True,
    "restarts": 2,
    "waiting": 3,
    "kept": 1,
    "oldest": 1000.0,
    "counts": {"accepted": 7, "refused": 1, "repeat": 4},
    "problem": None,
}
HEALTH: Final = {
    "ldapmilter_relay_up": 1,
    "ldapmilter_relay_late": 0,
    "ldapmilter_relay_keeps": 1,
    "ldapmilter_relay_defers": 0,
    "ldapmilter_relay_restarts_total": 2,
}
NUMBERS: Final = {
    "ldapmilter_relay_waiting_copies": 3,
    "ldapmilter_relay_kept_copies": 1,
    "ldapmilter_relay_oldest_seconds": 500,
    "ldapmilter_relay_accepted_total": 7,
    "ldapmilter_relay_refused_total": 1,
}


def shown(*, of_confidential: bool = False, confidential: bool = False, now: float = 1500.0, **state: Any) -> Any:
    relay = RelaySnapshot(state={**STATE, **state}, now=now, late_after=900.0, confidential=of_confidential)
    metrics = relay_metrics(relay, confidential=confidential)
    return {sample.name: sample.value for metric in metrics for sample in metric.samples}


@pytest.mark.parametrize(
    ("of_confidential", "confidential", "numbers"),
    [(False, False, True), (True, False, False), (True, True, True), (False, True, True)],
)
def test_numbers_that_confidential_copies_move(*, of_confidential: bool, confidential: bool, numbers: bool) -> None:
    found = shown(of_confidential=of_confidential, confidential=confidential)
    assert found == ({**HEALTH, **NUMBERS} if numbers else HEALTH)


def test_a_copy_that_is_late() -> None:
    assert shown(now=1901.0)["ldapmilter_relay_late"] == 1
    assert shown(now=1899.0)["ldapmilter_relay_late"] == 0


def test_a_relay_that_has_not_reported() -> None:
    found = shown(serves=False, waiting=None, kept=None, oldest=None, counts={}, problem="disk full")
    assert found == {
        **dict.fromkeys((*HEALTH, *NUMBERS), 0),
        "ldapmilter_relay_restarts_total": 2,
        "ldapmilter_relay_defers": 1,
    }
