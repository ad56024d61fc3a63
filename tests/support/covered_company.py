"""A company with every kind of coverage in it: each level, ``with``, ``until``, ``none``, and what is broken.

======================= ===============================================================================
ann, bob                COS sales: archive by COS, legal by domain
carol                   archive of her own, beside an expired one; COS staff
dave                    ``none`` of his own
eve                     only expired: the next level shows
frank                   a value that breaks the grammar
grace                   policy group audit, by way of the nested list audit-eu; legal with a condition
vault                   the archive mailbox itself: not of its own mail
room                    a resource
nina@plain.test         in a domain without any policy
sales-team, crew        a list and a dynamic group
======================= ===============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import account, cos, domain, dynamic_group, global_config, resource, static_list
from tests.support.names import zimbra_id
from tests.support.record import Record, merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

STAFF: Final = zimbra_id("cos", "staff")
SALES: Final = zimbra_id("cos", "sales")


def covered_company() -> list[Record]:
    """Return its directory, parents first."""
    return merge([*base_records(), *_shared(), *_people(), *_groups()])


def _shared() -> Iterator[Record]:
    yield from global_config(zimbraDefaultDomainName="example.test")
    yield from cos("sales", ldapMilterArchiveBcc="{localpart}@{domain}.vault.keep.test")
    yield from cos("staff", ldapMilterArchiveReceivedBcc="vault@example.test ref=RET-7")
    yield from domain("example.test", ldapMilterLegalBcc="hold@counsel.test with=external ref=CASE-12")
    yield from domain("plain.test")


def _people() -> Iterator[Record]:
    yield from account("ann@example.test", cos_id=SALES, displayName="Ann Able")
    yield from account("bob@example.test", cos_id=SALES, displayName='=HYPERLINK("bob")')
    yield from account(
        "carol@example.test",
        cos_id=STAFF,
        displayName="Carol <b>Cole</b></script>",
        ldapMilterArchiveBcc=["carol@keep.test", "old@keep.test until=2020-01-31"],
    )
    yield from account("dave@example.test", cos_id=SALES, ldapMilterArchiveBcc="none")
    yield from account("eve@example.test", cos_id=SALES, ldapMilterArchiveBcc="gone@keep.test until=2020-01-31")
    yield from account("frank@example.test", cos_id=STAFF, ldapMilterLegalBcc="not an address")
    yield from account("grace@example.test", cos_id=STAFF)
    yield from account("vault@example.test", ldapMilterArchiveSentBcc="vault@example.test")
    yield from resource("room@example.test")
    yield from account("nina@plain.test", displayName="Nina Näher")


def _groups() -> Iterator[Record]:
    yield from static_list(
        "audit@example.test",
        ["audit-eu@example.test"],
        ldapMilterAppliesToMembers="TRUE",
        ldapMilterLegalBcc="audit@counsel.test",
    )
    yield from static_list("audit-eu@example.test", ["grace@example.test"])
    yield from static_list("sales-team@example.test", ["ann@example.test"], ldapMilterArchiveBcc="team@keep.test")
    yield from dynamic_group("crew@example.test")
