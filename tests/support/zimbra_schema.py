"""A subset of Zimbra's LDAP schema as data, and the cn=config LDIF made from it.

The harness cannot ship Zimbra, and a schema invented for tests would let errors of type
(matching rule, single or multi-valued, who may carry what) pass unseen.  So the rows below
have the real numbers, types, lengths and carriers of the attributes that concern mail
routing, groups, inheritance and milters; everything else of Zimbra is left out.

The amavis class comes with the two of its attributes that matter here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LDAP_SYNTAX: Final = "1.3.6.1.4.1.1466.115.121.1."

# Zimbra's type -> (syntax, equality rule, other rules), as its schema generator writes them.
_IA5 = ("26", "caseIgnoreIA5Match", "SUBSTR caseIgnoreSubstringsMatch")
_TEXT = ("15", "caseIgnoreMatch", "SUBSTR caseIgnoreSubstringsMatch")
_INTEGER = ("27", "integerMatch", "")
_TYPES: Final = {
    "id": _TEXT,
    "string": _TEXT,
    "regex": _TEXT,
    "enum": _TEXT,
    "email": _IA5,
    "cs_emailp": _IA5,
    "astring": _IA5,
    "boolean": ("7", "booleanMatch", ""),
    "integer": _INTEGER,
    "port": _INTEGER,
    "gentime": ("24", "generalizedTimeMatch", "ORDERING generalizedTimeOrderingMatch"),
}


@dataclass(frozen=True)
class ObjectClass:
    """One object class: its number under Zimbra's arc, its kind, and stock attributes it allows."""

    name: str
    number: int
    kind: str
    sup: str = "top"
    must: str = ""
    may: str = ""


_PERSON: Final = (
    "c cn co company description destinationIndicator displayName facsimileTelephoneNumber "
    "givenName homePhone initials internationaliSDNNumber l mail mobile o ou pager "
    "physicalDeliveryOfficeName postOfficeBox postalAddress postalCode preferredDeliveryMethod "
    "registeredAddress sn st street telephoneNumber teletexTerminalIdentifier telexNumber title "
    "userCertificate userPassword userSMIMECertificate x121Address"
)
# Keyed by the short names of the table; a superior stands before what builds on it.
CLASSES: Final = {
    "rcpt": ObjectClass("zimbraMailRecipient", 7, "AUXILIARY"),
    "acct": ObjectClass("zimbraAccount", 1, "AUXILIARY", "zimbraMailRecipient", must="uid", may=_PERSON),
    "cos": ObjectClass("zimbraCOS", 3, "STRUCTURAL", must="cn", may="description"),
    "dom": ObjectClass("zimbraDomain", 4, "AUXILIARY", "zimbraMailRecipient", may="description"),
    "sec": ObjectClass("zimbraSecurityGroup", 5, "AUXILIARY"),
    "dl": ObjectClass(
        "zimbraDistributionList",
        6,
        "STRUCTURAL",
        must="uid",
        may="cn description displayName mail",
    ),
    "srv": ObjectClass("zimbraServer", 8, "STRUCTURAL", must="cn", may="description"),
    "cfg": ObjectClass("zimbraGlobalConfig", 9, "AUXILIARY", may="description"),
    "alias": ObjectClass("zimbraAlias", 11, "STRUCTURAL", may="cn uid"),
    "res": ObjectClass("zimbraCalendarResource", 16, "AUXILIARY", must="displayName"),
    "ident": ObjectClass("zimbraIdentity", 17, "STRUCTURAL"),
    "src": ObjectClass("zimbraDataSource", 18, "STRUCTURAL"),
    "acl": ObjectClass("zimbraAclTarget", 23, "STRUCTURAL", must="cn", may="description"),
    "grp": ObjectClass("zimbraGroup", 27, "AUXILIARY", must="memberURL", may="description displayName mail"),
    "dyn": ObjectClass(
        "zimbraGroupDynamicUnit",
        28,
        "AUXILIARY",
        must="memberURL",
        may="description displayName mail",
    ),
    "stat": ObjectClass("zimbraGroupStaticUnit", 29, "STRUCTURAL", must="cn", may="description"),
    "hab": ObjectClass("zimbraHabGroup", 33, "AUXILIARY"),
}

