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
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._rests = False
        """Whether the thread waits for something to do."""
        self._bell = threading.Lock()
        """Released to wake it: a condition makes a lock for each wait, and costs a message a dozen calls."""
        self._bell.acquire()
        self._items: deque[ItemT] = deque()
        self._running = False
        self._ending = False
        self._since: tuple[float, float] | None = None
        """When the work at hand began: monotonic, and since the epoch."""

    def put(self, item: ItemT) -> None:
        """Let an item wait; returns at once."""
        with self._lock:
            self._items.append(item)
            if self._running:
                self._wake()
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # no thread is to be had now
            with self._lock:
                self._running = False
                self._items.clear()
            raise

    def withdraw(self, item: ItemT) -> bool:
        """Take an item back, unless its turn has come."""
        with self._lock:
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
        with self._lock:
            self._ending = True
            if self._running:
                self._wake()
                return
        self._finish()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; ``False`` when it has not in so many seconds."""
        with self._ended:
            return self._ended.wait_for(lambda: not self._running, seconds)

    def _wake(self) -> None:
        """Have the thread look for items; the lock is held."""
        if self._rests:
            self._rests = False
            self._bell.release()

    def _next(self) -> list[ItemT]:
        """Wait for items; return all that there are, none at the end."""
        while True:
            with self._lock:
                if self._items or self._ending:
                    items = [*self._items]
                    self._items.clear()
                    self._since = (time.monotonic(), time.time())
                    return items
                self._rests = True
            self._bell.acquire()

    def _run(self) -> None:
        while True:
            items = self._next()
            try:
                if items:
                    self._work(items)
                else:
                    self._finish()
            except Exception:  # noqa: BLE001 - the next item must find the thread at work
                _log.exception("unexpected error in the thread %s", self._name)
            with self._lock:
                self._since = None
                if not items and not self._items:
                    self._running = False
                    self._ended.notify_all()
                    return
