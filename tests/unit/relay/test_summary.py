"""When copies are late, kept, or do not come at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.relay.summary import CopyNumbers, in_text, level_of, summary_of
from tests.unit.relay.states import NOW, Copies, end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATE = 900.0


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    made = Copies(tmp_path / "state.db")
    yield made
    made.state.close()


def summary(copies: Copies) -> CopyNumbers:
    return summary_of(copies.state, NOW, LATE)


def level(copies: Copies) -> str:
    return level_of(summary(copies), LATE)


def test_nothing_is_well(copies: Copies) -> None:
    assert level(copies) == "ok"
    assert in_text(summary(copies)) == "0 copies waiting; 0 copies kept"


@pytest.mark.parametrize(
    ("ago", "expected"), [(899, "ok"), (901, "warning"), (14_399, "warning"), (14_401, "critical")]
)
def test_a_copy_that_waits(copies: Copies, ago: float, expected: str) -> None:
    copies.waiting(1, ago)
    copies.waiting(2, 5)
    assert level(copies) == expected
    assert summary(copies).waiting == 2


@pytest.mark.parametrize(
    ("state", "expected"), [("accepted", "ok"), ("refused", "critical"), ("kept", "critical"), ("discarded", "ok")]
)
def test_a_copy_that_has_ended(copies: Copies, state: str, expected: str) -> None:
    copies.ended(1, 20_000, state)
    assert level(copies) == expected


def test_a_kept_copy_that_was_sent_again_is_kept_no_more(copies: Copies) -> None:
    copies.ended(1, 20_000, "kept")
    copies.state.take([end(1, NOW, "resent")])
    assert level(copies) == "ok"


def test_many_were_decided_and_none_came(copies: Copies) -> None:
    copies.ended(1, 2000, "accepted")
    for number in range(2, 21):
        copies.decided(number, 1500)
    assert level(copies) == "ok"
    copies.decided(21, 70)
    assert level(copies) == "critical"
    assert in_text(summary(copies)).endswith(
        "20 copies decided that did not come; none has come for 33 min 20 s: is the relay routed?"
    )


def test_a_burst_is_no_alarm(copies: Copies) -> None:
    copies.ended(1, 2000, "accepted")
    for number in range(2, 100):
        copies.decided(number, 1)
    assert level(copies) == "ok"


def test_one_that_came_shows_that_the_way_is_open(copies: Copies) -> None:
    for number in range(2, 100):
        copies.decided(number, 1500)
    copies.ended(1, 800, "accepted")
    assert level(copies) == "ok"


def test_the_first_copies_of_all_do_not_come(copies: Copies) -> None:
    for number in range(30):
        copies.decided(number, 1500)
    assert level(copies) == "critical"


def test_the_first_copies_of_all_have_time_to_come(copies: Copies) -> None:
    for number in range(30):
        copies.decided(number, 800)
    assert level(copies) == "ok"


def test_what_did_not_come_for_five_days_is_counted_no_more(copies: Copies) -> None:
    for number in range(30):
        copies.decided(number, 6 * 86_400)
    assert summary(copies).unseen == 0
    assert level(copies) == "ok"
