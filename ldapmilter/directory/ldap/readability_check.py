"""Checks that one server lets the policy be read, on a thread of its own, again and again.

Nothing that a server says is believed before it was checked, nor when the last check is older than
:data:`BELIEVED_FOR`. The thread checks ahead of that time, so that mail does not wait for it; only
the first answers, and the first account and domain that are seen, do.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import And, Equal, Present
from ldapmilter.directory.ldap.exchange import NO_SUCH_OBJECT, HidesRights, Refused, ServerFailed
from ldapmilter.directory.ldap.readability import (
    ALWAYS_THERE,
    SAMPLE_MARKS,
    asks_for_rights,
    kind_of,
    unreadable,
    unreadable_rights,
    value_for,
    why_hidden,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.ldap.connection import Connection

_log = logging.getLogger(__name__)

BELIEVED_FOR = 60.0
"""Seconds for which a check lets answers be believed."""
_CHECK_EVERY = 45.0
"""Seconds after which the next check begins, while answers are still believed."""
_CHECK_AGAIN = 2.0
"""The same for a server that does not let the policy be read."""
_CHECK_SECONDS = 10.0
"""How long one check may take."""
_SAMPLE_KINDS = len(ALWAYS_THERE) + 2


class ReadabilityCheck:
    """Whether the answers of one server can be believed."""

    def __init__(
        self,
        uri: str,
        bind_dn: str,
        attributes: Sequence[str],
        clock: Callable[[], float],
        borrow: Callable[[float], AbstractContextManager[Connection]],
    ) -> None:
        """Check nothing yet; the thread starts with the first answer.

        Args:
            uri: the server's, for the log.
            bind_dn: the identity that asks.
            attributes: what has to be readable; nothing: every answer is believed.
            clock: monotonic seconds.
            borrow: lends a connection for so many seconds; raises ``ServerFailed``.
        """
        self.problem: str | None = None
        """What may not be read, in words."""
        self._hidden_rights: str | None = None
        """What of rights to send may not be read, in words: no reason to disbelieve any other answer."""
        self._uri = uri
        self._bind_dn = bind_dn
        self._attributes = attributes
        self._clock = clock
        self._borrow = borrow
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._samples = dict(ALWAYS_THERE)
        """One entry of each kind, on which readability is checked."""
        self._checked_kinds: set[str] = set()
        self._checked_at = -math.inf
        self._failure: str | None = None
        """Why the last check could not be made."""
        self._wanted = False
        self._running = False
        self._rounds = 0

    def believe(self, entries: Sequence[RawEntry], seconds: float, asked: Collection[str] = ()) -> None:
        """Return when an answer can be believed; wait for a check where there is none yet.

        Args:
            entries: the answer.
            seconds: how long to wait.
            asked: the attributes that were asked for.

        Raises:
            HidesRights: it is about rights to send, and not all that they are made of may be read here.
            ServerFailed: less may be read here than policy needs, or it could not be found out in time.
        """
        if not self._attributes:
            return
        self._believe(entries, seconds)
        with self._changed:
            if self._hidden_rights is not None and asks_for_rights(asked):
                if self._clock() - self._checked_at >= _CHECK_AGAIN:
                    self._want()
                raise HidesRights(self._hidden_rights)

    def _believe(self, entries: Sequence[RawEntry], seconds: float) -> None:
        with self._changed:
            self._meet(entries)
            if self.problem is None and self._stands():
                if self._failure is not None and self._clock() - self._checked_at >= _CHECK_EVERY:
                    self._want()
                return
            if self.problem is not None and self._clock() - self._checked_at < _CHECK_AGAIN:
                raise ServerFailed(self.problem)
            self._want()
            # A check that is under way began before this answer: it may not cover it.
            enough = self._rounds + (2 if self._running else 1)
            self._changed.wait_for(
                lambda: self.problem is not None or self._stands() or self._rounds >= enough, timeout=seconds
            )
            if self.problem is not None:
                raise ServerFailed(self.problem)
            if not self._stands():
                raise ServerFailed(self._failure or "whether the policy may be read was not answered in time")

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _meet(self, entries: Sequence[RawEntry]) -> None:
        """Take a sample of every kind that is new."""
        if len(self._samples) < _SAMPLE_KINDS:
            found = {kind: entry.dn for entry in entries if (kind := kind_of(entry)) is not None}
            for kind, dn in found.items():
                self._samples.setdefault(kind, dn)

    def _stands(self) -> bool:
        fresh = self._clock() - self._checked_at < BELIEVED_FOR
        return fresh and self._samples.keys() <= self._checked_kinds

    def _want(self) -> None:
        self._wanted = True
        self._changed.notify_all()
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._watch, name="readability", daemon=True)
            self._thread.start()

    def _next_check(self) -> float:
        """Return when to check unasked; a check that could not be made waits for the next answer."""
        if self._failure is not None:
            return math.inf
        return self._checked_at + (_CHECK_AGAIN if self.problem is not None else _CHECK_EVERY)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not (self._stopped or self._wanted or self._clock() >= self._next_check()):
                    wait = self._next_check() - self._clock()
                    self._changed.wait(None if math.isinf(wait) else wait)
                if self._stopped:
                    return
                self._wanted, self._running = False, True
                began, samples = self._clock(), dict(self._samples)
                age = began - self._checked_at
                whole = self.problem is not None or self._hidden_rights is not None or age >= _CHECK_EVERY
                if not whole:
                    samples = {kind: dn for kind, dn in samples.items() if kind not in self._checked_kinds}
            self._check(samples, began, whole=whole)

    def _check(self, samples: dict[str, str], began: float, *, whole: bool) -> None:
        """Make one check: of all samples, or of kinds that are new."""
        failure: str | None = None
        problems: list[str] = []
        rights: list[str] = []

        def compare(dn: str, attribute: str) -> int:
            return connection.compare(dn, attribute, value_for(attribute))

        try:
            with self._borrow(_CHECK_SECONDS) as connection:
                if whole:
                    _replace_gone(samples, connection)
                problems = unreadable(samples, self._attributes, compare)
                rights = unreadable_rights(samples, compare)
                if problems:
                    why = why_hidden(self._bind_dn, self._attributes, samples.values(), connection.compare)
                    problems += [why, f"install-schema --uri {self._uri} mends that"]
        except (ServerFailed, Refused) as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - else the checks would end
            _log.exception("%s: whether the policy may be read was not found out", self._uri)
            failure = repr(error)
        with self._changed:
            self._running = False
            self._rounds += 1
            self._failure = failure
            if failure is None:
                self._samples.update(samples)
                self._checked_kinds |= samples.keys()
                if whole:
                    self._checked_at = began
                self.problem = "; ".join(problems) or None
                if whole or rights:
                    self._hidden_rights = "; ".join(rights) or None
            self._changed.notify_all()


def _replace_gone(samples: dict[str, str], connection: Connection) -> None:
    """Take another entry of a kind when the sample was deleted; if none can be seen, they are hidden."""
    for kind, object_class in (("domain", "zimbraDomain"), ("account", "zimbraAccount")):
        dn = samples.get(kind)
        if dn is None or connection.compare(dn, "objectClass", object_class) != NO_SUCH_OBJECT:
            continue
        wanted = And((Equal("objectClass", object_class), Present(SAMPLE_MARKS[kind])))
        found = connection.search("", "sub", wanted, ("objectClass", SAMPLE_MARKS[kind]), most=1)
        samples.update((kind, entry.dn) for entry in found if kind_of(entry) == kind)
