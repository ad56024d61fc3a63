"""What is known of every copy that travels by the relay, and its one writer.

It holds nothing that the audit does not say, but for attempts that have not led to an end. So it may be lost: whoever
finds none, or one that is damaged or of another version, begins with an empty one and reads the audit again.

The audit is on disk before Postfix is answered; this is not (``synchronous = NORMAL``: whole after a crash, perhaps
without the last moments, which the audit has).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.relay.ends import end_of
from ldapmilter.relay.state_file import open_state
from ldapmilter.relay.state_lines import UNKNOWN, drop_messages, take_decision, take_end
from ldapmilter.relay.stored import FilePosition, StateError, StateReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ldapmilter.relay.stored import KnownCopy

_log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0
"""For which whoever writes at the end is waited for."""
_SEEN: Final = (
    "UPDATE copies SET seen_at = coalesce(seen_at, ?), state = 'waiting' WHERE token = ? AND state != 'ended'"
)


class RelayState(StateReader):
    """The one writer's state, for any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open it, or begin one.

        Raises:
            StateError: that cannot be.
        """
        super().__init__(open_state(path), path)
        self._identity = self._named()
        self._expansions: dict[int, str] = {}
        """Not in the file yet."""

    def close(self) -> None:
        """Let it go; where a disk that does not answer has it, after a moment without it: the end closes it."""
        if not self._lock.acquire(timeout=CLOSE_SECONDS):
            return
        try:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        finally:
            self._lock.release()

    def is_there(self) -> bool:
        """Whether the file is the one that was opened, and whole as far as is known."""
        return self._identity is not None and self._identity == self._named()

    def check(self) -> bool:
        """Begin anew where the file was removed, replaced or damaged; return whether that was so.

        Raises:
            StateError: no other can be begun.
        """
        with self._lock:
            if self.is_there():
                return False
            _log.error("%s: the relay's state was removed: it is made again from the audit", self.path)
            self._begin_anew()
            return True

    # -- what the audit says ----------------------------------------------------------------

    def take(self, lines: Iterable[Mapping[str, Any]], read: FilePosition | None = None) -> None:
        """Take over lines of the audit, and how far it has been read, in one step; the same lines again do no harm.

        Raises:
            StateError: nothing was taken over.
        """
        with self._changing() as connection:
            for line in lines:
                if line.get("event") is None:
                    take_decision(connection, line)
                elif end_of(line) is not None:
                    take_end(connection, line)
            if read is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                    (read.device, read.inode, read.octets, read.head),
                )

    def positions(self) -> list[FilePosition]:
        """Return how far which files of the audit have been read."""
        rows = self._all("SELECT device, inode, octets, head FROM files", ())
        return [FilePosition(device=row[0], inode=row[1], octets=row[2], head=row[3]) for row in rows]

    def forget_files(self, gone: Iterable[FilePosition]) -> None:
        """Forget files of the audit that are no more."""
        with self._changing() as connection:
            for file in gone:
                connection.execute("DELETE FROM files WHERE device = ? AND inode = ?", (file.device, file.inode))

    # -- what happens to copies -------------------------------------------------------------

    def seen(self, token: str, now: float) -> KnownCopy:
        """Note that Postfix presents a copy; return what is known of it now.

        Raises:
            StateError: that cannot be noted.
        """
        with self._changing() as connection:
            connection.execute(UNKNOWN, (token,))
            connection.execute(_SEEN, (now, token))
        found = self.copy(token)
        if found is None:
            message = f"{self.path}: the relay's state does not keep what is written to it"
            raise StateError(message)
        return found

    def seen_all(self, presented: Mapping[str, float]) -> None:
        """Note when Postfix presented copies that are known.

        Raises:
            StateError: that cannot be noted.
        """
        with self._changing() as connection:
            connection.executemany(_SEEN, [(at, token) for token, at in presented.items()])

    def tried(self, token: str, now: float, *, server: str, code: int | None, reply: str, why: str) -> None:
        """Note an attempt that did not get a copy through, which is so seen.

        Raises:
            StateError: that cannot be noted.
        """
        with self._changing() as connection:
            connection.execute(_SEEN, (now, token))
            connection.execute(
                "UPDATE copies SET attempts = attempts + 1, tried_at = ?, server = ?, code = ?, reply = ?, why = ?"
                " WHERE token = ? AND state != 'ended'",
                (now, server, code, reply, why, token),
            )

    def reopen(self, token: str) -> None:
        """Let a copy wait that another message has ended: the one that was decided has come.

        Raises:
            StateError: that cannot be noted.
        """
        with self._changing() as connection:
            connection.execute(
                "UPDATE copies SET state = 'waiting', fate = '', ended_at = NULL, kept_at = NULL,"
                " other_message_id = NULL WHERE token = ? AND other_message_id IS NOT NULL",
                (token,),
            )

    def store_expansion(self, message: int, text: str) -> None:
        """Store who the recipients of a message lead to; it goes to the file with whatever is written next."""
        with self._lock:
            self._expansions[message] = text

    def expansion(self, message: int | None) -> str | None:
        """Return what :meth:`store_expansion` stored, for a copy's ``message``.

        Raises:
            StateError: the state cannot be read.
        """
        with self._lock:
            return self._expansions.get(message or 0) or super().expansion(message)

    def forget(self, before: float) -> int:
        """Forget what ended, or was decided and never seen, before a time; what is kept stays. Return how many."""
        with self._changing() as connection:
            gone = connection.execute(
                "DELETE FROM copies WHERE (state = 'ended' AND fate != 'kept' AND ended_at < ?)"
                " OR (state = 'decided' AND decided_at < ?)",
                (before, before),
            ).rowcount
            drop_messages(connection)
        return gone

    # -- the file ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Change all of something, or nothing.

        Raises:
            StateError: it cannot be changed.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._connection.executemany(
                        "UPDATE messages SET expansion = ? WHERE id = ?",
                        [(text, message) for message, text in self._expansions.items()],
                    )
                    yield self._connection
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
                self._expansions.clear()
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                if not isinstance(error, sqlite3.OperationalError):
                    self._identity = None  # damaged: the next look begins anew
                message = f"{self.path}: the relay's state cannot be written: {error}"
                raise StateError(message) from error

    def _named(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _begin_anew(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._expansions.clear()  # another file has other numbers
        self._connection = open_state(self.path)
        self._identity = self._named()
