"""At the milter's socket: what a message costs the MTA, against milters that do nothing.

Everybody takes a turn in every round, so that what else the machine does hits all; a ratio is that of
one round, the median of the rounds counts. The reference of every row, TCP included, is the C no-op
at a unix socket: at a TCP socket the C no-op waits 40 ms for a delayed acknowledgement (it answers
nothing before the end of the message, and never sets TCP_NODELAY), and anything is faster than that.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from msgspec.structs import replace

from benchmarks import company, contestants
from benchmarks.contestants import OURS, TRANSPORTS, Contestant, Transport
from benchmarks.report import Target, number, ratios
from benchmarks.script import write_script
from ldapmilter.mta.client import MilterClient
from ldapmilter.socket_address import parse_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.company import Kind
    from benchmarks.native_tools import Figures, Programs
    from benchmarks.report import Report
    from tests.support.slapd import Slapd

SMALL, LARGE = 1024, 10 * 1024 * 1024
"""Bodies; the header is another kilobyte."""
MESSAGES = {1: 256, 50: 128}
"""Different envelopes of a script, by recipients."""
KEPT_OPEN = 20
"""Messages of a session where it carries several."""

_WARM_SECONDS = 60.0
_RATES: dict[tuple[Kind, int, int], Target] = {
    ("nothing", 1, 1): Target(0.55),
    ("nothing", 1, 2): Target(0.85),
    ("copy", 1, 1): Target(0.45),
    ("copy", 1, 2): Target(0.6),
    ("rewrite", 1, 1): Target(0.45),
    ("rewrite", 1, 2): Target(0.55),
    ("nothing", 50, 1): Target(0.4),
    ("nothing", 50, 2): Target(0.4),
}
"""By case, recipients and workers: of the C no-op, at a unix socket with four connections."""
_WAITS: dict[Kind, Target] = {"nothing": Target(2, at_least=False), "rewrite": Target(5, at_least=False)}
_LARGE_BYTES = Target(8192, at_least=False)
_STALLS = 0.1
"""Share of the messages: a busy machine delays one now and then, Nagle all of them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way in which everybody is asked."""

    transport: Transport
    connections: int
    recipients: int
    body: int
    per_session: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A milter with the mail that it gets."""

    contestant: Contestant
    kind: Kind
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs, and how long each turn is."""

    programs: Programs
    folder: Path
    contestants: dict[Transport, list[Contestant]]
    seconds: float
    rounds: int

    def script(self, contestant: Contestant, kind: Kind, recipients: int, body: int) -> Path:
        """Return the file with the messages for a milter, written when it is first asked for."""
        # A yardstick asks for no macros of its own, and does the same to all mail: nothing.
        flavour = "ours" if contestant.ours else "plain"
        path = self.folder / f"{flavour}-{kind}-{recipients}-{body}.script"
        if not path.exists():
            mail = company.transactions(kind, recipients, MESSAGES[recipients])
            write_script(path, mail, body, contestant.negotiated, kind)
        return path


@contextlib.contextmanager
def bench(slapd: Slapd, programs: Programs, folder: Path, *, seconds: float, rounds: int) -> Iterator[Bench]:
    """Start every milter."""
    with contextlib.ExitStack() as stack:
        running: dict[Transport, list[Contestant]] = {}
        for transport in TRANSPORTS:
            running[transport] = [
                *(stack.enter_context(one) for one in contestants.yardsticks(programs, folder, transport)),
                *(
                    stack.enter_context(contestants.ldapmilter(slapd, transport, workers))
                    for workers in contestants.worker_counts()
                ),
                stack.enter_context(contestants.passing(slapd, transport)),
            ]
        running["unix"] += [stack.enter_context(one) for one in contestants.variants(slapd)]
        yield Bench(programs, folder, running, seconds, rounds)


def cells(*, quick: bool) -> list[Cell]:
    """Return what is asked."""
    if quick:
        return [
            Cell("unix", 4, 1, SMALL),
            Cell("unix", 4, 50, SMALL),
            Cell("unix", 1, 1, SMALL),
            Cell("unix", 4, 1, LARGE),
            Cell("tcp", 4, 1, SMALL),
        ]
    whole = [
        Cell(transport, connections, recipients, body)
        for transport, body, connections, recipients in product(TRANSPORTS, (SMALL, LARGE), (4, 1), (1, 50))
    ]
    return [*whole, Cell("unix", 4, 1, SMALL, KEPT_OPEN), Cell("tcp", 4, 1, SMALL, KEPT_OPEN)]


def measure(one: Bench, report: Report, *, quick: bool) -> None:
    """Measure every cell and write the tables."""
    report.say("## At the milter's socket")
    report.say(
        f"x C no-op: messages a second, as a ratio to the C no-op (end of message only) at a unix socket in the same"
        f" round; median of {one.rounds} rounds of {one.seconds:g} s each and, in brackets, the smallest and the"
        " largest. Replies and bytes are those of one message, what its session costs included."
    )
    _verify(one)
    for cell in cells(quick=quick):
        _measure_cell(one, cell, report)


def _verify(one: Bench) -> None:
    """Hold the driver against ldapmilter's own client, and every case against what it has to do."""
    for contestant in (c for group in one.contestants.values() for c in group):
        for kind in contestant.kinds:
            for _ in range(4):  # the mail so far settles how fields travel next: in each worker it may change, once
                driver, expected = _packets(one, contestant, kind)
                if not expected[0] or driver == expected:
                    break
            else:
                message = f"{contestant.name}, {kind}: the driver sent {driver}, the client {expected}"
                raise RuntimeError(message)


def _packets(one: Bench, contestant: Contestant, kind: Kind) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Send a message by the driver and by the client; return packets, octets and replies of each."""
    (first, *_) = company.transactions(kind, 1, MESSAGES[1])
    script = one.script(contestant, kind, 1, SMALL)
    seen = one.programs.run(script, contestant.socket, connections=1, seconds=_WARM_SECONDS, messages=1)
    with MilterClient.connect(parse_socket(contestant.socket)) as client:
        outcome = client.run(replace(first, body=b"x" * (SMALL - 2) + b"\r\n"))
    # Negotiation, and the abort and quit at the end, are not counted as the message's.
    driver = (seen.packets - 3, seen.bytes - 17 - 2 * 5, seen.waits - 1)
    return driver, (outcome.packets_sent, outcome.bytes_sent, outcome.replies_awaited)


def _measure_cell(one: Bench, cell: Cell, report: Report) -> None:
    found: dict[Entrant, list[Figures]] = {entrant: [] for entrant in _entrants(one, cell)}
    for entrant in found:
        _warm(one, cell, entrant)
    for _ in range(one.rounds):
        for entrant, figures in found.items():
            figures.append(_run(one, cell, entrant, one.seconds))
    reference = next(figures for entrant, figures in found.items() if entrant.reference)
    size = "2 KB" if cell.body == SMALL else "10 MB"
    session = "one message a session" if cell.per_session == 1 else f"{cell.per_session} messages a session"
    many = "recipient" if cell.recipients == 1 else "recipients"
    links = "connection" if cell.connections == 1 else "connections"
    report.say(f"### {cell.transport}, {cell.connections} {links}, {cell.recipients} {many}, {size}, {session}")
    columns = ("milter", "mail", "workers", "x C no-op", "target", "replies", "bytes", "msgs/s", "p50", "p99", "stalls")
    report.table(columns, [_row(cell, entrant, figures, reference) for entrant, figures in found.items()])


def _entrants(one: Bench, cell: Cell) -> list[Entrant]:
    standard = one.contestants["unix"][0]
    found = [Entrant(standard, "nothing", reference=True)]
    for contestant in one.contestants[cell.transport]:
        if contestant is not standard:
            found += [Entrant(contestant, kind) for kind in contestant.kinds]
    return found


def _warm(one: Bench, cell: Cell, entrant: Entrant) -> None:
    """Let every worker see every message of the script."""
    if entrant.contestant.ours:
        script = one.script(entrant.contestant, entrant.kind, cell.recipients, cell.body)
        times = 1 if entrant.contestant.workers == 1 else 2 * entrant.contestant.workers
        one.programs.run(
            script,
            entrant.contestant.socket,
            connections=4,
            seconds=_WARM_SECONDS,
            messages=times * MESSAGES[cell.recipients],
        )


def _run(one: Bench, cell: Cell, entrant: Entrant, seconds: float) -> Figures:
    return one.programs.run(
        one.script(entrant.contestant, entrant.kind, cell.recipients, cell.body),
        entrant.contestant.socket,
        connections=cell.connections,
        per_session=cell.per_session,
        seconds=seconds,
    )


def _row(cell: Cell, entrant: Entrant, figures: Sequence[Figures], reference: Sequence[Figures]) -> list[str]:
    contestant = entrant.contestant
    spread = ratios([one.rate for one in figures], [one.rate for one in reference])
    last = figures[-1]
    middle = sorted(figures, key=lambda one: one.rate)[len(figures) // 2]
    rate, waits, size = "", "", ""
    stalls = sum(one.stalls for one in figures) / sum(one.messages for one in figures)
    stalled = f"{100 * stalls:.1f} %"
    if contestant.name == OURS:
        plain = cell.transport == "unix" and cell.connections == 4 and cell.body == SMALL and cell.per_session == 1  # noqa: PLR2004
        if plain and (target := _RATES.get((entrant.kind, cell.recipients, contestant.workers))):
            rate = target.verdict(spread.median)
        if cell.per_session == 1 and entrant.kind in _WAITS:
            waits = f" ({_WAITS[entrant.kind].verdict(last.waits_each)})"
        if cell.body == LARGE and cell.recipients == 1:
            size = f" ({_LARGE_BYTES.verdict(last.bytes_each)})"
        if stalls > _STALLS:
            stalled += " (**miss**)"
    place = " (unix)" if entrant.reference and cell.transport == "tcp" else ""
    return [
        contestant.name + place,
        company.DESCRIBED[entrant.kind] if len(contestant.kinds) > 1 else "",
        str(contestant.workers) if contestant.ours else "",
        str(spread),
        rate,
        f"{last.waits_each:.1f}{waits}",
        f"{number(last.bytes_each)}{size}",
        number(middle.rate),
        f"{middle.p50_us / 1000:.2f} ms",
        f"{middle.p99_us / 1000:.2f} ms",
        stalled,
    ]
