"""End to end: SMTP into a real Postfix, with a milter before its queue, against Postfix's own bcc maps.

smtp-source(1) sends; every message is put on hold at DATA, so that what is measured is taking mail in
(smtpd, milter, cleanup, queue file), not delivering it. ldapmilter knows the sender by
``mailbox_hosts`` and the envelope sender: smtp-source does not log in. After every turn the queue
files are counted, and those that have the copy or the new From: a turn without all of them fails.

The main figure is the CPU time of a milter's processes for each message, user and system: it says what the milter
costs the host, and others on the machine disturb it less than messages a second.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import company, contestants
from benchmarks.contestants import BEFORE, C_COPY, C_DATA, C_FROM, C_NOOP, OURS, TRANSPORTS
from benchmarks.native_tools import WrongAnswerError
from benchmarks.report import Target, number, ratios
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.names import domain_dn
from tests.support.ports import LOOPBACK, free_port, listens, wait_until
from tests.support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.contestants import Contestant
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
    mark: str | None = None
    """What each message has in its queue file, and none has on a road without one: a copy's address, the new From's."""
    milter: Contestant | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to."""

    rate: float
    """Messages a second."""
    cpu: float
    """Milliseconds of the milter's processes for each message."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio that has a target."""

    own: str
    reference: str
    targets: dict[int, Target]
    """By recipients."""


def _ours(kind: str, transport: str, which: str = OURS) -> str:
    return f"{which}, {kind}, {transport}"


NOTHING, COPY, FROM = "nothing to do", "one archive copy", "a new From"
CPU = (
    Comparison(_ours(NOTHING, "unix"), f"{C_NOOP}, unix", {1: Target(1.6, at_least=False)}),
    Comparison(_ours(COPY, "unix"), C_COPY, {1: Target(2.6, at_least=False)}),
    Comparison(_ours(FROM, "unix"), C_FROM, {1: Target(3.2, at_least=False)}),
    Comparison(C_DATA, f"{C_NOOP}, unix", {}),
)
RATES = (
    Comparison(_ours(NOTHING, "unix"), f"{C_NOOP}, unix", {1: Target(0.95), 50: Target(0.85)}),
    Comparison(_ours(COPY, "unix"), C_COPY, {1: Target(0.85), 50: Target(0.85)}),
    Comparison(_ours(FROM, "unix"), C_FROM, {}),
    Comparison(_ours(COPY, "unix"), MAPS, {50: Target(2.5)}),
    Comparison(_ours(NOTHING, "tcp"), _ours(NOTHING, "unix"), {1: Target(0.7), 50: Target(0.7)}),
    Comparison(_ours(COPY, "tcp"), _ours(COPY, "unix"), {1: Target(0.7), 50: Target(0.7)}),
    Comparison(_ours(NOTHING, "unix"), NONE, {}),
    Comparison(C_COPY, MAPS, {}),
    Comparison(f"{C_NOOP}, tcp", f"{C_NOOP}, unix", {}),
)
AGAINST = tuple(Comparison(_ours(kind, "unix"), _ours(kind, "unix", BEFORE), {}) for kind in (NOTHING, COPY, FROM))


def measure(
    slapd: Slapd,
    programs: Programs,
    folder: Path,
    report: Report,
    *,
    seconds: float,
    rounds: int,
    against: Path | None = None,
) -> None:
    """Measure every road in turn and write the tables; against another tree, that one and the yardsticks alone."""
    report.say("## Through Postfix")
    with _roads(slapd, programs, folder, against) as (postfix, roads):
        report.say(
            f"{SESSIONS} SMTP sessions at a time, one message each, {_SIZE} bytes; median of {rounds} rounds of about"
            f" {seconds:g} s for each road. CPU: milliseconds of all processes of the milter for each message, user"
            " and system."
        )
        more = AGAINST if against is not None else ()
        for recipients in RECIPIENTS:
            turns: dict[str, list[Turn]] = {road.name: [] for road in roads}
            messages = {road.name: _calibrated(postfix, road, recipients, seconds) for road in roads}
            for _ in range(rounds):
                for road in roads:
                    turns[road.name].append(_turn(postfix, road, recipients, messages[road.name]))
            report.say(f"### {recipients} {'recipient' if recipients == 1 else 'recipients'}")
            cpu = {name: [turn.cpu for turn in of] for name, of in turns.items()}
            _tell(report, "CPU", (*CPU, *more), recipients, cpu, "ms")
            rates = {name: [turn.rate for turn in of] for name, of in turns.items()}
            _tell(report, "messages a second", (*RATES, *more), recipients, rates, "msgs/s")


