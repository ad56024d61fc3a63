"""What the kernel says of the daemon's processes (proc(5))."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def workers_of(parent: int) -> list[int]:
    """Return the children that run."""
    return [process.pid for process in processes() if process.parent == parent and process.state != "Z"]


def pss_mb(leader: int) -> float:
    """Return the proportional set size of a process group in MB: shared pages are counted once."""
    total = 0
    for process in group_of(leader):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024
