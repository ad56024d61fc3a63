"""Which messages are waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ldapmilter.daemon.in_flight import InFlight
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Callable


def waited(in_flight: InFlight, seconds: float, during: Callable[[], None]) -> int:
    left: list[int] = []
    thread = threading.Thread(
        target=lambda: left.append(in_flight.wait_for_messages(seconds, pause=0.001)), daemon=True
    )
    thread.start()
    during()
    thread.join(HANG)
    return left[0]


def test_only_messages_that_are_in_flight_now_are_waited_for() -> None:
    in_flight = InFlight()
    first = in_flight.message_began()
    later: list[int] = []

    def during() -> None:
        while not later or later[-1] == first:  # until the waiting has begun
            later.append(in_flight.message_began())
            if later[-1] == first:
                in_flight.message_ended(later.pop())
        in_flight.message_ended(first)

    assert waited(in_flight, 20, during) == 0
    assert in_flight.messages == 1


def test_the_wait_has_a_bound() -> None:
    in_flight = InFlight()
    in_flight.message_began()
    assert waited(in_flight, 0.01, lambda: None) == 1
