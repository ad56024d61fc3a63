"""What every Zimbra directory has, whatever a test puts beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.builders import bind_identity, container, cos
from tests.support.identities import (
    ADMIN_DN,
    ADMIN_PASSWORD,
    MILTER_DN,
    MILTER_PASSWORD,
    POSTFIX_DN,
    POSTFIX_PASSWORD,
)

if TYPE_CHECKING:
    from tests.support.record import Record


def base_records() -> list[Record]:
    """Return the trees, the identities, and the two stock COSes."""
    trees = ("", "cn=cos,", "cn=servers,", "cn=admins,", "cn=appaccts,", "cn=groups,")
    return [
        *(container(f"{tree}cn=zimbra") for tree in trees),
        bind_identity(ADMIN_DN, ADMIN_PASSWORD),
        bind_identity(POSTFIX_DN, POSTFIX_PASSWORD),
        bind_identity(MILTER_DN, MILTER_PASSWORD),
        *cos("default", zimbraInterceptFrom="Postmaster <postmaster@${ACCOUNT_DOMAIN}>"),
        *cos("defaultExternal"),
    ]
