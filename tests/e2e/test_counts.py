"""What a message costs, counted: packets, replies, octets, system calls, searches. The same on every machine.

A daemon whose cache is warm, and messages as Postfix would pass them. The bounds are what the protocol
costs at least, with a little room where an MTA or a libmilter may differ, none where a regression would hide.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.headers import HeaderModification
from ldapmilter.mta.transaction import Transaction, TransactionOutcome, Verdict
from ldapmilter.mta.wire import EVENTS, Action, Protocol, Stage
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import JOE, LEGAL_FROM, company
from tests.support.builders import account
from tests.support.daemon import Daemon
from tests.support.ports import wait_until
from tests.support.record import merge
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BOB: Final = "bob@example.test"
HENRY: Final = "henry@example.test"
KIM: Final = "kim@example.test"
MANY: Final = tuple(f"crowd-{number}@example.test" for number in range(50))
STRANGERS: Final = tuple(f"stranger-{number}@example.test" for number in range(50))
"""People whom nobody has written to, nor heard of."""
HEADER_FIELDS: Final = 17
NEGOTIATION: Final = 1
LINES: Final = 2
"""The log line, and that of the audit file."""
REPORTS: Final = 3
"""What the worker tells its parent each second, by as many writes and reads, and room for what that takes."""
LARGE: Final = 10 * 1024 * 1024

# MAIL, RCPT and DATA each take macros and the event; CONNECT and HELO macros only; one abort.
ENVELOPE_PACKETS: Final = 1 + 1 + 2 + 2 + 2 + 1
RCPT_PACKETS: Final = 2
CONTENT_PACKETS: Final = 2 + 2 + 2
"""The first header field, the end of the header, the end of the message, each with its macros."""
HEADER_PACKETS: Final = 2 * (HEADER_FIELDS - 1)
"""The other header fields, where they are read."""


@dataclass(frozen=True, slots=True)
class Case:
    """Somebody who writes to others, and what is due then."""

    author: str
    to: tuple[str, ...]
    copies: tuple[str, ...] = ()
    new_from: str | None = None

    def transaction(self, *, body: int = 1000) -> Transaction:
        fields = [(f"X-Field-{number}", f"value {number}") for number in range(HEADER_FIELDS - 1)]
        fields.insert(5, ("From", f"<{self.author}>"))
        return Transaction(
            sender=self.author, login=self.author, recipients=self.to, headers=fields, body=b"x" * (body - 2) + b"\r\n"
        )


NOTHING: Final = Case(BOB, ("jane@example.test",))
COPY: Final = Case(HENRY, ("jane@example.test",), copies=("vault@example.test",))
REWRITE: Final = Case(KIM, (JOE,), new_from=LEGAL_FROM)
CASES: Final = {"nothing": NOTHING, "copy": COPY, "rewrite": REWRITE}


@dataclass(frozen=True, slots=True)
class Running:
    """A warm daemon and its directory."""

    slapd: Slapd
    daemon: Daemon
    audited: bool = True

    @contextmanager
    def session(self) -> Iterator[MilterClient]:
        """Open a session, as an smtpd does for one client."""
        with MilterClient.connect(parse_socket(self.daemon.socket)) as client:
            yield client

    def pass_through(self, case: Case, *, body: int = 1000) -> TransactionOutcome:
        """Pass one message in a session of its own, and see to it that the right things were done."""
        with self.session() as client:
            outcome = client.run(case.transaction(body=body))
        assert outcome.verdict is Verdict.ACCEPT
        assert tuple(added.address for added in outcome.added_recipients) == case.copies
        changed = [change.value.decode() for change in outcome.header_modifications if change.value]
        assert changed == ([case.new_from] if case.new_from else [])
        return outcome

    def accustom(self, case: Case) -> None:
        """Pass messages until the daemon asks for headers as is best for these."""
        for _ in range(40):
            self.pass_through(case)
        with self.session() as client:
            unanswered = client.negotiated.protocol & EVENTS[Stage.HEADER].no_reply
        assert bool(unanswered) is (case.new_from is not None or self.audited)

    def processes(self) -> list[int]:
        """The daemon's process and its workers, if it has any."""
        children = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text(encoding="ascii")
        return [self.daemon.pid, *map(int, children.split())]

    def calls(self) -> tuple[int, int]:
        """Return how many read and write system calls they have made so far."""
        found = {"syscr": 0, "syscw": 0}
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(": ")
                if name in found:
                    found[name] += int(value)
        return found["syscr"], found["syscw"]


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    people = (*MANY, *STRANGERS)
    with Slapd(merge([*company(), *(entry for address in people for entry in account(address))])) as slapd:
        yield slapd


