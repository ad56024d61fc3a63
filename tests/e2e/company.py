"""The company of a running system: who has which policy.

In the head office nothing holds for everybody: a message gets what its author and its recipients have.

===================== =====================================================================
ann@example.test      COS sales: an archive of what is sent, and a From for specialcompany.com;
                      on the account a legal hold
kim@example.test      a From for specialcompany.com and nothing else
carl@example.test     archive and legal copies of what is received
bob, jane             nothing
zoe@example.test      an eight-bit display name, written into her From
ian@example.test      his archive bounces
henry@example.test    his archive is the account vault@, which has an alias
dave, erin            an archive, a legal copy whose address is none
frank, gina           an archive, a legal copy in a hosted domain where nobody has the address
staff@, inner@        staff holds inner, inner holds carl and joe@specialcompany.com
many-N@example.test   accounts without policy that nobody has asked for yet
alias.test            alias domain of example.test
===================== =====================================================================

The branch has every kind of coverage: each level, ``with``, ``until``, ``none``, and what is broken.

===================== =====================================================================
ann, bob@branch.test  COS field: archive by COS, legal by domain
carol                 archive of her own, beside an expired one; COS office
dave                  ``none`` of his own
eve                   only expired: the next level shows
frank                 a value that breaks the grammar
grace                 policy group audit, by way of the nested list audit-eu; legal with a condition
vault                 the archive mailbox itself: not of its own mail
room                  a resource
nina@plain.test       in a domain without any policy
sales-team, crew      a list and a dynamic group
===================== =====================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import (
    account,
    alias_domain,
    cos,
    domain,
    dynamic_group,
    global_config,
    resource,
    static_list,
)
from tests.support.names import zimbra_id
from tests.support.record import merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.record import Record

ARCHIVE: Final = "archive@keep.test"
HOLD: Final = "hold@counsel.test"
CARL_ARCHIVE: Final = "carl-archive@keep.test"
CARL_HOLD: Final = "carl-hold@counsel.test"
LEGAL_FROM: Final = "Legal Dept. <legal@example.test>"
RULE: Final = f"specialcompany.com => {LEGAL_FROM}"
JOE: Final = "joe@specialcompany.com"
PASSWORD: Final = "secret"

_FIELD: Final = zimbra_id("cos", "field")
OFFICE: Final = zimbra_id("cos", "office")

_PEOPLE: Final = ("ann", "bob", "jane", "kim", "zoe", "ian", "henry", "dave", "erin", "frank", "gina", "carl")
LOGINS: Final = {
    **dict.fromkeys((f"{name}@example.test" for name in _PEOPLE), PASSWORD),
    **dict.fromkeys((f"many-{number}@example.test" for number in range(16)), PASSWORD),
}
# What the lists of the directory mean to Postfix, without asking the directory.
ALIASES: Final = (
    "{staff@example.test = inner@example.test}, "
    "{inner@example.test = carl@example.test, joe@specialcompany.com}, "
    "{safe@example.test = vault@example.test}, "
    "{vault@alias.test = vault@example.test}"
)


def company() -> list[Record]:
    """Return the entries, parents first."""
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *alias_domain("alias.test", "example.test"),
            *cos("sales", ldapMilterArchiveSentBcc=ARCHIVE, ldapMilterSenderFromRewrite=RULE),
            *account(
                "ann@example.test",
                cos_id=zimbra_id("cos", "sales"),
                aliases=["a.able@example.test"],
                displayName="Ann Able",
                ldapMilterLegalBcc=HOLD,
            ),
            *account("bob@example.test"),
            *account("jane@example.test"),
            *account("kim@example.test", ldapMilterSenderFromRewrite=RULE),
            *account(
                "carl@example.test",
                ldapMilterArchiveReceivedBcc=CARL_ARCHIVE,
                ldapMilterLegalReceivedBcc=CARL_HOLD,
            ),
            *account(
                "zoe@example.test",
                displayName='Zoë "Z" Ångström',
                ldapMilterSenderFromRewrite="* => {displayName} <{address}>",
            ),
            *account("ian@example.test", ldapMilterArchiveSentBcc="bounce-copy@keep.test"),
            *account("vault@example.test", aliases=["safe@example.test"]),
            *account("henry@example.test", ldapMilterArchiveSentBcc="vault@example.test"),
            *account("dave@example.test", ldapMilterArchiveSentBcc=["no-at-sign", "two@@example.test"]),
            *account("erin@example.test", ldapMilterLegalSentBcc="no-at-sign-either"),
            *account("frank@example.test", ldapMilterArchiveSentBcc="ghost@example.test"),
            *account("gina@example.test", ldapMilterLegalSentBcc="phantom@example.test"),
            *static_list("staff@example.test", ["inner@example.test"]),
            *static_list("inner@example.test", ["carl@example.test", JOE]),
            *(entry for number in range(16) for entry in account(f"many-{number}@example.test")),
            *_branch(),
        ]
    )


def branch() -> list[Record]:
    """Return the branch by itself, parents first: what reports on coverage count."""
    return merge([*base_records(), *global_config(zimbraDefaultDomainName="branch.test"), *_branch()])


def _branch() -> Iterator[Record]:
    yield from cos("field", ldapMilterArchiveBcc="{localpart}@{domain}.vault.keep.test")
    yield from cos("office", ldapMilterArchiveReceivedBcc="vault@branch.test ref=RET-7")
    yield from domain("branch.test", ldapMilterLegalBcc="hold@counsel.test with=external ref=CASE-12")
    yield from domain("plain.test")
    yield from account("ann@branch.test", cos_id=_FIELD, displayName="Ann Able")
    yield from account("bob@branch.test", cos_id=_FIELD, displayName='=HYPERLINK("bob")')
    yield from account(
        "carol@branch.test",
        cos_id=OFFICE,
        displayName="Carol <b>Cole</b></script>",
        ldapMilterArchiveBcc=["carol@keep.test", "old@keep.test until=2020-01-31"],
    )
    yield from account("dave@branch.test", cos_id=_FIELD, ldapMilterArchiveBcc="none")
    yield from account("eve@branch.test", cos_id=_FIELD, ldapMilterArchiveBcc="gone@keep.test until=2020-01-31")
    yield from account("frank@branch.test", cos_id=OFFICE, ldapMilterLegalBcc="not an address")
    yield from account("grace@branch.test", cos_id=OFFICE)
    yield from account("vault@branch.test", ldapMilterArchiveSentBcc="vault@branch.test")
    yield from resource("room@branch.test")
    yield from account("nina@plain.test", displayName="Nina Näher")
    yield from static_list(
        "audit@branch.test",
        ["audit-eu@branch.test"],
        ldapMilterAppliesToMembers="TRUE",
        ldapMilterLegalBcc="audit@counsel.test",
    )
    yield from static_list("audit-eu@branch.test", ["grace@branch.test"])
    yield from static_list("sales-team@branch.test", ["ann@branch.test"], ldapMilterArchiveBcc="team@keep.test")
    yield from dynamic_group("crew@branch.test")
