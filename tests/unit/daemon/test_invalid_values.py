"""That there is an invalid legal value is said at times that no message sets."""

from __future__ import annotations

from ldapmilter.daemon.invalid_values import InvalidValues

HOUR = 3600.0
NOON = 500_000 * HOUR


def said(values: InvalidValues, begin: float, end: float) -> list[tuple[float, str]]:
    """Ask every minute; return what was said, and when."""
    minutes = [begin + 60 * number for number in range(int((end - begin) // 60))]
    return [(minute, text) for minute in minutes for text in values.due(minute)]


def test_it_is_said_on_the_hour_whenever_the_message_came() -> None:
    for met in (NOON + 1, NOON + 1800, NOON + 3599):
        values = InvalidValues(NOON)
        assert said(values, NOON, met) == []
        values.take([{"legal": met}, {}])
        ((when, text),) = said(values, NOON, NOON + 2 * HOUR)[:1]
        assert when == NOON + HOUR
        assert "copy class legal" in text


def test_it_is_said_every_hour_for_a_day_and_once_for_all_workers() -> None:
    values = InvalidValues(NOON)
    values.take([{"legal": NOON + 100}, {"legal": NOON + 5, "journal": NOON + 7}])
    values.take([{"legal": NOON + 5}])  # a worker that is still there says it again
    lines = said(values, NOON, NOON + 48 * HOUR)
    hours = [(when - NOON) / HOUR for when, text in lines if "legal" in text]
    assert hours == [float(hour) for hour in range(1, 25)]
    assert len(lines) == 48


def test_status_asks_for_what_is_recent() -> None:
    values = InvalidValues(NOON)
    values.take([{"legal": NOON, "journal": NOON - 10}])
    assert values.since(NOON - 5) == ["legal"]
    assert values.since(NOON - 50) == ["journal", "legal"]
    assert values.since(NOON + 1) == []
