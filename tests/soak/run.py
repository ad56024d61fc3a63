"""A soak: a bounded time of trouble, a verdict at its end."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.e2e.scene import Scene
from tests.soak import letters as mail
from tests.soak.clients import Client, Traffic
from tests.soak.havoc import Havoc
from tests.soak.refusals import RandomRefusals
from tests.soak.verdict import judge
from tests.support.ports import HANG, wait_until
from tests.support.processes import group_of, pss_mb, workers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKUP_DEADLINE: Final = 3.0
LATE: Final = 60.0
"""Seconds after which an answer is a failure unless told otherwise, the whole SMTP dialogue included: on a
machine that does nothing else three more than the deadline are plenty."""
MEMBERS: Final = 25_000
_FEW: Final = 1_000
"""Members that are read in a moment: answers may be short-lived then."""
CLIENTS: Final = 6
_WORKERS: Final = 2
_CALM: Final = 300.0
"""Seconds after the trouble for everything that waits to pass."""
_NAME: Final = "soaked"


def _options(ttl: float) -> dict[str, dict[str, dict[str, str]]]:
    """Return a configuration whose answers live so short that an outage meets fresh, stale and forgotten ones alike."""
    return {
        _NAME: {
            "milter": {"workers": str(_WORKERS)},
            "ldap": {"lookup_deadline": f"{LOOKUP_DEADLINE:g}", "connect_timeout": "1"},
            "cache": {"ttl": f"{ttl:g}", "negative_ttl": "5", "stale_ttl": f"{2 * ttl:g}"},
        }
    }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a soak found.

    Attributes:
        findings: everything that is wrong; nothing: the soak is passed.
        table: the figures, by name.
    """

    findings: list[str]
    table: dict[str, str]


