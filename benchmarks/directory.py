"""What the directory costs: a cold decision, a large list, the size of a chunk, memory, ldap3's share.

Builds two directories in a real slapd, of 1,000 accounts and of many more, and compares the two within
one run: seconds are this machine's, ratios are not.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import random
import re
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from benchmarks import raw_ldap3
from benchmarks.report import Target, milliseconds
from ldapmilter.address import parse_address
from ldapmilter.config import load
from ldapmilter.config_options import SECTIONS
from ldapmilter.directory import searches as loading
from ldapmilter.message import Envelope
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.opening import open_directory
from ldapmilter.policy.decide import decide
from ldapmilter.socket_address import parse_socket
from tests.support.builders import account, cos, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.names import zimbra_id
from tests.support.ports import wait_until
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.report import Report
    from ldapmilter.config import Config
    from ldapmilter.opening import OpenDirectory
    from tests.support.record import Record

SMALL = 1000
COSES = 20
OWN_POLICY = 10
"""Every so many accounts one has values of its own."""
LIST = "everybody@example.test"
SAMPLES = 200
RECIPIENTS = 50
CHUNKS = (25, 50, 100, 200, 400)
CHUNK_ADDRESSES = 2000
ROUNDS = 3
LIST_WARM = Target(0.005, at_least=False)
"""Seconds, for a list of 10,000."""
_LIMIT = 600.0
"""Seconds that a decision, or a start, may take: those of a list of 10,000 are minutes on a machine that others use."""
_DEADLINE = 300.0
"""Seconds that a daemon may wait at most."""
_ETIME = re.compile(r"SEARCH RESULT [^\n]*\betime=([0-9.]+)")


def person(number: int) -> str:
    return f"u{number}@example.test"


def records(accounts: int, members: int, cos_count: int = COSES) -> list[Record]:
    coses = [zimbra_id("cos", f"c{number}") for number in range(cos_count)]
    found = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test"),
        *(one for n in range(cos_count) for one in cos(f"c{n}", ldapMilterArchiveBcc=f"c{n}@vault.test")),
        *domain("example.test", ldapMilterLegalBcc="hold@vault.test"),
        *static_list(LIST, [person(number) for number in range(members)]),
    ]
    for number in range(accounts):
        own = "own@vault.test" if number % OWN_POLICY == 0 else None
        found += account(person(number), cos_id=coses[number % cos_count], ldapMilterArchiveBcc=own)
    return found


@dataclass(frozen=True)
class Opened:
    """An open directory, as the daemon has it."""

    config: Config
    directory: OpenDirectory
    slapd: Slapd

    def decide(self, sender: str, recipients: Sequence[str]) -> float:
        """Return the seconds that a decision takes."""
        envelope = Envelope(login=sender, client="192.0.2.1", sender=sender, recipients=tuple(recipients))
        view = self.directory.directory.for_message()
        began = time.perf_counter()
        decision = decide(envelope, view, self.config.policy, today=date(2026, 1, 1))
        seconds = time.perf_counter() - began
        if decision.verdict != "accept" or not decision.copies:
            sys.exit(f"wrong decision: {decision}")
        return seconds

    def forget(self) -> None:
        """Forget everything but what the daemon reads at its start."""
        self.directory.cache.flush()
        self.directory.directory.for_message().warm_up()


@contextmanager
def opened(accounts: int, members: int, cos_count: int = COSES) -> Iterator[Opened]:
    """Load a directory of its own and open it."""
    with Slapd(records(accounts, members, cos_count)) as slapd, tempfile.TemporaryDirectory() as folder:
        secret, file = Path(folder) / "secret", Path(folder) / "config.ini"
        secret.write_text(slapd.password, encoding="utf-8")
        secret.chmod(0o600)
        file.write_text(
            f"[ldap]\nuri = {slapd.uri}\nstarttls = no\nbind_dn = {slapd.bind_dn}\nbind_password_file = {secret}\n",
            encoding="utf-8",
        )
        config = load(file)
        config = replace(config, ldap=replace(config.ldap, lookup_deadline=_LIMIT))  # more than a daemon may wait
        directory = open_directory(config)
        try:
            directory.directory.for_message().warm_up()
            yield Opened(config, directory, slapd)
        finally:
            directory.close()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def etimes(slapd: Slapd) -> Iterator[list[float]]:
    """Add, at the end, slapd's own seconds for every search in between."""
    found: list[float] = []
    before = len(slapd.log())
    yield found
    found += [float(text) for text in _ETIME.findall(slapd.log()[before:])]


# -- what is measured -----------------------------------------------------------------------


def know_every_cos(one: Opened) -> None:
    one.forget()
    for number in range(COSES):
        one.decide(person(number), [person(number + COSES)])


def cold(one: Opened, people: Sequence[str]) -> float:
    """Return the seconds of a decision about people whom nobody has asked for; their COS is known."""
    one.directory.cache.flush(lambda key, _value: isinstance(key, str))
    return one.decide(people[0], people[1:])


