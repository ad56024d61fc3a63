"""A decision whose answers are all in memory: it asks nothing, and leaves nothing behind."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.policy.example import example_records
from tests.unit.policy.world import ANN, Message, World

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW: Final = 5
MANY: Final = 50
ROUNDS: Final = 40
CROWD: Final = [f"crowd{number}@example.com" for number in range(MANY)]
RULE: Final = "* => Legal Dept. <legal@example.com>"


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


@pytest.fixture
def tracing() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("tracing")
def test_a_decision_leaves_nothing_behind(world: World) -> None:
    def left() -> int:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(ROUNDS):
            _work(world, _message(FEW))
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    left()
    # What decisions leave behind they leave each time; what Python keeps for itself, now and then.
    assert min(left() for _ in range(3)) < 32 * ROUNDS  # bytes: less than any object for each


def test_a_known_envelope_in_another_order_asks_nothing(world: World) -> None:
    backwards = Message(login=_message(1).login, to=list(reversed(CROWD)))
    assert world.at_data(backwards).searches == 0
    assert world.at_data(Message(login=ANN, to=CROWD)).copies == ()
