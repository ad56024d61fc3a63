"""Checks that one server lets the policy be read, on a thread of its own, again and again.

Nothing that a server says is believed before it was checked, nor when the last check is older than
:data:`BELIEVED_FOR`. The thread checks ahead of that time, so that mail does not wait for it; only
the first answers, and the first account and domain that are seen, do. What the last check has found is
confirmed after every answer (:mod:`.confirmation`): where it does not hold any more, the answer waits
for another check.

Samples stand for their kind: an access rule that hides single entries, or one domain of several, is not found.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import And, Equal, Present
from ldapmilter.directory.backend.names import GLOBAL_GRANT_DN
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.confirmation import NOT_ANSWERED, Confirmation, Expected
from ldapmilter.directory.ldap.exchange import NO_SUCH_OBJECT, HidesRights, Refused, ServerFailed
from ldapmilter.directory.ldap.readability import (
    ALWAYS_THERE,
    GLOBAL_GRANT,
    LOOKED_AT,
    SAMPLE_MARKS,
    asks_for_rights,
    asserted,
    kind_of,
    kinds_of,
    look,
    needed,
    unreadable,
    unreadable_rights,
    unsearchable,
    value_for,
    why_hidden,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.exchange import Question
    from ldapmilter.directory.ldap.pool import ConnectionPool

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
        pool: ConnectionPool,
    ) -> None:
        """Check nothing yet; the thread starts with the first answer.

        Args:
            uri: the server's, for the log.
            bind_dn: the identity that asks.
            attributes: what has to be readable; nothing: every answer is believed.
            clock: monotonic seconds.
            pool: the connections to the server.
        """
        self.problem: str | None = None
        """What may not be read, in words."""
        self._hidden_rights: str | None = None
        """What of rights to send may not be read, in words: no reason to disbelieve any other answer."""
        self._uri = uri
        self._bind_dn = bind_dn
        self._attributes = attributes
        self._clock = clock
        self._pool = pool
        self._confirmation = Confirmation(self._ask)
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
        self._all_wanted = False
        self._running = False
        self._rounds = 0

    def believe(self, entries: Sequence[RawEntry], seconds: float, question: Question | None = None) -> None:
        """Return when an answer can be believed; wait for a check where there is none yet.

        Args:
            entries: the answer.
            seconds: how long to wait.
            question: what was asked; ``None``: nothing, and there is nothing to be confirmed.

        Raises:
            HidesRights: it is about rights to send, and not all that they are made of may be read here.
            ServerFailed: less may be read here than policy needs, or it could not be found out in time.
        """
        if not self._attributes:
            return
        deadline = Deadline.after(seconds, self._clock)
        self._believe(entries, deadline)
        if question is None:
            return
        if not self._confirmation.holds(self._kinds(question), deadline):
            self._believe((), deadline, anew=True)
        with self._changed:
            if self._hidden_rights is not None and asks_for_rights(question.attributes):
                if self._clock() - self._checked_at >= _CHECK_AGAIN:
                    self._want()
                raise HidesRights(self._hidden_rights)

    def _believe(self, entries: Sequence[RawEntry], deadline: Deadline, *, anew: bool = False) -> None:
        """Return when an answer can be believed by the last check, or by one that is made ``anew``."""
        with self._changed:
            self._meet(entries)
            if self.problem is None and self._stands() and not anew:
                if self._failure is not None and self._clock() - self._checked_at >= _CHECK_EVERY:
                    self._want()
                return
            if self.problem is not None and self._clock() - self._checked_at < _CHECK_AGAIN:
                raise ServerFailed(self.problem)
            self._all_wanted = self._all_wanted or anew
            self._want()
            # A check that is under way began before this answer: it may not cover it.
            enough = self._rounds + (2 if self._running else 1)
            self._changed.wait_for(
                lambda: self.problem is not None or (self._stands() and not anew) or self._rounds >= enough,
                timeout=deadline.remaining(),
            )
            if self.problem is not None:
                raise ServerFailed(self.problem)
            if not (self._rounds >= enough and self._failure is None if anew else self._stands()):
                raise ServerFailed(self._failure or NOT_ANSWERED)

    def _kinds(self, question: Question) -> list[str]:
        """Return the kinds of entries that an answer is confirmed on: those of which there are samples."""
        expected = self._confirmation.expected
        return [kind for kind in kinds_of(question) if kind in expected] or list(expected)

    def _ask(self, expected: Expected, seconds: float) -> int:
        """Return the code of a Compare that asserts all that is expected; see :class:`Confirmation`."""

        def compare(connection: Connection, allowed: float) -> int:
            with connection.within(allowed):
                code = look(connection, expected.dn, expected.attributes)
            self._pool.give_back(connection)
            return code

        return self._pool.ask(compare, seconds)

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
                whole = self._all_wanted or self._is_bad() or began - self._checked_at >= _CHECK_EVERY
                self._all_wanted = False
                if not whole:
                    samples = {kind: dn for kind, dn in samples.items() if kind not in self._checked_kinds}
            self._check(samples, began, whole=whole)

    def _is_bad(self) -> bool:
        return self.problem is not None or self._hidden_rights is not None

    def _check(self, samples: dict[str, str], began: float, *, whole: bool) -> None:
        """Make one check: of all samples, or of kinds that are new."""
        failure: str | None = None
        problems: list[str] = []
        rights: list[str] = []
        expected: dict[str, Expected] = {}

        try:
            with self._pool.borrow(_CHECK_SECONDS) as connection:
                if whole:
                    _replace_gone(samples, connection)
                problems, rights, expected = self._look(samples, connection)
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
                self._confirmation.expected = expected if whole else {**self._confirmation.expected, **expected}
                if whole:
                    self._checked_at = began
                self.problem = "; ".join(problems) or None
                if whole or rights:
                    self._hidden_rights = "; ".join(rights) or None
            self._changed.notify_all()

    def _look(
        self, samples: Mapping[str, str], connection: Connection
    ) -> tuple[list[str], list[str], dict[str, Expected]]:
        """Return what may not be read, of policy and of rights to send, and what may."""
        codes: dict[tuple[str, str], int] = {}

        def compare(dn: str, attribute: str) -> int:
            code = codes[dn, attribute] = connection.compare(dn, attribute, value_for(attribute))
            return code

        rights = unreadable_rights(samples, compare)
        expected = {kind: Expected(dn, needed(kind, self._attributes)) for kind, dn in samples.items()}
        for kind, dn in (*samples.items(), (GLOBAL_GRANT, GLOBAL_GRANT_DN)):
            names = tuple(name for (where, name), code in codes.items() if where == dn and code in LOOKED_AT)
            if names:
                expected[kind] = Expected(dn, (*(expected[kind].attributes if kind in expected else ()), *names))
        answers = asserted(samples, self._attributes, connection)
        suspects = {kind: samples[kind] for kind, code in answers.items() if code not in LOOKED_AT}
        problems = unreadable(suspects, self._attributes, compare) or unsearchable(samples, answers)
        if problems:
            why = why_hidden(self._bind_dn, self._attributes, samples.values(), connection.compare)
            problems += [why, f"install-schema --uri {self._uri} mends that"]
        return problems, rights, expected


def _replace_gone(samples: dict[str, str], connection: Connection) -> None:
    """Take another entry of a kind when the sample was deleted; if none can be seen, they are hidden."""
    for kind, object_class in (("domain", "zimbraDomain"), ("account", "zimbraAccount")):
        dn = samples.get(kind)
        if dn is None or connection.compare(dn, "objectClass", object_class) != NO_SUCH_OBJECT:
            continue
        wanted = And((Equal("objectClass", object_class), Present(SAMPLE_MARKS[kind])))
        found = connection.search("", "sub", wanted, ("objectClass", SAMPLE_MARKS[kind]), most=1)
        samples.update((kind, entry.dn) for entry in found if kind_of(entry) == kind)