# name, number, type, length limit, S(ingle) or M(ulti), carriers ("!" where it is mandatory)
_ATTRIBUTES: Final = """\
zimbraId 1 id 256 S acct! alias! dl! cos! dom! srv! res! grp! dyn! stat!
zimbraAccountStatus 2 enum 32 S acct!
zimbraMailAddress 3 email 256 M rcpt
zimbraMailHost 4 astring 256 S rcpt grp
zimbraNotes 9 string 1024 S acct dl grp cos dom srv
zimbraMemberOf 11 id 256 M acct
zimbraMailForwardingAddress 12 email 256 M rcpt stat
zimbraMailDeliveryAddress 13 email 256 M rcpt
zimbraCOSId 14 id 256 S acct
zimbraMailStatus 15 enum 32 S rcpt grp dyn
zimbraDomainName 19 string 256 S dom!
zimbraMailAlias 20 email 256 M rcpt grp dyn
zimbraIsAdminAccount 31 boolean - S acct
zimbraAliasTargetId 40 string 256 S alias!
zimbraPrefReplyToAddress 60 string 256 S acct ident dl grp
zimbraServiceHostname 65 string 256 S srv
zimbraSmtpHostname 97 astring 256 M cfg srv dom
zimbraSmtpPort 98 port - S cfg srv dom
zimbraDefaultDomainName 172 string 256 S cfg
zimbraMtaTlsAuthOnly 200 boolean - S cfg srv
zimbraDomainType 212 enum 32 S dom!
zimbraMailCanonicalAddress 213 email 256 S rcpt
zimbraMailCatchAllAddress 214 regex 256 M rcpt
zimbraMailCatchAllForwardingAddress 215 regex 256 S rcpt
zimbraMailCatchAllCanonicalAddress 216 regex 256 S rcpt
zimbraServiceEnabled 220 string 256 M srv
zimbraServiceInstalled 221 string 256 M srv
zimbraMailTransport 247 astring 320 S rcpt
zimbraForeignPrincipal 295 string 256 M acct
zimbraDomainDefaultCOSId 299 id 256 S dom
zimbraMtaRecipientDelimiter 306 astring 256 M cfg
zimbraMtaMyNetworks 311 astring 10240 M cfg srv
zimbraAccountCalendarUserType 313 enum 32 S res! acct
zimbraCalResType 314 enum 32 S res!
zimbraGroupId 325 id 256 S sec! dyn! stat! dl
zimbraFeatureMailForwardingEnabled 342 boolean - S acct cos
zimbraPrefMailForwardingAddress 343 cs_emailp 256 S acct
zimbraPrefMailLocalDeliveryDisabled 344 boolean - S acct
zimbraVirtualHostname 352 string 256 M dom
zimbraHideInGal 353 boolean - S rcpt grp
zimbraIsSystemResource 376 boolean - S acct
zimbraPrefFromDisplay 402 string 256 S acct ident
zimbraPrefFromAddress 403 string 256 S acct ident
zimbraPrefReplyToDisplay 404 string 256 S acct ident dl grp
zimbraPrefReplyToEnabled 405 boolean - S acct ident dl grp
zimbraPrefIdentityName 412 string 128 S ident!
zimbraDataSourceId 417 id 256 S src!
zimbraDataSourceName 418 string 128 S src!
zimbraDataSourceEnabled 419 boolean - S src!
zimbraDataSourceFolderId 424 string 128 S src!
zimbraAllowAnyFromAddress 427 boolean - S acct cos
zimbraAllowFromAddress 428 email 256 M acct
zimbraArchiveAccount 429 email 256 M acct
zimbraArchiveMailFrom 430 email 256 S cfg
zimbraArchiveAccountNameTemplate 431 string 256 S acct cos
zimbraArchiveAccountDateTemplate 432 string 256 S acct cos
zimbraPrefIdentityId 433 id 256 S ident
zimbraSmtpSendAddOriginatingIP 435 boolean - S cfg
zimbraAccountExtraObjectClass 438 string 256 M cfg
zimbraDataSourceEmailAddress 495 string 128 S src
zimbraAutoSubmittedNullReturnPath 502 boolean - S cfg
zimbraDomainStatus 535 enum 32 S cfg dom
zimbraAuthKerberos5Realm 548 string 1024 S dom
zimbraInterceptAddress 614 string - M acct cos
zimbraInterceptSendHeadersOnly 615 boolean - S acct cos
zimbraInterceptFrom 616 string - S acct cos
zimbraInterceptSubject 617 string - S acct cos
zimbraInterceptBody 618 string - S acct cos
zimbraACE 659 string - M acct dl cos dom cfg srv acl grp
zimbraMtaSmtpdMilters 672 string 1024 S cfg srv
zimbraMtaNonSmtpdMilters 673 string 1024 S cfg srv
zimbraDataSourceType 716 string 256 S src
zimbraSmtpSendAddAuthenticatedUser 747 boolean - S cfg
zimbraCalendarResourceExtraObjectClass 753 string 256 M cfg
zimbraCosExtraObjectClass 754 string 256 M cfg
zimbraDomainExtraObjectClass 755 string 256 M cfg
zimbraServerExtraObjectClass 756 string 256 M cfg
zimbraMailRedirectSetEnvelopeSender 764 boolean - S cfg srv
zimbraDomainAliasTargetId 775 string 256 S dom
zimbraCreateTimestamp 790 gentime - S acct alias dl cos dom ident cfg srv res grp dyn stat
zimbraMtaSaslAuthEnable 796 enum 32 S cfg srv
zimbraIsAdminGroup 802 boolean - S dl grp
zimbraDistributionListSendShareMessageToNewMembers 810 boolean - S dl grp
zimbraIsDelegatedAdminAccount 852 boolean - S acct
zimbraMailForwardingAddressMaxLength 1039 integer - S acct cos
zimbraMailForwardingAddressMaxNumAddrs 1040 integer - S acct cos
zimbraDomainMandatoryMailSignatureEnabled 1069 boolean - S cfg dom
zimbraSmtpRestrictEnvelopeFrom 1077 boolean - S acct cos
zimbraMilterBindPort 1114 port - S cfg srv
zimbraMilterBindAddress 1115 string 128 M srv
zimbraMilterServerEnabled 1116 boolean - S cfg srv
zimbraForeignName 1135 string - M dom
zimbraMilterNumThreads 1144 integer - S cfg srv
zimbraMilterMaxConnections 1157 integer - S cfg srv
zimbraIPMode 1171 enum 32 S cfg srv
zimbraArchiveEnabled 1206 boolean - S acct cos cfg
zimbraIsACLGroup 1242 boolean - S grp!
zimbraIsExternalVirtualAccount 1243 boolean - S acct
zimbraExternalUserMailAddress 1244 email 256 S acct
zimbraDomainDefaultExternalUserCOSId 1247 id 256 S dom
zimbraGlobalConfigExtraObjectClass 1254 string 256 M cfg
zimbraInternalSendersDomain 1319 string - M acct cos dom
zimbraPrefAllowAddressForDelegatedSender 1333 email 256 M acct dl grp
zimbraPrefFromAddressType 1419 enum 32 S acct ident
zimbraMtaAlwaysAddMissingHeaders 1494 enum 32 S cfg srv
zimbraMtaMilterConnectTimeout 1520 string - S cfg srv
zimbraMtaMilterCommandTimeout 1521 string - S cfg srv
zimbraMtaMilterContentTimeout 1522 string - S cfg srv
zimbraMtaMilterDefaultAction 1523 enum 32 S cfg srv
zimbraMtaSmtpdSaslAuthenticatedHeader 1536 enum 32 S cfg srv
zimbraMtaVirtualAliasExpansionLimit 1544 integer - S cfg srv
zimbraMtaPropagateUnmatchedExtensions 1547 enum 32 M cfg srv
zimbraMtaSenderCanonicalMaps 1548 string - S cfg srv
zimbraMtaTransportMaps 1555 string - S cfg srv
zimbraMtaVirtualAliasDomains 1556 string - S cfg srv
zimbraMtaVirtualAliasMaps 1557 string - S cfg srv
zimbraMtaVirtualMailboxDomains 1558 string - S cfg srv
zimbraMtaVirtualMailboxMaps 1559 string - S cfg srv
zimbraMtaSaslSmtpdMechList 1560 string - M cfg srv
zimbraMtaSmtpdSenderRestrictions 1590 string - S cfg srv
zimbraMtaSmtpdSenderLoginMaps 1591 string - S cfg srv
zimbraPrefDelegatedSendSaveTarget 1651 enum 32 S acct cos
zimbraMtaAuthPort 1906 port - S cfg srv
zimbraMtaCanonicalMaps 2080 string - S cfg srv
zimbraOldMailAddress 2143 email 256 S rcpt
zimbraLDAPSchemaVersion 3023 string - S cfg!
zimbraHABSeniorityIndex 3071 integer - S hab
"""