@pytest.fixture(scope="module")
def running(slapd: Slapd) -> Iterator[Running]:
    with _warm(slapd) as found:
        yield found


@pytest.fixture(scope="module")
def unaudited(slapd: Slapd) -> Iterator[Running]:
    with _warm(slapd, audited=False) as found:
        yield found


@contextmanager
def _warm(slapd: Slapd, *, audited: bool = True) -> Iterator[Running]:
    options = {"cache": {"ttl": "3600", "negative_ttl": "3600"}, **({} if audited else {"audit": {"file": ""}})}
    with Daemon(slapd, options) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up")
        found = Running(slapd, daemon, audited)
        # Every process has a cache of its own: whoever takes the next message has seen all of these.
        everybody = [*CASES.values(), Case(BOB, MANY)]
        for _ in range(8):
            for case in everybody:
                found.pass_through(case)
        wait_until(lambda: _is_warm(found, everybody), "every worker knows everybody")
        yield found


def _is_warm(found: Running, cases: Sequence[Case]) -> bool:
    before = found.slapd.searches(found.slapd.bind_dn)
    for _ in range(4):
        for case in cases:
            found.pass_through(case)
    return found.slapd.searches(found.slapd.bind_dn) == before


def test_the_steps_that_are_asked_for(running: Running) -> None:
    with running.session() as client:
        steps, actions = client.negotiated.protocol, client.negotiated.actions
    assert steps & EVENTS[Stage.BODY].unwanted
    assert steps & EVENTS[Stage.HELO].unwanted
    assert steps & Protocol.NOUNKNOWN
    # Nothing of the envelope is answered but DATA: there all is known, and over TCP a last event
    # without a reply would cost 40 ms.
    for stage in (Stage.CONNECT, Stage.MAIL, Stage.RCPT, Stage.EOH):
        assert steps & (EVENTS[stage].no_reply | EVENTS[stage].unwanted), stage
    assert not steps & EVENTS[Stage.DATA].no_reply
    assert steps & Protocol.SKIP
    assert actions & Action.ADDRCPT_PAR
    assert actions & Action.DELRCPT  # a copy takes the place of a recipient that it is already
    assert not actions & (Action.CHGBODY | Action.CHGFROM | Action.QUARANTINE)


def test_nothing_to_do_ends_at_data(running: Running) -> None:
    outcome = running.pass_through(NOTHING)
    assert outcome.stage is Stage.DATA
    assert outcome.replies_awaited + NEGOTIATION <= 2
    assert outcome.packets_sent <= ENVELOPE_PACKETS
    assert outcome.bytes_sent < 600


def test_a_copy_waits_for_no_header_field(running: Running) -> None:
    """The header is read to its end, for the audit is asked by Message-ID; nobody waits for it."""
    running.accustom(COPY)
    outcome = running.pass_through(COPY)
    assert outcome.replies_awaited + NEGOTIATION <= 4
    assert outcome.packets_sent <= ENVELOPE_PACKETS + CONTENT_PACKETS + HEADER_PACKETS
    assert outcome.bytes_sent < 2000


def test_without_an_audit_a_copy_skips_the_header(unaudited: Running) -> None:
    unaudited.accustom(COPY)
    outcome = unaudited.pass_through(COPY)
    assert outcome.replies_awaited + NEGOTIATION <= 4
    assert outcome.packets_sent <= ENVELOPE_PACKETS + CONTENT_PACKETS
    assert outcome.bytes_sent < 900


