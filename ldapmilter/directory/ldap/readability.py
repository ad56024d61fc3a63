"""May the milter read the policy? In every search "hidden" looks like "not set", so Compare is asked.

Compare tells them apart (RFC 4511 section 4.10): an attribute that may be read and is absent answers
16, one that is hidden 50, an entry that is hidden 32, an attribute that the server's schema lacks 17.
Schema and access rules are not replicated, so every server is asked for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.names import (
    APPLIES_TO_MEMBERS,
    COS_BASE,
    GLOBAL_CONFIG_DN,
    GLOBAL_GRANT_DN,
    POLICY_CLASS,
)
from ldapmilter.directory.ldap.exchange import NO_SUCH_OBJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.exchange import Question

ALWAYS_THERE = {"COS": f"cn=default,{COS_BASE}", "global config": GLOBAL_CONFIG_DN}
"""Entries that every Zimbra has, by kind; a domain and an account are added when one is seen."""

_UNDEFINED_ATTRIBUTE = 17
_INSUFFICIENT_ACCESS = 50
LOOKED_AT = frozenset({5, 6, 16, 18, 21})
"""Result codes of a Compare that looked at the attribute (RFC 4511 appendix A): false, true, no such
attribute, no equality matching, a value of another syntax."""
_STRUCTURE = {
    "account": (
        "zimbraId",
        "zimbraCOSId",
        "zimbraMailDeliveryAddress",
        "zimbraMailAlias",
        "zimbraOldMailAddress",
        "zimbraMailCatchAllAddress",
        "zimbraMailForwardingAddress",
        "zimbraPrefMailForwardingAddress",
        "zimbraMemberOf",
        "zimbraGroupId",
    ),
    "domain": ("zimbraId", "zimbraDomainName", "zimbraDomainDefaultCOSId", "zimbraDomainAliasTargetId"),
    "COS": ("zimbraId", "cn"),
}
"""What entries are found by, and what decides on the COS and the reach of mail: hidden, copies would be missed in
silence. An account stands for lists and groups, too."""
GLOBAL_GRANT = "global grant"
_NO_ASSERTIONS = 12
"""unavailableCriticalExtension (RFC 4511, appendix A.2)."""
_RIGHTS = {
    "account": (
        "zimbraACE",
        "zimbraAllowFromAddress",
        "zimbraDataSourceEmailAddress",
        "zimbraDataSourceEnabled",
    ),
    "domain": ("zimbraACE",),
    GLOBAL_GRANT: ("zimbraACE",),
}
"""What rights to send are made of: hidden, people would be refused what they may do. Compare tells of an attribute
whether it may be read also where the entry cannot have it: an account stands for the external accounts below it."""
_ONLY_OF_RIGHTS = frozenset({"zimbradatasourceemailaddress"})
"""Searches for one of these ask what an account may write as."""
SAMPLE_MARKS = {"domain": "zimbraDomainName", "account": "zimbraMailDeliveryAddress"}
"""What a sample of each kind has."""
_OWN_PREFIX = "ldapmilter"
_FEW = 3
"""What is named one by one."""


def kind_of(entry: RawEntry) -> str | None:
    """Return ``domain`` or ``account`` for an entry that can serve as a sample of its kind."""
    classes = entry.classes
    if "zimbradomain" in classes:
        return "domain"
    return "account" if "zimbraaccount" in classes and entry.all("zimbramaildeliveryaddress") else None


def kinds_of(question: Question) -> tuple[str, ...]:
    """Return the kinds of entries that a search is for: what may be read of these decides what its answer is worth."""
    if question.base == COS_BASE:
        return ("COS",)
    if SAMPLE_MARKS["domain"] in question.attributes:
        return ("domain", "global config", GLOBAL_GRANT, "account")
    return ("account",)


def needed(kind: str, attributes: Collection[str]) -> tuple[str, ...]:
    """Return what has to be readable of an entry of a kind, where some attributes hold policy values."""
    own_schema = any(attribute.lower().startswith(_OWN_PREFIX) for attribute in attributes)
    own = (APPLIES_TO_MEMBERS, "objectClass") if own_schema else ()
    return tuple(dict.fromkeys((*attributes, *_STRUCTURE.get(kind, ()), *own)))


def unreadable(
    samples: Mapping[str, str], attributes: Collection[str], compare: Callable[[str, str], int]
) -> list[str]:
    """Return a sentence for everything that should be readable and is not, one for all where that is much.

    Args:
        samples: the DN of one entry of each kind.
        attributes: the attributes that hold policy values.
        compare: compares an attribute of an entry with a value (:func:`value_for`); returns the LDAP result code.
    """
    problems: list[str] = []
    hidden: list[tuple[str, str]] = []
    lacking: list[str] = []
    for kind, dn in samples.items():
        for attribute in needed(kind, attributes):
            code = compare(dn, attribute)
            if code == NO_SUCH_OBJECT:
                problems.append(f"the {kind} {dn} cannot be seen")
                break
            if code == _INSUFFICIENT_ACCESS:
                hidden.append((attribute, kind))
            elif code == _UNDEFINED_ATTRIBUTE:
                lacking.append(attribute)
            elif code not in LOOKED_AT:
                problems.append(f"whether {attribute} of the {kind} {dn} may be read was not answered ({code})")
                break
    if len(hidden) <= _FEW:
        problems += [f"{attribute} of the {kind} {samples[kind]} may not be read" for attribute, kind in hidden]
    else:
        names, kinds = (list(dict.fromkeys(part)) for part in zip(*hidden, strict=True))
        problems.append(f"{few_of(names)} of {', '.join(kinds)} may not be read")
    if lacking:
        problems.append(f"the schema lacks {few_of(lacking)}")
    return problems


def few_of(names: Iterable[str]) -> str:
    """Return names as one may read them in a line: all of them, or how many and the first, one of ours if there is."""
    unique = sorted(dict.fromkeys(names), key=lambda name: (not name.lower().startswith(_OWN_PREFIX), name))
    return ", ".join(unique) if len(unique) <= _FEW else f"{len(unique)} attributes ({unique[0]} and others)"


def why_hidden(
    bind_dn: str, attributes: Collection[str], dns: Iterable[str], compare: Callable[[str, str, str], int]
) -> str:
    """Return why policy is hidden from an identity, as far as it can find that out itself, and the way out.

    Our access rules hide the value of our class from everybody whom they do not name, and nothing else of
    ``objectClass`` (:mod:`ldapmilter.schema.access`): so it shows whether they are there.

    Args:
        bind_dn: the identity; empty: anonymous.
        attributes: the attributes that hold policy values.
        dns: entries to try it on.
        compare: compares an attribute of an entry with a value; returns the LDAP result code.
    """
    if not bind_dn:
        return "no identity is bound: set [ldap] bind_dn to the one that install-schema makes"
    if ",ou=people," in bind_dn.lower():
        return f"{bind_dn} is a mail user: set [ldap] bind_dn to the identity that install-schema makes"
    if not any(attribute.lower().startswith(_OWN_PREFIX) for attribute in attributes):
        return f"no access rule of this server opens it to {bind_dn}"
    for dn in dns:
        if compare(dn, "objectClass", "zimbraGlobalConfig") in LOOKED_AT:
            if compare(dn, "objectClass", POLICY_CLASS) == _INSUFFICIENT_ACCESS:
                return (
                    f"no access rule of ours opens it to {bind_dn}: one was removed from this server,"
                    " or they are for another identity (compare [ldap] bind_dn)"
                )
            return f"the access rule for {bind_dn} is missing or old on this server, or another one stands before it"
    return f"the access rule for {bind_dn} is missing on this server, or is for another identity"


def asks_for_rights(attributes: Collection[str]) -> bool:
    """Whether a search is about who may write as whom: all that this is made of has to be readable for its answer."""
    return any(attribute.lower() in _ONLY_OF_RIGHTS for attribute in attributes)


def unreadable_rights(samples: Mapping[str, str], compare: Callable[[str, str], int]) -> list[str]:
    """Return a sentence for everything that rights to send are made of and that may not be read.

    No entry can have an attribute that the schema lacks; the global grant entry need not be there.

    Args:
        samples: the DN of one entry of each kind.
        compare: as for :func:`unreadable`.
    """
    return [
        f"{attribute} of the {kind} {dn} may not be read"
        for kind, dn in (*samples.items(), (GLOBAL_GRANT, GLOBAL_GRANT_DN))
        for attribute in _RIGHTS.get(kind, ())
        if compare(dn, attribute) == _INSUFFICIENT_ACCESS
    ]


def asserted(samples: Mapping[str, str], attributes: Collection[str], server: Connection) -> dict[str, int]:
    """Return, by kind, how a server answers one Compare that asserts all that is needed of a sample.

    Where that is none of :data:`LOOKED_AT` each attribute has to be asked for: not all may be read, or the server
    knows no assertions.
    """
    wanted = {kind: needed(kind, attributes) for kind in samples}
    return {
        kind: server.compare(dn, wanted[kind][0], value_for(wanted[kind][0]), asserted=wanted[kind])
        for kind, dn in samples.items()
    }


def unsearchable(samples: Mapping[str, str], codes: Mapping[str, int]) -> list[str]:
    """Return a sentence for each sample that an assertion is not true of, though each attribute may be compared.

    The level ``compare`` of an access rule is no ``read``.

    Args:
        samples: the DN of one entry of each kind.
        codes: as :func:`asserted` returns them.
    """
    return [
        f"the {kind} {samples[kind]} may not be searched for by all of its attributes"
        for kind, code in codes.items()
        if code not in {*LOOKED_AT, _NO_ASSERTIONS}
    ]


def look(server: Connection, dn: str, attributes: tuple[str, ...]) -> int:
    """Return how a server answers a Compare of the first of some attributes that asserts all of them.

    One that knows no assertions (slapd does; a proxy before it may not) is asked for that attribute alone.
    """
    first, value = attributes[0], value_for(attributes[0])
    code = server.compare(dn, first, value, asserted=attributes)
    return server.compare(dn, first, value) if code == _NO_ASSERTIONS else code


def value_for(attribute: str) -> str:
    """Return what to compare an attribute with: our class is hidden as a value of objectClass only."""
    return POLICY_CLASS if attribute.lower() == "objectclass" else "TRUE"
