"""The cn=config of the test slapd: engine, overlays and access rules in Zimbra's shape.

The access rules are the point.  Zimbra hides most of its directory from most identities,
and what may not be read looks like what is not set; a test against an open directory
proves little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ldapmilter.schema import access, definition
from ldapmilter.schema.definition import own_attributes
from ldapmilter.schema.rights import rights_for
from tests.support.identities import MILTER_DN, POSTFIX_DN
from tests.support.zimbra_schema import ATTRIBUTES, amavis_ldif, zimbra_ldif

ROOT_DN: Final = "cn=config"
ROOT_PASSWORD: Final = "root-secret"
MODULE_PATH: Final = Path("/usr/lib/ldap")
STOCK_SCHEMA: Final = Path("/etc/ldap/schema")

_ADMINS: Final = 'by dn.children="cn=admins,cn=zimbra" write'
_POSTFIX: Final = f'by dn.base="{POSTFIX_DN}" read'
_AMAVIS: Final = 'by dn.base="uid=zmamavis,cn=appaccts,cn=zimbra" read'

_INDEXES: Final = """\
olcDbIndex: objectClass eq
olcDbIndex: entryUUID eq
olcDbIndex: entryCSN eq
olcDbIndex: cn pres,eq,sub
olcDbIndex: uid pres,eq
olcDbIndex: zimbraForeignPrincipal eq
olcDbIndex: zimbraId eq
olcDbIndex: zimbraVirtualHostname eq
olcDbIndex: zimbraMailDeliveryAddress eq,sub
olcDbIndex: zimbraAuthKerberos5Realm eq
olcDbIndex: zimbraMailForwardingAddress eq
olcDbIndex: zimbraMailCatchAllAddress eq,sub
olcDbIndex: zimbraMailHost eq
olcDbIndex: zimbraMemberOf eq
olcDbIndex: zimbraMailTransport eq
olcDbIndex: zimbraMailAlias eq,sub
olcDbIndex: zimbraOldMailAddress eq,sub
olcDbIndex: zimbraACE sub
olcDbIndex: zimbraDomainName eq,sub
olcDbIndex: mail pres,eq,sub
olcDbIndex: givenName pres,eq,sub
olcDbIndex: displayName pres,eq,sub
olcDbIndex: sn pres,eq,sub
olcDbIndex: zimbraDomainAliasTargetId eq
"""


def access_rules(*, with_schema: bool, milter_acl: bool) -> list[str]:
    """Return the olcAccess values of the mail database, in order: those of the product, then Zimbra's.

    Without the schema only the milter's own rule is there; without `milter_acl` only what hides.
    """
    known = {attribute.name.lower() for attribute in ATTRIBUTES} | {name.lower() for name in own_attributes()}
    known |= {name.lower() for name in ZIMBRAS_OWN}
    policy = own_attributes() if with_schema else ZIMBRAS_OWN if milter_acl else ()
    rights = rights_for(MILTER_DN, policy, known, schema=with_schema)
    own = access.rules(rights) if milter_acl else access.hiding(rights)
    return [*own, *_zimbra_rules()]


def _zimbra_rules() -> list[str]:
    gal = (
        "cn,co,company,description,displayName,facsimileTelephoneNumber,givenName,homePhone,"
        "initials,l,mail,mobile,o,ou,pager,physicalDeliveryOfficeName,postalCode,sn,st,street,"
        "telephoneNumber,title,uid"
    )
    routing = (
        "zimbraId,zimbraMailAddress,zimbraMailAlias,zimbraMailCanonicalAddress,"
        "zimbraOldMailAddress,zimbraMailCatchAllAddress,zimbraMailCatchAllCanonicalAddress,"
        "zimbraMailCatchAllForwardingAddress,zimbraMailDeliveryAddress,"
        "zimbraMailForwardingAddress,zimbraPrefMailForwardingAddress,zimbraMailHost,"
        "zimbraMailStatus,zimbraMailTransport,zimbraDomainName,zimbraDomainType,"
        "zimbraPrefMailLocalDeliveryDisabled,member,memberURL,zimbraMemberOf"
    )
    return [
        f"to attrs=userPassword by anonymous auth {_ADMINS}",
        f'to dn.subtree="cn=zimbra" {_ADMINS}',
        f"to attrs=zimbraIsAdminAccount {_ADMINS} by * none",
        f"to attrs=objectClass {_ADMINS} {_POSTFIX} {_AMAVIS} by users read by * none",
        f"to attrs=@amavisAccount {_ADMINS} {_AMAVIS} by * +0 break",
        f"to attrs=mail {_ADMINS} {_AMAVIS} by * +0 break",
        f"to attrs=zimbraAllowFromAddress {_ADMINS} {_POSTFIX} by * none",
        (f'to filter="(!(zimbraHideInGal=TRUE))" attrs={gal} {_ADMINS} {_POSTFIX} by users read by * none'),
        f"to attrs={routing} {_ADMINS} {_POSTFIX} {_AMAVIS} by * none",
        (
            'to dn.subtree="cn=groups,cn=zimbra" attrs=zimbraMailAlias,member,zimbraMailStatus'
            f" {_ADMINS} {_POSTFIX} by * none"
        ),
        f"to attrs=entry {_ADMINS} by * read",
    ]


ZIMBRAS_OWN: Final = ("amavisArchiveQuarantineTo", "zimbraArchiveAccount", "zimbraInterceptAddress")
"""Where policy stands on a site that has not loaded our schema."""


def config_ldif(directory: Path, *, with_schema: bool, milter_acl: bool, tls: bool) -> str:
    """Return the whole configuration for slapadd; `directory` holds the database and the keys.

    As on a Zimbra server the database of mail has the empty suffix, stands third (after
    config and monitor), and shares its root identity with cn=config.
    """
    security = "".join(
        f"{attribute}: {directory / name}\n"
        for attribute, name in (
            ("olcTLSCACertificateFile", "ca.pem"),
            ("olcTLSCertificateFile", "server.pem"),
            ("olcTLSCertificateKeyFile", "server.key"),
        )
    )
    schemas = [
        (STOCK_SCHEMA / f"{name}.ldif").read_text(encoding="ascii")
        for name in ("core", "cosine", "inetorgperson", "dyngroup")
    ]
    schemas += [zimbra_ldif(), amavis_ldif()]
    if with_schema:
        schemas.append(definition.text())
    modules = ["back_mdb", "dynlist", "unique"]
    if (MODULE_PATH / "back_monitor.la").exists():  # slapd 2.4; later ones have it built in
        modules.insert(0, "back_monitor")
    rules = access_rules(with_schema=with_schema, milter_acl=milter_acl)
    access = "".join(f"olcAccess: {{{n}}}{rule}\n" for n, rule in enumerate(rules))
    return f"""\
