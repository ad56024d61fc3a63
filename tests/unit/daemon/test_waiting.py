"""Mail that waits and comes back: one alarm that says how much waits for what, and for how long."""

from __future__ import annotations

from typing import Final

from ldapmilter.daemon.waiting import Waiting, by_cause, news, reminders_of
from ldapmilter.message import Envelope

NOON: Final = 1_800_000_000.0
LEGAL: Final = ("an invalid value of copy class legal",)
MINUTE: Final = 60.0
HOUR: Final = 3600.0


def envelope(number: int = 0) -> Envelope:
    return Envelope(sender=f"client{number}@client.test", recipients=("ann@example.test",), client="192.0.2.9")


def told(waiting: Waiting, now: float) -> list[tuple[str, int, float]]:
    return [(one["cause"], one["messages"], now - one["seconds"]) for one in by_cause([waiting.report(now)], now)]


def test_fifty_clients_that_try_for_days_are_one_alarm() -> None:
    waiting = Waiting()
    for round_ in range(2 * 48):
        for number in range(50):
            waiting.told_to_wait(envelope(number), LEGAL, NOON + round_ * HOUR + number, outage=False)

    assert told(waiting, NOON + 95 * HOUR + 60) == [(LEGAL[0], 50, NOON)]


def test_a_message_counts_when_it_comes_back() -> None:
    waiting = Waiting()
    waiting.told_to_wait(envelope(), LEGAL, NOON, outage=False)
    assert told(waiting, NOON + 1) == []
    waiting.told_to_wait(envelope(), LEGAL, NOON + 5 * MINUTE, outage=False)
    assert told(waiting, NOON + 5 * MINUTE) == [(LEGAL[0], 1, NOON)]


def test_what_went_through_waits_no_more() -> None:
    waiting = Waiting()
    for number in (1, 2, 1, 2):
        waiting.told_to_wait(envelope(number), LEGAL, NOON, outage=False)
    waiting.went_on(envelope(1), NOON)
    assert told(waiting, NOON) == [(LEGAL[0], 1, NOON)]


def test_who_stays_away_longer_than_before_has_given_up() -> None:
    waiting = Waiting()
    for tries in range(3):
        waiting.told_to_wait(envelope(), LEGAL, NOON + tries * 10 * MINUTE, outage=False)
    last = NOON + 20 * MINUTE
    assert len(told(waiting, last + 30 * MINUTE)) == 1
    assert told(waiting, last + 31 * MINUTE) == []
    waiting.told_to_wait(envelope(), LEGAL, last + 24 * HOUR, outage=False)
    assert told(waiting, last + 24 * HOUR) == []


def test_the_tries_of_one_message_meet_several_workers() -> None:
    one, other = Waiting(), Waiting()
    one.told_to_wait(envelope(), LEGAL, NOON, outage=False)
    other.told_to_wait(envelope(), ("the directory",), NOON + MINUTE, outage=False)
    (found,) = by_cause([one.report(NOON + MINUTE), other.report(NOON + MINUTE)], NOON + MINUTE)
    assert found == {"cause": "the directory", "messages": 1, "seconds": MINUTE}


def share(workers: list[Waiting], now: float) -> None:
    """Do what their parent does every second."""
    reports = [worker.report(now) for worker in workers]
    for number, worker in enumerate(workers):
        worker.learn(*news(reports[number], reports[:number] + reports[number + 1 :]))


def test_what_went_on_in_another_worker_waits_no_more() -> None:
    one, other = workers = [Waiting(), Waiting()]
    for _ in range(2):
        one.told_to_wait(envelope(), LEGAL, NOON, outage=False)
        one.told_to_wait(envelope(1), LEGAL, NOON, outage=False)
    share(workers, NOON)
    other.went_on(envelope(), NOON + MINUTE)
    other.went_on(envelope(7), NOON + MINUTE)
    share(workers, NOON + MINUTE)
    assert told(one, NOON + MINUTE) == [(LEGAL[0], 1, NOON)]
    share(workers, NOON + MINUTE)
    assert other.report(NOON + MINUTE)["went_on"] == {}


