"""What a server's cn=config says about schema and access, from its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend.dn import fold_dn, parts
from ldapmilter.errors import LdapmilterError
from ldapmilter.schema.definition import SCHEMA_RDN, SchemaConflict, definitions, own_attributes, without_index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.backend.raw_entry import RawEntry

ATTRIBUTES = (
    "objectClass",
    "cn",
    "olcDatabase",
    "olcSuffix",
    "olcAccess",
    "olcObjectIdentifier",
    "olcAttributeTypes",
    "olcObjectClasses",
)
"""What has to be read of cn=config."""
SCHEMA_BASE = "cn=schema,cn=config"


class NotZimbra(LdapmilterError):
    """The server is not a Zimbra LDAP server, or shows too little to tell; the text says what is missing."""


class CnConfig(Struct, frozen=True, kw_only=True):
    """Schema and access of one server."""

    database: str
    """DN of the entry of the mail database: the one with the empty suffix, whatever its number."""
    access: tuple[str, ...]
    """Its olcAccess values, in order."""
    schema: RawEntry | None
    """Our schema's entry."""
    known: frozenset[str]
    """Names of all attribute types, in lower case."""


def read(entries: Iterable[RawEntry]) -> CnConfig:
    """Find schema and access in the entries of cn=config.

    Raises:
        NotZimbra: no database with the empty suffix, several, or no schema of Zimbra's.
        SchemaConflict: our attributes are defined outside our entry.
    """
    everything = list(entries)
    databases = [entry for entry in everything if "" in entry.all("olcsuffix")]
    if not databases:
        raise NotZimbra(
            "no database with an empty olcSuffix: this is not Zimbra's slapd, or its cn=config may not be read"
        )
    if len(databases) > 1:
        raise NotZimbra(f"several databases have an empty olcSuffix: {'; '.join(entry.dn for entry in databases)}")
    schemas = [entry for entry in everything if fold_dn(entry.dn).endswith(SCHEMA_BASE)]
    own = [entry for entry in schemas if _is_ours(entry)]
    names = {name.lower(): entry for entry in schemas for name in _names(entry)}
    if "zimbraid" not in names:
        raise NotZimbra("its schema has no zimbraId: this is not Zimbra's slapd")
    for name in own_attributes():
        holder = names.get(name.lower())
        if holder is not None and holder not in own:
            raise SchemaConflict(f"{name} is defined in {holder.dn}: it belongs into {SCHEMA_RDN},{SCHEMA_BASE}")
    (database,) = databases
    return CnConfig(
        database=database.dn,
        access=tuple(sorted(database.all("olcaccess"), key=_place)),
        schema=own[0] if own else None,
        known=frozenset(names),
    )


def _is_ours(entry: RawEntry) -> bool:
    rdn = parts(fold_dn(entry.dn))[0]
    return f"cn={without_index(rdn.removeprefix('cn='))}" == SCHEMA_RDN


def _names(entry: RawEntry) -> tuple[str, ...]:
    return tuple(name for each in definitions(entry.all("olcattributetypes")) for name in each.names)


def _place(value: str) -> int:
    number = value[1:].partition("}")[0] if value.startswith("{") else ""
    return int(number) if number.lstrip("-").isdigit() else 0
