"""May the milter read the policy? In every search "hidden" looks like "not set", so Compare is asked.

Compare tells them apart (RFC 4511 section 4.10): an attribute that may be read and is absent answers
16, one that is hidden 50, an entry that is hidden 32, an attribute that the server's schema lacks 17.
Schema and access rules are not replicated, so every server is asked for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.loading import COS_BASE
from ldapmilter.directory.site import APPLIES_TO_MEMBERS, GLOBAL_CONFIG_DN, POLICY_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ldapmilter.directory.raw_entry import RawEntry

ALWAYS_THERE = {"COS": f"cn=default,{COS_BASE}", "global config": GLOBAL_CONFIG_DN}
"""Entries that every Zimbra has, by kind; a domain and an account are added when one is seen."""

NO_SUCH_OBJECT = 32
_UNDEFINED_ATTRIBUTE = 17
_INSUFFICIENT_ACCESS = 50
# False, true, no such attribute, no equality matching, a value of another syntax: it was looked at.
_LOOKED_AT = frozenset({5, 6, 16, 18, 21})
_STRUCTURE = {
    "account": (
        "zimbraCOSId",
        "zimbraMailAlias",
        "zimbraMailForwardingAddress",
        "zimbraPrefMailForwardingAddress",
        "zimbraMemberOf",
    ),
    "domain": ("zimbraDomainDefaultCOSId", "zimbraDomainAliasTargetId"),
}
"""What decides on the COS and the reach of mail: hidden, copies would be missed in silence."""
SAMPLE_MARKS = {"domain": "zimbraDomainName", "account": "zimbraMailDeliveryAddress"}
"""What a sample of each kind has."""
_OWN_PREFIX = "ldapmilter"


def kind_of(entry: RawEntry) -> str | None:
    """Return ``domain`` or ``account`` for an entry that can serve as a sample of its kind."""
    classes = {name.lower() for name in entry.all("objectclass")}
    if "zimbradomain" in classes:
        return "domain"
    return "account" if "zimbraaccount" in classes and entry.all("zimbramaildeliveryaddress") else None


def unreadable(
    samples: Mapping[str, str], attributes: Collection[str], compare: Callable[[str, str], int]
) -> list[str]:
    """Return a sentence for everything that should be readable and is not.

    Args:
        samples: the DN of one entry of each kind.
        attributes: the attributes that hold policy values.
        compare: compares an attribute of an entry with a value (:func:`value_for`); returns the LDAP result code.
    """
    own_schema = any(attribute.lower().startswith(_OWN_PREFIX) for attribute in attributes)
    own = (APPLIES_TO_MEMBERS, "objectClass") if own_schema else ()
    problems: list[str] = []
    for kind, dn in samples.items():
        for attribute in (*attributes, *_STRUCTURE.get(kind, ()), *own):
            code = compare(dn, attribute)
            if code == NO_SUCH_OBJECT:
                problems.append(f"the {kind} {dn} cannot be seen")
                break
            if code == _INSUFFICIENT_ACCESS:
                problems.append(f"{attribute} of the {kind} {dn} may not be read")
            elif code == _UNDEFINED_ATTRIBUTE:
                problems.append(f"the schema lacks {attribute}")
            elif code not in _LOOKED_AT:
                problems.append(f"whether {attribute} of the {kind} {dn} may be read was not answered ({code})")
                break
    return list(dict.fromkeys(problems))


def value_for(attribute: str) -> str:
    """Return what to compare an attribute with: our class is hidden as a value of objectClass only."""
    return POLICY_CLASS if attribute.lower() == "objectclass" else "TRUE"
