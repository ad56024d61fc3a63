"""The way out: copies that Postfix delivers to an archive directly, against the same ones by way of the copy relay.

Messages lie in Postfix's queue on hold, each with one copy. They are let go at once, and the time runs until the queue
is empty. The archive is smtp-sink(1), which takes everything and writes nothing, so what is left is Postfix's work, and
the relay's: the audit's line of each copy on disk, the state, the session with the archive. Afterwards the lines of the
audit, or Postfix's own, are counted: a turn in which a copy was not accepted fails.
"""

from __future__ import annotations

import contextlib
import os
import smtplib
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from benchmarks.native_tools import WrongAnswerError
from benchmarks.report import Target, milliseconds, number, ratios
from tests.support.builders import account, domain, global_config
from tests.support.daemon import Daemon
from tests.support.ports import LOOPBACK, free_port, listens, wait_until
from tests.support.postfix import Postfix
from tests.support.processes import processes
from tests.support.record import merge, to_ldif
from tests.support.relay import DOMAIN, decision, ends, new_token, write_audit
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.report import Report

_SINK: Final = "/usr/sbin/smtp-sink"
_TARGET: Final = "vault@archive.test"
_SIZE: Final = 4096
_MESSAGE_ID: Final = "<one@client.test>"
_LIMIT: Final = 300.0
_LOG_SECONDS: Final = 10.0
_LAG_SECONDS: Final = 1.2
_LEAST: Final = Target(0.5)

Way = Literal["direct", "tracked", "journal"]
WAYS: Final[tuple[Way, ...]] = ("direct", "tracked", "journal")