@dataclass(frozen=True)
class AttributeType:
    """One row of the table."""

    name: str
    number: int
    type: str
    length: str
    single: bool
    carriers: tuple[str, ...]

    def definition(self) -> str:
        """Return the olcAttributeTypes value."""
        syntax, equality, others = _TYPES[self.type]
        limit = "" if self.length == "-" else f"{{{self.length}}}"
        parts = [
            f"( ZimbraAttrType:{self.number} NAME ( '{self.name}' )",
            f"SYNTAX {_LDAP_SYNTAX}{syntax}{limit} EQUALITY {equality}",
            others,
            "SINGLE-VALUE" if self.single else "",
        ]
        return " ".join(part for part in parts if part) + " )"


def _parse(row: str) -> AttributeType:
    name, number, kind, length, cardinality, *carriers = row.split()
    return AttributeType(name, int(number), kind, length, cardinality == "S", tuple(carriers))


ATTRIBUTES: Final = tuple(_parse(row) for row in _ATTRIBUTES.splitlines())


def _class_definition(key: str) -> str:
    cls = CLASSES[key]
    must = cls.must.split() + [a.name for a in ATTRIBUTES if f"{key}!" in a.carriers]
    may = cls.may.split() + [a.name for a in ATTRIBUTES if key in a.carriers]
    parts = [f"( ZimbraObjectClass:{cls.number} NAME '{cls.name}' SUP {cls.sup} {cls.kind}"]
    if must:
        parts.append(f"MUST ( {' $ '.join(must)} )")
    if may:
        parts.append(f"MAY ( {' $ '.join(may)} )")
    return " ".join(parts) + " )"


