"""A directory that holds every shape of Zimbra's data: for the contract, and for whatever else reads a directory.

Everything hangs off ``example.test``; the other domains are there for what is special about them:

================= =============================================================================
example.test      default COS ``legal``, for external virtual accounts ``guests``
alias.test        alias domain of example.test, both ways (provisioning and forwarding)
prov.test         alias domain as Zimbra's own command leaves it: no forwarding
fwd.test          alias domain by its catch-all forwarding only
chain.test        alias domain of alias.test: one hop too many
other.test        no defaults; a catch-all account
otheralias.test   alias domain of other.test
dangling.test     its default COS does not exist
sub.example.test  lies below example.test in the tree
bücher.test       stored in ACE form
blank.test        its name has blanks around it; a catch-all account that has, too
rights.test       who may write as whom: rights on every level, external accounts
================= =============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.builders import (
    account,
    alias_domain,
    cos,
    custom_group,
    data_source,
    domain,
    dynamic_group,
    global_config,
    global_grants,
    record,
    resource,
    server,
    static_list,
)
from tests.support.names import account_dn, domain_dn, group_dn, zimbra_id
from tests.support.record import Record, merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HELPDESK: Final = "helpdesk@rights.test"
IDN_DOMAIN: Final = "xn--bcher-kva.test"
SALES_ID: Final = zimbra_id("cos", "sales")
DEEPEST: Final = 6

ANN: Final = "ann@example.test"
BOB: Final = "bob@example.test"
WATCH: Final = "watch@example.test"
LOOSE: Final = "loose@example.test"
LONG_MEMBER: Final = f"bob+{'x' * 300}@example.test"

ANN_DN: Final = account_dn(ANN)
BOB_DN: Final = account_dn(BOB)


def shapes() -> list[Record]:
    """Return the entries, parents first."""
    return merge(
        [
            *base_records(),
            *_global(),
            *_domains(),
            *_people(),
            *_odd_people(),
            *_lists(),
            *_dynamic_groups(),
            *_policy_groups(),
            *_send_rights(),
        ]
    )


def _global() -> Iterator[Record]:
    yield from global_config(
        zimbraDefaultDomainName="example.test",
        zimbraMtaRecipientDelimiter="+",
        ldapMilterLegalBcc="global@vault.test",
    )
    intercepted = ["hold@vault.test", "hold2@vault.test"]
    yield from cos("legal", ldapMilterArchiveBcc="legal@vault.test", zimbraInterceptAddress=intercepted)
    # Zimbra's own ids come in both cases.
    yield from cos("sales", zimbraId=SALES_ID.upper(), ldapMilterArchiveBcc="sales@vault.test")
    yield from cos("guests", ldapMilterArchiveBcc="guests@vault.test")
    yield from server(
        "mx1.example.test", ["mta"], zimbraServiceHostname="192.0.2.25", zimbraMtaSmtpdMilters="inet:127.0.0.1:8890"
    )
    yield from server("mbox1.example.test", ["mailbox", "memcached"], zimbraServiceHostname="192.0.2.17")
    yield from server("mbox2.example.test", ["ldap", "mailbox"], zimbraServiceHostname="2001:db8::17")


def _domains() -> Iterator[Record]:
    yield from domain(
        "example.test",
        zimbraDomainDefaultCOSId=zimbra_id("cos", "legal"),
        zimbraDomainDefaultExternalUserCOSId=zimbra_id("cos", "guests"),
        ldapMilterLegalBcc=["second@vault.test", "first@vault.test"],
    )
    yield from alias_domain("alias.test", "example.test")
    yield from alias_domain("prov.test", "example.test", forwarding=False)
    yield from domain(
        "fwd.test",
        zimbraDomainType="alias",
        zimbraMailCatchAllAddress="@fwd.test",
        zimbraMailCatchAllForwardingAddress="@example.test",
    )
    yield from alias_domain("chain.test", "alias.test", forwarding=False)
    yield from domain("other.test")
    yield from alias_domain("otheralias.test", "other.test")
    yield from domain(
        "dangling.test",
        zimbraDomainDefaultCOSId=zimbra_id("cos", "deleted"),
        zimbraDomainDefaultExternalUserCOSId=zimbra_id("cos", "deleted too"),
    )
    yield from domain("sub.example.test")
    yield from domain(IDN_DOMAIN)
    yield from domain("blank.test", zimbraDomainName="  Blank.test ")
    yield from account("bea@blank.test", zimbraMailCatchAllAddress=" @Blank.test")


def _people() -> Iterator[Record]:
    yield from account(
        ANN,
        aliases=["a.able@example.test", "both@example.test"],
        cn=["Ann", "Änn Able"],
        displayName="Änn Able",
        zimbraOldMailAddress="ann.maiden@example.test",
        zimbraMemberOf=zimbra_id("group", "dyn@example.test"),
        zimbraPrefMailForwardingAddress='"Home, Ann" <ann-home@isp.test>,  ann2@isp.test ,bob@example.test',
        ldapMilterArchiveBcc="ann@vault.test",
    )
    yield from account(
        BOB,
        cos_id=SALES_ID.lower(),
        cn="Bob",
        title="engineer",
        displayName="Bob  (the *star*) \\ builder",
        zimbraMailAlias=["direct@alias.test", "both@alias.test"],
        zimbraMemberOf=zimbra_id("group", "dyn@example.test").upper(),
        zimbraMailForwardingAddress=["bob-pager@isp.test", "bob-desk@isp.test"],
        zimbraHideInGal=True,
    )
    yield from account("carl@example.test", cos_id=zimbra_id("cos", "deleted"))
    yield from account("cora@example.test", cos_id=zimbra_id("account", ANN))
    yield from account("dora@example.test", zimbraAccountStatus="closed", zimbraMailStatus="disabled")
    yield from resource("boardroom@example.test", displayName="Boardroom", title="engineer")
    yield from account("visitor@example.test", zimbraIsExternalVirtualAccount=True)
    yield from account("visitor@other.test", zimbraIsExternalVirtualAccount=True)
    yield from account("visitor@dangling.test", zimbraIsExternalVirtualAccount=True)
    yield from account("olga@other.test")
    yield from account("catcher@other.test", zimbraMailCatchAllAddress="@other.test")
    yield from account("dan@dangling.test")
    yield from account("sue@sub.example.test", title="engineer")
    yield from account(f"ida@{IDN_DOMAIN}")
    for name in ("twin1", "twin2"):
        yield from account(f"{name}@example.test", zimbraMailAlias="twin@example.test")


def _odd_people() -> Iterable[Record]:
    """Return accounts whose addresses are legal, and traps for filters and DNs."""
    yield from account(
        "Mixed.Case@Example.Test", zimbraMailDeliveryAddress="Mixed.Case@Example.TEST", displayName="Straßer Éva"
    )
    yield from account("st*r@example.test")
    yield from account("stxr@example.test")
    yield from account("kate@example.test", cos_id=zimbra_id("cos", "default"))
    yield from account("tagged@example.test", **{"ldapMilterArchiveSentBcc;lang-en": "tagged@keep.test"})
    # A plus in a DN has to be escaped; slapd spells it \2B whatever it was given.
    yield from (_with_dn(one, "uid=plus\\2Btag") for one in account("plus+tag@example.test", title="engineer"))
    yield from account("plus@example.test")
    # Values that slapd compares as if their blanks were not there, or only one of them.
    yield from account(
        "blank@example.test",
        cn=["\u0130x", "A\u2116B"],
        cos_id=f" {SALES_ID.lower()} ",
        zimbraMailAlias=[" led@example.test", "in  side@example.test", '"quoted one"@example.test'],
        zimbraMemberOf=f"  {zimbra_id('group', 'blankdyn@example.test').upper()}",
    )
    yield from account("optional@example.test", **{"zimbraMailAlias;lang-en": "tongue@example.test"})
    # Two that forward to each other, and one that keeps a copy.
    yield from account("ping@example.test", zimbraPrefMailForwardingAddress="pong@example.test")
    yield from account("pong@example.test", zimbraPrefMailForwardingAddress="pong@example.test, ping@example.test")


def _with_dn(one: Record, rdn: str) -> Record:
    return Record(f"{rdn},{one.dn.partition(',')[2]}", one.attributes, one.filler)


def _lists() -> Iterator[Record]:
    yield from static_list(
        "all@example.test",
        ["eng@example.test", BOB, "Consultant@Outside.test", "no address at all"],
        aliases=["everyone@example.test"],
        ldapMilterArchiveBcc="all@vault.test",
    )
    yield from static_list("eng@example.test", ["a.able@example.test", "all@example.test"])
    yield from static_list("partners@example.test", ["ann@alias.test", "boardroom@prov.test", "dora@fwd.test"])
    yield from static_list("umbrella@example.test", ["dynamic@example.test", "engineers@example.test"])
    yield from static_list("inside@example.test", ["dyn.__internal__@example.test"])
    yield from static_list("empty@example.test", [])
    yield from static_list("catching@example.test", ["nobody@other.test", "olga@other.test"])
    yield from static_list("twins@example.test", ["twin@example.test"])
    yield from static_list(LOOSE, [" ann@example.test", LONG_MEMBER, "IN side@example.test", "tongue@example.test"])
    for level in range(1, DEEPEST + 1):
        member = f"deep{level + 1}@example.test" if level < DEEPEST else BOB
        yield from static_list(f"deep{level}@example.test", [member])
    # A group of the address book hierarchy: a list outside ou=people, named by cn.
    yield record(
        f"ou=hierarchy,{domain_dn('example.test')}", ["organizationalUnit"], {"ou": "hierarchy"}, {}, filler=True
    )
    for one in static_list("hab@example.test", [BOB], cn="hab"):
        yield Record(f"cn=hab,ou=hierarchy,{domain_dn('example.test')}", one.attributes)


def _dynamic_groups() -> Iterator[Record]:
    yield from dynamic_group(
        "dyn@example.test", external=["guest@outside.test", "zoe@other.test"], aliases=["dynamic@example.test"]
    )
    yield from custom_group(
        "engineers@example.test",
        f"ldap:///ou=people,{domain_dn('example.test')}??sub?(&(objectClass=zimbraAccount)(title=engineer))",
    )
    # The same search with nothing but presence and substrings, and percent-encoded.
    yield from custom_group(
        "titled@example.test",
        f"ldap:///{domain_dn('sub.example.test').replace('=', '%3D')}??sub?(%26(title=*)(title=e*gi*r)(!(uid=bob)))",
    )
    yield from dynamic_group("blankdyn@example.test")
    yield from custom_group("nobodies@example.test", "ldap:///??sub?(title=nobody)")


def _policy_groups() -> Iterator[Record]:
    """Return groups whose values are a level of their members, and the people in them."""
    dynamic = zimbra_id("group", "watchdyn@example.test")
    yield from account(
        "wanda@example.test", aliases=["w@example.test"], zimbraPrefMailForwardingAddress="fred@example.test"
    )
    yield from account("walt@example.test", cos_id=SALES_ID, zimbraMemberOf=dynamic)
    yield from account("fred@example.test")
    yield from static_list(
        WATCH,
        ["w@alias.test", "watchers@example.test"],
        ldapMilterAppliesToMembers=True,
        ldapMilterLegalBcc="watch@vault.test",
    )
    yield from static_list("watchers@example.test", ["walt@example.test", WATCH, "watcher@outside.test"])
    yield from dynamic_group(
        "watchdyn@example.test", ldapMilterAppliesToMembers=True, ldapMilterLegalBcc="watchdyn@vault.test"
    )
    yield from static_list(
        "nowatch@example.test",
        ["wanda@example.test"],
        ldapMilterAppliesToMembers=False,
        ldapMilterLegalBcc="nowatch@vault.test",
    )


def _send_rights() -> Iterator[Record]:
    """Return accounts and lists that let the help desk write as them, or do not."""
    desk = f"{zimbra_id('account', HELPDESK)} usr "
    team = f"{zimbra_id('list', 'team@rights.test')} grp "
    yield from domain("rights.test", zimbraACE=f"{desk}sendAsDistList")
    yield from global_grants(f"{zimbra_id('account', 'central@rights.test')} usr sendAs")
    yield from account("central@rights.test")
    yield from account(
        HELPDESK,
        aliases=["help@rights.test"],
        zimbraAllowFromAddress="desk@partner.test",
        zimbraMailCanonicalAddress="desk@brand.test",
    )
    yield from data_source(HELPDESK, "helpdesk@gmail.test")
    yield from data_source(HELPDESK, "old@gmail.test", name="off", zimbraDataSourceEnabled=False)
    yield from data_source(HELPDESK, "boss@rights.test", name="inside")
    yield from data_source("boss@rights.test", "boss@gmail.test")
    yield from account("boss@rights.test")
    yield from account("own@rights.test", zimbraACE=f"{desk}sendAs")
    yield from account("grouped@rights.test", zimbraACE=f"{team}sendOnBehalfOf")
    yield from account("listed@rights.test")
    yield from account("refused@rights.test", zimbraACE=[f"{team}-sendAs", f"{team}-sendOnBehalfOf"])
    yield from account("nested@rights.test")
    yield from static_list("team@rights.test", ["help@rights.test"], zimbraACE=f"{desk}-sendAsDistList")
    yield from static_list(
        "office@rights.test",
        ["listed@rights.test", "refused@rights.test", "floor@rights.test"],
        zimbraACE=[f"{desk}sendAs", f"{desk}^sendOnBehalfOf"],
    )
    yield from static_list("floor@rights.test", ["nested@rights.test"], zimbraACE=f"{desk}-sendAs")
    yield from dynamic_group("smart@rights.test")


DYN_DN: Final = group_dn("dyn@example.test")
