"""When a worker counts as hung, and how long its successor waits."""

from __future__ import annotations

import pytest

from ldapmilter.daemon.health import RelayPauses, RestartPauses, longest_silence


@pytest.mark.parametrize(
    ("lookup_deadline", "silence"), [(10.0, 11.0), (4.0, 5.0), (0.1, 5.0), (18.5, 19.5), (300.0, 20.0)]
)
def test_a_worker_may_be_silent_for_about_as_long_as_a_look_up(lookup_deadline: float, silence: float) -> None:
    assert longest_silence(lookup_deadline) == silence


def test_pauses_grow_in_a_crash_loop_to_a_bound_and_begin_anew_after_a_long_life() -> None:
    pauses = RestartPauses()
    assert [pauses.after(1.0) for _ in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert pauses.after(10.0) == 0.0
    assert pauses.after(9.9) == pytest.approx(0.1)


def test_a_relay_is_started_again_at_once_and_rests_after_three_deaths_in_a_minute() -> None:
    pauses = RelayPauses()
    assert [pauses.after(now) for now in (0.0, 30.0, 60.0)] == [0.0, 0.0, 60.0]
    assert [pauses.after(now) for now in (121.0, 122.0, 123.0)] == [0.0, 0.0, 60.0]
    assert [pauses.after(now) for now in (200.0, 240.0, 261.0, 290.0)] == [0.0, 0.0, 0.0, 60.0]
