"""A soak of the copy relay: mail with direct, tracked and journaled copies while everything about them breaks.

``scripts/soak-copies`` runs it. A real Postfix, the daemon with its relay, and two archive servers that misbehave. At
its end every copy was accepted by its server, or is kept; none is lost; one that came twice has the same Message-ID;
neither the author nor a recipient got anything that they would not have got without copies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.soak.copied_people import PEOPLE, people
from tests.soak.twice import ENDED, HANDED_IN, causes
from tests.support.archive_server import DROP, TAKE_AND_DROP, ArchiveServer
from tests.support.daemon import Daemon
from tests.support.ports import HANG, wait_until
from tests.support.postfix import Postfix
from tests.support.processes import processes
from tests.support.relay import DOMAIN, audit_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.archive_server import Filed

AUTHOR: Final = "author@elsewhere.test"
_CALM: Final = 900.0
"""Seconds after the trouble for everything that waits to pass."""
_MISDEEDS: Final = (
    *(("banner", "554 5.3.2 closed"), ("hello", "421 4.3.2 going down"), ("mail", "451 4.3.0 later")),
    *(("mail", "550 5.7.1 not from you"), ("rcpt", "450 4.2.1 later"), ("rcpt", "550 5.1.1 nobody"), ("rcpt", DROP)),
    *(("data", "451 4.3.0 later"), ("data", "554 5.6.0 no"), ("content", DROP), ("content", "552 5.3.4 too big")),
    *(("end", "451 4.3.0 later"), ("end", "554 5.7.1 no"), ("end", DROP), ("end", TAKE_AND_DROP)),
)
_ENDS: Final = {"relay killed": signal.SIGKILL, "relay told to end": signal.SIGTERM}
_OFTEN: Final = (*_ENDS, "archive away", "Postfix away", "reload")
_MESSAGE_ID: Final = re.compile(rb"(?im)^Message-ID: (\S+)")
_MARK: Final = re.compile(rb"soaked-(\d+)-")


class CopySoak:
    """One run."""

    def __init__(self, messages: int, seed: int) -> None:
        """Prepare; :meth:`run` does it.

        Args:
            messages: how many are handed in.
            seed: what draws the trouble.
        """
        self._messages = messages
        self._chance = random.Random(seed)
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self.trouble: Counter[str] = Counter()
        self._sent: dict[int, list[str]] = {}
        self._again: Counter[int] = Counter()
        """How often the answer to a message was lost."""

    def run(self) -> list[str]:
        """Do it; return everything that is wrong."""
        with tempfile.TemporaryDirectory() as folder, ArchiveServer() as first, ArchiveServer("lmtp") as second:
            (Path(folder) / "people.ldif").write_text(people(), encoding="utf-8")
            self._first, self._second = first, second
            first.choose = second.choose = self._misbehave
            self._daemon = Daemon(sections={"ldap": {"uri": f"ldif:{folder}/people.ldif"}})
            files = self._daemon.directory
            listen = f"unix:{files}/relay.sock"
            routes = f"inline:{{ {{ {DOMAIN} = lmtp:{listen} }} }}"
            parameters = {
                "transport_maps": routes,
                "minimal_backoff_time": "1s",
                "maximal_backoff_time": "2s",
                "queue_run_delay": "1s",
                "lmtp_tls_security_level": "none",
                "milter_default_action": "tempfail",
            }
            postfix = Postfix(milters=self._daemon.socket, main_cf=parameters)
            self._postfix = postfix
            self._daemon.configure(self._sections(files, listen))
            with self._daemon, postfix:
                wait_until(lambda: self._relay() is not None, "the relay")
                self._everything()
                return self._wrong()

    def _sections(self, files: Path, listen: str) -> dict[str, dict[str, str]]:
        hops = f"tracked.example {self._first.next_hop}\n    journal.example {self._second.next_hop}"
        none = {"sent_attributes": "", "confidential": "no", "invalid_value": "ignore"}
        return {
            "copy archive": {**none, "received_attributes": "amavisArchiveQuarantineTo", "delivery": "tracked"},
            "copy legal": {**none, "received_attributes": "zimbraInterceptAddress", "delivery": "journal"},
            "copy direct": {**none, "received_attributes": "zimbraArchiveAccount"},
            "relay": {
                "listen": listen,
                "socket_mode": "0666",
                "socket_group": "",
                "next_hop_for": hops,
                "key_file": f"{files}/relay.key",
                "kept": f"{files}/kept",
                "state": f"{files}/state/copies.sqlite",
                "postfix_dir": str(self._postfix.config_directory),
            },
        }

    # -- trouble ----------------------------------------------------------------------------

    def _misbehave(self, moment: str, _recipient: str) -> str | None:
        with self._turn:
            wrong = [told for when, told in _MISDEEDS if when == moment]
            if self._stop.is_set() or not wrong or self._chance.random() >= 0.05:
                return None
            told = self._chance.choice(wrong)
            self.trouble[f"{moment}: {told[:3] if told[0].isdigit() else told}"] += 1
            return told

    def _havoc(self) -> None:
        once = ["state deleted", "audit rotated"]
        while not self._stop.wait(self._chance.uniform(2, 8)):
            what = once.pop() if once else self._chance.choice(_OFTEN)
            self.trouble[what] += 1
            if what in _ENDS and (pid := self._relay()) is not None:
                os.kill(pid, _ENDS[what])
            elif what == "archive away":
                with self._chance.choice([self._first, self._second]).away():
                    self._stop.wait(3)
            elif what == "Postfix away":
                with self._turn:
                    self._postfix.stop()
                    self._postfix.start()
            elif what == "reload":
                os.kill(self._daemon.pid, signal.SIGHUP)
            elif what == "state deleted":
                (self._daemon.directory / "state" / "copies.sqlite").unlink(missing_ok=True)
            elif what == "audit rotated":
                audit = self._daemon.directory / "audit.jsonl"
                audit.rename(audit.with_name("audit.jsonl.1"))

    def _everything(self) -> None:
        havoc = threading.Thread(target=self._havoc)
        havoc.start()
        try:
            for number in range(self._messages):
                self._hand_in(number)
        finally:
            self._stop.set()
            havoc.join(HANG)
        wait_until(self._is_settled, "the end of every copy", _CALM, pause=1.0)
        self._postfix.queue_idle(_CALM)

    def _hand_in(self, number: int) -> None:
        """Hand a message in, again until Postfix has it."""
        recipients = [
            f"user{self._chance.randrange(PEOPLE)}@example.test" for _ in range(self._chance.choice([1, 1, 3]))
        ]
        recipients = list(dict.fromkeys(recipients))
        text = b"Subject: soaked-%d-\r\nMessage-ID: <%d@elsewhere.test>\r\n\r\n.soaked-%d- \xe9\r\n"
        deadline = time.monotonic() + HANG
        while time.monotonic() < deadline:
            try:
                with self._turn:
                    if self._postfix.send(AUTHOR, recipients, text % (number, number, number)).code == 250:
                        self._sent[number] = recipients
                        return
            except OSError:
                self._again[number] += 1  # it may be in the queue
            time.sleep(0.5)
        raise TimeoutError(f"message {number}: Postfix does not take it")

    def _relay(self) -> int | None:
        for process in processes():
            if process.parent == self._daemon.pid and process.state != "Z":
                with contextlib.suppress(OSError):
                    if b"--inherit" in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                        return process.pid
        return None

    # -- verdict ----------------------------------------------------------------------------

    def _lines(self) -> Iterator[dict[str, Any]]:
        audit = self._daemon.directory / "audit.jsonl"
        for file in (audit.with_name("audit.jsonl.1"), audit):
            if file.exists():
                yield from audit_lines(file)

    def _tokens(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Return the copies that were decided, by token, and how they ended."""
        copies: dict[str, dict[str, Any]] = {}
        ends: dict[str, str] = {}
        for line in self._lines():
            if line.get("event") == "copy" and line["state"] != "repeat":
                ends[line["token"]] = line["state"]
            elif "copies" in line and line.get("takes_back") is None and line["verdict"] == "accept":
                for copy in line["copies"]:
                    if copy.get("token"):
                        copies[copy["token"]] = {**copy, "message_id": line["message_id"]}
        return copies, ends

    def _is_settled(self) -> bool:
        command = ["postqueue", "-c", str(self._postfix.config_directory), "-f"]
        subprocess.run(command, check=False, capture_output=True, timeout=HANG)
        copies, ends = self._tokens()
        return copies.keys() <= ends.keys()

    def _wrong(self) -> list[str]:
        copies, ends = self._tokens()
        self.trouble.update({f"copies {state}": count for state, count in Counter(ends.values()).items()})
        wrong = [f"copy {token} has not ended" for token in copies.keys() - ends.keys()]
        kept = {file.name for file in (self._daemon.directory / "kept" / "new").iterdir()}
        refused = {token for token, state in ends.items() if state in {"refused", "kept"}}
        wrong += [f"copy {token}: the audit and the Maildir do not agree" for token in kept ^ refused]
        wrong += self._lost(copies, ends)
        wrong += self._mailboxes()
        return wrong

    def _lost(self, copies: dict[str, dict[str, Any]], ends: dict[str, str]) -> Iterator[str]:
        """Say of which copies the archives have none although they accepted them, or something else."""
        filed: dict[tuple[str, int], list[Filed]] = defaultdict(list)
        for one in (*self._first.filed, *self._second.filed):
            filed[one.recipient, _number(_MARK, one.octets)].append(one)
        decided: Counter[tuple[str, int]] = Counter()
        accepted: Counter[tuple[str, int]] = Counter()
        for token, copy in copies.items():
            key = copy["address"], int(re.findall(r"\d+", copy["message_id"])[0])
            decided[key] += 1
            accepted[key] += ends.get(token) == "accepted"
        for key in filed.keys() | decided.keys():
            found, (target, number) = filed[key], key
            if len(found) < accepted[key]:
                yield f"message {number}: {len(found)} of {accepted[key]} accepted copies are at {target}"
            if len({_MESSAGE_ID.findall(one.octets)[0] for one in found}) > decided[key]:
                yield f"message {number} is at {target} under too many Message-IDs"
            if any(b"\r\n.soaked-%d- \xe9\r\n" % number not in one.octets for one in found):
                yield f"message {number} is at {target} with other octets"

    def _mailboxes(self) -> Iterator[str]:
        """Say what recipients have that was not sent to them, or have not, or twice, and what the author got."""
        log = self._postfix.log()
        for person in (f"user{number}@example.test" for number in range(PEOPLE)):
            has: dict[int, list[bytes]] = defaultdict(list)
            for one in self._postfix.messages(person):
                has[_number(_MARK, one)].append(one)
            due = {number for number, recipients in self._sent.items() if person in recipients}
            differ = has.keys() ^ due
            yield from (f"{person} and message {number}: has it, or has it not, and should not" for number in differ)
            for number, messages in has.items():
                for cause in causes(person, messages, log, handed_in=1 + self._again[number]):
                    if cause in {ENDED, HANDED_IN}:
                        self.trouble[cause] += 1
                    else:
                        yield f"message {number}: {cause}"
        if self._postfix.messages(AUTHOR):
            yield "the author was told something"


def _number(pattern: re.Pattern[bytes], octets: bytes) -> int:
    return next(int(found) for found in pattern.findall(octets))


def main() -> int:
    """Run the soak of the command line; return 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak-copies", description=__doc__, allow_abbrev=False)
    parser.add_argument("--messages", type=int, default=2000, help="how many are handed in (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=None, help="what draws the trouble")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("scripts/soak-copies: needs root, as Postfix does\n")
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    sys.stdout.write(f"{options.messages} messages, --seed {seed}\n")
    sys.stdout.flush()
    soak = CopySoak(options.messages, seed)
    wrong = soak.run()
    sys.stdout.write("".join(f"{name}: {count}\n" for name, count in sorted(soak.trouble.items())))
    sys.stdout.write("".join(f"WRONG  {text}\n" for text in wrong[:40]))
    sys.stdout.write(f"\nverdict: {'FAILED' if wrong else 'passed'}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
