"""The line of the audit that a copy leaves at its end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.relay.ends import EVENT, as_text

if TYPE_CHECKING:
    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.ends import End, EndLine
    from ldapmilter.relay.stored import KnownCopy


def end_line(
    copy: KnownCopy,
    state: End,
    answer: ServerAnswer | None,
    now: float,
    *,
    host: str,
    target: str,
    why: str = "",
) -> EndLine:
    """Return the line of the audit that says how a copy has ended.

    Args:
        copy: what was known of it.
        state: how it has ended.
        answer: the server's, if one settled it.
        now: seconds since the epoch.
        host: this host's name.
        target: where it went, or was to go.
        why: what the answer does not tell.
    """
    return {
        "event": EVENT,
        "time": as_text(now),
        "host": host,
        "token": copy.token,
        "target": target,
        "state": state,
        "server": answer.server if answer is not None else "",
        "code": answer.code if answer is not None else None,
        "reply": answer.text if answer is not None and answer.code is not None else "",
        "attempts": copy.attempts + (answer is not None),
        "seconds": round(max(0.0, now - copy.since), 3) if copy.since else 0.0,
        "why": why or (answer.text if answer is not None and answer.code is None else ""),
        "other_message_id": copy.other_message_id,
        "takes_back": None,
    }
