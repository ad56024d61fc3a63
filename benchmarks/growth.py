"""Cost of growth: ten times as much of one thing, everything else as it was.

Two directories lie side by side in real slapds and are asked in turn. Memory is what Python holds
more (tracemalloc) after every account of the directory has been asked for, or the list: a cache that
holds all of it. Latency is measured apart from that.
"""

from __future__ import annotations

import gc
import random
import statistics
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.directory import COSES, LIST, Opened, cold, opened, person
from benchmarks.report import Spread, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report import Report

_BATCH = 50
"""Accounts that are asked for together where all are."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a directory is."""

    accounts: int
    members: int
    coses: int = COSES


def measure(report: Report, *, quick: bool) -> None:
    """Measure every kind of growth."""
    samples = 40 if quick else 200
    accounts = 300 if quick else 1000
    report.say("## Cost of growth")
    rows: list[list[str]] = []
    for what, small, large in (
        (f"accounts: {accounts:,} to {10 * accounts:,}", Sizes(accounts, 10), Sizes(10 * accounts, 10)),
        ("COSes: 20 to 200", Sizes(accounts, 10), Sizes(accounts, 10, 10 * COSES)),
    ):
        with (
            opened(small.accounts, small.members, small.coses) as one,
            opened(large.accounts, large.members, large.coses) as other,
        ):
            pair, sizes = (one, other), (small.accounts, large.accounts)
            memory = [
                _memory(each, lambda each=each, size=size: _ask_for_all(each, size))
                for each, size in zip(pair, sizes, strict=True)
            ]
            rows.append([what, "one recipient, warm", *_compare(pair, sizes, samples, 1, warm=True), _growth(memory)])
            rows.append([what, "one recipient, cold", *_compare(pair, sizes, samples, 1, warm=False), ""])
    with opened(accounts, accounts // 10) as one, opened(accounts * 2, accounts) as other:
        pair = (one, other)
        for warm in (True, False):
            few = [_sample(one, accounts, 5, warm=warm) for _ in range(samples)]
            many = [_sample(one, accounts, 50, warm=warm) for _ in range(samples)]
            rows.append(["recipients: 5 to 50", "warm" if warm else "cold", *_ratio(few, many), ""])
        members = f"list members: {accounts // 10:,} to {accounts:,}"
        memory = [_memory(each, lambda each=each: each.decide(person(0), [LIST])) for each in pair]
        taken = [[each.decide(person(0), [LIST]) for each in pair] for _ in range(samples)]
        rows.append(
            [members, "warm", *_ratio([small for small, _ in taken], [large for _, large in taken]), _growth(memory)]
        )
        rows.append([members, "cold", *_ratio(*([_cold_list(each) for _ in range(5)] for each in pair)), ""])
    report.say(f"Ten times as much; latency is the median of {samples} decisions.")
    report.table(("what grows", "decision", "latency, ratio", "before", "after", "memory, ratio"), rows)


def _compare(pair: Sequence[Opened], sizes: Sequence[int], samples: int, recipients: int, *, warm: bool) -> list[str]:
    taken: list[list[float]] = [[], []]
    for _ in range(samples):
        for seconds, one, size in zip(taken, pair, sizes, strict=True):  # in turn
            seconds.append(_sample(one, size, recipients, warm=warm))
    return _ratio(*taken)


_choice = random.Random(2)


def _sample(one: Opened, accounts: int, recipients: int, *, warm: bool) -> float:
    people = [person(number) for number in _choice.sample(range(accounts), recipients + 1)]
    if warm:
        one.decide(people[0], people[1:])
        return one.decide(people[0], people[1:])
    return cold(one, people)


def _cold_list(one: Opened) -> float:
    one.forget()
    gc.collect()
    return one.decide(person(0), [LIST])


def _ask_for_all(one: Opened, accounts: int) -> None:
    for start in range(0, accounts - 1, _BATCH):
        one.decide(person(start), [person(number) for number in range(start + 1, min(start + _BATCH, accounts))])


def _memory(one: Opened, work: Callable[[], object]) -> int:
    """Return the bytes that are held more after some work than before it."""
    one.forget()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _ratio(small: Sequence[float], large: Sequence[float]) -> list[str]:
    few, many = statistics.median(small), statistics.median(large)
    spread = Spread(tuple(sorted(one / few for one in large)[len(large) // 4 : 3 * len(large) // 4 + 1]))
    return [
        f"{many / few:.2f} (half within {min(spread.values):.2f}-{max(spread.values):.2f})",
        milliseconds(few),
        milliseconds(many),
    ]


def _growth(memory: Sequence[int]) -> str:
    few, many = memory
    return f"{many / few:.2f} ({few / 2**20:.2f} to {many / 2**20:.2f} MiB)"
