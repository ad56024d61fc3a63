"""The milter's identity: an entry beside those of Zimbra's own services."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import Final

from ldapmilter.directory.backend.dn import parts, take_apart
from ldapmilter.errors import ConfigError
from ldapmilter.schema.change import Change, Part

_ARC_UUID: Final = uuid.UUID("c94f9fe5-77ee-4138-94f6-d8004f30d779")
_RDN = re.compile(r"uid=([A-Za-z0-9][A-Za-z0-9._-]*)\Z", re.IGNORECASE)
_SECRET_ATTRIBUTE = "userPassword"  # noqa: S105 - an attribute's name


def identity(dn: str, password: str, salt: bytes) -> Change:
    """Return the change that adds the identity, in the form of Zimbra's own (classes of ``zmpostfix``).

    Args:
        dn: ``uid=NAME,`` and a parent that exists.
        password: in clear; what is written is a salted hash (RFC 2307 ``{SSHA}``: slapd knows no stronger one
            without extra modules, so let the password be long and random).
        salt: random octets.

    Raises:
        ConfigError: the DN is of another form.
    """
    found = _RDN.match(parts(dn)[0])
    if found is None or not take_apart(dn).parent:
        raise ConfigError(f"the identity {dn}: wanted is uid=NAME,PARENT such as uid=ldapmilter,cn=appaccts,cn=zimbra")
    uid = found[1]
    return Change(
        title="The identity that the milter binds as: it may read what the access rules open to it, no more.",
        dn=dn,
        add=(
            *(("objectClass", name) for name in ("organizationalPerson", "inetOrgPerson", "zimbraAccount")),
            ("uid", uid),
            ("cn", uid),
            ("sn", uid),
            # Always the same for one DN: whoever runs this twice, or on two masters, makes one identity.
            ("zimbraId", str(uuid.uuid5(_ARC_UUID, dn.lower()))),
            ("zimbraAccountStatus", "active"),
            ("zimbraIsSystemResource", "TRUE"),
            (_SECRET_ATTRIBUTE, hashed(password, salt)),
        ),
        secret=frozenset({_SECRET_ATTRIBUTE}),
    )


def new_password(dn: str, password: str, salt: bytes) -> Change:
    """Return the change that gives the identity another password."""
    part = Part("replace", _SECRET_ATTRIBUTE, (hashed(password, salt),))
    return Change(title="Another password.", dn=dn, parts=(part,), secret=frozenset({_SECRET_ATTRIBUTE}))


def removal(dn: str) -> Change:
    """Return the change that deletes the identity."""
    return Change(title="The identity goes, on every server that this one replicates to.", dn=dn)


def hashed(password: str, salt: bytes) -> str:
    """Return a password as slapd keeps it."""
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()
