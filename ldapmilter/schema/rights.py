"""Which attributes the milter's identity has to read, and which no other may see.

The lists are those that the directory's code reads by: an attribute that is read there is opened
here, and nothing else is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.checks.catalogue import READS as CHECK_READS
from ldapmilter.directory.backend.dn import fold_dn, take_apart
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, is_list_setting
from ldapmilter.directory.entries import ENTRY_ATTRIBUTES, SYSTEM_ACCOUNT
from ldapmilter.directory.following.change_number import CHANGE_NUMBER, ENTRY_NAME
from ldapmilter.directory.searches import (
    COS_ATTRIBUTES,
    COS_RIGHTS_ATTRIBUTES,
    GROUP_ATTRIBUTES,
    RIGHTS_ATTRIBUTES,
    SOURCE_ATTRIBUTES,
)
from ldapmilter.directory.site import SITE_ATTRIBUTES
from ldapmilter.errors import ConfigError
from ldapmilter.schema.definition import own_attributes

if TYPE_CHECKING:
    from collections.abc import Collection

# slapd's name for the right to see that there is an entry (slapd.access(5)).
_ENTRY = "entry"

READ_ATTRIBUTES = tuple(
    {
        name.lower(): name
        for name in (
            _ENTRY,
            *ENTRY_ATTRIBUTES,
            "uid",  # filters name it
            CHANGE_NUMBER,
            ENTRY_NAME,
            *SITE_ATTRIBUTES,
            *COS_ATTRIBUTES,
            *GROUP_ATTRIBUTES,
            *RIGHTS_ATTRIBUTES,
            *COS_RIGHTS_ATTRIBUTES,
            *SOURCE_ATTRIBUTES,
            SYSTEM_ACCOUNT,
            *CHECK_READS,
        )
    }.values()
)
"""Everything of Zimbra's own that is read, whatever the policy; ``entry`` first."""

_SHOWN_TO_USERS = """
    cn co company description displayname facsimiletelephonenumber givenname homephone initials l mail
    mobile o ou pager physicaldeliveryofficename postalcode sn st street telephonenumber title uid
"""
SHOWN_TO_USERS = frozenset(_SHOWN_TO_USERS.split())
"""What Zimbra's access rules show to every mail user, for the address list (lower case)."""


ADMINS = "cn=admins,cn=zimbra"
"""Below it are the identities that administer: zmprov's, mailboxd's and the replicas'."""
SERVICES = "cn=appaccts,cn=zimbra"
"""Below it are the identities of Zimbra's services: Postfix, amavis, nginx."""
_ZIMBRA_SERVICES = frozenset({"zmpostfix", "zmamavis", "zmnginx", "zmbes-searcher"})


class Rights(Struct, frozen=True, kw_only=True):
    """Who may read what; everything else stays as Zimbra has it."""

    identity: str
    """The DN of the milter."""
    read: tuple[str, ...]
    """What the milter may read of Zimbra's own."""
    policy: tuple[str, ...]
    """What it may read of our schema: what the configuration names, and which groups apply to members."""
    own: tuple[str, ...]
    """The attributes of our schema that are kept from all but administrators: all but the settings of lists, which
    Zimbra's rules show as they show other attributes of a list. Empty without the schema."""
    foreign: tuple[str, ...]
    """Policy attributes of others: kept from ordinary users, Zimbra's services go on as before."""
    notes: tuple[str, ...] = ()
    """What an administrator should know about it."""

    @property
    def opened(self) -> tuple[str, ...]:
        """Everything that the milter may read."""
        return (*self.read, *self.foreign, *self.policy)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Everything that ordinary users may not see."""
        return (*self.own, *self.foreign)


def uses_own_schema(policy_attributes: Collection[str]) -> bool:
    """Whether any attribute that holds policy is of our schema."""
    own = {name.lower() for name in own_attributes()}
    return any(name.lower() in own for name in policy_attributes)


def rights_for(
    identity: str,
    policy_attributes: Collection[str],
    known: Collection[str] | None = None,
    *,
    schema: bool | None = None,
    list_attributes: Collection[str] = (),
) -> Rights:
    """Return the rights that a policy needs.

    Args:
        identity: the milter's DN.
        policy_attributes: every attribute that may hold a policy value that is a secret.
        known: the attribute names that the server's schema has, in lower case; ``None``: all.
            slapd refuses an access rule that names any other.
        schema: whether our schema is there; ``None``: when the policy uses it.
        list_attributes: every attribute that may hold a setting of a list, of which none is a secret.

    Raises:
        ConfigError: an attribute cannot hold policy on this server.
    """
    if not identity:
        raise ConfigError(
            "[ldap] bind_dn is empty: access rules need an identity to open the policy to (--milter-dn DN)"
        )
    _refuse_others(identity)
    own = {name.lower(): name for name in own_attributes()}
    read = {name.lower() for name in READ_ATTRIBUTES}
    foreign = sorted({name for name in policy_attributes if name.lower() not in own}, key=str.lower)
    notes = []
    for name in foreign:
        if name.lower() in read:
            raise ConfigError(f"{name} cannot hold policy: Zimbra itself needs it to be read; name another attribute")
        if known is not None and name.lower() not in known:
            raise ConfigError(f"{name} is named as a policy attribute, and the server's schema does not have it")
        if name.lower() in SHOWN_TO_USERS:
            notes.append(f"{name} holds policy and so disappears from the address list of every user")
    read_of_own = {name.lower() for name in policy_attributes}
    if uses_own_schema(policy_attributes):
        read_of_own.add(APPLIES_TO_MEMBERS.lower())
    wanted = uses_own_schema(policy_attributes) if schema is None else schema
    if wanted:
        read_of_own.update(name for name in own if is_list_setting(name))
    settings = {name.lower(): name for name in list_attributes if name.lower() not in {*own, *read}}
    unknown = [name for name in READ_ATTRIBUTES if known is not None and _is_missing(name, known)]
    notes.extend(f"{name} is not in this server's schema, so it cannot be set" for name in unknown)
    return Rights(
        identity=identity,
        read=(*(name for name in READ_ATTRIBUTES if name not in unknown), *sorted(settings.values(), key=str.lower)),
        policy=tuple(name for lowered, name in own.items() if lowered in read_of_own),
        own=tuple(name for name in own.values() if not is_list_setting(name)) if wanted else (),
        foreign=tuple(foreign),
        notes=tuple(notes),
    )


def _refuse_others(identity: str) -> None:
    """Refuse an identity of Zimbra's: a right to read would take an administrator's right to write away."""
    uid = take_apart(fold_dn(identity))
    if uid.parent == ADMINS or uid.value in _ZIMBRA_SERVICES:
        raise ConfigError(f"{identity} is Zimbra's own: the milter needs one of its own (uid=ldapmilter,{SERVICES})")


def _is_missing(name: str, known: Collection[str]) -> bool:
    """Whether a server lacks an attribute; slapd's built-in ones are not listed in every export."""
    return name.lower().startswith(("zimbra", "amavis", "dkim")) and name.lower() not in known
