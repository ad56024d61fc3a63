"""Which attributes a server has indexed, where ``cn=config`` may be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.filters import Present

if TYPE_CHECKING:
    from ldapmilter.directory.ldap.connection import Connection


def indexed_attributes(server: Connection) -> frozenset[str] | None:
    """Return the attributes of the mail database that have an equality index, in lower case.

    The mail database is the one whose suffix is empty (``olcSuffix``, ``olcDbIndex``).

    Returns:
        ``None``: cn=config may not be read, as is usual.

    Raises:
        Refused: by the server.
        ServerFailed: no answer.
    """
    databases = server.search("cn=config", "sub", Present("olcSuffix"), ("olcSuffix", "olcDbIndex", "olcDatabase"))
    mail = next((entry for entry in databases if "" in entry.all("olcsuffix")), None)
    if mail is None:
        return None
    indexed: set[str] = set()
    for value in mail.all("olcdbindex"):
        names, _, kinds = value.partition(" ")
        if "eq" in kinds.replace(" ", "").split(","):
            indexed.update(name.lower() for name in names.split(","))
    return frozenset(indexed)