def test_what_waits_anew_since_it_went_on_elsewhere_still_waits() -> None:
    one, other = workers = [Waiting(), Waiting()]
    one.told_to_wait(envelope(), LEGAL, NOON, outage=False)
    share(workers, NOON)
    other.went_on(envelope(), NOON + MINUTE)
    one.told_to_wait(envelope(), LEGAL, NOON + 2 * MINUTE, outage=False)
    share(workers, NOON + 2 * MINUTE)
    assert len(told(one, NOON + 2 * MINUTE)) == 1


def test_what_is_kept_is_bounded() -> None:
    waiting = Waiting()
    for number in range(3000):
        waiting.told_to_wait(envelope(number), LEGAL, NOON, outage=False)
    assert len(waiting.report(NOON)["messages"]) == 1000


def test_what_an_outage_held_up_waits_no_more_when_it_is_over() -> None:
    """Its next try goes through; or it never comes, since others refused it meanwhile."""
    waiting = Waiting()
    for number, outage in ((1, True), (2, False)):
        for _ in range(2):
            waiting.told_to_wait(envelope(number), ("the directory",), NOON, outage=outage)
    report = waiting.report(NOON)
    (during,) = by_cause([report], NOON)
    (after,) = by_cause([report], NOON, {"the directory", "the audit"})
    (other,) = by_cause([report], NOON, {"the audit"})
    assert (during["messages"], after["messages"], other["messages"]) == (2, 1, 2)


def test_the_last_try_says_whether_an_outage_holds_a_message_up() -> None:
    one, other = Waiting(), Waiting()
    one.told_to_wait(envelope(), ("the directory",), NOON, outage=True)
    other.told_to_wait(envelope(), ("the directory",), NOON + MINUTE, outage=False)
    for reports in ([one, other], [other, one]):
        (found,) = by_cause([each.report(NOON) for each in reports], NOON + MINUTE, {"the directory"})
        assert found["messages"] == 1


def test_the_log_says_the_same_of_every_cause() -> None:
    short, long = ({"cause": "x", "messages": 1, "seconds": seconds} for seconds in (3599.0, 3600.0))
    assert reminders_of([]) == reminders_of([short]) == []
    (line,) = reminders_of([short, long])
    assert reminders_of([{**long, "cause": LEGAL[0], "messages": 50}]) == [line]


def test_causes_are_told_apart() -> None:
    waiting = Waiting()
    for _ in range(2):
        waiting.told_to_wait(envelope(1), LEGAL, NOON + 5, outage=False)
        waiting.told_to_wait(envelope(2), (*LEGAL, "the directory"), NOON, outage=False)
    assert told(waiting, NOON + 5) == [(f"{LEGAL[0]} and the directory", 1, NOON), (LEGAL[0], 1, NOON + 5)]


def test_more_than_can_be_kept_is_still_an_alarm() -> None:
    waiting = Waiting()
    for round_ in range(3):
        for number in range(1500):
            waiting.told_to_wait(envelope(number), LEGAL, NOON + round_ * HOUR + number, outage=False)
    assert told(waiting, NOON + 2 * HOUR + 1500) == [(LEGAL[0], 1000, NOON)]


def test_what_never_comes_back_makes_room() -> None:
    waiting = Waiting()
    for number in range(2000):
        waiting.told_to_wait(envelope(number), LEGAL, NOON, outage=False)
    for later in (NOON + 2 * HOUR, NOON + 3 * HOUR):
        waiting.told_to_wait(envelope(5000), LEGAL, later, outage=False)
    assert told(waiting, NOON + 3 * HOUR) == [(LEGAL[0], 1, NOON + 2 * HOUR)]
