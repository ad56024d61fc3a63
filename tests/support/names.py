"""Where Zimbra puts an entry, and the identifier that the builders give it.

Identifiers are derived from the name, so a test can name the COS or the group of another
record without keeping it.
"""

from __future__ import annotations

import uuid
from typing import Final

_SPACE: Final = uuid.UUID("6f0a4f3e-5a39-4d55-9a0c-0d5ad0c2c7a1")
# Ids that every Zimbra installation has.  The second is no UUID: its last letter is a g.
_FIXED_COS: Final = {
    "default": "e00428a1-0c00-11d9-836a-000d93afea2a",
    "defaultExternal": "f27456a8-0c00-11d9-280a-286d93afea2g",
}


def zimbra_id(kind: str, name: str) -> str:
    """Return the zimbraId that the builder named `kind` gives to `name`."""
    if kind == "cos" and name in _FIXED_COS:
        return _FIXED_COS[name]
    return str(uuid.uuid5(_SPACE, f"{kind}:{name.lower()}"))


def domain_dn(name: str) -> str:
    """Return the DN of a domain: one dc per label."""
    return ",".join(f"dc={label}" for label in name.lower().split("."))


def account_dn(address: str) -> str:
    """Return the DN of an account, static list or alias entry."""
    local, _, host = address.lower().rpartition("@")
    return f"uid={local},ou=people,{domain_dn(host)}"


def group_dn(address: str) -> str:
    """Return the DN of a dynamic group."""
    local, _, host = address.lower().rpartition("@")
    return f"cn={local},cn=groups,{domain_dn(host)}"


def cos_dn(name: str) -> str:
    """Return the DN of a COS."""
    return f"cn={name},cn=cos,cn=zimbra"
