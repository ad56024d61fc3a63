"""A decision for a user at a terminal, who can wait for a list longer than a message may.

The list is read as it is for mail that was put off. Nothing else is waited for: a directory that does
not answer is said after ``[ldap] lookup_deadline``, as ever.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ldapmilter.errors import StillReading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from concurrent.futures import Future

    from ldapmilter.directory.cache.load import Outcome
    from ldapmilter.directory.cache.loads import Loads
    from ldapmilter.policy.model import Decision

LONGEST: Final = 600.0
"""Seconds for all lists of a message."""
_PERIOD: Final = 0.5
"""Seconds after which a terminal shows how far they are."""


def _pause(futures: Collection[Future[Outcome]], seconds: float) -> None:
    """Wait for futures; without any, for the time: ``concurrent.futures.wait`` would return at once."""
    if futures:
        wait(futures, seconds)
    else:
        time.sleep(seconds)


def whole(
    decide: Callable[[], Decision],
    loads: Loads | None,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[Collection[Future[Outcome]], float], object] = _pause,
) -> Decision:
    """Return a decision once the lists that it needs are read, or for :data:`LONGEST` seconds could not be.

    Args:
        decide: takes it, from what is at hand by then.
        loads: what is read in the background.
        clock: monotonic seconds.
        pause: waits until futures are done, for so many seconds at most.
    """
    decision = decide()
    if loads is None or not decision.still_reading:
        return decision
    until = clock() + LONGEST
    with _terminal() as show:
        failed = False
        while decision.still_reading and not failed and clock() < until:
            failed = _wait_for(loads, until, show, clock, pause)
            decision = decide()
    return decision


def _wait_for(
    loads: Loads,
    until: float,
    show: Callable[[str], object],
    clock: Callable[[], float],
    pause: Callable[[Collection[Future[Outcome]], float], object],
) -> bool:
    """Wait until what is being read now is through; return whether the directory has failed."""
    reading = loads.under_way()
    futures = [load.future for load in reading]
    if not futures:  # through already, or not begun yet
        pause([], _PERIOD)
    while any(not future.done() for future in futures) and clock() < until:
        show("; ".join(str(load.progress) for load in reading if load.on_its_way))
        pause(futures, _PERIOD)
    errors = [future.exception() for future in futures if future.done()]
    return any(error is not None and not isinstance(error, StillReading) for error in errors)


@contextmanager
def _terminal() -> Iterator[Callable[[str], object]]:
    """Show how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console  # noqa: PLC0415 - for a terminal only
    from rich.markup import escape  # noqa: PLC0415

    with Console(stderr=True).status("reading") as status:
        yield lambda text: status.update(escape(text))
