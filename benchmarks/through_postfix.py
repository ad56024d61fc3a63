"""End to end: SMTP into a real Postfix, with a milter before its queue, against Postfix's own bcc maps.

smtp-source(1) sends; every message is put on hold at DATA, so that what is measured is taking mail in
(smtpd, milter, cleanup, queue file), not delivering it. ldapmilter knows the sender by
``mailbox_hosts`` and the envelope sender: smtp-source does not log in. After every turn the queue
files are counted, and those that have the copy: a turn without all of them fails.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import company, contestants
from benchmarks.contestants import C_NOOP, OURS, TRANSPORTS
from benchmarks.native_tools import WrongAnswerError
from benchmarks.report import Target, number, ratios
from tests.support.directory_data import MILTER_DN, MILTER_PASSWORD
from tests.support.names import domain_dn
from tests.support.ports import LOOPBACK, free_port, listens, wait_until
from tests.support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.native_tools import Programs
    from benchmarks.report import Report
    from tests.support.slapd import Slapd

SESSIONS = 4
RECIPIENTS = (1, 50)
MAPS = "Postfix's LDAP bcc maps"
NONE = "no milter"

_SMTP_SOURCE = "/usr/sbin/smtp-source"
_SIZE = 1024
_LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Road:
    """One way into Postfix."""

    name: str
    port: int
    sender: str
    copies: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio that has a target."""

    own: str
    reference: str
    targets: dict[int, Target]
    """By recipients."""


def _ours(kind: str, transport: str) -> str:
    return f"{OURS}, {kind}, {transport}"


NOTHING, COPY = "nothing to do", "one archive copy"
COMPARISONS = (
    Comparison(_ours(NOTHING, "unix"), f"{C_NOOP}, unix", {1: Target(0.95), 50: Target(0.95)}),
    Comparison(_ours(COPY, "unix"), MAPS, {1: Target(0.75), 50: Target(1.6)}),
    Comparison(_ours(NOTHING, "tcp"), _ours(NOTHING, "unix"), {1: Target(0.7), 50: Target(0.7)}),
    Comparison(_ours(COPY, "tcp"), _ours(COPY, "unix"), {1: Target(0.7), 50: Target(0.7)}),
    Comparison(_ours(NOTHING, "unix"), NONE, {}),
    Comparison(f"{C_NOOP}, tcp", f"{C_NOOP}, unix", {}),
)


def measure(slapd: Slapd, programs: Programs, folder: Path, report: Report, *, seconds: float, rounds: int) -> None:
    """Measure every road in turn and write the tables."""
    report.say("## Through Postfix")
    with _roads(slapd, programs, folder) as (postfix, roads):
        report.say(
            f"Messages a second of {SESSIONS} SMTP sessions at a time, one message each, {_SIZE} bytes; median of"
            f" {rounds} rounds of about {seconds:g} s for each road."
        )
        for recipients in RECIPIENTS:
            rates: dict[str, list[float]] = {road.name: [] for road in roads}
            messages = {road.name: _calibrated(postfix, road, recipients, seconds) for road in roads}
            for _ in range(rounds):
                for road in roads:
                    rates[road.name].append(_turn(postfix, road, recipients, messages[road.name]))
            report.say(f"### {recipients} {'recipient' if recipients == 1 else 'recipients'}")
            report.table(
                ("road", "x", "ratio", "target", "msgs/s", "msgs/s of the other"),
                [_row(one, recipients, rates) for one in COMPARISONS],
            )


