"""What the directory costs: a cold decision, a large list, the size of a chunk, memory.

    python benchmarks/directory.py [--accounts N] [--members N]

Builds two directories in a real slapd, of 1,000 accounts and of N, and compares the two within one
run: seconds are this machine's, ratios are not.  Needs what the tests need; touches nothing outside
temporary directories.
"""

from __future__ import annotations

import argparse
import gc
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldapmilter.address import parse_address
from ldapmilter.config import load
from ldapmilter.directory import reader
from ldapmilter.directory.opening import open_directory
from ldapmilter.message import Envelope
from ldapmilter.milter.client import MilterClient
from ldapmilter.milter.socket_address import parse_socket
from ldapmilter.milter.transaction import Transaction
from ldapmilter.policy.decide import decide
from tests.support.builders import account, cos, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.directory_data import base_records
from tests.support.names import zimbra_id
from tests.support.ports import wait_until
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.config import Config
    from ldapmilter.directory.opening import OpenDirectory
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
_LIMIT = 60.0
_ETIME = re.compile(r"SEARCH RESULT [^\n]*\betime=([0-9.]+)")


def person(number: int) -> str:
    return f"u{number}@example.test"


def records(accounts: int, members: int) -> list[Record]:
    coses = [zimbra_id("cos", f"c{number}") for number in range(COSES)]
    found = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test"),
        *(one for n in range(COSES) for one in cos(f"c{n}", ldapMilterArchiveBcc=f"c{n}@vault.test")),
        *domain("example.test", ldapMilterLegalBcc="hold@vault.test"),
        *static_list(LIST, [person(number) for number in range(members)]),
    ]
    for number in range(accounts):
        own = "own@vault.test" if number % OWN_POLICY == 0 else None
        found += account(person(number), cos_id=coses[number % COSES], ldapMilterArchiveBcc=own)
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
def opened(accounts: int, members: int) -> Iterator[Opened]:
    began = time.perf_counter()
    with Slapd(records(accounts, members)) as slapd, tempfile.TemporaryDirectory() as folder:
        print(f"{accounts:,} accounts loaded in {time.perf_counter() - began:.1f} s")
        secret, file = Path(folder) / "secret", Path(folder) / "config.ini"
        secret.write_text(slapd.password, encoding="utf-8")
        secret.chmod(0o600)
        file.write_text(
            f"[ldap]\nuri = {slapd.uri}\nstarttls = no\nbind_dn = {slapd.bind_dn}\n"
            f"bind_password_file = {secret}\nlookup_deadline = {_LIMIT:g}\n",
            encoding="utf-8",
        )
        config = load(file)
        directory = open_directory(config)
        try:
            directory.directory.for_message().warm_up()
            yield Opened(config, directory, slapd)
        finally:
            directory.close()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


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
    one.directory.cache.flush(lambda key, _value: getattr(key, "kind", "") == "address")
    return one.decide(people[0], people[1:])


def measure_cold(small: Opened, large: Opened, accounts: int) -> None:
    print(f"\ncold decision (COSes and domains known), {SAMPLES} samples")
    choice = random.Random(0)
    sizes = {SMALL: small, accounts: large}
    for recipients in (1, RECIPIENTS):
        samples: dict[int, list[float]] = {size: [] for size in sizes}
        for one in sizes.values():
            know_every_cos(one)
        for _ in range(SAMPLES):
            for size, one in sizes.items():  # in turn: what else the machine does hits both
                people = [person(number) for number in choice.sample(range(size), recipients + 1)]
                samples[size].append(cold(one, people))
        figures = {size: [percentile(samples[size], share) for share in (0.5, 0.99)] for size in sizes}
        for size, (middle, slow) in figures.items():
            texts = f"p50 {milliseconds(middle)}, p99 {milliseconds(slow)}"
            print(f"  {recipients:3} recipient(s), {size:7,} accounts: {texts}")
        ratios = [big / little for little, big in zip(figures[SMALL], figures[accounts], strict=True)]
        print(f"  {recipients:3} recipient(s), ratio: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}")


def measure_site(small: Opened, large: Opened, accounts: int) -> None:
    print(f"\nwhat every process reads at its start (every {OWN_POLICY}th account has values of its own)")
    for one, size in ((small, SMALL), (large, accounts)):
        with etimes(one.slapd) as times:
            for _ in range(5):
                one.forget()
        print(f"  {size:7,} accounts: slapd {milliseconds(statistics.median(times))}")