def _tell(
    report: Report,
    what: str,
    comparisons: Sequence[Comparison],
    recipients: int,
    figures: Mapping[str, Sequence[float]],
    unit: str,
) -> None:
    """Write a table of ratios, of what was measured."""
    rows = []
    for one in comparisons:
        if one.own not in figures or one.reference not in figures:
            continue
        spread = ratios(figures[one.own], figures[one.reference])
        target = one.targets.get(recipients)
        middle = [statistics.median(figures[name]) for name in (one.own, one.reference)]
        texts = [f"{value:.2f}" if unit == "ms" else number(value) for value in middle]
        verdict = target.verdict(spread.median) if target else ""
        rows.append([one.own, one.reference, str(spread), verdict, *texts])
    report.table((f"road, {what}", "x", "ratio", "target", unit, f"{unit} of the other"), rows)


@contextlib.contextmanager
def _roads(
    slapd: Slapd, programs: Programs, folder: Path, against: Path | None
) -> Iterator[tuple[Postfix, list[Road]]]:
    """Start milters and Postfix; yield every road that mail can take."""
    senders = {NOTHING: company.sender("nothing", 0), COPY: company.KEEPER, FROM: company.sender("rewrite", 0)}
    marks = {NOTHING: None, COPY: company.VAULT, FROM: company.NEW_FROM}
    trusting = {"identity": {"mailbox_hosts": "127.0.0.0/8"}}
    workers = max(contestants.worker_counts())
    roads: list[Road] = []
    services: list[str] = []

    def through(milter: Contestant, name: str, kind: str) -> None:
        road = Road(name, free_port(), senders[kind], marks[kind], milter)
        roads.append(road)
        services.append(f"{LOOPBACK}:{road.port} inet n - n - - smtpd -o smtpd_milters={milter.socket}")

    with contextlib.ExitStack() as stack:
        if against is None:
            roads += [
                Road(NONE, free_port(), senders[NOTHING]),
                Road(MAPS, free_port(), senders[COPY], marks[COPY]),
            ]
            services += [f"{LOOPBACK}:{roads[0].port} inet n - n - - smtpd", *_maps(slapd, folder, roads[1].port)]
        for transport in TRANSPORTS if against is None else TRANSPORTS[:1]:
            noops = contestants.yardsticks(programs, folder, transport)
            through(stack.enter_context(noops[0]), f"{C_NOOP}, {transport}", NOTHING)
            if transport == "unix":
                through(stack.enter_context(noops[1]), C_DATA, NOTHING)
                for one, kind in zip(contestants.doers(programs, folder, 1), (COPY, FROM), strict=True):
                    milter = stack.enter_context(one)
                    through(milter, milter.name, kind)
            for which, tree in ((OURS, None), (BEFORE, against)):
                if which is OURS or tree is not None:
                    own = stack.enter_context(
                        contestants.ldapmilter(slapd, transport, workers, more=trusting, tree=tree)
                    )
                    for kind in (NOTHING, COPY, FROM):
                        through(own, _ours(kind, transport, which), kind)
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
        rate = _turn(postfix, road, recipients, warm).rate
    return max(2 * SESSIONS, int(rate * seconds))


def _turn(postfix: Postfix, road: Road, recipients: int, messages: int) -> Turn:
    """Send; return what that came to.

    Raises:
        WrongAnswerError: a message, a copy or a new From is missing.
    """
    numbered = ["-r", str(recipients)] if recipients > 1 else []
    command = [_SMTP_SOURCE, "-4", "-s", str(SESSIONS), "-m", str(messages), "-l", str(_SIZE), *numbered]
    command += ["-f", road.sender, "-t", "u@example.test", "-M", "client.test", f"inet:{LOOPBACK}:{road.port}"]
    spent = road.milter.cpu_seconds() if road.milter is not None else 0.0
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LIMIT)
    seconds = time.perf_counter() - began
    spent = (road.milter.cpu_seconds() if road.milter is not None else 0.0) - spent
    if done.returncode != 0:
        message = f"{road}: smtp-source: {done.stderr.strip()}\n{postfix.log()[-2000:]}"
        raise WrongAnswerError(message)
    files = [path for path in (postfix.directory / "queue" / "hold").rglob("*") if path.is_file()]
    marks = (company.VAULT, company.NEW_FROM) if road.mark is None else (road.mark,)
    marked = sum(any(mark.encode() in octets for mark in marks) for octets in map(Path.read_bytes, files))
    for path in files:
        path.unlink()
    if len(files) != messages or marked != (messages if road.mark is not None else 0):
        message = (
            f"{road}: {messages} messages sent, {len(files)} queued, {marked} with what a milter adds\n"
            f"{postfix.log()[-2000:]}"
        )
        raise WrongAnswerError(message)
    return Turn(messages / seconds, 1000 * spent / messages)
