"""Changes to a server as values: what a dry run prints, what ``ldapmodify`` takes, what is carried out."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 100
_SAFE_FIRST = frozenset(map(chr, range(33, 127))) - {":", "<"}


class Part(Struct, frozen=True):
    """One step of a modification (RFC 4511 section 4.6)."""

    operation: str
    """``add``, ``delete`` or ``replace``."""
    attribute: str
    values: tuple[str, ...]


class Change(Struct, frozen=True, kw_only=True):
    """One LDAP operation. Without parts it adds an entry with these attributes, or deletes one."""

    title: str
    """What it does, in words."""
    dn: str
    add: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()
    secret: frozenset[str] = frozenset()
    """Attributes whose values are not shown in a dry run."""

    def ldif(self, *, show_secrets: bool = True) -> str:
        """Return the change record (RFC 2849), its title as a comment."""
        lines = [f"# {self.title}", _line("dn", self.dn)]
        if self.add:
            lines.append("changetype: add")
            lines += [self._shown(name, value, show_secrets=show_secrets) for name, value in self.add]
        elif self.parts:
            lines.append("changetype: modify")
            for part in self.parts:
                lines.append(f"{part.operation}: {part.attribute}")
                lines += [self._shown(part.attribute, value, show_secrets=show_secrets) for value in part.values]
                lines.append("-")
        else:
            lines.append("changetype: delete")
        return "\n".join(lines) + "\n"

    def _shown(self, name: str, value: str, *, show_secrets: bool) -> str:
        return f"{name}: (not shown)" if name in self.secret and not show_secrets else _line(name, value)


def to_ldif(changes: Sequence[Change], *, show_secrets: bool = True) -> str:
    """Return change records, an empty line between two."""
    return "\n".join(change.ldif(show_secrets=show_secrets) for change in changes)


def _line(name: str, value: str) -> str:
    """Return one line, folded behind blanks and commas where it can be."""
    if (value and value[0] not in _SAFE_FIRST) or not value.isascii() or not value.isprintable() or value.endswith(" "):
        return _fold(f"{name}:: {base64.b64encode(value.encode()).decode()}")
    return _fold(f"{name}: {value}")


def _fold(line: str) -> str:
    pieces = []
    while len(line) > _WIDTH:
        cut = max(line.rfind(" ", 1, _WIDTH), line.rfind(",", 1, _WIDTH) + 1)
        cut = cut if cut > _WIDTH // 2 else _WIDTH
        pieces.append(line[:cut])
        line = f" {line[cut:]}"
    return "\n".join([*pieces, line])
