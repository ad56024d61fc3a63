"""What the running daemon has noticed: mail that waits and comes back, and unknown clients that send for ours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.daemon.status_words import client_in_words, kept_in_words, late_in_words, waits_in_words

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.daemon.channel import Message

_BUSY: Final = 100

WAITS = Kind(
    code="mail-waits",
    severity=Severity.PROBLEM,
    area=Area.MILTER_SOCKET,
    meaning="Mail was told to wait (451), came back, and waits again: it bounces when its senders give up.",
    remedy="mend what it waits for: an invalid value is listed by check --directory, anything else is in the audit",
    confidential=True,
)
UNKNOWN_CLIENT = Kind(
    code="identity-unknown-client",
    severity=Severity.NOTE,
    area=Area.IDENTITY,
    meaning="A client sends with senders of hosted domains, without a login, and is no mailbox server: its mail has no"
    " identity, so none of the copies of mail sent is made. Forged senders look like this, and so do mailbox servers"
    " behind NAT.",
    remedy="find out what $client is; one of yours belongs into [identity] mailbox_hosts, or should log in",
)
BUSY_CLIENT = Kind(
    code="identity-unknown-client-busy",
    severity=Severity.WARNING,
    area=Area.IDENTITY,
    meaning=f"Such a client sent {_BUSY} messages or more, as a mailbox server does whose address is not known.",
    remedy=UNKNOWN_CLIENT.remedy,
)

KEPT = Kind(
    code="relay-kept",
    severity=Severity.PROBLEM,
    area=Area.MILTER_SOCKET,
    meaning="Copies are kept here that their archive has refused, or that were not through in time.",
    remedy="look at ldapmilter copies --addresses, mend what the answer names, and run ldapmilter copies --resend",
)
LATE = Kind(
    code="relay-late",
    severity=Severity.WARNING,
    area=Area.MILTER_SOCKET,
    meaning="A copy waits for its archive longer than `[relay] late_after`: it stays in Postfix's queue meanwhile.",
    remedy="look at ldapmilter copies --addresses, mend the archive, and run postqueue -f",
)

KINDS = (WAITS, UNKNOWN_CLIENT, BUSY_CLIENT, KEPT, LATE)


def check(status: Message, report: Report) -> None:
    """Look at what the daemon says of itself; one of an older version says nothing of this."""
    now = time.time()
    for one in status.get("waiting", ()):
        report.add(WAITS.found(waits_in_words(one)))
    for one in status.get("unknown_clients", ()):
        kind = BUSY_CLIENT if one["messages"] >= _BUSY else UNKNOWN_CLIENT
        report.add(kind.found(client_in_words(one, now), client=one["client"]))
    relay = status.get("relay") or {}
    if text := kept_in_words(relay):
        report.add(KEPT.found(text))
    if text := late_in_words(relay, now):
        report.add(LATE.found(text))
