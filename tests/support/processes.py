"""What the kernel says of the daemon's processes (proc(5))."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SCHEDULED = 2
"""CPUCLOCK_SCHED: in the clock's number, the scheduler's own count (clock_getcpuclockid(3))."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process."""

    pid: int
    state: str
    """One letter; ``Z``: a zombie."""
    parent: int
    group: int


def processes() -> Iterator[Process]:
    """Yield every process that there is."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, group = file.read_text().rpartition(")")[2].split()[:3]
            yield Process(int(file.parent.name), state, int(parent), int(group))


def group_of(leader: int) -> list[Process]:
    """Return the processes of a process group: the daemon and all that it ever forked."""
    return [process for process in processes() if process.group == leader]


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not: init may take seconds."""
    return any(process.pid == pid and process.state != "Z" for process in processes())


def group_lives(leader: int) -> bool:
    """Tell whether a process of a process group runs."""
    return any(process.state != "Z" for process in group_of(leader))


def workers_of(parent: int) -> list[int]:
    """Return the children that run."""
    return [process.pid for process in processes() if process.parent == parent and process.state != "Z"]


def freeze(pid: int) -> None:
    """Stop a process (SIGSTOP) and return when each of its threads stands still.

    The signal is only sent when kill(2) returns: a thread on another core may run on for a
    while and answer one more request.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(state == "T" for state in _threads(pid)), f"process {pid} to stand still")


def thaw(pid: int) -> None:
    """Let a process go on (SIGCONT), unless it was ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _threads(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            yield file.read_text().rpartition(")")[2].split()[0]


def pss_mb(leader: int) -> float:
    """Return the proportional set size of a process group in MB: shared pages are counted once."""
    total = 0
    for process in group_of(leader):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, user and system, with that of its threads that have ended."""
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


def wait_until_serving(
    process: subprocess.Popen[bytes],
    name: str,
    serves: Callable[[], bool],
    give_up: Callable[[], None],
    log: Callable[[], str],
) -> None:
    """Return when a server that was just started answers; give it up when it does not.

    Raises:
        RuntimeError: it ended at once; the message holds its log.
        TimeoutError: it does not answer.
    """
    try:
        wait_until(lambda: process.poll() is not None or serves(), name)
    except TimeoutError:
        give_up()
        raise
    if process.poll() is not None:
        message = f"{name} ended with {process.returncode}: {log()[-2000:]}"
        give_up()
        raise RuntimeError(message)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process as an administrator would, and wait for it."""
    process.terminate()
    try:
        process.wait(HANG)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(HANG)