class Soak:
    """One run."""

    def __init__(self, *, seconds: float, seed: int, members: int = MEMBERS, late: float = LATE) -> None:
        """Prepare; :meth:`run` does it.

        Args:
            seconds: how long trouble lasts.
            seed: what draws it.
            members: of the list of everybody.
            late: seconds after which an answer is a failure.
        """
        self._seconds = seconds
        self._seed = seed
        self._members = members
        self._late = late
        # An answer has to live longer than reading the whole list takes.
        self._ttl = 5.0 if members <= _FEW else 120.0
        self._arrivals: list[mail.Arrival] = []
        self._memory: list[float] = []
        self._findings: list[str] = []

    def run(self) -> Outcome:
        """Run the trouble, wait for calm, and judge."""
        main_cf = {"default_process_limit": "100", "virtual_alias_maps": mail.POSTFIX_ALIASES}
        with (
            RandomRefusals(self._seed, {mail.EVERYBODY}) as later,
            Scene(
                _options(self._ttl),
                smtpd={_NAME: f",{later.address}"},
                records=mail.records(self._members),
                postfix_main=main_cf,
            ) as scene,
        ):
            self._scene = scene
            self._daemon_pid = scene.daemon.pid
            calm, give_up, peace = threading.Event(), threading.Event(), threading.Event()
            self._began = began = time.monotonic()
            clients = [Client(scene, number, self._seed, began, calm, give_up) for number in range(CLIENTS)]
            havoc = Havoc(scene, self._seed, peace, self._ttl)
            threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
            for thread in threads:
                thread.start()
            trouble = threading.Thread(target=havoc.run, daemon=True)
            try:
                self._watch(clients, min(3.0, self._seconds / 4), first=True)
                trouble.start()
                self._watch(clients, self._seconds)
                peace.set()
                trouble.join(120)
                if trouble.is_alive():
                    self._findings.append("the soak itself hangs in its trouble")
            except KeyboardInterrupt:
                give_up.set()
                raise
            finally:
                peace.set()
                calm.set()
                deadline = time.monotonic() + _CALM
                for thread in threads:
                    thread.join(max(0.1, deadline - time.monotonic()))
                give_up.set()
                for thread in threads:
                    thread.join(HANG)
            self._findings += havoc.problems
            return self._verdict(clients, havoc)

    def _watch(self, clients: Sequence[Client], until: float, *, first: bool = False) -> None:
        """Empty the mailboxes, measure memory, and say a word a minute."""
        next_line = time.monotonic() + 60
        while (now := time.monotonic()) < self._began + until:
            self._harvest()
            if group_of(self._daemon_pid):
                self._memory.append(pss_mb(self._daemon_pid))
            if now >= next_line and not first:
                next_line += 60
                so_far = Traffic.of(clients)
                _say(
                    f"{(now - self._began) / 60:4.0f} min: {so_far.written} sent, {so_far.taken} taken,"
                    f" {so_far.told_to_wait} answers 4xx, slowest {so_far.slowest:.2f} s,"
                    f" {len(self._arrivals)} delivered, {self._memory[-1]:.0f} MB"
                )
            time.sleep(min(2.0, max(0.0, self._began + until - now)))

    def _harvest(self) -> None:
        """Take out of the mailboxes what has arrived: a run may bring a hundred thousand files."""
        for folder in (self._scene.postfix.directory / "maildir").iterdir():
            for file in (folder / "new").glob("*"):
                self._arrivals.append(mail.read(folder.name, file.read_bytes()))
                file.unlink()

    def _verdict(self, clients: Sequence[Client], havoc: Havoc) -> Outcome:
        scene = self._scene
        findings = self._findings
        try:
            scene.postfix.queue_idle(60)
        except TimeoutError as error:
            findings.append(f"Postfix still has mail under way: {str(error)[:300]}")
        self._harvest()
        findings += judge([letter for client in clients for letter in client.letters], self._arrivals, self._late)
        self._memory.append(pss_mb(self._daemon_pid))
        status = self._status()
        log = scene.daemon.log()
        for word in ("Traceback", "unexpected"):
            findings += [f"in the log: {line}" for line in log.splitlines() if word in line][:3]
        self._the_end()
        return Outcome(findings=findings, table=self._table(Traffic.of(clients), havoc, status))

    def _status(self) -> dict[str, Any]:
        """Ask the daemon how it is: it has to be whole again."""
        try:
            wait_until(lambda: len(workers_of(self._daemon_pid)) == _WORKERS, "two workers")
            wait_until(lambda: self._scene.daemon.cli("status").returncode == 0, "a status without problems", HANG, 0.5)
        except TimeoutError as error:
            self._findings.append(f"{error}: {self._scene.daemon.cli('status').stdout}")
        zombies = [process.pid for process in group_of(self._daemon_pid) if process.state == "Z"]
        if zombies:
            self._findings.append(f"zombies: {zombies}")
        done = self._scene.daemon.cli("status", "--json")
        status: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return status

    def _the_end(self) -> None:
        daemon = self._scene.daemon
        code = daemon.terminate()
        if code != 0:
            self._findings.append(f"the daemon ended with {code}")
        left = [process for process in group_of(self._daemon_pid) if process.pid != self._daemon_pid]
        if left:
            self._findings.append(f"processes outlive the daemon: {left}")
        daemon.stop()

    def _table(self, traffic: Traffic, havoc: Havoc, status: dict[str, Any]) -> dict[str, str]:
        memory = self._memory or [0.0]
        acts = ", ".join(f"{count} {name}" for name, count in sorted(havoc.done.items()))
        waits = "; ".join(f"{count} x {text}" for text, count in traffic.answers.most_common(6))
        return {
            "seed": str(self._seed),
            "time": f"{self._seconds:.0f} s of trouble, {time.monotonic() - self._began:.0f} s in all",
            "trouble": acts,
            "sent": str(traffic.written),
            "taken": str(traffic.taken),
            "still waiting": str(traffic.written - traffic.taken - traffic.refused),
            "refused by a later milter": f"{traffic.refused} messages,"
            f" {traffic.refused_recipients} recipients of messages that were taken",
            "taken with a copy's address": str(traffic.to_a_copy),
            f"taken for {self._members} members": str(traffic.to_everybody),
            "answers 4xx": f"{traffic.told_to_wait} ({waits})" if waits else "0",
            "slowest answer": f"{traffic.slowest:.2f} s (deadline {LOOKUP_DEADLINE:g} s, limit {self._late:g} s)",
            "deliveries": str(len(self._arrivals)),
            "workers died": str(status.get("restarts", "unknown")),
            "stale decisions": str(status.get("counts", {}).get("events", {}).get("stale", 0)),
            "memory (PSS)": f"{memory[0]:.1f} MB at start, {memory[len(memory) // 2]:.1f} in the middle,"
            f" {memory[-1]:.1f} at the end, {max(memory):.1f} at most",
        }


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
