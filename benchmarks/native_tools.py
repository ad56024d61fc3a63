"""The programs in C: built anew for every run, in a temporary directory."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).parent / "native"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
_PATIENCE = 120.0  # seconds that a load may last beyond what it was given


class WrongAnswerError(Exception):
    """The milter, or the driver, did not do what it had to; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one load came to."""

    messages: int
    sessions: int
    seconds: float
    packets: int
    """Sent to the milter, negotiation and quit included."""
    bytes: int
    waits: int
    """Replies that were waited for, that to the negotiation included."""
    deletions: int
    """Header fields that were taken away."""
    stalls: int
    """Messages that took 35 ms or longer."""
    p50_us: int
    p99_us: int
    max_us: int
    driver_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def waits_each(self) -> float:
        """Replies waited for per message."""
        return self.waits / self.messages

    @property
    def bytes_each(self) -> float:
        """Bytes to the milter per message."""
        return self.bytes / self.messages


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the built programs are."""

    load: Path
    noop: Path

    def run(
        self, script: Path, socket: str, *, connections: int, per_session: int = 1, seconds: float, messages: int = 0
    ) -> Figures:
        """Run the load driver.

        Raises:
            WrongAnswerError: the milter did something else than the script says.
        """
        command = [str(self.load), str(script), socket, *map(str, (connections, per_session, seconds, messages))]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + _PATIENCE)
        if done.returncode != 0:
            message = f"{socket}, {script.name}: {done.stderr.strip()}"
            raise WrongAnswerError(message)
        return Figures(**json.loads(done.stdout))


def build(folder: Path) -> Programs:
    """Compile the load driver and the yardstick."""
    programs = {}
    for name, libraries in (("load", ["-lpthread"]), ("noop", ["-lmilter", "-lpthread"])):
        programs[name] = folder / name
        command = ["cc", *_FLAGS, "-o", str(programs[name]), str(_SOURCES / f"{name}.c"), *libraries]
        subprocess.run(command, check=True)
    return Programs(**programs)
