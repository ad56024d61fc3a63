"""What the daemon changes for its whole process is put back after every test."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import recipient_filter

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


@pytest.fixture(autouse=True)
def no_postfix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test ask the Postfix of the machine that it happens to run on."""
    monkeypatch.setattr(recipient_filter, "find_postconf", lambda: None)
