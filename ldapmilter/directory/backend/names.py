"""Names in Zimbra's directory that are written into it: entries that every site has, rights, and our own schema."""

from __future__ import annotations

ZIMBRA_BASE = "cn=zimbra"
"""What is no account, list or domain: settings, COSes, servers."""
GLOBAL_CONFIG_DN = f"cn=config,{ZIMBRA_BASE}"
GLOBAL_GRANT_DN = f"cn=globalgrant,{ZIMBRA_BASE}"
COS_BASE = f"cn=cos,{ZIMBRA_BASE}"
POLICY_CLASS = "ldapMilterPolicy"
"""Our object class: entries that carry policy in attributes of ours."""
APPLIES_TO_MEMBERS = "ldapMilterAppliesToMembers"
LIST_BOUNCES = "ldapMilterListBounces"
SEND_RIGHTS = ("sendAs", "sendOnBehalfOf")
"""Zimbra's rights to write as somebody (``zimbraACE``); of a list or dynamic group they end with ``DistList``."""
_OUR_PREFIX = "ldapmilter"
_LIST_PREFIX = "ldapmilterlist"


def is_ours(attribute: str) -> bool:
    """Tell whether an attribute is one of our schema's, which needs our object class."""
    return attribute.lower().startswith(_OUR_PREFIX)


def is_list_setting(attribute: str) -> bool:
    """Tell whether an attribute of ours is a setting of lists: no secret, as other attributes of a list are none."""
    return attribute.lower().startswith(_LIST_PREFIX)
