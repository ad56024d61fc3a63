"""Whether the archives' servers know the addresses that copies go to by way of the relay."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.relay_servers import try_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.named import Named
    from ldapmilter.config import Config
    from ldapmilter.delivery.next_hop import NextHop

_AREA = Area.VALUES

REFUSED = Kind(
    code="relay-target-refused",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The server of an archive refuses an address that copies go to: they are kept here, and do not get there.",
    remedy="make the mailbox there, or correct the address; then ldapmilter copies --resend",
)
DEFERRED = Kind(
    code="relay-target-deferred",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The server of an archive does not take an address that copies go to for now: they wait.",
    remedy="look at what the server says; some let nobody in whom they do not know (greylisting): let this host in",
)
KINDS = (REFUSED, DEFERRED)

_MOST: Final = 100
"""Addresses that one server is asked about."""


def check(named: Named, config: Config, report: Report) -> None:
    """Ask the first server that answers about each address, where there is a relay.

    Args:
        named: what the values name.
        config: the relay's settings.
        report: what to add to.
    """
    if config.relay.listen is None:
        return
    by_hops: dict[tuple[NextHop, ...], list[str]] = defaultdict(list)
    for address, uses in named.targets.values():
        if uses.relayed:
            by_hops[config.relay.hops_for(address)].append(address.text)
    for hops, targets in by_hops.items():
        _ask(hops, sorted(targets), config, report)


def _ask(hops: Sequence[NextHop], targets: Sequence[str], config: Config, report: Report) -> None:
    asked = targets[:_MOST]
    for hop in hops:
        answers = try_out(hop, config, asked)
        answered = [pair for pair in zip(asked, answers, strict=False) if pair[1].step == "rcpt" and pair[1].code]
        if not answered:
            continue  # what keeps it from answering is told of the server
        for target, answer in answered:
            if answer.becomes != "goes on":
                kind = REFUSED if answer.becomes == "refused" else DEFERRED
                report.add(kind.found(f"{target}: {hop} says {answer.code} {answer.text}"))
        left = len(targets) - len(answered)
        report.fine(
            _AREA,
            f"{hop} was asked about {len(answered)} addresses that get copies"
            + (f", not about {left}" if left else ""),
        )
        return
