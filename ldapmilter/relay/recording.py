"""How copies have ended: brought to the audit, or owed to it while it cannot be written."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from ldapmilter.errors import AuditError
from ldapmilter.plain import plain
from ldapmilter.relay.end_line import end_line
from ldapmilter.relay.ends import FATES
from ldapmilter.relay.replies import DONE, NO_RECORD
from ldapmilter.relay.stored import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.ends import End, EndLine
    from ldapmilter.relay.lag import Lag
    from ldapmilter.relay.stored import KnownCopy

_log = logging.getLogger(__name__)

_NO_FACTS: Final[frozenset[End]] = frozenset({"repeat", "discarded"})
"""Ends that are nothing unless they are recorded: who asked to discard a copy was told that it is not."""


class Recording:
    """Records ends; for any number of threads."""

    def __init__(
        self,
        write: Callable[[Sequence[EndLine]], Sequence[AuditError | None]],
        lag: Lag,
        *,
        host: str,
        clock: Callable[[], float],
    ) -> None:
        """Begin with nothing.

        Args:
            write: brings lines of the audit to disk; returns for each ``None``, or why it is not there.
            lag: is told what the state does not have yet.
            host: this host's name, for the audit.
            clock: seconds since the epoch.
        """
        self.counts = {"accepted": 0, "refused": 0, "kept": 0, "repeat": 0, "deferred": 0}
        """What became of copies since the start."""
        self.problem: str | None = None
        """Why ends cannot be recorded, if so; names no address."""
        self._write = write
        self._lag = lag
        self._host = host
        self._clock = clock
        self._lock = threading.Lock()
        self._unwritten: dict[str, EndLine] = {}
        """Ends that are facts, while the audit could not be written: a copy that comes again is not handed on again."""

    def end(
        self, copy: KnownCopy, state: End, answer: ServerAnswer | None = None, why: str = "", target: str = ""
    ) -> str:
        """Record how a copy has ended; return the reply for Postfix.

        Args:
            copy: what was known of it.
            state: how it has ended.
            answer: the server's, if one settled it.
            why: what the answer does not tell.
            target: another one than the copy's.
        """
        return self.record([self.line(copy, state, answer, why, target)])[0]

    def line(
        self, copy: KnownCopy, state: End, answer: ServerAnswer | None = None, why: str = "", target: str = ""
    ) -> EndLine:
        """Return the line of an end (:meth:`end`), to be recorded with others (:meth:`record`)."""
        return end_line(copy, state, answer, self._clock(), host=self._host, target=target or copy.target, why=why)

    def record_owed(self, token: str, *states: End) -> str | None:
        """Record an end that is a fact and could not be recorded; return the reply, ``None``: there is none.

        Args:
            token: the copy's.
            states: only if it is one of these; any, unless given.
        """
        owed = self._unwritten.get(token)
        return self.record([owed])[0] if owed is not None and (not states or owed["state"] in states) else None

    def owed(self) -> dict[str, EndLine]:
        """Return the ends that are facts and not in the audit, by token."""
        return dict(self._unwritten)

    def record(self, lines: Sequence[EndLine]) -> list[str]:
        """Bring lines of ends to disk; return the replies."""
        return [self._recorded(line, problem) for line, problem in zip(lines, self._write(lines), strict=True)]

    def _recorded(self, line: EndLine, problem: AuditError | None) -> str:
        token = line["token"]
        if problem is not None:
            if line["state"] not in _NO_FACTS:
                self._unwritten[token] = line
            return self.cannot_record(problem)
        self._unwritten.pop(token, None)
        self.problem = None
        if line["state"] in self.counts:
            self.count(line["state"])
        if (fate := FATES[line["state"]]) is not None:
            self._lag.ended(token)
        if fate == "kept":
            self.catch_up()  # it is looked for at once
        return DONE

    def catch_up(self) -> None:
        """Have the state catch up with the audit; what cannot be done now is done later, and loud."""
        try:
            self._lag.catch_up()
        except (AuditError, StateError) as error:
            self.cannot_record(error)

    def count(self, what: str) -> None:
        """Count what became of a copy."""
        with self._lock:
            self.counts[what] += 1

    def cannot_record(self, error: Exception) -> str:
        """Say why copies are deferred, once; return the reply."""
        if (problem := plain(str(error))) != self.problem:
            _log.error("copies are deferred, or will be: %s", problem)
        self.problem = problem
        return NO_RECORD
