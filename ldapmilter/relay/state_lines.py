"""Lines of the audit, as the state takes them over. The same line again does no harm."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.relay.ends import as_time, end_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

UNKNOWN: Final = (
    "INSERT OR IGNORE INTO copies (token, target, classes, delivery, queue_id, message_id, state, fate, attempts,"
    " server, reply, why) VALUES (?, '', '', '', '', '', 'decided', '', 0, '', '', '')"
)
"""Makes a row for a token that has none."""
RECORD_SECONDS: Final = 86_400.0
"""For which the decision of a journaled copy stays after its end, by the audit's times: an end whose line did not come
to disk is taken back, and the copy is wrapped once more."""


def take_decision(connection: sqlite3.Connection, record: Mapping[str, Any]) -> None:
    """Take over the copies of a decision; or forget them, where the message was told to wait after all."""
    tokens = [
        copy for copy in record.get("copies") or () if isinstance(copy, dict) and isinstance(copy.get("token"), str)
    ]
    if not tokens or record.get("probe"):
        return
    if record.get("takes_back") is not None:
        for copy in tokens:
            connection.execute("DELETE FROM copies WHERE token = ? AND state = 'decided'", (copy["token"],))
        drop_messages(connection)
        return
    message: int | None = None
    for copy in tokens:
        if message is None and copy.get("delivery") == "journal" and not _is_told(connection, copy["token"]):
            packed = zlib.compress(json.dumps(dict(record), separators=(",", ":")).encode("ascii"))
            message = connection.execute("INSERT INTO messages (record) VALUES (?)", (packed,)).lastrowid
        connection.execute(UNKNOWN, (copy["token"],))
        connection.execute(
            "UPDATE copies SET message = ?, target = ?, classes = ?, delivery = ?, queue_id = ?, message_id = ?,"
            " decided_at = ? WHERE token = ? AND delivery = ''",
            (
                message if copy.get("delivery") == "journal" else None,
                str(copy.get("address") or ""),
                " ".join(map(str, copy.get("classes") or ())),
                str(copy.get("delivery") or "tracked"),
                str(record.get("queue_id") or ""),
                str(record.get("message_id") or ""),
                as_time(record.get("time")),
                copy["token"],
            ),
        )


def _is_told(connection: sqlite3.Connection, token: str) -> bool:
    return (
        connection.execute("SELECT 1 FROM copies WHERE token = ? AND delivery != ''", (token,)).fetchone() is not None
    )


def take_end(connection: sqlite3.Connection, line: Mapping[str, Any]) -> None:
    """Take over how a copy has ended; or that it has not, where its line could not be brought to disk."""
    end, token, at = end_of(line), line.get("token"), as_time(line.get("time"))
    if end is None or end[1] is None or not isinstance(token, str):
        return
    taken_back = line.get("takes_back")
    if taken_back is not None:
        _take_back_end(connection, token, as_time(taken_back))
        return
    other = line.get("other_message_id")
    connection.execute(UNKNOWN, (token,))
    connection.execute(
        "UPDATE copies SET state = 'ended', fate = ?, ended_at = ?, tried_at = ?, seen_at = coalesce(seen_at, ?),"
        " kept_at = CASE WHEN ? THEN ? WHEN ? AND other_message_id IS NOT NULL THEN NULL ELSE kept_at END,"
        " target = CASE WHEN target = '' THEN ? ELSE target END, attempts = ?, server = ?, code = ?, reply = ?,"
        # Another address than it was decided for (--to): the audit has it in the line, the state in words.
        " why = CASE WHEN target NOT IN ('', ?) THEN 'sent to ' || ? ELSE ? END, other_message_id = ?"
        # By what follows what, not by the clock, which may be set back: once more may end what is kept, and what
        # another message has ended. A file of the audit is read again when it is compressed, the later ones are not.
        " WHERE token = ? AND (ended_at IS NULL OR (other_message_id IS NULL AND fate = 'kept' AND ?)"
        "     OR (other_message_id IS NOT NULL AND (? OR fate = 'kept' OR other_message_id != ?)))",
        (
            *(end[1], at, at, at, end[1] == "kept", at, other is None),
            *(str(line.get("target") or ""), int(line.get("attempts") or 0)),
            *(
                str(line.get("server") or ""),
                line.get("code"),
                str(line.get("reply") or ""),
                *(2 * [str(line.get("target") or "")]),
                str(line.get("why") or ""),
                other,
            ),
            *(token, other is None, other is None, other),
        ),
    )
    connection.execute(
        "UPDATE messages SET ended_at = ? WHERE id = (SELECT message FROM copies WHERE token = ?)"
        " AND NOT EXISTS (SELECT 1 FROM copies WHERE message = messages.id"
        "     AND (state != 'ended' OR other_message_id IS NOT NULL))",
        (at, token),
    )
    if at is not None:
        connection.execute("DELETE FROM messages WHERE ended_at < ?", (at - RECORD_SECONDS,))


def _take_back_end(connection: sqlite3.Connection, token: str, ended_at: float | None) -> None:
    """Undo an end: the copy is kept still, where it was before; else it waits, and its report can be made again."""
    undone = connection.execute(
        "UPDATE copies SET state = 'ended', fate = 'kept', ended_at = kept_at"
        " WHERE token = ? AND ended_at = ? AND kept_at != ended_at",
        (token, ended_at),
    )
    if undone.rowcount:
        return
    connection.execute(
        "UPDATE copies SET state = 'waiting', fate = '', ended_at = NULL, kept_at = NULL, other_message_id = NULL"
        " WHERE token = ? AND ended_at = ?",
        (token, ended_at),
    )
    connection.execute(
        "UPDATE messages SET ended_at = NULL WHERE id IN"
        " (SELECT message FROM copies WHERE token = ? AND state = 'waiting')",
        (token,),
    )


def drop_messages(connection: sqlite3.Connection) -> None:
    """Drop what no copy names any more."""
    connection.execute("DELETE FROM messages WHERE NOT EXISTS (SELECT 1 FROM copies WHERE message = messages.id)")
