"""An answer counts when a question that began after it was answered as expected; those who wait share one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap.assertion import assertion, set_or_not
from ldapmilter.directory.ldap.confirmation import Confirmation, Expected
from ldapmilter.directory.ldap.exchange import ServerFailed
from tests.support.filter_text import render
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT, NO_ENTRY, HIDDEN, ASSERTION_FAILED = 16, 32, 50, 122
ANN: Final = Expected("uid=ann,ou=people,dc=example,dc=test", ("ldapMilterLegalBcc", "zimbraCOSId"))
COS: Final = Expected("cn=default,cn=cos,cn=zimbra", ("ldapMilterLegalBcc",))


def ample() -> Deadline:
    return Deadline.after(HANG, time.monotonic)


class Server:
    """Answers what it is told to, when it is told to."""

    def __init__(self, code: int = ABSENT) -> None:
        self.code = code
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def ask(self, expected: Expected, _seconds: float) -> int:
        self.asked.append(expected.dn)
        code = self.code
        assert self.may_answer.wait(HANG)
        return code


def confirmation(server: Server) -> Confirmation:
    made = Confirmation(server.ask)
    made.expected = {"account": ANN, "COS": COS}
    return made


def in_thread(work: Callable[[], bool], found: list[object]) -> threading.Thread:
    def run() -> None:
        try:
            found.append(work())
        except ServerFailed as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("code", "holds"),
    [(ABSENT, True), (5, True), (6, True), (NO_ENTRY, False), (HIDDEN, False), (ASSERTION_FAILED, False)],
)
def test_what_an_answer_says(code: int, *, holds: bool) -> None:
    assert confirmation(Server(code)).holds(["account"], ample()) is holds


def test_every_answer_asks_for_its_kinds_only() -> None:
    server = Server()
    made = confirmation(server)
    made.holds(["account"], ample())
    made.holds(["COS", "account"], ample())
    assert server.asked == [ANN.dn, COS.dn, ANN.dn]


def test_a_kind_of_which_nothing_is_known_does_not_hold() -> None:
    assert not confirmation(Server()).holds(["domain"], ample())


def test_who_waits_at_the_same_time_shares_a_question_that_began_after_their_answers() -> None:
    server = Server()
    made = confirmation(server)
    server.may_answer.clear()
    found: list[object] = []
    threads = [in_thread(lambda: made.holds(["account"], ample()), found)]
    wait_until(lambda: len(server.asked) == 1, "the first question")
    threads += [in_thread(lambda: made.holds(["account"], ample()), found) for _ in range(5)]
    wait_until(lambda: len(made._changed._waiters) == 5, "the others to wait")  # type: ignore[attr-defined]
    server.may_answer.set()
    for thread in threads:
        thread.join(HANG)
    assert found == [True] * 6
    assert len(server.asked) == 2  # the one under way began before the answers of the others came


def test_what_is_under_way_says_nothing_of_an_answer_that_came_later() -> None:
    server = Server()
    made = confirmation(server)
    server.may_answer.clear()
    found: list[object] = []
    first = in_thread(lambda: made.holds(["account"], ample()), found)
    wait_until(lambda: len(server.asked) == 1, "the first question")
    server.code = HIDDEN
    later: list[object] = []
    second = in_thread(lambda: made.holds(["account"], ample()), later)
    wait_until(lambda: len(made._changed._waiters) == 1, "the other to wait")  # type: ignore[attr-defined]
    server.may_answer.set()
    first.join(HANG)
    second.join(HANG)
    assert (found, later) == ([True], [False])


def test_nobody_waits_past_their_deadline() -> None:
    server = Server()
    made = confirmation(server)
    server.may_answer.clear()
    found: list[object] = []
    thread = in_thread(lambda: made.holds(["account"], ample()), found)
    wait_until(lambda: len(server.asked) == 1, "the first question")
    with pytest.raises(ServerFailed):
        made.holds(["account"], Deadline.after(0, time.monotonic))
    server.may_answer.set()
    thread.join(HANG)
    assert found == [True]


def test_a_question_that_fails_is_the_failure_of_who_asked_it_and_the_next_one_asks_anew() -> None:
    codes: list[int | None] = [None, ABSENT]

    def ask(_expected: Expected, _seconds: float) -> int:
        code = codes.pop(0)
        if code is None:
            message = "the connection broke"
            raise ServerFailed(message)
        return code

    made = Confirmation(ask)
    made.expected = {"account": ANN}
    with pytest.raises(ServerFailed, match="broke"):
        made.holds(["account"], ample())
    assert made.holds(["account"], ample())


def test_the_filter_is_true_only_where_all_attributes_may_be_searched_for() -> None:
    assert render(set_or_not(("zimbraId", "objectClass"))) == (
        "(&(|(entry=*)(!(entry=*)))(|(zimbraId=*)(!(zimbraId=*)))"
        "(|(objectClass=ldapMilterPolicy)(!(objectClass=ldapMilterPolicy))))"
    )


def test_the_filter_as_the_control_carries_it() -> None:
    """RFC 4511 section 4.5.1: and [0], or [1], not [2], present [7]."""
    entry = b"\x87\x05entry"
    either = b"\xa1\x10" + entry + b"\xa2\x07" + entry
    assert assertion(()) == b"\xa0\x12" + either
