"""What stands in an audit file of messages, without the lines of seals and other events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def records(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file; each of its lines has to be whole."""
    return [record for record in events(file) if "event" not in record]


def events(file: Path) -> list[dict[str, Any]]:
    """Return all lines of a file, but for one that somebody is about to write."""
    whole = file.read_text(encoding="ascii").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]
