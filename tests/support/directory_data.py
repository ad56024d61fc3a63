"""The directory that most tests read: small, but with every trap that Zimbra's data holds.

===================== =====================================================================
ann@example.test      alias a.able@, no COS of its own (the domain's default: legal), two
                      forwards in one string, in the group dyn, a From of her own outside
bob@example.test      COS default, hidden from the address list, canonical address elsewhere;
                      ann may send as him
boardroom@            a resource
carl@example.test     COS id that leads nowhere
all@, eng@            static lists that contain each other; eng names ann by her alias
dyn@                  managed dynamic group: ann, and guest@outside.test
engineers@            dynamic group with a search of its own: bob
alias.test            alias domain of example.test, delivered by a catch-all
===================== =====================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import (
    account,
    alias_domain,
    bind_identity,
    container,
    cos,
    custom_group,
    domain,
    dynamic_group,
    global_config,
    resource,
    server,
    static_list,
)
from tests.support.names import account_dn, domain_dn, zimbra_id
from tests.support.record import merge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.record import Record

ADMIN_DN: Final = "uid=zimbra,cn=admins,cn=zimbra"
ADMIN_PASSWORD: Final = "admin-secret"
POSTFIX_DN: Final = "uid=zmpostfix,cn=appaccts,cn=zimbra"
POSTFIX_PASSWORD: Final = "postfix-secret"
MILTER_DN: Final = "uid=ldapmilter,cn=appaccts,cn=zimbra"
MILTER_PASSWORD: Final = "milter-secret"


def base_records() -> list[Record]:
    """Return what every Zimbra directory has: the trees, the identities, the two stock COSes."""
    trees = ("", "cn=cos,", "cn=servers,", "cn=admins,", "cn=appaccts,", "cn=groups,")
    return [
        *(container(f"{tree}cn=zimbra") for tree in trees),
        bind_identity(ADMIN_DN, ADMIN_PASSWORD),
        bind_identity(POSTFIX_DN, POSTFIX_PASSWORD),
        bind_identity(MILTER_DN, MILTER_PASSWORD),
        *cos("default", zimbraInterceptFrom="Postmaster <postmaster@${ACCOUNT_DOMAIN}>"),
        *cos("defaultExternal"),
    ]


def sample_records() -> list[Record]:
    """Return the whole test directory, parents first."""
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *cos(
                "legal",
                zimbraInterceptAddress=["hold@vault.example.test", "hold2@vault.example.test"],
            ),
            *server(
                "mx1.example.test",
                ["mta"],
                zimbraMtaMyNetworks="127.0.0.0/8 [::1]/128 192.0.2.0/24",
                zimbraMtaSmtpdMilters="inet:127.0.0.1:8890",
            ),
            *server("mbox1.example.test", ["mailbox", "memcached"]),
            *domain("example.test", zimbraDomainDefaultCOSId=zimbra_id("cos", "legal")),
            *alias_domain("alias.test", "example.test"),
            *_people(),
            *_groups(),
        ]
    )


def _people() -> Iterable[Record]:
    ann = zimbra_id("account", "ann@example.test")
    yield from account(
        "ann@example.test",
        aliases=["a.able@example.test"],
        cn="Ann Able",
        sn="Able",
        displayName="Ann Able",
        zimbraMemberOf=zimbra_id("group", "dyn@example.test"),
        zimbraAllowFromAddress="ann@partner.test",
        zimbraPrefMailForwardingAddress="ann-home@isp.test, ann2@isp.test",
    )
    yield from account(
        "bob@example.test",
        cos_id=zimbra_id("cos", "default"),
        cn="Bob",
        title="engineer",
        zimbraMailCanonicalAddress="bob@brand.test",
        zimbraHideInGal=True,
        zimbraACE=f"{ann} usr sendAs",
    )
    yield from account("carl@example.test", cos_id=zimbra_id("cos", "deleted"), cn="Carl")
    yield from resource("boardroom@example.test", cn="Boardroom", displayName="Boardroom")


def _groups() -> Iterable[Record]:
    yield from static_list(
        "all@example.test",
        ["eng@example.test", "bob@example.test", "consultant@outside.test"],
        cn="All staff",
        displayName="All staff",
    )
    yield from static_list("eng@example.test", ["a.able@example.test", "all@example.test"])
    yield from dynamic_group("dyn@example.test", external=["guest@outside.test"])
    yield from custom_group(
        "engineers@example.test",
        f"ldap:///ou=people,{domain_dn('example.test')}??sub?(&(objectClass=zimbraAccount)(title=engineer))",
    )


ANN_DN: Final = account_dn("ann@example.test")
