"""What a cold decision costs beside ldap3 alone: the searches that it sends are noted, and sent again as they were.

ldap3 sends them over one connection that is open already, one after the other, and has every entry converted as it
does for whoever uses it. Neither remembers anything, derives anything, or confirms an answer by a Compare.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import ldap3
from msgspec import Struct, field

from benchmarks.report import Target, milliseconds, number, ratios
from ldapmilter.directory.backend.store import PAGE_SIZE
from ldapmilter.directory.ldap.connection import Connection
from ldapmilter.directory.ldap.decoding import next_cookie
from tests.support.filter_text import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.report import Report
    from ldapmilter.directory.ldap.exchange import Question
    from tests.support.slapd import Slapd

LIST_SECONDS: Final = Target(2.5, at_least=False)
ONE, FIFTY, LIST = (Target(bound, at_least=False) for bound in (1.3, 1.5, 1.5))
_SCOPES: Final[dict[str, Any]] = {"base": ldap3.BASE, "one": ldap3.LEVEL, "sub": ldap3.SUBTREE}


class Noted(Struct):
    """What went over the wire for one decision."""

    questions: list[tuple[Question, bool]] = field(default_factory=list)
    """Each search, and whether it asked for pages; further pages of one are not noted again."""
    compares: int = 0
    compare_seconds: float = 0.0


@contextlib.contextmanager
def noting() -> Iterator[Noted]:
    """Note what is asked meanwhile, in any thread of this process."""
    noted = Noted()
    ask, compare = Connection.ask, Connection.compare

    def noting_ask(self: Connection, question: Question, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        page = options.get("page")
        if not page:
            noted.questions.append((question, page is not None))
        return ask(self, question, *arguments, **options)

    def timed_compare(self: Connection, *arguments: Any, **options: Any) -> int:
        began = time.perf_counter()
        try:
            return compare(self, *arguments, **options)
        finally:
            noted.compares += 1
            noted.compare_seconds += time.perf_counter() - began

    Connection.ask, Connection.compare = noting_ask, timed_compare  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        Connection.ask, Connection.compare = ask, compare  # type: ignore[method-assign]


class RawLdap3:
    """ldap3 with nothing around it."""

    def __init__(self, slapd: Slapd) -> None:
        server = ldap3.Server(slapd.uri, get_info=ldap3.NONE)
        self._ldap = ldap3.Connection(
            server, slapd.bind_dn, slapd.password, auto_bind=True, check_names=False, return_empty_attributes=False
        )

    def seconds(self, questions: Sequence[tuple[Question, bool]]) -> float:
        """Return how long it takes to send searches and to have all their entries."""
        began = time.perf_counter()
        for question, paged in questions:
            cookie: bytes | None = None
            while True:
                paging = {"paged_size": PAGE_SIZE, "paged_cookie": cookie} if paged else {}
                self._ldap.search(
                    question.base,
                    render(question.search_filter),
                    _SCOPES[question.scope],
                    attributes=list(question.attributes),
                    **paging,
                )
                cookie = next_cookie(self._ldap.result) if paged else None
                if not cookie:
                    break
        return time.perf_counter() - began

    def close(self) -> None:
        """End the connection."""
        self._ldap.unbind()


def measure(
    slapd: Slapd, report: Report, cold: dict[str, tuple[Callable[[random.Random], float], int, Target]]
) -> None:
    """Measure cold decisions and raw searches in turn.

    Args:
        slapd: the directory.
        report: takes the table.
        cold: by what it is called, what takes a cold decision and returns its seconds, how often, and the target.
    """
    rows = []
    raw = RawLdap3(slapd)
    try:
        for name, (decide, times, target) in cold.items():
            choice = random.Random(2)
            own, other, compares, searches, compared = [], [], [], [], []
            own_cpu, other_cpu = [], []
            for _ in range(times):
                began = time.process_time()
                with noting() as noted:
                    own.append(decide(choice))
                between = time.process_time()
                other.append(raw.seconds(noted.questions))
                own_cpu.append(between - began)
                other_cpu.append(time.process_time() - between)
                compares.append(noted.compares)
                searches.append(len(noted.questions))
                compared.append(noted.compare_seconds / own[-1])
            spread = ratios(own, other)
            rows.append(
                [
                    name,
                    str(spread),
                    target.verdict(spread.median),
                    str(ratios(own_cpu, other_cpu)),
                    milliseconds(statistics.median(own)),
                    milliseconds(statistics.median(other)),
                    number(statistics.median(searches)),
                    number(statistics.median(compares)),
                    f"{100 * statistics.median(compared):.0f} %",
                ]
            )
    finally:
        raw.close()
    report.say("A cold decision against ldap3 alone, which sends the same searches over one open connection:")
    figures = ("ldapmilter", "ldap3", "searches", "compares", "time in compares")
    report.table(("cold", "x ldap3", "target", "x ldap3, CPU", *figures), rows)
