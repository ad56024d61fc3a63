"""Clients that send for our domains and that nobody knows: counted by address, in a bounded table."""

from __future__ import annotations

from typing import Final

import pytest

from ldapmilter.daemon.unknown_clients import UnknownClients, busiest
from tests.unit.policy.example import example
from tests.unit.policy.world import ANN, BOB, JOE, MAILBOX_SERVER, OUTSIDER, Message

NOON: Final = 1_800_000_000.0
DAY: Final = 86_400.0


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (Message(login=None, sender=ANN), True),
        (Message(login=None, sender="ann@example.org", to=[BOB]), True),
        (Message(login=None, sender="nobody@example.com"), True),
        (Message(login=None, sender="anything@catchall.example"), True),
        (Message(login=None, sender=JOE, to=[BOB]), False),
        (Message(login=None, sender="", to=[BOB]), False),
        (Message(login=ANN, sender=ANN), False),
        (Message(login="scanner", sender=ANN), False),
        (Message(login=None, sender=ANN, client=MAILBOX_SERVER), False),
        (Message(login=None, sender=ANN, submitted_locally=True), False),
        (Message(login=None, sender=ANN, client=None), False),
    ],
)
def test_who_is_an_unknown_client(message: Message, counted: bool) -> None:  # noqa: FBT001 - a table
    decision = example({}, options={"identity": {"service_logins": "scanner"}}).decide(message)

    assert decision.verdict == "accept"
    assert decision.unknown_client == (OUTSIDER if counted else None)


def test_it_costs_no_search() -> None:
    def searches(sender: str) -> list[int]:
        world = example({})
        return [world.decide(Message(login=None, sender=sender, to=[BOB])).searches for _ in range(2)]

    assert searches(ANN) == searches(JOE)
    assert searches(ANN)[1] == 0


def test_the_busiest_come_first_over_all_workers() -> None:
    one, other = UnknownClients(), UnknownClients()
    for client, times in (("198.51.100.7", 3), ("198.51.100.8", 4)):
        for _ in range(times):
            one.note(client, NOON)
    for _ in range(2):
        other.note("198.51.100.7", NOON + 5)
    assert busiest([one.report(), other.report()], NOON + 10) == [
        {"client": "198.51.100.7", "messages": 5, "last": NOON + 5},
        {"client": "198.51.100.8", "messages": 4, "last": NOON},
    ]


def test_who_was_silent_for_a_day_is_not_told() -> None:
    clients = UnknownClients()
    clients.note("198.51.100.7", NOON)
    assert busiest([clients.report()], NOON + DAY)
    assert busiest([clients.report()], NOON + DAY + 1) == []


def test_the_table_is_bounded_and_keeps_the_busy() -> None:
    clients = UnknownClients()
    for number in range(5000):
        clients.note(f"2001:db8::{number:x}", NOON)
        clients.note("198.51.100.7", NOON)
    assert len(clients.report()) <= 256
    found = busiest([clients.report()], NOON)
    assert (found[0]["client"], found[0]["messages"], len(found)) == ("198.51.100.7", 5000, 10)


@pytest.mark.parametrize("later", [NOON, NOON + 10 * DAY])
def test_a_busy_client_is_found_among_many_that_came_before(later: float) -> None:
    clients = UnknownClients()
    for number in range(256):
        for _ in range(9):
            clients.note(f"2001:db8::{number:x}", NOON)
    for number in range(500):
        clients.note("198.51.100.7", later)
        clients.note(f"2001:db8:1::{number:x}", later)
    found = {one["client"]: one["messages"] for one in busiest([clients.report()], later)}
    assert found.pop("198.51.100.7") == 500
    assert all(messages in {1, 9} for messages in found.values())
