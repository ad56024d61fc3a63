"""Whether a server answers: the last outcome counts, and when one has to be asked for."""

from __future__ import annotations

import pytest

from ldapmilter.directory.ldap.health import AGAIN, QUIET, Health


def up(health: Health) -> bool | None:
    return health.state(None)["up"]


def confirmed(health: Health) -> bool:
    return health.state(None)["confirmed"]


def test_nothing_is_known_before_the_first_outcome() -> None:
    health = Health()
    assert up(health) is None
    assert health.is_quiet(0.0)


def test_the_last_outcome_counts_however_long_ago_it_was() -> None:
    health = Health()
    health.answered(100.0)
    assert up(health) is True
    health.failed(110.0, 120.0, "no answer")
    assert up(health) is False
    state = health.state(None)
    assert (state["failing_since"], state["answered_at"], state["failure"]) == (110.0, 100.0, "no answer")
    health.failed(500.0, 510.0, "refused")
    assert (health.failing_since, health.failure) == (110.0, "refused")
    health.answered(600.0)
    assert (up(health), health.failing_since, health.failure) == (True, None, "")


def test_one_slow_search_beside_others_that_are_answered_proves_nothing() -> None:
    health = Health()
    health.answered(100.0)
    for _ in range(3):  # several that were asked before the first failure was known
        health.failed(99.0, 110.0, "no answer")
    assert health.failing_since == 100.0  # it has answered since that was asked
    assert not confirmed(health)
    health.failed(113.0, 120.0, "no answer")
    assert confirmed(health)
    health.answered(121.0)
    health.failed(125.0, 126.0, "no answer")
    assert not confirmed(health)


def test_a_server_that_never_answered_fails_for_certain() -> None:
    health = Health()
    health.failed(1.0, 2.0, "refused")
    assert confirmed(health)


@pytest.mark.parametrize(("fails", "seconds"), [(False, QUIET), (True, AGAIN)])
def test_it_is_asked_when_nothing_else_was_for_a_while(fails: bool, seconds: float) -> None:  # noqa: FBT001
    health = Health()
    health.answered(50.0)
    if fails:
        health.failed(90.0, 100.0, "no answer")
    else:
        health.answered(100.0)
    assert not health.is_quiet(99.0 + seconds)
    assert health.is_quiet(100.0 + seconds)