def measure_cold(small: Opened, large: Opened, accounts: int, report: Report) -> None:
    choice = random.Random(0)
    sizes = {SMALL: small, accounts: large}
    rows = []
    for recipients in (1, RECIPIENTS):
        samples: dict[int, list[float]] = {size: [] for size in sizes}
        for one in sizes.values():
            know_every_cos(one)
        for _ in range(SAMPLES):
            for size, one in sizes.items():  # in turn: what else the machine does hits both
                people = [person(number) for number in choice.sample(range(size), recipients + 1)]
                samples[size].append(cold(one, people))
        figures = {size: [percentile(samples[size], share) for share in (0.5, 0.99)] for size in sizes}
        ratios = [big / little for little, big in zip(figures[SMALL], figures[accounts], strict=True)]
        texts = [f"{milliseconds(middle)}, {milliseconds(slow)}" for middle, slow in figures.values()]
        rows.append([str(recipients), f"{ratios[0]:.2f}, {ratios[1]:.2f}", *texts])
    report.say(f"A cold decision (COSes and domains known), p50 and p99 of {SAMPLES}:")
    report.table(("recipients", "ratio", f"{SMALL:,} accounts", f"{accounts:,} accounts"), rows)


def measure_site(small: Opened, large: Opened, accounts: int, report: Report) -> None:
    seconds = []
    for one in (small, large):
        with etimes(one.slapd) as times:
            for _ in range(5):
                one.forget()
        seconds.append(statistics.median(times))
    report.say(
        f"What every process reads at its start, in slapd (every {OWN_POLICY}th account has values of its own):"
        f" {seconds[1] / seconds[0]:.2f} times as long with {accounts:,} accounts as with {SMALL:,}"
        f" ({milliseconds(seconds[1])})."
    )


def measure_list(large: Opened, members: int, report: Report) -> None:
    author = person(members)
    first, again = [], []
    for _ in range(ROUNDS):
        large.forget()
        gc.collect()
        first.append(large.decide(author, [LIST]))
        again += [large.decide(author, [LIST]) for _ in range(20)]
    cold_seconds, warm_seconds = statistics.median(first), statistics.median(again)
    report.say(
        f"A list of {members:,} members: cold {cold_seconds / warm_seconds:,.0f} times as long as warm; cold"
        f" {cold_seconds:.2f} s ({raw_ldap3.LIST_SECONDS.verdict(cold_seconds)}), warm {milliseconds(warm_seconds)}"
        f" ({LIST_WARM.verdict(warm_seconds)})."
    )