def measure_list(large: Opened, members: int) -> None:
    print(f"\nlist of {members:,} members")
    author = person(members)
    first, again = [], []
    for _ in range(ROUNDS):
        large.forget()
        gc.collect()
        first.append(large.decide(author, [LIST]))
        again += [large.decide(author, [LIST]) for _ in range(20)]
    cold_seconds, warm_seconds = statistics.median(first), statistics.median(again)
    print(f"  cold {milliseconds(cold_seconds)} ({members / cold_seconds:,.0f} members a second)")
    print(f"  warm {milliseconds(warm_seconds)}, ratio cold to warm {cold_seconds / warm_seconds:,.0f}")


def measure_chunks(large: Opened, accounts: int) -> None:
    print(f"\nchunk size, {CHUNK_ADDRESSES:,} addresses, median of {ROUNDS}")
    choice = random.Random(0)
    normal = reader.CHUNK
    seconds: dict[int, list[float]] = {size: [] for size in CHUNKS}
    server: dict[int, list[float]] = {size: [] for size in CHUNKS}
    try:
        for _ in range(ROUNDS):
            for size in CHUNKS:
                numbers = choice.sample(range(accounts), min(CHUNK_ADDRESSES, accounts))
                addresses = [address for n in numbers if (address := parse_address(person(n))) is not None]
                large.forget()
                reader.CHUNK = size
                view = large.directory.directory.for_message()
                with etimes(large.slapd) as times:
                    began = time.perf_counter()
                    view.resolve(addresses)
                    seconds[size].append(time.perf_counter() - began)
                server[size].append(sum(times))
    finally:
        reader.CHUNK = normal
    best = min(statistics.median(times) for times in seconds.values())
    for size in CHUNKS:
        median, own = statistics.median(seconds[size]), statistics.median(server[size])
        rate = CHUNK_ADDRESSES / median
        mark = " (in use)" if size == normal else ""
        print(
            f"  {size:4}: {rate:7,.0f} addresses a second, {median / best:.2f} of the best;"
            f" slapd {1e6 * own / CHUNK_ADDRESSES:.0f} us an address{mark}"
        )


def memory(pid: int) -> dict[str, int]:
    """Return RSS and PSS of a process in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return {name: int(line.split()[1]) for line in lines for name in ("Rss", "Pss") if line.startswith(f"{name}:")}


def measure_daemon(large: Opened, members: int) -> None:
    """Measure a whole daemon, through its socket, with the list."""
    print(f"\nthe daemon and the list of {members:,} members")
    options = {"ldap": {"lookup_deadline": f"{_LIMIT:g}"}}
    with Daemon(large.slapd, options) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up", _LIMIT)
        with MilterClient.connect(parse_socket(daemon.socket), _LIMIT) as client:

            def mail(recipient: str) -> float:
                author = person(members)
                return client.run(
                    Transaction(sender=author, login=author, recipients=[recipient], headers=[("From", author)])
                ).seconds

            mail(person(1))
            steps = [("one message", memory(daemon.pid))]
            first = mail(LIST)
            steps.append(("the list, cold", memory(daemon.pid)))
            warm = statistics.median(mail(LIST) for _ in range(50))
            steps.append(("50 times warm", memory(daemon.pid)))
        print(f"  cold {milliseconds(first)}, warm {milliseconds(warm)}, ratio {first / warm:,.0f}")
        before = steps[0][1]
        for name, now in steps:
            grown = ", ".join(
                f"{kind} {now[kind] / 1024:.1f} MiB (+{(now[kind] - before[kind]) / 1024:.1f})" for kind in now
            )
            print(f"  after {name}: {grown}")
        per_member = 1024 * (steps[-1][1]["Pss"] - before["Pss"]) / members
        print(f"  {per_member:,.0f} bytes a member")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--members", type=int, default=10_000, help="of the list; default: %(default)s")
    arguments = parser.parse_args()
    accounts, members = max(arguments.accounts, SMALL), arguments.members
    if members >= accounts:
        parser.error("the list needs fewer members than there are accounts")
    with opened(SMALL, SMALL // 2) as small, opened(accounts, members) as large:
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)  # as in `ldapmilter run`
        measure_cold(small, large, accounts)
        measure_site(small, large, accounts)
        measure_chunks(large, accounts)
        measure_list(large, members)
        measure_daemon(large, members)


if __name__ == "__main__":
    main()
