"""Every milter that is measured, running: the yardsticks, and ldapmilter in its variants."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.company import KINDS, NEW_FROM, VAULT
from ldapmilter.config_options import SECTIONS
from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta.client import MilterClient
from ldapmilter.socket_address import parse_socket
from tests.support.daemon import Daemon
from tests.support.ports import LOOPBACK, free_port, wait_until
from tests.support.processes import cpu_seconds, group_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.company import Kind
    from benchmarks.native_tools import Programs
    from ldapmilter.mta.wire import Negotiated
    from tests.support.slapd import Slapd

Transport = Literal["unix", "tcp"]

TRANSPORTS: tuple[Transport, ...] = ("unix", "tcp")
C_NOOP = "C no-op"
C_COPY = "C copier"
C_FROM = "C, a new From"
C_DATA = "C no-op, ldapmilter's steps"
C_ALL = "C no-op, every step answered"
BASE_NOOP = "Milter.Base no-op"
OURS = "ldapmilter"
BEFORE = "ldapmilter before"
"""That of another tree, in the same run (``--against``)."""
PASSING = "ldapmilter, mode = pass"
"""No decision at all: what the milter side costs by itself."""

_START = 20.0
_STEADY = {"cache": {"ttl": "3600", "negative_ttl": "3600"}}
"""Nothing grows old while it is measured: a warm cache stays warm."""


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A milter that listens."""

    name: str
    socket: str
    """As Postfix and native/load.c take it."""
    negotiated: Negotiated
    pid: int
    workers: int = 1
    daemon: Daemon | None = None
    kinds: tuple[Kind, ...] = ("nothing",)
    """The mail that it is measured with."""

    @property
    def ours(self) -> bool:
        """Whether it is ldapmilter."""
        return self.daemon is not None

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far, user and system."""
        pids = [self.pid] if self.daemon is None else [one.pid for one in group_of(self.pid) if one.state != "Z"]
        return sum(map(cpu_seconds, pids))


def worker_counts() -> tuple[int, ...]:
    """Return how many processes ldapmilter is measured with: as many as its configuration knows."""
    return (1, 2) if "workers" in SECTIONS["milter"] else (1,)


def sections(
    socket: str | None, workers: int, more: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, dict[str, str]]:
    """Return the configuration of a daemon that is measured; every other option has its default."""
    own: dict[str, str] = {"socket": socket} if socket else {}
    if "workers" in SECTIONS["milter"]:
        own["workers"] = str(workers)
    found = {name: dict(options) for name, options in _STEADY.items()} | {"milter": own}
    for name, options in (more or {}).items():
        found.setdefault(name, {}).update(options)
    return found


@contextlib.contextmanager
def process(name: str, command: list[str], socket: str) -> Iterator[Contestant]:
    """Run a yardstick."""
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        negotiated = _negotiation(socket, lambda: running.poll() is None)
        if socket.startswith("unix:"):
            Path(socket.removeprefix("unix:")).chmod(0o666)  # Postfix is not root
        yield Contestant(name, socket, negotiated, running.pid)
    finally:
        running.kill()
        running.wait(15)


def passing(slapd: Slapd, transport: Transport) -> contextlib.AbstractContextManager[Contestant]:
    """Return ldapmilter without policy, to be entered."""
    return ldapmilter(slapd, transport, name=PASSING, kinds=("nothing",), more={"policy": {"mode": "pass"}})


def variants(slapd: Slapd) -> list[contextlib.AbstractContextManager[Contestant]]:
    """Return ldapmilter with and without what may be switched, to be entered; as far as there are options for it."""
    options: dict[str, dict[str, dict[str, str]]] = {}
    if "file" in SECTIONS.get("audit", {}):
        options["no audit file"] = {"audit": {"file": ""}}
    if "listen" in SECTIONS.get("metrics", {}):
        options["metrics on"] = {"metrics": {"listen": f"{LOOPBACK}:{free_port()}"}}
    return [
        ldapmilter(slapd, "unix", name=f"{OURS}, {name}", kinds=("nothing", "copy"), more=more)
        for name, more in options.items()
    ]


@contextlib.contextmanager
def ldapmilter(
    slapd: Slapd,
    transport: Transport,
    workers: int = 1,
    *,
    name: str = OURS,
    kinds: tuple[Kind, ...] = KINDS,
    more: Mapping[str, Mapping[str, str]] | None = None,
    tree: Path | None = None,
) -> Iterator[Contestant]:
    """Run ldapmilter, with more options than the defaults where there are any; that of another tree if one is named."""
    socket = f"inet:{LOOPBACK}:{free_port()}" if transport == "tcp" else None
    environment = {"PYTHONPATH": str(tree)} if tree is not None else None
    with Daemon(slapd, sections(socket, workers, more), environment=environment) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up", _START)
        yield Contestant(
            name, daemon.socket, _negotiation(daemon.socket, lambda: True), daemon.pid, workers, daemon, kinds
        )


def doers(programs: Programs, folder: Path, recipients: int) -> list[contextlib.AbstractContextManager[Contestant]]:
    """Return the milters in C that do what ldapmilter does, each to be entered: so many copies, a new From."""
    commands = {C_COPY: ["copy", VAULT, str(recipients)], C_FROM: ["from", f"Legal Dept. <{NEW_FROM}>"]}
    found = []
    for name, arguments in commands.items():
        socket = f"unix:{folder / arguments[0]}.sock"
        found.append(process(name, [str(programs.noop), socket, *arguments], socket))
    return found


def yardsticks(
    programs: Programs, folder: Path, transport: Transport
) -> list[contextlib.AbstractContextManager[Contestant]]:
    """Return the milters to compare with, each to be entered."""
    found: list[contextlib.AbstractContextManager[Contestant]] = []
    commands: dict[str, Callable[[str], list[str]]] = {
        C_NOOP: lambda socket: [str(programs.noop), socket, "eom"],
        C_DATA: lambda socket: [str(programs.noop), socket, "data"],
        C_ALL: lambda socket: [str(programs.noop), socket, "all"],
        BASE_NOOP: lambda socket: [sys.executable, str(Path(__file__).with_name("base_noop.py")), socket],
    }
    for number, (name, command) in enumerate(commands.items()):
        if transport == "unix":
            ours = theirs = f"unix:{folder / f'yardstick{number}.sock'}"
        else:
            port = free_port()
            ours, theirs = f"inet:{LOOPBACK}:{port}", f"inet:{port}@{LOOPBACK}"  # libmilter has its own order
        found.append(process(name, command(theirs), ours))
    return found


def _negotiation(socket: str, lives: Callable[[], bool]) -> Negotiated:
    address = parse_socket(socket)

    def answers() -> bool:
        if not lives():
            message = f"the milter at {socket} ended at once"
            raise RuntimeError(message)
        with contextlib.suppress(DaemonUnreachable), MilterClient.connect(address, 2.0):
            return True
        return False

    wait_until(answers, f"the milter at {socket}", _START)
    with MilterClient.connect(address) as client:
        return client.negotiated
