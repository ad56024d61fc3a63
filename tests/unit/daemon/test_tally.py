"""Counts that travel as JSON and add up."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.address import make_address
from ldapmilter.daemon.tally import SECONDS_BOUNDS, Tally, add
from ldapmilter.message import Identity
from ldapmilter.policy.effect import Copy
from ldapmilter.policy.model import Decision, Verdict

NOBODY = Identity(source="none")
Counts = dict[str, dict[str, int]]
numbers = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.integers(0, 10**12), max_size=3),
    max_size=3,
)


@given(numbers, numbers, numbers)
def test_tallies_add_up_in_any_order(one: Counts, other: Counts, third: Counts) -> None:
    assert add(one, other) == add(other, one)
    assert add(add(one, other), third) == add(one, add(other, third))
    assert add({}, one) == one


def test_what_only_one_of_two_has_counted_is_kept() -> None:
    one = {"verdicts": {"accept": 2}, "seconds": 0.5}
    other = {"verdicts": {"accept": 1, "reject": 3}, "events": {"probes": 1}, "seconds": 0.25}
    assert add(one, other) == {"verdicts": {"accept": 3, "reject": 3}, "events": {"probes": 1}, "seconds": 0.75}
    assert one == {"verdicts": {"accept": 2}, "seconds": 0.5}


def test_a_tally_survives_the_way_as_json() -> None:
    tally = Tally()
    verdicts: tuple[Verdict, ...] = ("accept", "accept", "tempfail")
    for verdict in verdicts:
        tally.decided(Decision(identity=NOBODY, verdict=verdict))
    tally.decided(Decision(identity=NOBODY, verdict="reject", verdict_mode="observe", stale=True))
    tally.decided(Decision(identity=NOBODY, verdict="tempfail", unavailable=True))
    tally.happened("probes")
    counted = json.loads(json.dumps(tally.numbers()))
    assert counted["verdicts"] == {"accept": 2, "tempfail": 2, "would-reject": 1}
    assert counted["events"] == {"stale": 1, "probes": 1}
    assert counted["confidential"] == {"unavailable": 1}
    assert add(counted, counted)["verdicts"]["accept"] == 4


def test_waits_fall_into_buckets_by_their_upper_bound() -> None:
    tally = Tally()
    for seconds in (0.0, SECONDS_BOUNDS[0], SECONDS_BOUNDS[-1], SECONDS_BOUNDS[-1] + 1):
        tally.waited(seconds)
    waits = tally.numbers()["waits"]
    last = len(SECONDS_BOUNDS)
    assert {name: count for name, count in waits.items() if count} == {
        "0": 2,
        str(last - 1): 1,
        str(last): 1,
        "seconds": sum((0.0, SECONDS_BOUNDS[0], SECONDS_BOUNDS[-1], SECONDS_BOUNDS[-1] + 1)),
    }


def test_a_copy_that_is_not_made_does_not_count() -> None:
    tally = Tally()
    settled = Copy(address=make_address("vault", "x.test"), reasons=(), already=("vault@x.test",), added=False)
    tally.decided(Decision(identity=NOBODY, copies=(settled,)))
    assert tally.numbers()["effects"] == {}
    assert "copies" not in tally.numbers()["events"]
