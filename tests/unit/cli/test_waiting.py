"""Somebody at a terminal waits for a list, and for nothing else."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from ldapmilter.cli import decision_text, waiting
from ldapmilter.policy.document import as_json
from tests.unit.directory.stage import make_small
from tests.unit.directory.test_loads import ALL, Stage, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Future

    from ldapmilter.directory.cache.load import Outcome
    from ldapmilter.policy.model import Decision


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def explain(stage: Stage, meanwhile: Callable[[], object]) -> Decision:
    """Decide on mail to the list of a hundred; whatever goes on does so while that is waited for."""

    def pause(_futures: Collection[Future[Outcome]], seconds: float) -> None:
        stage.clock.now += seconds
        meanwhile()

    return waiting.whole(stage.mail, stage.loads, clock=stage.clock, pause=pause)


@pytest.mark.parametrize("lenient", [False, True])
def test_the_decision_is_that_of_the_second_try(*, lenient: bool) -> None:
    stage = Stage()
    stage.lenient = lenient
    decision = explain(stage, stage.run)
    assert (decision.verdict, decision.incomplete) == ("accept", ())
    assert [copy.address.key for copy in decision.copies] == ["seven@vault.test"]


def test_a_directory_that_fails_is_not_waited_for() -> None:
    stage = Stage()
    began = stage.clock.now

    def fail() -> None:
        stage.store.down = True
        stage.run()

    decision = explain(stage, fail)
    assert decision.verdict == "tempfail"
    assert stage.clock.now - began < 10


def test_what_takes_ever_so_long_is_said_to() -> None:
    stage = Stage()
    began = stage.clock.now
    decision = explain(stage, lambda: None)
    assert waiting.LONGEST <= stage.clock.now - began < waiting.LONGEST + 1
    assert f"{ALL} is being read" in texts(decision)
    told = decision_text.as_text(as_json(decision))
    assert "nothing   is decided" in told
    assert "copies" not in told


def test_a_message_that_waits_for_nothing_is_decided_once() -> None:
    stage = Stage()
    times: list[Decision] = []

    def decide() -> Decision:
        times.append(stage.mail("ann@example.test"))
        return times[-1]

    assert waiting.whole(decide, stage.loads) is times[0]
    assert waiting.whole(decide, None) is times[1]


class Terminal(io.StringIO):
    """A terminal's stderr."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, terminal = Stage(), Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    explain(stage, stage.run)
    assert f"{ALL} is being read" in terminal.getvalue()


def test_where_nothing_is_being_read_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    stage = Stage()
    monkeypatch.setattr(stage.loads, "under_way", list)

    def clock() -> float:
        return stage.clock.now + 250 * len(slept)

    assert waiting.whole(stage.mail, stage.loads, clock=clock).still_reading
    assert slept == [0.5] * 3