def test_a_new_from_waits_for_five_replies(running: Running) -> None:
    running.accustom(REWRITE)
    outcome = running.pass_through(REWRITE)
    assert outcome.replies_awaited + NEGOTIATION <= 5


def test_after_mail_of_one_kind_the_other_gets_what_is_due(unaudited: Running) -> None:
    for before, then in ((REWRITE, COPY), (COPY, REWRITE)):
        unaudited.accustom(before)
        unaudited.pass_through(then)


def test_a_new_from_reads_the_header_once(running: Running) -> None:
    outcome = running.pass_through(REWRITE)
    assert outcome.packets_sent <= ENVELOPE_PACKETS + CONTENT_PACKETS + HEADER_PACKETS
    change = HeaderModification(kind="change", name=b"From", value=LEGAL_FROM.encode(), index=1)
    assert [one for one in outcome.header_modifications if one.value] == [change]


@pytest.mark.parametrize("name", CASES)
def test_ten_megabytes_stay_where_they_are(running: Running, name: str) -> None:
    running.accustom(COPY)
    small, large = (running.pass_through(CASES[name], body=size) for size in (1000, LARGE))
    assert large.bytes_sent < 8 * 1024
    assert (large.packets_sent, large.bytes_sent) == (small.packets_sent, small.bytes_sent)


def test_a_recipient_costs_two_packets_and_no_reply(running: Running) -> None:
    one, many = running.pass_through(Case(BOB, MANY[:1])), running.pass_through(Case(BOB, MANY))
    assert many.replies_awaited == one.replies_awaited
    assert many.packets_sent - one.packets_sent == RCPT_PACKETS * (len(MANY) - 1)


def test_a_session_is_negotiated_and_greeted_once(running: Running) -> None:
    with running.session() as client:
        outcomes = [client.run(NOTHING.transaction()) for _ in range(3)]
    first, *further = [outcome.packets_sent for outcome in outcomes]
    assert further == [first - 2] * 2  # without the macros of CONNECT and HELO
    assert all(outcome.replies_awaited == 1 for outcome in outcomes)


def test_what_is_known_is_not_asked_for_again(running: Running) -> None:
    before = running.slapd.searches(running.slapd.bind_dn)
    for case in (*CASES.values(), Case(BOB, MANY), Case(BOB, tuple(reversed(MANY)))):
        for _ in range(5):
            running.pass_through(case)
    assert running.slapd.searches(running.slapd.bind_dn) == before


def test_all_who_are_not_known_yet_are_looked_up_in_one_search(running: Running) -> None:
    before = running.slapd.searches(running.slapd.bind_dn)
    running.pass_through(Case(STRANGERS[0], STRANGERS[1:]))
    assert running.slapd.searches(running.slapd.bind_dn) - before == 1


@pytest.mark.parametrize(("name", "writes"), [("nothing", 2), ("copy", 5)])
def test_system_calls(running: Running, name: str, writes: int) -> None:
    """Two reads for each packet (its head, its body) and a few more; a write for each answer and each line written."""
    running.accustom(COPY)
    messages, began = 20, time.monotonic()
    reads_before, writes_before = running.calls()
    packets = 0
    for _ in range(messages):
        packets += 1 + running.pass_through(CASES[name]).packets_sent + 2  # negotiation, abort and quit
    wait_until(lambda: _settled(running), "the end of every session")
    reads_after, writes_after = running.calls()
    # Room for the worker's own reports to its parent: a busy machine takes its time for all this.
    reports = REPORTS * (6 + time.monotonic() - began)
    assert (reads_after - reads_before) <= 2 * packets + 4 * messages + reports
    # And for one write more: that of a thread that is woken to write the line.
    assert (writes_after - writes_before) <= (writes + LINES + 1) * messages + reports


def _settled(running: Running) -> bool:
    """Whether two looks in a row see the same counts: nobody is at work any more."""
    return running.calls() == running.calls()
