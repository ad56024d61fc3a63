"""Whole processes: what an administrator types, against a Python that does nothing and one that imports ldap3."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from benchmarks import company, contestants
from benchmarks.native_tools import WrongAnswerError
from benchmarks.report import ratios
from tests.support.daemon import Daemon
from tests.support.ports import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Report
    from tests.support.slapd import Slapd

NOTHING: Final = "python -c pass"
LDAP3: Final = 'python -c "import ldap3"'
_REFERENCES: Final = {NOTHING: ["-c", "pass"], LDAP3: ["-c", "import ldap3"]}
_START: Final = 20.0
_LIMIT: Final = 60.0


def measure(slapd: Slapd, report: Report, *, rounds: int) -> None:
    """Run each of them in turn, so many times."""
    with Daemon(slapd, contestants.sections(None, 2)) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up", _START)
        ours = ["-m", "ldapmilter", "--config", str(daemon.config)]
        sender, to = company.sender("copy", 0), company.recipient(0)
        verbs = {
            "--help": ["-m", "ldapmilter", "--help"],
            "status": [*ours, "status"],
            "cache flush": [*ours, "cache", "flush", "--all"],
            "explain": [*ours, "explain", "--auth", sender, "--mail-from", sender, "--rcpt", to],
        }
        commands = {**_REFERENCES, **verbs}
        wall: dict[str, list[float]] = {name: [] for name in commands}
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, arguments in commands.items():
                seconds, spent = _run(name, arguments)
                if number:  # the first one reads files from the disk, and writes byte code
                    wall[name].append(seconds)
                    cpu[name].append(spent)
    report.say("## Verbs")
    report.say(f"Whole processes, median of {rounds} rounds; ratios are those of CPU time, user and system.")
    report.table(
        ("verb", "ms", "ms of CPU", f"x {NOTHING}", f"x {LDAP3}"),
        [
            [
                name,
                f"{1000 * statistics.median(wall[name]):.0f}",
                f"{1000 * statistics.median(cpu[name]):.0f}",
                *(str(ratios(cpu[name], cpu[reference])) for reference in _REFERENCES),
            ]
            for name in commands
        ],
    )


def _run(name: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds that a process takes, and those of CPU.

    Raises:
        WrongAnswerError: it fails.
    """
    before, began = _children_cpu(), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=_LIMIT)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        message = f"{name}: ended with {done.returncode}: {done.stderr.strip()}"
        raise WrongAnswerError(message)
    return seconds, _children_cpu() - before


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
