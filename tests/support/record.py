"""A directory entry as the tests write it, and LDIF made from it.

One list of records feeds slapd and an embedded back end alike, so both answer for the very
same data.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 2849, SAFE-STRING: what may stand in a line as it is; a space at the end is encoded too.
_SAFE = re.compile(
    rb"(?:[\x01-\x09\x0b\x0c\x0e-\x1f\x21-\x39\x3b\x3d-\x7f]"
    rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*)?\Z"
)


def _line(name: str, value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    if _SAFE.match(raw) and not raw.endswith(b" "):
        return f"{name}: {raw.decode('ascii')}" if raw else f"{name}:"
    return f"{name}:: {base64.b64encode(raw).decode('ascii')}"


@dataclass(frozen=True)
class Record:
    """One entry: its DN and its attribute values, in order.

    `filler` marks an entry that is only there to hold others (`dc=test`, a tree's root):
    where another record has the same DN the filler gives way, and adding it twice is no error.
    """

    dn: str
    attributes: tuple[tuple[str, str | bytes], ...]
    filler: bool = False

    def ldif(self) -> str:
        """Return the LDIF of the entry, ending with the blank line that separates records."""
        lines = [_line("dn", self.dn)]
        lines += [_line(name, value) for name, value in self.attributes]
        return "\n".join(lines) + "\n\n"

    def values(self, name: str) -> list[str]:
        """Return the text values of one attribute, compared without case."""
        return [
            value if isinstance(value, str) else value.decode()
            for attribute, value in self.attributes
            if attribute.lower() == name.lower()
        ]


def merge(records: Iterable[Record]) -> list[Record]:
    """Return the records parents first, one per DN where fillers met something else.

    Raises:
        ValueError: two records that are no fillers have one DN.
    """
    by_dn: dict[str, Record] = {}
    for record in records:
        key = record.dn.lower()
        known = by_dn.get(key)
        if known is None or known.filler:
            by_dn[key] = record
        elif not record.filler:
            message = f"two records for {record.dn}"
            raise ValueError(message)
    return sorted(by_dn.values(), key=lambda record: record.dn.count(","))


def without_policy(records: Iterable[Record]) -> list[Record]:
    """Return the records as they are where nobody has loaded the schema: without its class and its attributes."""
    return [
        Record(
            record.dn,
            tuple(
                (name, value)
                for name, value in record.attributes
                if value != "ldapMilterPolicy" and not name.startswith("ldapMilter")
            ),
            record.filler,
        )
        for record in records
    ]


def to_ldif(records: Iterable[Record]) -> str:
    """Return the LDIF of all records, parents first."""
    return "".join(record.ldif() for record in merge(records))
