"""The access rules (olcAccess, slapd.access(5)): their text, their place, and which of a server's are ours.

They stand before Zimbra's own rules, in this order:

1. one opens to the milter's identity what it reads, and lets everybody else fall through;
2. one hides the value ``ldapMilterPolicy`` of objectClass, which Zimbra lets every user read;
3. one hides the attributes of our schema;
4. one hides policy attributes of others from users; Zimbra's own services fall through to its rules.

The first has to precede the others, which would stop the milter; they have to precede Zimbra's, which
end with the first that matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend.names import POLICY_CLASS
from ldapmilter.errors import ConfigError
from ldapmilter.schema.definition import without_index
from ldapmilter.schema.rights import ADMINS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.schema.rights import Rights

# slapd keeps no comments in its rules. A clause for a DN that does not exist, so that no client can bind as it,
# marks ours: an upgrade and a removal find them, whatever identity and attributes they name.
_OPENS = "cn=ldapmilter-opens"
_HIDES = "cn=ldapmilter-hides"
_MARKS = (f'dn.exact="{_OPENS}"', f'dn.exact="{_HIDES}"', f'dn.base="{_OPENS}"', f'dn.base="{_HIDES}"')


def rules(rights: Rights) -> tuple[str, ...]:
    """Return our rules in their order, without ``{n}``.

    Raises:
        ConfigError: the identity cannot stand in a rule.
    """
    if '"' in rights.identity or "\\" in rights.identity or "=" not in rights.identity:
        raise ConfigError(
            f"the identity {rights.identity} cannot stand in an access rule; choose a plain uid=...,cn=..."
        )
    return (_opening(rights), *hiding(rights))


def _opening(rights: Rights) -> str:
    who = f'by dn.exact="{rights.identity}" read by dn.exact="{_OPENS}" +0 break by * +0 break'
    return f"to attrs={','.join(rights.opened)} {who}"


def hiding(rights: Rights) -> tuple[str, ...]:
    """Return only the rules that hide."""
    admins = f'by dn.children="{ADMINS}" write'
    nobody = f'by dn.exact="{_HIDES}" none by * none'
    found = []
    if rights.own:
        found.append(f'to attrs=objectClass val="{POLICY_CLASS}" {admins} {nobody}')
        found.append(f"to attrs={','.join(rights.own)} {admins} {nobody}")
    if rights.foreign:
        services = f'by dn.children="{SERVICES}" +0 break'
        found.append(f"to attrs={','.join(rights.foreign)} {admins} {services} {nobody}")
    return tuple(found)


def is_ours(rule: str) -> bool:
    """Whether a rule of a server is one of ours, of whatever version."""
    return any(mark in rule for mark in _MARKS)


class AccessChange(Struct, frozen=True):
    """What has to happen to olcAccess, in one LDAP modification."""

    delete: tuple[str, ...]
    """Rules as the server has them, without ``{n}``: one that has changed meanwhile is not deleted."""
    add: tuple[str, ...]
    """Rules to put before all others, in order."""

    def __bool__(self) -> bool:
        return bool(self.delete or self.add)

    @property
    def numbered(self) -> tuple[str, ...]:
        """The rules to add with their places."""
        return tuple(f"{{{place}}}{rule}" for place, rule in enumerate(self.add))


def change(current: Sequence[str], wanted: Sequence[str]) -> AccessChange:
    """Return what makes our rules the first ones, and leaves all others in their order.

    Args:
        current: the server's olcAccess values in order.
        wanted: our rules; none to remove them.
    """
    plain = [without_index(rule) for rule in current]
    ours = [rule for rule in plain if is_ours(rule)]
    if _folded(plain[: len(wanted)]) == _folded(wanted) and len(ours) == len(wanted):
        return AccessChange((), ())
    return AccessChange(tuple(dict.fromkeys(ours)), tuple(wanted))


def naming_policy(current: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Return the rules of others that name our schema: with them slapd needs the schema to start."""
    names = {POLICY_CLASS.lower(), *(name.lower() for name in own)}
    return tuple(rule for rule in current if not is_ours(rule) and any(name in rule.lower() for name in names))


def _folded(values: Sequence[str]) -> list[str]:
    return [" ".join(rule.split()).lower().replace("dn.base=", "dn.exact=") for rule in values]
