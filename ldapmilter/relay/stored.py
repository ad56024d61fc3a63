"""The state as it is read: what is known of every copy that travels by the relay."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import zlib
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from msgspec import Struct

from ldapmilter.errors import LdapmilterError
from ldapmilter.who_may import READ, who_may

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

    from ldapmilter.relay.ends import Fate

SCHEMA_VERSION: Final = 3
"""Of the tables; a file of another one is made again from the audit."""
BUSY_SECONDS: Final = 10.0
"""For which another process may have the file locked."""

_COLUMNS: Final = (
    "token, message, target, classes, delivery, queue_id, message_id, state, fate, decided_at, seen_at, tried_at,"
    " ended_at, attempts, server, code, reply, why, other_message_id"
)

CopyState = Literal["decided", "waiting", "ended"]
"""``decided``: Postfix has not presented it yet; ``waiting``: seen, not through; ``ended``."""


class StateError(LdapmilterError):
    """The state cannot be read or written; the text names the file and why."""


class KnownCopy(Struct, frozen=True, kw_only=True):
    """What is known of one copy. Times are seconds since the epoch."""

    token: str
    message: int | None = None
    target: str = ""
    classes: tuple[str, ...] = ()
    delivery: str = ""
    queue_id: str = ""
    message_id: str = ""
    state: CopyState
    fate: Fate | Literal[""] = ""
    decided_at: float | None = None
    seen_at: float | None = None
    tried_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    server: str = ""
    code: int | None = None
    reply: str = ""
    why: str = ""
    other_message_id: str | None = None
    """Of what came with the token and is handled, or ended it, where that is not the message that was decided."""

    @property
    def is_known(self) -> bool:
        """Whether the audit has said what it is."""
        return self.delivery != ""

    @property
    def since(self) -> float:
        """When it was decided, or else first seen."""
        return self.decided_at or self.seen_at or 0.0


class FilePosition(Struct, frozen=True, kw_only=True):
    """How far one file of the audit has been read."""

    device: int
    inode: int
    octets: int
    """Read so far."""
    head: str
    """What its first octets are like: an inode is used again."""


class StateReader:
    """Reads the state; beside a relay that writes it, too."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Read by a connection."""
        self._connection = connection
        self.path = path
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open a state for reading; ``None``: there is none (yet).

        Raises:
            StateError: it cannot be read, or is of another version.
        """
        try:
            path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(_unreadable(path, error)) from error
        if not os.access(path, os.R_OK):
            raise StateError(_unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES))))
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
            )
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            except sqlite3.Error:
                connection.close()
                raise
        except sqlite3.Error as error:
            message = f"{path}: the relay's state cannot be read: {error}"
            raise StateError(message) from error
        if version != SCHEMA_VERSION:
            connection.close()
            message = f"{path}: the relay's state is of version {version}, and this is for version {SCHEMA_VERSION}"
            raise StateError(message)
        return cls(connection, path)

    def close(self) -> None:
        """Let it go."""
        with self._lock:
            self._connection.close()

    def copy(self, token: str) -> KnownCopy | None:
        """Return what is known of a token; ``None``: nothing."""
        found = self._copies("WHERE token = ?", (token,))
        return found[0] if found else None

    def copies(
        self, *, state: CopyState | None = None, fate: Fate | None = None, message_id: str | None = None
    ) -> list[KnownCopy]:
        """Return the copies of a state, of a fate, of a message: the oldest first."""
        wanted = {"state": state, "fate": fate, "message_id": message_id}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given)
        order = "ORDER BY coalesce(decided_at, seen_at), token"
        return self._copies(f"WHERE {where} {order}" if where else order, tuple(given.values()))

    def count(self, *, state: CopyState, fate: str = "", since: float | None = None) -> int:
        """Return how many copies are in a state, of those decided since a time if one is given."""
        sql = "SELECT count(*) FROM copies WHERE state = ? AND fate = ?"
        if since is None:
            return int(self._all(sql, (state, fate))[0][0])
        return int(self._all(f"{sql} AND decided_at >= ?", (state, fate, since))[0][0])

    def oldest(self, state: CopyState = "waiting") -> float | None:
        """Return when the oldest copy of a state was decided, or else first seen."""
        sql = "SELECT min(coalesce(decided_at, seen_at)) FROM copies WHERE state = ?"
        found: float | None = self._all(sql, (state,))[0][0]
        return found

    def last_seen(self) -> float | None:
        """Return when a token that had not been seen before last came."""
        found: float | None = self._all("SELECT max(seen_at) FROM copies", ())[0][0]
        return found

    def record(self, message: int | None) -> dict[str, Any] | None:
        """Return the decision's line of the audit, for a copy's ``message``; ``None``: it is not kept, or no more."""
        found = self._all("SELECT record FROM messages WHERE id = ?", (message,))
        return cast("dict[str, Any]", json.loads(zlib.decompress(found[0][0]))) if found else None

    def expansion(self, message: int | None) -> str | None:
        """Return what :meth:`RelayState.store_expansion` stored, for a copy's ``message``."""
        found = self._all("SELECT expansion FROM messages WHERE id = ?", (message,))
        return cast("str | None", found[0][0]) if found else None

    def _copies(self, where: str, values: Sequence[object]) -> list[KnownCopy]:
        return [_copy(row) for row in self._all(f"SELECT {_COLUMNS} FROM copies {where}", values)]  # noqa: S608 - ours

    def _all(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                message = f"{self.path}: the relay's state cannot be read: {error}"
                raise StateError(message) from error


def _unreadable(path: Path, error: OSError) -> str:
    why = f"{path}: the relay's state cannot be read: {error.strerror}"
    return f"{why}; {who_may(path, READ)}" if isinstance(error, PermissionError) else why


def _copy(row: tuple[Any, ...]) -> KnownCopy:
    named: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return KnownCopy(**{**named, "classes": tuple(named["classes"].split())})
