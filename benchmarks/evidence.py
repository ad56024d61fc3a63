"""What seals cost: verification beside ``sha256sum`` of the same file, and audit lines a second with and without.

    python benchmarks/evidence.py [--megabytes N] [--turns N] [--records N]

Verification: the same file is read in turns by ``sha256sum`` and by ``ldapmilter audit verify``, each a process of
its own, whose CPU time counts. Sealing: one process writes audit lines as fast as it can, while another seals the
file, once a second in place of once a minute, in every second turn. Reading: ``audit find`` of one message among
100,000 beside ``grep`` for it, and ``coverage --diff`` of two days of 100,000 accounts, a hundredth of which differs,
beside ``zcat`` of both. All are ratios of one run. Touches nothing outside temporary directories.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldapmilter.address import make_address
from ldapmilter.audit import sealing as sealing_module
from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.record import line
from ldapmilter.audit.sealing import Sealing
from ldapmilter.coverage.day_writer import DayWriter
from ldapmilter.coverage.history import History
from ldapmilter.coverage.summary import Summary
from tests.unit.audit.example import recorded
from tests.unit.coverage.scene import reported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.synchronize import Event

VERIFICATION_BOUND = 0.3
SEALING_BOUND = 0.98
_ROUNDS = 5
_LINES = 5000
_TURN_SECONDS = 1.0
_SEAL_SECONDS = 1.0
_THREADS = 4


def sealed_file(folder: Path, megabytes: int) -> Path:
    """Write an audit of so many megabytes, with a seal after each 5,000 lines."""
    path = folder / "audit.jsonl"
    now = 0.0
    seals = Sealing(path, clock=lambda: now)
    while not path.exists() or path.stat().st_size < megabytes * 1_000_000:
        with path.open("ab") as file:
            file.writelines(line(recorded(queue_id=f"Q{now}-{number}")) for number in range(_LINES))
        path.chmod(0o600)
        now += 60
        seals.look()
    return path


def cpu_seconds(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in {0, 1}:  # 1: something was found that an administrator should look at
        raise subprocess.CalledProcessError(done.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verification(folder: Path, megabytes: int) -> float:
    path = sealed_file(folder, megabytes)
    size = path.stat().st_size / 1e6
    verify = [sys.executable, "-m", "ldapmilter", "audit", "verify", str(path)]
    seconds: dict[str, list[float]] = {"sha256sum": [], "audit verify": []}
    for _ in range(_ROUNDS):
        seconds["sha256sum"].append(cpu_seconds(["sha256sum", str(path)]))
        seconds["audit verify"].append(cpu_seconds(verify))
    speeds = {name: size / statistics.median(found) for name, found in seconds.items()}
    for name, speed in speeds.items():
        print(f"{name:12}: {speed:6.0f} MB a CPU second, of {size:.0f} MB")
    return speeds["audit verify"] / speeds["sha256sum"]


def seal(path: Path, wanted: Event, ending: Event) -> None:
    """Seal while that is wanted; runs in a process of its own, as the parent of the workers does."""
    sealing_module.SEAL_SECONDS = _SEAL_SECONDS  # type: ignore[misc]
    seals = Sealing(path)
    while not ending.is_set():
        if wanted.wait(0.25):
            seals.look()
            time.sleep(0.25)


def cost_of_sealing(folder: Path, turns: int) -> float:
    path = folder / "audit.jsonl"
    audit = AuditFile(path)
    record = recorded()
    written = [0] * _THREADS
    stop = threading.Event()

    def write(thread: int) -> None:
        while not stop.is_set():
            audit.write(record, durable=False)
            written[thread] += 1

    wanted, ending = multiprocessing.Event(), multiprocessing.Event()
    sealer = multiprocessing.Process(target=seal, args=(path, wanted, ending))
    sealer.start()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * turns):
        sealed = turn % 2 == 1
        (wanted.set if sealed else wanted.clear)()
        before, began = sum(written), time.perf_counter()
        time.sleep(_TURN_SECONDS)
        rates[sealed].append((sum(written) - before) / (time.perf_counter() - began))
    stop.set()
    for thread in threads:
        thread.join()
    ending.set()
    wanted.set()
    sealer.join()
    audit.close()
    for sealed, found in rates.items():
        print(f"{'sealed' if sealed else 'not sealed':12}: {statistics.median(found):6.0f} lines a second")
    return statistics.median(one / other for one, other in zip(rates[True], rates[False], strict=True))


def found_in_audit(folder: Path, records: int) -> float:
    path = folder / "audit.jsonl"
    with path.open("wb") as file:
        file.writelines(line(recorded(queue_id=f"Q{number}")) for number in range(records))
    wanted = f"Q{records // 2}"
    find = [sys.executable, "-m", "ldapmilter", *_config(folder), "audit", "find", "--queue-id", wanted, "--json"]
    return _beside(f"audit find, {records} records", find, ["grep", f'"{wanted}"', str(path)])


def difference_of_days(folder: Path, accounts: int) -> float:
    """Keep two days of rows in the shape of a real one's, and have them compared."""
    history = History(folder / "history")
    days = (date(2026, 6, 15), date(2026, 6, 16))
    with reported(folder) as report:
        shapes = [row for row in report.rows.values() if row.kind == "account"]
        for place, day in enumerate(days):
            summary = Summary(report.about.columns)
            with closing(DayWriter(history, replace(report.about, day=day))) as writer:
                for number in range(accounts):
                    changed = place and number % 100 == 0
                    row = replace(
                        shapes[(number + changed) % len(shapes)],
                        address=make_address(f"user{number}", "example.test"),
                        dn=f"uid=user{number},ou=people,dc=example,dc=test",
                    )
                    summary.add(row)
                    writer.add(row)
                writer.end(summary)
    command = [sys.executable, "-m", "ldapmilter", *_config(folder), "coverage", "--diff", *map(str, days), "--json"]
    files = [str(history.file(day)) for day in days]
    print(f"two days  : {sum(Path(file).stat().st_size for file in files) / 1e6:.1f} MB")
    return _beside(f"coverage --diff, {accounts} accounts", command, ["zcat", *files])


