"""A thread for work that may hang: it takes all items that wait as one batch, for as long as that takes.

The audit has two. One writes: a batch of lines shares one wait for the lock, whose bound then holds for
each line. One brings to disk: a line that need not be on disk must not wait for fdatasync(2).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ItemT = TypeVar("ItemT")

_log = logging.getLogger(__name__)


class BatchThread(Generic[ItemT]):
    """One thread with what waits for it. It starts with the first item, so it may be made before a fork."""

    def __init__(self, name: str, work: Callable[[list[ItemT]], None], finish: Callable[[], None]) -> None:
        """Prepare; nothing runs yet.

        Args:
            name: the thread's.
            work: does all that waits, in order; must not raise.
            finish: called by the thread whenever it has nothing to do after :meth:`end`.
        """
        self._name = name
        self._work = work
        self._finish = finish
        self._changed = threading.Condition()
        self._items: deque[ItemT] = deque()
        self._running = False
        self._ending = False
        self._since: tuple[float, float] | None = None
        """When the work at hand began: monotonic, and since the epoch."""

    def put(self, item: ItemT) -> None:
        """Let an item wait; returns at once."""
        with self._changed:
            self._items.append(item)
            if self._running:
                self._changed.notify_all()
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # no thread is to be had now
            with self._changed:
                self._running = False
                self._items.clear()
            raise

    def withdraw(self, item: ItemT) -> bool:
        """Take an item back, unless its turn has come."""
        with self._changed:
            if item not in self._items:
                return False
            self._items.remove(item)
            return True

    def busy_for(self) -> float:
        """Return for how many seconds the work at hand has been going on; 0 when there is none."""
        since = self._since
        return time.monotonic() - since[0] if since is not None else 0.0

    def busy_since(self) -> float:
        """Return when the work at hand began, in seconds since the epoch; now, when there is none."""
        since = self._since
        return since[1] if since is not None else time.time()

    def end(self) -> None:
        """Have the thread do what waits, finish, and end. What is put afterwards makes it run once more."""
        with self._changed:
            self._ending = True
            if self._running:
                self._changed.notify_all()
                return
        self._finish()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; ``False`` when it has not in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ending)
                items = list(self._items)
                self._items.clear()
                self._since = (time.monotonic(), time.time())
            try:
                if items:
                    self._work(items)
                else:
                    self._finish()
            except Exception:  # noqa: BLE001 - the next item must find the thread at work
                _log.exception("unexpected error in the thread %s", self._name)
            with self._changed:
                self._since = None
                if not items and not self._items:
                    self._running = False
                    self._changed.notify_all()
                    return
