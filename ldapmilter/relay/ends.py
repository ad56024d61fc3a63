"""What the audit says of a copy at its end, and the words for it. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from ldapmilter.audit import record

if TYPE_CHECKING:
    from collections.abc import Mapping

End = Literal["accepted", "refused", "kept", "resent", "discarded", "repeat"]
"""``refused``: by the archive's server, and kept; ``kept``: not through in time; ``resent``: kept, and accepted later;
``repeat``: it had ended, and came again."""
Fate = Literal["accepted", "kept", "discarded"]
"""How a copy has ended, as the state has it."""

FATES: Final[Mapping[End, Fate | None]] = {
    "accepted": "accepted",
    "refused": "kept",
    "kept": "kept",
    "resent": "accepted",
    "discarded": "discarded",
    "repeat": None,
}
EVENT: Final = "copy"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


class EndLine(TypedDict):
    """One line of the audit: the end of a copy. The keys are a contract (docs/audit.md)."""

    event: Literal["copy"]
    time: str
    host: str
    token: str
    target: str
    state: End
    server: str
    code: int | None
    reply: str
    attempts: int
    seconds: float
    why: str
    other_message_id: str | None
    """Of what came with the token, where that was not the message that was decided."""
    takes_back: str | None


def as_text(at: float) -> str:
    """Return a time (seconds since the epoch) as the audit spells it."""
    return record.as_text(datetime.fromtimestamp(at, tz=timezone.utc))


def as_time(text: object) -> float | None:
    """Return the time that the audit spells, in seconds since the epoch; ``None``: it is none."""
    if not isinstance(text, str) or not _TIME.match(text):
        return None
    return datetime.fromisoformat(text.removesuffix("Z") + "+00:00").timestamp()


def end_of(value: Mapping[str, Any]) -> tuple[End, Fate | None] | None:
    """Return how a line of the audit says that a copy has ended; ``None``: it says no such thing."""
    if value.get("event") != EVENT:
        return None
    return next(((end, fate) for end, fate in FATES.items() if end == value.get("state")), None)
