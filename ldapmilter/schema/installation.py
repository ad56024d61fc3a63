"""Installing on one server, and taking it away again: plan, carry out, look."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend.dn import take_apart
from ldapmilter.directory.backend.filters import Present
from ldapmilter.directory.ldap.exchange import Refused
from ldapmilter.schema import access, account, plan, server, verify
from ldapmilter.schema.rights import SHOWN_TO_USERS, rights_for, uses_own_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.schema.change import Change
    from ldapmilter.schema.cn_config import CnConfig
    from ldapmilter.schema.rights import Rights
    from ldapmilter.schema.verify import Trial

_SALT_OCTETS = 16
_ANYTHING = Present("objectClass")
_SHOWN_CARRIERS = 20


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be installed."""

    identity: str
    """DN of the milter."""
    password: str
    """Its password, in clear."""
    policy_attributes: frozenset[str]
    """Those that are kept secret."""
    list_attributes: frozenset[str] = frozenset()
    """Settings of lists, which anybody may read."""


class Plan(Struct, frozen=True, kw_only=True):
    """Changes in the order in which they are carried out, and what to know about them."""

    rights: Rights
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    whole: bool = True
    """Whether nothing is left to be done afterwards."""


def server_rights(
    config: CnConfig, identity: str, policy_attributes: Collection[str], list_attributes: Collection[str] = ()
) -> Rights:
    """Return the rights that a policy needs on a server; what is ours is hidden wherever the schema is.

    Raises:
        ConfigError: see :func:`~ldapmilter.schema.rights.rights_for`.
    """
    schema = uses_own_schema(policy_attributes) or config.schema is not None
    return rights_for(identity, policy_attributes, config.known, schema=schema, list_attributes=list_attributes)


def installation(root: Connection, wanted: Wanted, opens: Callable[[], bool], *, reset_password: bool = False) -> Plan:
    """Look at a server and return what is missing there.

    Args:
        root: the server.
        wanted: what is to be there.
        opens: whether the identity can bind with its password.
        reset_password: whether an identity with another password gets this one.

    Raises:
        LdapmilterError: the server is none of Zimbra's, has another schema, or refuses.
    """
    config = server.configuration(root)
    rights = server_rights(config, wanted.identity, wanted.policy_attributes, wanted.list_attributes)
    changes = plan.schema_changes(config) if rights.own else []
    changes += plan.access_changes(config, rights)
    changes += _identity_changes(root, wanted, opens, reset_password=reset_password)
    others = access.naming_policy(config.access, (*rights.own, *rights.policy))
    notes = [*rights.notes, *(f"another rule than ours names the schema: {rule}" for rule in others)]
    return Plan(rights=rights, changes=tuple(changes), notes=tuple(notes))


def _identity_changes(
    root: Connection, wanted: Wanted, opens: Callable[[], bool], *, reset_password: bool
) -> list[Change]:
    salt = secrets.token_bytes(_SALT_OCTETS)
    addition = account.identity(wanted.identity, wanted.password, salt)
    if not root.search(wanted.identity, "base", _ANYTHING, ("1.1",)):
        parent = take_apart(wanted.identity).parent
        if not root.search(parent, "base", _ANYTHING, ("1.1",)):
            raise Refused(f"{root.uri}: there is no {parent} to hold {wanted.identity}: this is not Zimbra's directory")
        return [addition]
    if opens():
        return []
    if reset_password:
        return [account.new_password(wanted.identity, wanted.password, salt)]
    raise Refused(
        f"{root.uri}: {wanted.identity} is there with another password than [ldap] bind_password_file holds: copy"
        " that file from the other MTA, or run with --reset-password and copy this one to every MTA"
    )


def removal(root: Connection, identity: str, policy_attributes: Collection[str], *, with_identity: bool) -> Plan:
    """Look at a server and return what takes us away; what hides policy stays while there is any.

    Args:
        root: the server.
        identity: DN of the milter.
        policy_attributes: every attribute that may hold a policy value.
        with_identity: whether the identity goes too, which every server that replicates loses with it.
    """
    config = server.configuration(root)
    rights = server_rights(config, identity, policy_attributes)
    carriers = _carriers(root, rights) if config.schema is not None else []
    changes = plan.access_removal(config, keep_hidden=rights if carriers else None)
    if with_identity and root.search(identity, "base", _ANYTHING, ("1.1",)):
        changes.append(account.removal(identity))
    notes = [
        f"{name} is readable by every mail user again, whatever it says about copies"
        for name in rights.foreign
        if name.lower() in SHOWN_TO_USERS
    ]
    if carriers:
        more = " and more" if len(carriers) == _SHOWN_CARRIERS else ""
        notes.append(f"the rules that hide policy stay. {plan.EXPOSED} They are: {'; '.join(carriers)}{more}")
    if config.schema is not None:
        notes.append(
            f"the schema {config.schema.dn} stays: slapd deletes none while it runs, and unused it does no harm"
            " (docs/schema-and-rights.md says how to remove the file of a stopped slapd)"
        )
    return Plan(rights=rights, changes=tuple(changes), notes=tuple(notes), whole=not carriers)


def _carriers(root: Connection, rights: Rights) -> list[str]:
    """Return entries that carry our class (policy in attributes of others is Zimbra's own to show or hide)."""
    entries = root.search("", "sub", verify.CARRIES_CLASS, ("1.1",), most=_SHOWN_CARRIERS) if rights.own else []
    return [entry.dn for entry in entries]


def carry_out(root: Connection, changes: Collection[Change], tell: Callable[[Change], None]) -> None:
    """Carry changes out in order, telling each one that has happened.

    Raises:
        Refused, DirectoryUnavailable: one did not happen; those before it did.
    """
    for change in changes:
        server.apply(root, change)
        tell(change)


def verification(root: Connection, milter: Connection, rights: Rights, missing: Collection[Change]) -> list[Trial]:
    """Try everything that was promised.

    Args:
        root: the server.
        milter: the server, bound as the milter.
        rights: what was promised.
        missing: what a fresh look finds missing: nothing, when all is read back as it was written.
    """
    samples = verify.find_samples(root, rights)
    absent = "; ".join(change.title for change in missing)
    return [
        verify.Trial(what="schema, access rules and identity are read back as wanted", problem=absent or None),
        verify.reads(milter, samples, rights),
        *(verify.blind(root, who, dn, samples, rights) for who, dn in verify.outsiders(samples)),
        verify.administers(root, samples, rights),
    ]
