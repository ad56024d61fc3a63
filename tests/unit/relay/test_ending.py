"""The end of a relay whose disk does not answer: it ends all the same, and soon."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from ldapmilter.daemon import relay_process
from ldapmilter.relay import state as state_module
from ldapmilter.relay.state import RelayState
from tests.support.ports import HANG

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_state_that_is_being_written_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "CLOSE_SECONDS", 0.0)
    state = RelayState(tmp_path / "copies.sqlite")
    writes, answers = threading.Event(), threading.Event()

    def write() -> None:
        with state._changing():
            writes.set()
            answers.wait(HANG)

    writing = threading.Thread(target=write)
    writing.start()
    assert writes.wait(HANG)
    closing = threading.Thread(target=state.close, daemon=True)
    closing.start()
    closing.join(HANG)
    stuck = closing.is_alive()
    answers.set()
    writing.join(HANG)
    assert not stuck
    state.close()


def test_threads_that_wait_for_the_disk_are_left_to_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    class Hanging:
        def __init__(self, *_: object) -> None:
            """As a relay's process."""

        async def run(self) -> int:
            asyncio.get_running_loop().run_in_executor(None, answers.wait, HANG)
            return 0

    monkeypatch.setattr(relay_process, "RelayProcess", Hanging)
    status: list[int] = []

    def run() -> None:
        status.append(relay_process._run(None, "stderr", None, None))  # type: ignore[arg-type]

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(HANG)
    told = list(status)
    answers.set()
    running.join(HANG)
    assert told == [0]