def measure_raw(large: Opened, accounts: int, members: int, report: Report) -> None:
    """Compare cold decisions with the searches alone."""

    def about(recipients: int) -> Callable[[random.Random], float]:
        def decide(choice: random.Random) -> float:
            return cold(large, [person(number) for number in choice.sample(range(accounts), recipients + 1)])

        return decide

    def about_list(_choice: random.Random) -> float:
        large.forget()
        gc.collect()
        return large.decide(person(members), [LIST])

    know_every_cos(large)
    cases = {
        "1 recipient": (about(1), SAMPLES // 2, raw_ldap3.ONE),
        f"{RECIPIENTS} recipients": (about(RECIPIENTS), SAMPLES // 2, raw_ldap3.FIFTY),
        f"a list of {members:,}": (about_list, ROUNDS, raw_ldap3.LIST),
    }
    raw_ldap3.measure(large.slapd, report, cases)


def measure_chunks(large: Opened, accounts: int, report: Report) -> None:
    choice = random.Random(0)
    normal = loading.CHUNK
    seconds: dict[int, list[float]] = {size: [] for size in CHUNKS}
    server: dict[int, list[float]] = {size: [] for size in CHUNKS}
    try:
        for _ in range(ROUNDS):
            for size in CHUNKS:
                numbers = choice.sample(range(accounts), min(CHUNK_ADDRESSES, accounts))
                addresses = [address for n in numbers if (address := parse_address(person(n))) is not None]
                large.forget()
                loading.CHUNK = large.directory.cache._part = size  # noqa: SLF001 - one number in use
                view = large.directory.directory.for_message()
                with etimes(large.slapd) as times:
                    began = time.perf_counter()
                    view.resolve(addresses)
                    seconds[size].append(time.perf_counter() - began)
                server[size].append(sum(times))
    finally:
        loading.CHUNK = large.directory.cache._part = normal  # noqa: SLF001 - as above
    best = min(statistics.median(times) for times in seconds.values())
    rows = []
    for size in CHUNKS:
        median, own = statistics.median(seconds[size]), statistics.median(server[size])
        mark = f"{size} (in use)" if size == normal else str(size)
        rows.append([mark, f"{best / median:.2f}", f"{CHUNK_ADDRESSES / median:,.0f}", f"{own / median:.2f}"])
    report.say(f"Addresses in one search, {CHUNK_ADDRESSES:,} addresses, median of {ROUNDS}:")
    report.table(("chunk", "x the best rate", "addresses a second", "slapd's share of the time"), rows)


def measure_ldap3(large: Opened, accounts: int, report: Report) -> None:
    """Profile cold decisions with the searches made in this thread, and sum the time by who spent it."""
    choice = random.Random(1)
    cache = large.directory.cache
    submit, cache._submit = cache._submit, lambda work: work()  # noqa: SLF001 - a profile sees one thread
    rows = []
    try:
        for recipients in (1, RECIPIENTS):
            know_every_cos(large)
            crowds = [[person(n) for n in choice.sample(range(accounts), recipients + 1)] for _ in range(SAMPLES // 2)]
            profiler = cProfile.Profile()
            for people in crowds:
                cache.flush(lambda key, _value: isinstance(key, str))
                profiler.enable()
                large.decide(people[0], people[1:])
                profiler.disable()
            spent = _by_owner(pstats.Stats(profiler))
            whole = sum(spent.values())
            computing = whole - spent["waiting for slapd"]
            rows.append(
                [str(recipients), f"{100 * spent['ldap3 and pyasn1'] / computing:.0f} %"]
                + [f"{100 * spent[owner] / whole:.0f} %" for owner in _OWNERS]
            )
    finally:
        cache._submit = submit  # noqa: SLF001 - as above
    report.say("Who spends the time of a cold decision (by a profile, which makes Python look slower than it is):")
    report.table(("recipients", "ldap3's share of the CPU", *(f"time: {owner}" for owner in _OWNERS)), rows)


_OWNERS = ("ldap3 and pyasn1", "ldapmilter", "waiting for slapd", "the rest")


def _by_owner(profile: pstats.Stats) -> dict[str, float]:
    """Return seconds by owner; what is written in C counts for whoever called it."""
    spent = dict.fromkeys(_OWNERS, 0.0)
    for (file, _, name), (_, _, own, _, callers) in profile.stats.items():
        if file != "~":
            spent[_owner(file)] += own
        elif any(word in name for word in ("recv", "poll", "select", "'acquire'")):
            spent["waiting for slapd"] += own
        else:
            for (caller, _, _), (_, _, part, _) in callers.items():
                spent[_owner(caller)] += part
    return spent


def _owner(file: str) -> str:
    if "/ldap3/" in file or "/pyasn1/" in file or file.endswith("/copy.py"):  # nobody else makes deep copies
        return "ldap3 and pyasn1"
    return "ldapmilter" if "/ldapmilter/" in file else "the rest"


def memory(pid: str) -> dict[str, int]:
    """Return RSS and PSS of a process in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return {name: int(line.split()[1]) for line in lines for name in ("Rss", "Pss") if line.startswith(f"{name}:")}


def measure_daemon(large: Opened, members: int, report: Report) -> None:
    """Measure a whole daemon, through its socket, with the list."""
    options = {"ldap": {"lookup_deadline": f"{_DEADLINE:g}"}}
    if "workers" in SECTIONS["milter"]:
        options["milter"] = {"workers": "1"}
    with Daemon(large.slapd, options) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up", _LIMIT)
        with MilterClient.connect(parse_socket(daemon.socket), _LIMIT) as client:

            def mail(recipient: str) -> float:
                author = person(members)
                message = Transaction(sender=author, login=author, recipients=[recipient], headers=[("From", author)])
                outcome = client.run(message)
                seconds = outcome.seconds
                while outcome.verdict is Verdict.TEMPFAIL and seconds < _LIMIT:  # it is read on meanwhile
                    outcome = client.run(message)
                    seconds += outcome.seconds
                return seconds

            mail(person(1))
            before = processes_memory(daemon.pid)
            first = mail(LIST)
            after_first = processes_memory(daemon.pid)
            warm = statistics.median(mail(LIST) for _ in range(50))
            after = processes_memory(daemon.pid)
    report.say(
        f"The daemon and that list, through its socket: cold {first / warm:,.0f} times as long as warm"
        f" ({milliseconds(warm)}). Memory (PSS): {after / before:.2f} times what it was after one message"
        f" ({before / 1024:.1f} MiB), {after_first / before:.2f} times after the list came first;"
        f" {1024 * (after - before) / members:,.0f} bytes a member."
    )


def processes_memory(pid: int) -> int:
    """Return the PSS in KiB of a process and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return sum(memory(one)["Pss"] for one in (str(pid), *children))


def measure(report: Report, *, accounts: int, members: int) -> None:
    """Measure everything about the directory."""
    report.say("## The directory")
    with opened(SMALL, SMALL // 2) as small, opened(accounts, members) as large:
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)  # as in `ldapmilter run`
        measure_cold(small, large, accounts, report)
        measure_ldap3(large, accounts, report)
        measure_site(small, large, accounts, report)
        measure_chunks(large, accounts, report)
        measure_list(large, members, report)
        measure_raw(large, accounts, members, report)
        measure_daemon(large, members, report)
