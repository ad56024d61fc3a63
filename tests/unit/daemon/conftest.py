"""What the daemon changes for its whole process is put back after every test."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before, level, threads = list(root.handlers), root.level, logging.logThreads
    root.setLevel(logging.INFO)
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.logThreads = threads
