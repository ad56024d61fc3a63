"""One server's answers are believed by checks: also by one that a proxy answers, which knows no assertions."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pytest

from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.ldap.exchange import Question, ServerFailed
from ldapmilter.directory.ldap.readability_check import ReadabilityCheck
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ldapmilter.directory.ldap.pool import ConnectionPool

T = TypeVar("T")

ABSENT, HIDDEN, NO_ASSERTIONS, ASSERTION_FAILED = 16, 50, 12, 122
ARCHIVE, LEGAL = "ldapMilterArchiveBcc", "ldapMilterLegalBcc"
ASKED: Final = Question(base="", scope="sub", search_filter=Equal("uid", "ann"), attributes=("uid",))


class Server:
    """A server, its pool and its connection in one."""

    def __init__(self, *, assertions: bool) -> None:
        self.hides: set[str] = set()
        self.compares = 0
        self._assertions = assertions

    def compare(self, _dn: str, attribute: str, _value: str, *, asserted: Sequence[str] = ()) -> int:
        self.compares += 1
        if asserted and not self._assertions:
            return NO_ASSERTIONS
        if attribute in self.hides:
            return HIDDEN
        return ASSERTION_FAILED if self.hides & set(asserted) else ABSENT

    def search(self, *_arguments: Any, **_options: Any) -> list[Any]:
        return []

    @contextlib.contextmanager
    def within(self, _seconds: float) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def borrow(self, _seconds: float) -> Iterator[Server]:
        yield self

    def ask(self, ask: Callable[[Server, float], T], seconds: float) -> T:
        return ask(self, seconds)

    def give_back(self, _connection: Server) -> None: ...


@contextlib.contextmanager
def checked(server: Server) -> Iterator[ReadabilityCheck]:
    pool = cast("ConnectionPool", server)
    check = ReadabilityCheck("ldap://a", "uid=m,cn=appaccts,cn=zimbra", (ARCHIVE, LEGAL), time.monotonic, pool)
    yield check
    check.stop()


@pytest.mark.parametrize("assertions", [True, False])
@pytest.mark.parametrize("attribute", [ARCHIVE, LEGAL, "cn"])
def test_what_is_hidden_from_the_start_is_found(attribute: str, *, assertions: bool) -> None:
    server = Server(assertions=assertions)
    server.hides.add(attribute)
    with checked(server) as check, pytest.raises(ServerFailed, match=attribute):
        check.believe((), HANG, ASKED)


@pytest.mark.parametrize("assertions", [True, False])
def test_each_answer_costs_little(*, assertions: bool) -> None:
    server = Server(assertions=assertions)
    with checked(server) as check:
        check.believe((), HANG, ASKED)
        before = server.compares
        for _ in range(10):
            check.believe((), HANG, ASKED)
        kinds = 3  # before an account is seen: COS, global config and global grant
        assert server.compares - before == 10 * kinds * (1 if assertions else 2)


def test_what_becomes_hidden_is_found_by_the_next_answer() -> None:
    server = Server(assertions=True)
    with checked(server) as check:
        check.believe((), HANG, ASKED)
        server.hides.add(LEGAL)
        with pytest.raises(ServerFailed, match=LEGAL):
            check.believe((), HANG, ASKED)
