"""What seals cost: verification beside ``sha256sum`` of the same file, and audit lines a second with and without.

    python benchmarks/evidence.py [--megabytes N] [--turns N]

Verification: the same file is read in turns by ``sha256sum`` and by ``ldapmilter audit verify``, each a process of
its own, whose CPU time counts. Sealing: one process writes audit lines as fast as it can, while another seals the
file, once a second in place of once a minute, in every second turn. Both are ratios of one run. Touches nothing
outside temporary directories.
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
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldapmilter.audit import sealing as sealing_module
from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.record import line
from ldapmilter.audit.sealing import Sealing
from tests.unit.audit.example import recorded

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
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=20, help="with and without sealing each; default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        speed = verification(Path(one), arguments.megabytes)
        cost = cost_of_sealing(Path(other), arguments.turns)
    print(f"verification beside sha256sum: {speed:.2f} (bound: {VERIFICATION_BOUND})")
    print(f"lines a second with sealing beside without: {cost:.3f} (bound: {SEALING_BOUND})")
    return 0 if speed >= VERIFICATION_BOUND and cost >= SEALING_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