def _config(folder: Path) -> list[str]:
    file = folder / "config.ini"
    file.write_text(
        "[ldap]\nuri = ldap://127.0.0.1:1\nstarttls = no\n"
        f"[audit]\nfile = {folder / 'audit.jsonl'}\n[coverage]\nhistory = {folder / 'history'}\n",
        encoding="utf-8",
    )
    return ["--config", str(file)]


def _beside(name: str, command: Sequence[str], yardstick: Sequence[str]) -> float:
    """Return how many times the CPU time of a yardstick a command takes."""
    pairs = [(cpu_seconds(command), cpu_seconds(yardstick)) for _ in range(_ROUNDS)]
    took = statistics.median(ours for ours, _ in pairs)
    print(f"{name}: {took:.2f} CPU seconds; {yardstick[0]}: {statistics.median(other for _, other in pairs):.2f}")
    return statistics.median(ours / other for ours, other in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=20, help="with and without sealing each; default: %(default)s")
    parser.add_argument("--records", type=int, default=100_000, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = found_in_audit(Path(one), arguments.records)
        different = difference_of_days(Path(other), arguments.records)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        speed = verification(Path(one), arguments.megabytes)
        cost = cost_of_sealing(Path(other), arguments.turns)
    print(f"verification beside sha256sum: {speed:.2f} (bound: {VERIFICATION_BOUND})")
    print(f"audit find beside grep: {found:.1f} times its CPU time")
    print(f"coverage --diff beside zcat: {different:.1f} times its CPU time")
    print(f"lines a second with sealing beside without: {cost:.3f} (bound: {SEALING_BOUND})")
    return 0 if speed >= VERIFICATION_BOUND and cost >= SEALING_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
