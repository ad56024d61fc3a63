"""The attributes and the class of policy: the file that is shipped, and what a server has of it."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.directory.backend import ldif
from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry

ARC = "2.25.267588261688085286729831248695103903609"
"""Every OID of ours lies under it; released numbers keep their meaning for ever."""
FILE = "ldapmilter.ldif"
SCHEMA_RDN = "cn=ldapmilter"

_MACROS = {
    "ldapMilterAttributeType:": f"{ARC}.1.",
    "ldapMilterObjectClass:": f"{ARC}.2.",
    "ldapMilterRoot:": f"{ARC}.",
}
_INDEX = re.compile(r"\A\{-?\d+\}")
_DESCRIPTION = re.compile(r"\bDESC\s+'[^']*'\s*")
_NAME = re.compile(r"\bNAME\s+(?:'([^']+)'|\(([^)]*)\))")
_MAY = re.compile(r"\bMAY\s+\(([^)]*)\)")


class SchemaConflict(LdapmilterError):
    """The server has another schema under our names or numbers; the text says which."""


class Definition(Struct, frozen=True):
    """One attribute type or object class (RFC 4512 section 4.1), as text."""

    text: str
    """As it stands in cn=config, without ``{n}``."""

    @property
    def plain(self) -> str:
        """The text to compare by: macros resolved, blanks folded, without description."""
        text = " ".join(self.text.split())
        for macro, arc in _MACROS.items():
            text = text.replace(macro, arc)
        return _DESCRIPTION.sub("", text)

    @property
    def oid(self) -> str:
        """The number."""
        return self.plain.removeprefix("(").split()[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names."""
        found = _NAME.search(self.text)
        if found is None:
            return ()
        return (found[1],) if found[1] else tuple(name.strip("'") for name in found[2].split())

    @property
    def may(self) -> frozenset[str]:
        """Of an object class: the attributes it allows, in lower case."""
        found = _MAY.search(self.plain)
        return frozenset(name.strip().lower() for name in found[1].split("$")) if found else frozenset()


def without_index(value: str) -> str:
    """Return a value of cn=config without the ``{n}`` that orders it."""
    return _INDEX.sub("", value)


def definitions(values: Iterable[str]) -> tuple[Definition, ...]:
    """Return the definitions in values of olcAttributeTypes or olcObjectClasses."""
    return tuple(Definition(without_index(value)) for value in values)


def text() -> str:
    """Return the LDIF that adds the schema to cn=config: the shipped file as it is."""
    packaged = resources.files(__package__ or "ldapmilter.schema") / FILE
    if packaged.is_file():
        return packaged.read_text(encoding="ascii")
    # A clone, or an editable installation of one: the wheel takes the file from there.
    return (Path(__file__).resolve().parents[2] / "schema" / FILE).read_text(encoding="ascii")


def shipped() -> RawEntry:
    """Return the entry that :func:`text` adds."""
    (entry,) = ldif.parse(text())
    return entry


def own_attributes() -> tuple[str, ...]:
    """Return the names of all attributes of ours, in the order of their numbers."""
    return tuple(name for each in definitions(shipped().all("olcattributetypes")) for name in each.names)


class Missing(Struct, frozen=True, kw_only=True):
    """What an older schema of ours lacks."""

    attributes: tuple[str, ...]
    """Definitions to add."""
    classes: Mapping[str, str]
    """Object classes to replace: the value as the server has it, to the definition of ours."""


def missing(installed: RawEntry) -> Missing:
    """Compare the schema that a server has with ours.

    Raises:
        SchemaConflict: the server's is newer, or says something else under the same number.
    """
    ours = shipped()
    known = {each.oid: each for each in definitions(ours.all("olcattributetypes"))}
    present = {each.oid: each for each in definitions(installed.all("olcattributetypes"))}
    for oid, each in present.items():
        if oid not in known:
            raise SchemaConflict(
                f"{installed.dn} defines {' '.join(each.names) or oid}, which this version does not know: a newer"
                f" ldapmilter defined it; use its install-schema"
            )
        if each.plain != known[oid].plain:
            raise SchemaConflict(
                f"{installed.dn} defines {' '.join(each.names)} otherwise than this version: {each.plain};"
                f" wanted: {known[oid].plain}"
            )
    return Missing(
        attributes=tuple(each.text for oid, each in known.items() if oid not in present),
        classes=_classes(installed, ours),
    )


def _classes(installed: RawEntry, ours: RawEntry) -> dict[str, str]:
    (wanted,) = definitions(ours.all("olcobjectclasses"))
    values = installed.all("olcobjectclasses")
    for value, each in zip(values, definitions(values), strict=True):
        if each.oid != wanted.oid or not each.may <= wanted.may:
            raise SchemaConflict(
                f"{installed.dn} defines {' '.join(each.names) or each.oid} with more than this version knows: a"
                f" newer ldapmilter defined it; use its install-schema"
            )
        if each.plain != wanted.plain:
            return {value: wanted.text}
    return {} if values else {"": wanted.text}
