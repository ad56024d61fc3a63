"""A relay's state with copies in it, as the audit would have brought them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ldapmilter.relay.ends import as_text
from ldapmilter.relay.state import RelayState

if TYPE_CHECKING:
    from pathlib import Path

NOW: Final = 1_781_517_600.0
"""2026-06-15, 10:00 UTC."""


def token(number: int) -> str:
    return f"{number:048x}"


def decision(number: int, at: float, **changes: Any) -> dict[str, Any]:
    """Return a line of the audit that decides on one tracked copy."""
    copy = {
        "address": "vault@archive.example.net",
        "classes": ["archive"],
        "delivery": "tracked",
        "token": token(number),
        "reasons": [],
    }
    return {
        "time": as_text(at),
        "queue_id": f"4Tq{number}",
        "message_id": f"<{number}@example.com>",
        "copies": [{**copy, **changes}],
    }


def end(number: int, at: float, state: str) -> dict[str, Any]:
    """Return a line of the audit that tells how a copy has ended."""
    return {
        "event": "copy",
        "time": as_text(at),
        "host": "mta1",
        "token": token(number),
        "target": "vault@archive.example.net",
        "state": state,
        "server": "smtp:[archive.example.net]:25",
        "code": 550 if state == "refused" else 250,
        "reply": "vault@archive.example.net is full" if state == "refused" else "Ok",
        "attempts": 1,
        "seconds": 1.5,
        "why": "",
        "other_message_id": None,
        "takes_back": None,
    }


class Copies:
    """Fills a state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = RelayState(path)

    def decided(self, number: int, ago: float) -> None:
        self.state.take([decision(number, NOW - ago)])

    def waiting(self, number: int, ago: float, seen: float | None = None) -> None:
        self.decided(number, ago)
        self.state.seen(token(number), NOW - (ago if seen is None else seen))
        self.state.tried(
            token(number),
            NOW - ago,
            server="smtp:[archive.example.net]:25",
            code=452,
            reply="vault@archive.example.net: later",
            why="",
        )

    def ended(self, number: int, ago: float, state: str) -> None:
        self.decided(number, ago)
        self.state.seen(token(number), NOW - ago)
        self.state.take([end(number, NOW - ago, state)])
