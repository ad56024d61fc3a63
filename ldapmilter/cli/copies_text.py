"""Copies that travel by the relay, as ``ldapmilter copies`` shows them.

Addresses, and what servers say, which may name them, are shown to those who ask for them only.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ldapmilter.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ldapmilter.relay.stored import KnownCopy
    from ldapmilter.relay.summary import CopyNumbers

_HEADINGS = ("AGE", "STATE", "DOMAIN", "CODE", "TRIES", "CLASS", "TOKEN")


def lines(copies: Sequence[KnownCopy], now: float, *, addresses: bool) -> Iterator[str]:
    """Yield a table, a copy a line; nothing without copies."""
    rows = [_row(copy, now, addresses=addresses) for copy in copies]
    if not rows:
        return
    headings = [("TARGET" if addresses and name == "DOMAIN" else name) for name in _HEADINGS]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for copy, row in zip([None, *copies], [headings, *rows], strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if copy is not None and addresses and (said := _said(copy)):
            yield f"    {said}"


def state_of(copy: KnownCopy) -> str:
    """Return the state in one word: an ended copy's is how it has ended."""
    return copy.fate or copy.state


def _row(copy: KnownCopy, now: float, *, addresses: bool) -> list[str]:
    return [
        in_words(now - copy.since) if copy.since else "?",
        state_of(copy),
        (copy.target if addresses else _domain(copy.target)) or "?",
        str(copy.code) if copy.code is not None else "-",
        str(copy.attempts),
        ",".join(copy.classes) or "?",
        copy.token,
    ]


def _said(copy: KnownCopy) -> str:
    said = " ".join(filter(None, (copy.server, str(copy.code or ""), copy.reply)))
    other = f"another message, {copy.other_message_id}" if copy.other_message_id is not None else ""
    return "; ".join(filter(None, (said, copy.why, other)))


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def as_json(copies: Sequence[KnownCopy], summary: CopyNumbers | None, now: float, *, addresses: bool) -> dict[str, Any]:
    """Return the same for programs; ``counts`` is null where there is no state yet."""
    return {
        "copies": [_document(copy, now, addresses=addresses) for copy in copies],
        "counts": None
        if summary is None
        else {
            "waiting": summary.waiting,
            "oldest_seconds": round(summary.oldest_seconds, 1),
            "kept": summary.kept,
            "unseen": summary.unseen,
            "stopped_seconds": None if summary.stopped_seconds is None else round(summary.stopped_seconds, 1),
        },
    }


def _document(copy: KnownCopy, now: float, *, addresses: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "token": copy.token,
        "state": copy.state,
        "fate": copy.fate or None,
        "classes": list(copy.classes),
        "delivery": copy.delivery or None,
        "domain": _domain(copy.target) or None,
        "queue_id": copy.queue_id or None,
        "message_id": copy.message_id or None,
        "decided": _time(copy.decided_at),
        "seen": _time(copy.seen_at),
        "tried": _time(copy.tried_at),
        "ended": _time(copy.ended_at),
        "age_seconds": round(now - copy.since, 1) if copy.since else None,
        "attempts": copy.attempts,
        "code": copy.code,
    }
    if addresses:
        shown |= {"target": copy.target, "server": copy.server, "reply": copy.reply, "why": copy.why}
        shown["other_message_id"] = copy.other_message_id
    return shown


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def outcome(result: Mapping[str, Any], *, addresses: bool) -> str:
    """Return what became of one copy that was to be changed, in one line."""
    code = f" {result['code']}" if result.get("code") is not None else ""
    reply = f" {result['reply']}" if addresses and result.get("reply") else ""
    why = f": {result['why']}" if result.get("why") else ""
    return f"{result['token']}  {result['state']}{code}{reply}{why}"


def without_addresses(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same without what a server said."""
    return {key: value for key, value in result.items() if key not in ("reply", "server")}
