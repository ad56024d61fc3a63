"""The directory that the load is about, and the mail that is sent: who has which policy, and who writes to whom.

========================== ==========================================================================
nothing-N, rN@example.test accounts in a COS without policy
copy-N                     COS with an archive copy of what is sent
rewrite-N                  COS with a From for whatever is sent
both-N                     COS with both
keeper@example.test        an archive copy of what is sent, on the account: where Postfix's own
                           ``sender_bcc_maps`` can find it
Nu@example.test            accounts without policy, named as smtp-source(1) numbers its recipients
keep.test                  not hosted: where the copies go
========================== ==========================================================================

Every decision walks the whole chain (account, COS, domain, global) of the sender and of every
recipient. Nobody writes the same envelope twice in a row: senders and recipients are drawn anew for
each message of a script, so that only what is known of each of them can be remembered.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Literal

from ldapmilter.mta.transaction import Client, Transaction
from tests.support.builders import account, cos, domain, global_config, server
from tests.support.names import zimbra_id
from tests.support.record import merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.record import Record

Kind = Literal["nothing", "copy", "rewrite", "both"]

KINDS: Final[tuple[Kind, ...]] = ("nothing", "copy", "rewrite", "both")
DESCRIBED: Final[dict[Kind, str]] = {
    "nothing": "nothing to do",
    "copy": "one archive copy",
    "rewrite": "From rewrite",
    "both": "copy and From",
}
VAULT: Final = "vault@keep.test"
NEW_FROM: Final = "legal@example.test"
KEEPER: Final = "keeper@example.test"
SENDERS: Final = 100
RECIPIENTS: Final = 500
NUMBERED: Final = 50
_RULE: Final = f"* => Legal Dept. <{NEW_FROM}>"


def sender(kind: Kind, number: int) -> str:
    """Return one of the senders with a policy."""
    return f"{kind}-{number}@example.test"


def recipient(number: int) -> str:
    """Return one of the recipients."""
    return f"r{number}@example.test"


def records() -> list[Record]:
    """Return the entries, parents first."""
    policies: dict[Kind, dict[str, str]] = {
        "nothing": {},
        "copy": {"ldapMilterArchiveSentBcc": VAULT},
        "rewrite": {"ldapMilterSenderFromRewrite": _RULE},
        "both": {"ldapMilterArchiveSentBcc": VAULT, "ldapMilterSenderFromRewrite": _RULE},
    }
    found = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test", zimbraMtaRecipientDelimiter="+"),
        *server("mbox1.example.test", ["mailbox"], zimbraServiceHostname="192.0.2.17"),
        *domain("example.test"),
        *account(KEEPER, ldapMilterArchiveSentBcc=VAULT),
        *account("u@example.test"),
    ]
    for kind in KINDS:
        found += cos(kind, **policies[kind])
        for number in range(SENDERS):
            found += account(sender(kind, number), cos_id=zimbra_id("cos", kind), displayName=f"Writer {number}")
    plain = zimbra_id("cos", "nothing")
    for number in range(RECIPIENTS):
        found += account(recipient(number), cos_id=plain)
    for number in range(NUMBERED + 1):
        found += account(f"{number}u@example.test", cos_id=plain)
    return merge(found)


def headers(author: str, first_recipient: str, number: int) -> list[tuple[str, str]]:
    """Return the seventeen header fields of ordinary mail, about a kilobyte."""
    return [
        (
            "Received",
            "from desk.example.test (desk.example.test [192.0.2.7])\n\tby mx1.example.test (Postfix) with ESMTP",
        ),
        ("Return-Path", f"<{author}>"),
        ("Date", "Thu, 01 Jan 2026 12:00:00 +0000 (UTC)"),
        ("From", f'"A. Writer" <{author}>'),
        ("To", f"<{first_recipient}>"),
        ("Message-ID", f"<{number:08d}.5731.1767268800.JavaMail.zimbra@example.test>"),
        ("In-Reply-To", "<1766000000.4711.1767000000.JavaMail.zimbra@example.test>"),
        ("References", "<1766000000.4711.1767000000.JavaMail.zimbra@example.test>"),
        ("Subject", "Re: minutes of the meeting, and what follows from them"),
        ("MIME-Version", "1.0"),
        ("Content-Type", 'multipart/alternative;\n\tboundary="=_0f9c1a52-5b1e-4d7c-9a77-3d2f6a8f7c11"'),
        ("X-Originating-IP", "[192.0.2.7]"),
        ("X-Mailer", "Zimbra 9.0.0_GA_4200 (ZimbraWebClient - GC120 (Linux)/9.0.0_GA_4200)"),
        ("Thread-Topic", "minutes of the meeting"),
        ("Thread-Index", "kJ8Wk3l0bq2Xo1mC0Uu7kT1w9xWcYg=="),
        ("X-Priority", "3"),
        ("Content-Language", "en-GB"),
    ]


def transactions(kind: Kind, recipients: int, count: int, seed: int = 0) -> list[Transaction]:
    """Return messages of senders with a policy, each to so many of the recipients."""
    choice = random.Random(f"{kind} {recipients} {seed}")
    found = []
    for number in range(count):
        author = sender(kind, choice.randrange(SENDERS))
        to = [recipient(one) for one in choice.sample(range(RECIPIENTS), recipients)]
        found.append(transaction(author, to, number))
    return found


def transaction(author: str, to: Sequence[str], number: int = 0) -> Transaction:
    """Return one message of an author who logged in."""
    return Transaction(
        sender=author,
        login=author,
        recipients=to,
        headers=headers(author, to[0], number),
        queue_id="4dXyZ12Qk0z4tBn",
        client=Client(name="desk.example.test", address="192.0.2.7", port=40025, helo="desk.example.test"),
    )
