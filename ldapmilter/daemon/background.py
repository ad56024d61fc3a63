"""Work that goes on beside whoever began it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Background:
    """Holds coroutines until they end: the event loop alone would let them be collected (asyncio.create_task)."""

    def __init__(self) -> None:
        """Begin with none."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Those that have not ended."""

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a coroutine in the running loop; returns at once."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
