"""The directory of the end-to-end tests: who has which policy.

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
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import account, alias_domain, cos, domain, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.record import merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from tests.support.record import Record

ARCHIVE: Final = "archive@keep.test"
HOLD: Final = "hold@counsel.test"
CARL_ARCHIVE: Final = "carl-archive@keep.test"
CARL_HOLD: Final = "carl-hold@counsel.test"
LEGAL_FROM: Final = "Legal Dept. <legal@example.test>"
RULE: Final = f"specialcompany.com => {LEGAL_FROM}"
JOE: Final = "joe@specialcompany.com"
PASSWORD: Final = "secret"

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
        ]
    )
