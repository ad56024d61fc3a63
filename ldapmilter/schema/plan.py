"""From what a server has to what it should have: the changes, in a safe order.

Hidden first, written later: schema, then access rules, then the identity. Each step can be repeated,
so an installation that was cut off half-way is run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend import ldif
from ldapmilter.schema import access, definition
from ldapmilter.schema.change import Change, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.schema.cn_config import CnConfig
    from ldapmilter.schema.rights import Rights

LOST_SCHEMA = (
    "From now on slapd does not start on this server when the file of the schema, cn={N}ldapmilter.ldif, is lost"
    " from cn=config/cn=schema: keep a copy of cn=config, and take the access rules away before you remove that file."
)
EXPOSED = (
    "Without these rules every mail user may read objectClass, and so finds who still carries ldapMilterPolicy:"
    " take policy off every entry first."
)


def schema_changes(config: CnConfig) -> list[Change]:
    """Return what our schema lacks on a server; nothing when all of it is there.

    Raises:
        SchemaConflict: what is there is newer, or another.
    """
    if config.schema is None:
        (entry,) = ldif.parse(definition.text())
        spelled = {
            name.lower(): name
            for name in ("objectClass", "cn", "olcObjectIdentifier", "olcAttributeTypes", "olcObjectClasses")
        }
        values = tuple(
            (spelled[name], " ".join(value.split())) for name, found in entry.attributes.items() for value in found
        )
        return [Change(title="The attributes and the object class of policy.", dn=entry.dn, add=values)]
    lacking = definition.missing(config.schema)
    parts = [Part("add", "olcAttributeTypes", lacking.attributes)] if lacking.attributes else []
    for old, new in lacking.classes.items():
        parts += [Part("delete", "olcObjectClasses", (old,))] if old else []
        parts.append(Part("add", "olcObjectClasses", (new,)))
    if not parts:
        return []
    return [Change(title="What this version adds to the schema.", dn=config.schema.dn, parts=tuple(parts))]


def access_changes(config: CnConfig, rights: Rights) -> list[Change]:
    """Return what puts our access rules first; nothing when they are."""
    title = f"Open the policy to {rights.identity} alone; hide it from everybody else but administrators."
    return _access(config, access.rules(rights), title)


def access_removal(config: CnConfig, *, keep_hidden: Rights | None = None) -> list[Change]:
    """Return what takes our access rules away.

    Args:
        config: what the server has.
        keep_hidden: keep what hides these, while entries still carry policy.
    """
    wanted = access.hiding(keep_hidden) if keep_hidden is not None else ()
    return _access(config, wanted, "Take the milter's right to read away." if wanted else "Take our rules away.")


def _access(config: CnConfig, wanted: Sequence[str], title: str) -> list[Change]:
    change = access.change(config.access, wanted)
    if not change:
        return []
    parts = [Part("delete", "olcAccess", change.delete)] if change.delete else []
    parts += [Part("add", "olcAccess", change.numbered)] if change.add else []
    return [Change(title=title, dn=config.database, parts=tuple(parts))]
