"""The file of the state: SQLite in WAL mode, of one version, begun anew where it cannot be used."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Final

from ldapmilter.relay.stored import BUSY_SECONDS, SCHEMA_VERSION, StateError

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

_TABLES: Final = """
CREATE TABLE copies (
    token TEXT PRIMARY KEY,
    message INTEGER,              -- messages.id; NULL: nothing of it is needed but what stands here
    target TEXT NOT NULL,         -- empty: the audit has not said
    classes TEXT NOT NULL,        -- separated by blanks
    delivery TEXT NOT NULL,       -- tracked, journal; empty: the audit has not said
    queue_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    state TEXT NOT NULL,          -- decided, waiting, ended
    fate TEXT NOT NULL,           -- accepted, kept, discarded; empty: not ended
    decided_at REAL,              -- seconds since the epoch
    seen_at REAL,                 -- when Postfix first presented it
    tried_at REAL,
    ended_at REAL,
    kept_at REAL,                 -- when the line was written that it is kept; it may end once more
    attempts INTEGER NOT NULL,
    server TEXT NOT NULL,
    code INTEGER,
    reply TEXT NOT NULL,
    why TEXT NOT NULL,
    other_message_id TEXT         -- of what ended it, where that was not the message decided, which may still come
) WITHOUT ROWID;
CREATE INDEX copies_by_state ON copies (state, fate, decided_at);
CREATE INDEX copies_by_message_id ON copies (message_id);
CREATE INDEX copies_by_message ON copies (message);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- no number twice: an expansion may come late
    record BLOB NOT NULL,         -- the decision's line of the audit, compressed (zlib)
    expansion TEXT,               -- who the recipients lead to, once that was read
    ended_at REAL                 -- of its last copy; NULL: one is under way
);
CREATE INDEX messages_by_end ON messages (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE files (              -- how far the audit has been read
    device INTEGER, inode INTEGER, octets INTEGER NOT NULL, head TEXT NOT NULL, PRIMARY KEY (device, inode)
);
"""


class _Anew(Exception):
    """The file cannot be used, and another one takes its place."""


def open_state(path: Path) -> sqlite3.Connection:
    """Open the state of a relay for writing, or begin one; what cannot be used is set aside.

    Raises:
        StateError: that cannot be.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            return _connected(path)
        except _Anew as why:
            aside = path.with_name(f"{path.name}.unusable")
            _log.error("%s: %s: it is made again from the audit; the old one is %s", path, why, aside.name)
            path.replace(aside)
            return _connected(path)
    except (OSError, sqlite3.Error, _Anew) as error:
        why_text = getattr(error, "strerror", None) or error
        message = (
            f"{path}: the relay's state cannot be opened: {why_text}; [relay] state has to name a file in a directory"
            f" that the daemon's user may write to (install -d -m 0700 -o USER {path.parent})"
        )
        raise StateError(message) from error


def _check(connection: sqlite3.Connection, version: int) -> None:
    if version != SCHEMA_VERSION:
        message = f"it is of version {version}, and this is for version {SCHEMA_VERSION}"
        raise _Anew(message)
    if (told := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        message = f"it is damaged ({told})"
        raise _Anew(message)


def _connected(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # What was written beside another file would be taken for this one's.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
        else:
            _check(connection, version)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _Anew(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection
