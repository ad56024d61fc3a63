"""Where the time of a warm message goes, by function: in process, so that only Python is looked at.

The directory is a real slapd whose answers are all in the cache. A message is what the daemon does
with it between libmilter's callbacks: the decision and the modifications (to a context that keeps
nothing); the log is left out. Calls and allocations are counts, the same on every machine; microseconds are
this machine's.
"""

from __future__ import annotations

import contextlib
import cProfile
import gc
import pstats
import statistics
import sys
import time
import tracemalloc
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import company
from benchmarks.contestants import sections
from ldapmilter.config import load
from ldapmilter.message import Envelope
from ldapmilter.milter import effects
from ldapmilter.opening import open_directory
from ldapmilter.policy.decide import decide
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.report import Report
    from ldapmilter.config import Config
    from ldapmilter.message import Headers
    from ldapmilter.mta.transaction import Transaction
    from ldapmilter.opening import OpenDirectory
    from ldapmilter.policy.model import Decision
    from tests.support.slapd import Slapd

ENVELOPES = 200
SHOWN = 20
_ROOT = f"{Path(__file__).resolve().parents[1]}/"
_DAY = date(2026, 1, 1)


class Nowhere:
    """libmilter's context, as far as modifications go."""

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        """Take a change."""

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        """Take a recipient."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What the daemon has, without libmilter."""

    config: Config
    directory: OpenDirectory

    def decision(self, envelope: Envelope, headers: Headers | None = None) -> Decision:
        """Take one decision."""
        view = self.directory.directory.for_message()
        return decide(envelope, view, self.config.policy, today=_DAY, headers=headers)

    def message(self, envelope: Envelope) -> None:
        """Do what a message costs between the callbacks."""
        decision = self.decision(envelope)
        if decision.verdict != "accept" or decision.searches:
            sys.exit(f"wrong decision: {decision}")
        effects.apply(Nowhere(), decision, {"from": 1})


@contextlib.contextmanager
def inside(slapd: Slapd) -> Iterator[Inside]:
    """Open the directory as the daemon would."""
    with contextlib.ExitStack() as stack:
        daemon = Daemon(slapd, sections(None, 1))  # for its configuration; it never runs
        stack.callback(daemon.close)
        config = load(daemon.config)
        opened = open_directory(config)
        stack.callback(opened.close)
        opened.directory.for_message().warm_up()
        yield Inside(config, opened)


def envelope(one: Transaction) -> Envelope:
    """Return a message as the session hands it to policy."""
    recipients = tuple(recipient.address for recipient in one.envelope_recipients)
    return Envelope(login=one.login, client=one.client.address, sender=one.sender, recipients=recipients)


def measure(slapd: Slapd, report: Report, *, repeat: int) -> None:
    """Measure every case and write the tables."""
    report.say("## Where the time of a warm message goes")
    with inside(slapd) as one:
        cases = {
            (kind, recipients): [envelope(mail) for mail in company.transactions(kind, recipients, ENVELOPES)]
            for kind in company.KINDS
            for recipients in (1, 50)
        }
        rows, profiles = [], {}
        for mail in cases.values():
            for each in mail:
                one.decision(each)  # now it is warm
        gc.collect()
        gc.freeze()
        for (kind, recipients), mail in cases.items():
            decision = _microseconds(one.decision, mail, repeat)
            whole = _microseconds(one.message, mail, repeat)
            profiles[kind, recipients] = profile = _profile(one, mail)
            calls = profile.total_calls / len(mail)
            many = f"{recipients} {'recipient' if recipients == 1 else 'recipients'}"
            rows.append(
                [
                    company.DESCRIBED[kind],
                    many,
                    f"{decision:.0f}",
                    f"{whole - decision:.0f}",
                    f"{calls:.0f}",
                    f"{_peak(one, mail):.1f} KiB",
                ]
            )
        report.table(("mail", "recipients", "decision, us", "effects, us", "calls", "peak of memory"), rows)
        for kind, recipients in (("nothing", 1), ("nothing", 50), ("copy", 1), ("rewrite", 1), ("both", 50)):
            _functions(report, kind, recipients, profiles[kind, recipients])


def _microseconds(work: Callable[[Envelope], object], mail: Sequence[Envelope], repeat: int) -> float:
    rounds = []
    for _ in range(repeat):
        began = time.perf_counter()
        for each in mail:
            work(each)
        rounds.append((time.perf_counter() - began) / len(mail))
    return 1e6 * statistics.median(rounds)


def _profile(one: Inside, mail: Sequence[Envelope]) -> pstats.Stats:
    profiler = cProfile.Profile()
    with profiler:
        for each in mail:
            one.message(each)
    return pstats.Stats(profiler)


def _peak(one: Inside, mail: Sequence[Envelope]) -> float:
    """Return how many KiB one message holds at most, beyond what was held before."""
    peaks = []
    tracemalloc.start()
    try:
        for each in mail[:20]:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            one.message(each)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return statistics.median(peaks) / 1024


def _functions(report: Report, kind: company.Kind, recipients: int, profile: pstats.Stats) -> None:
    """Write the functions in which most of the time is spent, the time in what they call left out."""
    found = profile.stats
    total = sum(own for _, _, own, _, _ in found.values())
    ranked = sorted(found.items(), key=lambda item: -item[1][2])[:SHOWN]
    report.say(f"### {company.DESCRIBED[kind]}, {recipients} {'recipient' if recipients == 1 else 'recipients'}")
    steps = sorted(
        (item for item in found.items() if "/ldapmilter/" in item[0][0] and item[1][3] > total / 50),
        key=lambda item: -item[1][3],
    )
    report.table(
        ("share with callees", "calls a message", "function of ldapmilter"),
        [
            [f"{100 * whole / total:.0f} %", f"{calls / ENVELOPES:.1f}", _name(place)]
            for place, (_, calls, _, whole, _) in steps[: 2 * SHOWN]
        ],
    )
    report.table(
        ("share", "with callees", "calls a message", "function"),
        [
            [f"{100 * own / total:.1f} %", f"{100 * whole / total:.1f} %", f"{calls / ENVELOPES:.1f}", _name(place)]
            for place, (_, calls, own, whole, _) in ranked
        ],
    )


def _name(place: tuple[str, int, str]) -> str:
    file, line, function = place
    if file == "~":
        return f"`{function}`"
    file = file.removeprefix(_ROOT)
    return f"`{function}` ({file if not file.startswith('/') else Path(file).name}:{line})"
