"""What a worker keeps of the addresses that it has seen: the daemon's memory before, after, and long after.

Every account of a directory writes to nobody and is written to by everybody: each worker gets to see
every one of them, four recipients to a message. The proportional set size (proc(5), smaps_rollup) of
parent and workers together is what counts, since they share pages.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from benchmarks.company import transaction
from benchmarks.report import Target, number
from benchmarks.script import write_script
from ldapmilter.mta.client import MilterClient
from ldapmilter.socket_address import parse_socket
from tests.support.builders import account, cos, domain, global_config
from tests.support.daemon import Daemon
from tests.support.names import zimbra_id
from tests.support.processes import pss_mb
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.native_tools import Programs
    from benchmarks.report import Report
    from tests.support.record import Record

WORKERS: Final = 2
COSES: Final = 20
TO_EACH: Final = 4
PER_SESSION: Final = 50
"""So that every worker gets its share of the connections."""
BOUND: Final = Target(180, at_least=False)
"""MB, for 50,000 addresses."""
_SECONDS: Final = 900.0


def person(number_: int) -> str:
    """Return one of the addresses."""
    return f"first.lastname{number_}@example.test"


def records(accounts: int) -> list[Record]:
    """Return the entries, parents first: accounts in a few COSes, without a policy."""
    coses = [zimbra_id("cos", f"c{one}") for one in range(COSES)]
    found = [*base_records(), *global_config(zimbraDefaultDomainName="example.test"), *domain("example.test")]
    for one in range(COSES):
        found += cos(f"c{one}")
    for one in range(accounts):
        found += account(person(one), cos_id=coses[one % COSES], displayName=f"First Lastname {one}")
    return merge(found)


def measure(programs: Programs, folder: Path, report: Report, *, addresses: int, further: int) -> None:
    """Show every worker every address, then send so many further messages."""
    order = list(range(addresses))
    random.Random(1).shuffle(order)
    groups = [order[start : start + TO_EACH] for start in range(0, addresses, TO_EACH)]
    messages = [transaction(person(0), [person(one) for one in group], at) for at, group in enumerate(groups)]
    sections = {"milter": {"workers": str(WORKERS)}, "cache": {"ttl": "36000"}}
    with Slapd(records(addresses)) as slapd, Daemon(slapd, sections) as daemon:
        with MilterClient.connect(parse_socket(daemon.socket), 20) as client:
            negotiated = client.negotiated
        script, few = folder / "everybody", folder / "few"
        write_script(script, messages, 500, negotiated, "nothing")
        write_script(few, messages[:50], 500, negotiated, "nothing")

        def send(what: Path, count: int) -> float:
            connections = 2 * WORKERS
            programs.run(
                what, daemon.socket, connections=connections, per_session=PER_SESSION, seconds=_SECONDS, messages=count
            )
            return pss_mb(daemon.pid)

        rows = [("start", pss_mb(daemon.pid)), ("a few messages", send(few, 4 * PER_SESSION * WORKERS))]
        # Several times round, since which worker gets which message is chance.
        seen = 3 * len(messages) * WORKERS
        rows.append((f"{number(seen)} messages", send(script, seen)))
        rows.append((f"{number(further)} more", send(script, further)))
        entries = daemon.cli("cache", "stats").stdout.split("\n", 1)[0]
    each = (rows[2][1] - rows[1][1]) * 2**20 / (addresses * WORKERS)
    report.say("## Memory")
    report.say(
        f"{WORKERS} workers, {number(addresses)} distinct addresses, {TO_EACH} to a message; PSS of all processes. An"
        f" address costs each worker {number(each)} octets. In the end the caches hold: {' '.join(entries.split())}."
    )
    table = [[what, f"{value:.1f} MB", BOUND.verdict(value)] for what, value in rows]
    report.table(("after", "PSS", "target"), table)
