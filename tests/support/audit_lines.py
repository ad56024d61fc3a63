"""What stands in an audit file of messages, without the lines of seals and other events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def records(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file; each of its lines has to be whole."""
    found = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
    return [record for record in found if "event" not in record]