dn: cn=config
objectClass: olcGlobal
cn: config
olcPidFile: {directory / "slapd.pid"}
olcArgsFile: {directory / "slapd.args"}
{security if tls else ""}
dn: cn=module{{0}},cn=config
objectClass: olcModuleList
cn: module{{0}}
olcModulePath: {MODULE_PATH}
{"".join(f"olcModuleLoad: {module}{chr(10)}" for module in modules)}
dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

{"".join(f"{schema.strip()}{chr(10) * 2}" for schema in schemas)}
dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
objectClass: olcFrontendConfig
olcDatabase: {{-1}}frontend
olcAccess: {{0}}to * {_ADMINS} by * +0 break
olcAccess: {{1}}to dn.base="" by * read
olcAccess: {{2}}to dn.base="cn=subschema" by * read

dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config
olcRootDN: {ROOT_DN}
olcRootPW: {ROOT_PASSWORD}
olcAccess: {{0}}to * by * none

dn: olcDatabase={{1}}monitor,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{1}}monitor
olcRootDN: {ROOT_DN}
olcAccess: {{0}}to * {_ADMINS} by * none

dn: olcDatabase={{2}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{2}}mdb
olcSuffix:
olcRootDN: {ROOT_DN}
olcDbDirectory: {directory / "data"}
olcDbMaxSize: 1073741824
olcDbNoSync: TRUE
olcSizeLimit: unlimited
olcTimeLimit: unlimited
{_INDEXES}{access}
dn: olcOverlay={{0}}dynlist,olcDatabase={{2}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcDynamicList
olcOverlay: {{0}}dynlist
olcDLattrSet: {{0}}groupOfURLs memberURL member

dn: olcOverlay={{1}}unique,olcDatabase={{2}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcUniqueConfig
olcOverlay: {{1}}unique
olcUniqueURI: ldap:///?mail?sub
olcUniqueURI: ldap:///?zimbraId?sub
"""
