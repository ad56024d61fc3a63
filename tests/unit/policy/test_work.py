"""What a warm decision costs Python: calls of functions and memory, which are counts and no times.

The bounds have room for another Python or a library's next release, not for another pass over the
recipients. Whoever makes a decision cheaper tightens them.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, Message, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

FEW: Final = 5
MANY: Final = 50
ROUNDS: Final = 40
CROWD: Final = [f"crowd{number}@example.com" for number in range(MANY)]
RULE: Final = "* => Legal Dept. <legal@example.com>"

# Calls of one decision, and how many each recipient adds.
CALLS: Final = 290
CALLS_A_RECIPIENT: Final = 40
# KiB that a decision holds at most, and how many each recipient adds.
PEAK: Final = 9
PEAK_A_RECIPIENT: Final = 0.75
# Octets that are kept of every address that was seen, its text and its share of the tables included.
KEPT: Final = 1000


@pytest.fixture(scope="module", params=["nothing", "copy", "rewrite"])
def world(request: pytest.FixtureRequest) -> World:
    values: dict[str, dict[str, str]] = {
        "nothing": {},
        "copy": {"ldapMilterArchiveSentBcc": "vault@keep.test"},
        "rewrite": {"ldapMilterSenderFromRewrite": RULE},
    }
    name: str = request.param
    records = [
        *example_records({}),
        *builders.cos("busy", **values[name]),
        *builders.account("writer@example.com", cos_id=zimbra_id("cos", "busy")),
        *(entry for address in CROWD for entry in builders.account(address)),
    ]
    found = World(records)
    decision = found.decide(_message(MANY))
    assert len(decision.copies) == (name == "copy")
    assert (decision.from_change is not None) == (name == "rewrite")
    return found


def _message(recipients: int) -> Message:
    return Message(login="writer@example.com", to=CROWD[:recipients])


def _work(world: World, message: Message) -> None:
    decision = world.at_data(message)
    assert decision.searches == 0


def _calls(world: World, recipients: int) -> int:
    """Return how many functions are called, of Python and of C."""
    message = _message(recipients)
    _work(world, message)  # whatever is remembered is remembered now
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        _work(world, message)
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture
def tracing() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def _peak(world: World, recipients: int) -> float:
    """Return the KiB that are held at most, beyond those that were held before."""
    message = _message(recipients)
    _work(world, message)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    _work(world, message)
    return (tracemalloc.get_traced_memory()[1] - before) / 1024


def test_calls(world: World) -> None:
    assert _calls(world, 1) <= CALLS


def test_calls_grow_with_the_recipients_and_no_faster(world: World) -> None:
    few, many = _calls(world, FEW), _calls(world, MANY)
    assert (many - few) / (MANY - FEW) <= CALLS_A_RECIPIENT
    middle = _calls(world, (FEW + MANY) // 2)
    assert middle - few == pytest.approx((many - few) / 2, rel=0.1)


@pytest.mark.usefixtures("tracing")
def test_memory(world: World) -> None:
    one, many = _peak(world, 1), _peak(world, MANY)
    assert one <= PEAK
    assert (many - one) / (MANY - 1) <= PEAK_A_RECIPIENT


@pytest.mark.usefixtures("tracing")
def test_what_is_kept_of_an_address() -> None:
    people = [f"first.lastname{number}@example.com" for number in range(1400)]
    world = World([*example_records({}), *(entry for person in people for entry in builders.account(person))])
    for person in people[:700]:
        world.decide(Message(login=people[0], to=[person]))
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for person in people[700:]:
        world.decide(Message(login=people[0], to=[person]))
    gc.collect()
    assert (tracemalloc.get_traced_memory()[0] - before) / 700 <= KEPT


@pytest.mark.usefixtures("tracing")
def test_a_decision_leaves_nothing_behind(world: World) -> None:
    for _ in range(ROUNDS):
        _work(world, _message(FEW))
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(ROUNDS):
        _work(world, _message(FEW))
    gc.collect()
    assert tracemalloc.get_traced_memory()[0] - before < 32 * ROUNDS  # bytes: less than any object for each


def test_a_known_envelope_in_another_order_asks_nothing(world: World) -> None:
    backwards = Message(login=_message(1).login, to=list(reversed(CROWD)))
    assert world.at_data(backwards).searches == 0
    assert world.at_data(Message(login=ANN, to=CROWD)).copies == ()