def _row(one: Comparison, recipients: int, rates: dict[str, list[float]]) -> list[str]:
    spread = ratios(rates[one.own], rates[one.reference])
    target = one.targets.get(recipients)
    return [
        one.own,
        one.reference,
        str(spread),
        target.verdict(spread.median) if target else "",
        *(number(sorted(rates[name])[len(rates[name]) // 2]) for name in (one.own, one.reference)),
    ]


@contextlib.contextmanager
def _roads(slapd: Slapd, programs: Programs, folder: Path) -> Iterator[tuple[Postfix, list[Road]]]:
    """Start milters and Postfix; yield every road that mail can take."""
    nobody = company.sender("nothing", 0)
    trusting = {"identity": {"mailbox_hosts": "127.0.0.0/8"}}
    roads = [Road(NONE, free_port(), nobody), Road(MAPS, free_port(), company.KEEPER, copies=True)]
    services = [f"{LOOPBACK}:{roads[0].port} inet n - n - - smtpd", *_maps(slapd, folder, roads[1].port)]
    with contextlib.ExitStack() as stack:
        for transport in TRANSPORTS:
            yardstick = stack.enter_context(contestants.yardsticks(programs, folder, transport)[0])
            own = stack.enter_context(
                contestants.ldapmilter(slapd, transport, max(contestants.worker_counts()), more=trusting)
            )
            found = (
                (f"{C_NOOP}, {transport}", nobody, yardstick, False),
                (_ours(NOTHING, transport), nobody, own, False),
                (_ours(COPY, transport), company.KEEPER, own, True),
            )
            for name, author, milter, copies in found:
                road = Road(name, free_port(), author, copies)
                roads.append(road)
                services.append(f"{LOOPBACK}:{road.port} inet n - n - - smtpd -o smtpd_milters={milter.socket}")
        postfix = stack.enter_context(
            Postfix(services=services, main_cf={"smtpd_data_restrictions": "check_client_access,static:hold"})
        )
        wait_until(lambda: all(listens(road.port) for road in roads), "every smtpd")
        yield postfix, roads


def _maps(slapd: Slapd, folder: Path, port: int) -> list[str]:
    """Return services that copy by Postfix's own means: a look-up for the sender and one for each recipient."""
    where = {}
    for name, attribute in (("sender", "ldapMilterArchiveSentBcc"), ("recipient", "ldapMilterArchiveReceivedBcc")):
        where[name] = folder / f"{name}_bcc.cf"
        where[name].write_text(
            f"server_host = {slapd.uri}\nversion = 3\nbind = yes\nbind_dn = {MILTER_DN}\nbind_pw = {MILTER_PASSWORD}\n"
            f"search_base = {domain_dn('example.test')}\nscope = sub\nquery_filter = (mail=%s)\n"
            f"result_attribute = {attribute}\n",
            encoding="ascii",
        )
    options = f"-o sender_bcc_maps=ldap:{where['sender']} -o recipient_bcc_maps=ldap:{where['recipient']}"
    return [
        f"{LOOPBACK}:{port} inet n - n - - smtpd -o cleanup_service_name=copying",
        f"copying unix n - n - 0 cleanup {options}",
    ]


def _calibrated(postfix: Postfix, road: Road, recipients: int, seconds: float) -> int:
    """Return how many messages fill the time; this also warms every cache."""
    warm = 40
    for _ in range(2):
        rate = _turn(postfix, road, recipients, warm)
    return max(2 * SESSIONS, int(rate * seconds))


def _turn(postfix: Postfix, road: Road, recipients: int, messages: int) -> float:
    """Send; return messages a second.

    Raises:
        WrongAnswerError: a message or a copy is missing.
    """
    numbered = ["-r", str(recipients)] if recipients > 1 else []
    command = [_SMTP_SOURCE, "-4", "-s", str(SESSIONS), "-m", str(messages), "-l", str(_SIZE), *numbered]
    command += ["-f", road.sender, "-t", "u@example.test", "-M", "client.test", f"inet:{LOOPBACK}:{road.port}"]
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LIMIT)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        message = f"{road}: smtp-source: {done.stderr.strip()}\n{postfix.log()[-2000:]}"
        raise WrongAnswerError(message)
    files = [path for path in (postfix.directory / "queue" / "hold").rglob("*") if path.is_file()]
    copied = sum(company.VAULT.encode() in path.read_bytes() for path in files)
    for path in files:
        path.unlink()
    if len(files) != messages or copied != (messages if road.copies else 0):
        message = (
            f"{road}: {messages} messages sent, {len(files)} queued, {copied} of them copied\n{postfix.log()[-2000:]}"
        )
        raise WrongAnswerError(message)
    return messages / seconds