def zimbra_ldif() -> str:
    """Return the entry cn=zimbra,cn=schema,cn=config."""
    lines = [
        "dn: cn=zimbra,cn=schema,cn=config",
        "objectClass: olcSchemaConfig",
        "cn: zimbra",
        "olcObjectIdentifier: ZimbraRoot 1.3.6.1.4.1.19348",
        "olcObjectIdentifier: ZimbraLDAP ZimbraRoot:2",
        "olcObjectIdentifier: ZimbraAttrType ZimbraLDAP:1",
        "olcObjectIdentifier: ZimbraObjectClass ZimbraLDAP:2",
        (
            "olcAttributeTypes: ( 1.2.840.113556.1.2.146 NAME ( 'company' ) "
            f"SYNTAX {_LDAP_SYNTAX}15{{512}} EQUALITY caseIgnoreMatch "
            "SUBSTR caseIgnoreSubstringsMatch SINGLE-VALUE )"
        ),
    ]
    lines += [f"olcAttributeTypes: {attribute.definition()}" for attribute in ATTRIBUTES]
    lines += [f"olcObjectClasses: {_class_definition(key)}" for key in CLASSES]
    return "\n".join(lines) + "\n"


def amavis_ldif() -> str:
    """Return the entry cn=amavisd,cn=schema,cn=config: the class and two of its attributes."""
    return f"""\
dn: cn=amavisd,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: amavisd
olcAttributeTypes: ( 1.3.6.1.4.1.15312.2.2.1.19 NAME 'amavisLocal'
  EQUALITY booleanMatch SYNTAX {_LDAP_SYNTAX}7 SINGLE-VALUE )
olcAttributeTypes: ( 1.3.6.1.4.1.15312.2.2.1.34 NAME 'amavisArchiveQuarantineTo'
  EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch
  SYNTAX {_LDAP_SYNTAX}26{{256}} SINGLE-VALUE )
olcObjectClasses: ( 1.3.6.1.4.1.15312.2.2.2.1 NAME 'amavisAccount' SUP top AUXILIARY
  MAY ( amavisLocal $ amavisArchiveQuarantineTo $ cn $ description ) )
"""