@dataclass(frozen=True)
class Site:
    """A Postfix that holds what comes in, and a daemon whose relay hands copies on."""

    postfix: Postfix
    daemon: Daemon

    def hand_in(self, way: Way, messages: int) -> None:
        """Put messages into the queue, each with one copy; nothing is delivered yet."""
        body = (
            f"Message-ID: {_MESSAGE_ID}\r\nSubject: x\r\n\r\n".encode()
            + b"y" * 70
            + b"\r\n"
            + (b"z" * 70 + b"\r\n") * (_SIZE // 72)
        )
        tokens = [new_token(self.daemon.directory) for _ in range(messages)] if way != "direct" else []
        if tokens:
            people = {
                "offered": ["bob@example.test", "kim@client.test"],
                "identity": {"source": "none", "address": None},
                "message_id": _MESSAGE_ID,
            }
            for token in tokens:
                line = decision([token], at=time.time(), target=_TARGET, delivery=way, **people)
                write_audit(self.daemon.directory / "audit.jsonl", line)
        with smtplib.SMTP(LOOPBACK, self.postfix.port, "client.test") as client:
            for recipient in [f"{token}@{DOMAIN}" for token in tokens] or [_TARGET] * messages:
                client.sendmail("ann@client.test", [recipient], body)

    def deliver(self) -> float:
        """Let the queue go; return the seconds until it is empty."""
        place = ["-c", str(self.postfix.config_directory)]
        subprocess.run(["/usr/sbin/postsuper", *place, "-H", "ALL"], check=True, capture_output=True, timeout=60)
        began = time.perf_counter()
        subprocess.run(["/usr/sbin/postqueue", *place, "-f"], check=True, capture_output=True, timeout=60)
        wait_until(self.postfix.is_empty, "an empty queue", _LIMIT, pause=0.02)
        return time.perf_counter() - began

    def accepted(self, way: Way) -> int:
        """Return how many copies the archive has accepted so far."""
        if way == "direct":
            lines = self.postfix.log().splitlines()
            return sum(f"to=<{_TARGET}>" in line and "status=sent" in line for line in lines)
        return sum(state == "accepted" for _, state in ends(self.daemon.directory / "audit.jsonl"))

    def turn(self, way: Way, messages: int) -> float:
        """Deliver so many copies; return copies a second.

        Raises:
            WrongAnswerError: one was not accepted.
        """
        before = self.accepted(way)
        self.hand_in(way, messages)
        seconds = self.deliver()
        with contextlib.suppress(TimeoutError):  # Postfix's log and the audit are a moment behind
            wait_until(lambda: self.accepted(way) - before >= messages, "all copies", _LOG_SECONDS)
        time.sleep(_LAG_SECONDS)  # what the relay still does for these copies counts for them
        if (found := self.accepted(way) - before) != messages:
            message = f"{way}: {found} of {messages} copies accepted\n{self.postfix.log()[-2000:]}{self.daemon.log()}"
            raise WrongAnswerError(message)
        return messages / seconds

    def relay(self) -> int:
        """Return the relay's process.

        Raises:
            WrongAnswerError: there is none.
        """
        for process in processes():
            with contextlib.suppress(OSError):
                if process.parent == self.daemon.pid and b"relay" in _file(process.pid, "cmdline").split(b"\0"):
                    return process.pid
        message = f"no relay runs\n{self.daemon.log()}"
        raise WrongAnswerError(message)

    def peak(self) -> float:
        """Return the most memory that the relay has had, in MB."""
        lines = _file(self.relay(), "status").decode("ascii", "replace").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

    def spent(self) -> float:
        """Return the seconds of CPU that the relay has had (proc(5): utime, stime)."""
        fields = _file(self.relay(), "stat").rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(report: Report, *, messages: int, rounds: int) -> None:
    """Measure every way in turn and write the table."""
    report.say("## By way of the relay")
    with _site() as site:
        for way in WAYS:
            site.turn(way, messages // 4 + 1)  # connections, caches
        rates: dict[Way, list[float]] = {way: [] for way in WAYS}
        spent = dict.fromkeys(WAYS, 0.0)
        for _ in range(rounds):
            for way in WAYS:
                before = site.spent()
                rates[way].append(site.turn(way, messages))
                spent[way] += (site.spent() - before) / messages / rounds
        report.say(f"Copies a second, {_SIZE} octets each, {messages} in a turn; median of {rounds} rounds.")
        report.table(
            ("delivery", "x direct", "target", "copies/s", "direct copies/s", "CPU of the relay for a copy"),
            [_row(way, rates, spent[way]) for way in WAYS[1:]],
        )
        report.say(f"The relay had {site.peak():.0f} MB of memory at most.")


def _row(way: Way, rates: dict[Way, list[float]], spent: float) -> list[str]:
    spread = ratios(rates[way], rates["direct"])
    medians = (number(sorted(rates[one])[len(rates[one]) // 2]) for one in (way, "direct"))
    return [way, str(spread), _LEAST.verdict(spread.median), *medians, milliseconds(spent)]


def _file(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


@contextlib.contextmanager
def _site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        archive = stack.enter_context(_sink())
        people = merge(
            [
                *base_records(),
                *global_config(zimbraDefaultDomainName="example.test"),
                *domain("example.test"),
                *account("bob@example.test"),
            ]
        )
        (folder / "site.ldif").write_text(to_ldif(people), encoding="utf-8")
        sections = {"ldap": {"uri": f"ldif:{folder}/site.ldif"}, "policy": {"mode": "pass"}}
        daemon = Daemon(sections=sections)
        files = daemon.directory
        names = {"key_file": "relay.key", "state": "copies.sqlite", "kept": "kept"}
        relay = {option: f"{files}/{name}" for option, name in names.items()}
        listen = f"unix:{files}/relay.sock"
        mode = {"listen": listen, "socket_mode": "0666", "socket_group": ""}
        daemon.configure({"relay": {**relay, **mode, "next_hop": f"smtp:[{LOOPBACK}]:{archive}"}})
        routes = f"{{ {DOMAIN} = lmtp:{listen} }} {{ archive.test = smtp:[{LOOPBACK}]:{archive} }}"
        parameters = {
            "transport_maps": f"inline:{{ {routes} }}",
            "smtpd_data_restrictions": "check_client_access static:hold",
        }
        postfix = Postfix(main_cf=parameters, mynetworks="127.0.0.0/8")
        stack.enter_context(daemon)
        stack.enter_context(postfix)
        daemon.said("the copy relay serves")
        yield Site(postfix, daemon)


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    """Run an archive's server that takes everything; yield its port."""
    port = free_port()
    sink = subprocess.Popen([_SINK, "-4", "-u", "nobody", f"{LOOPBACK}:{port}", "256"], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), "smtp-sink")
        yield port
    finally:
        sink.terminate()
        sink.wait(10)
