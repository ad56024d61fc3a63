"""What the report is made of: one row for each account or group, one cell for each kind of copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from datetime import date

    from ldapmilter.address import Address
    from ldapmilter.directory.model import Level
    from ldapmilter.policy.effect import Direction, Mode
    from ldapmilter.policy.settings import Inherit, OnInvalid

Status = Literal["covered", "conditional", "uncovered"]
"""Every message is copied; only those that match a ``with=``; none is."""
Kind = Literal["account", "resource", "list", "dynamic group", "system account"]
"""Zimbra's kinds of entries that mail can be addressed to. A system account is one of its own (spam, ham, quarantine,
address book synchronization): no copies of its mail are expected."""

STATUSES: Final[tuple[Status, ...]] = ("covered", "conditional", "uncovered")
KINDS: Final[tuple[Kind, ...]] = ("account", "resource", "list", "dynamic group", "system account")
PEOPLE: Final[frozenset[Kind]] = frozenset({"account", "resource"})
"""The kinds that mail ends at."""
LISTS: Final[frozenset[Kind]] = frozenset({"list", "dynamic group"})
"""The kinds that lead to others; what is left are system accounts, of which no copies are expected."""
LEVELS: Final[tuple[Level, ...]] = ("account", "group", "policy-group", "cos", "domain", "global")


class Column(Struct, frozen=True, kw_only=True):
    """One copy class in one direction: what a cell of the report is about."""

    copy_class: str
    direction: Direction
    inherit: Inherit
    invalid_value: OnInvalid
    mode: Mode

    @property
    def title(self) -> str:
        """The column in two words."""
        return f"{self.copy_class} {self.direction}"


class Origin(Struct, frozen=True, kw_only=True):
    """A value in the directory that asks for copies, and where it stands."""

    level: Level
    dn: str
    attribute: str
    value: str
    group_path: tuple[str, ...] = ()
    """Of a policy group: the groups that lead from it to the member."""
    condition: str | None = None
    """The ``with=`` of the value; ``None``: for every message."""
    until: date | None = None
    """The last day (UTC, inclusive) on which it counts."""
    ref: str | None = None


class Given(Struct, frozen=True, kw_only=True):
    """An address that gets copies, and one value that asks for it."""

    address: str
    origin: Origin


class Cell(Struct, frozen=True, kw_only=True):
    """What one entry's mail gets in one direction and class."""

    copies: tuple[Given, ...] = ()
    expired: tuple[Given, ...] = ()
    """What would be given too, had it not expired."""
    invalid: tuple[str, ...] = ()
    """Values that cannot be used, in words."""
    remarks: tuple[str, ...] = ()
    """What else an administrator should know, in words."""
    ended_by: str | None = None
    """DN of the entry whose ``none`` ends inheritance, where nothing else is given."""
    by_members: bool = False
    """Whether every account behind a list gets a copy: mail to the list is copied although it asks for none."""

    @property
    def status(self) -> Status:
        """Whether copies are made of all, some or none of this mail."""
        if not self.copies:
            return "covered" if self.by_members else "uncovered"
        return "covered" if any(one.origin.condition is None for one in self.copies) else "conditional"


class Row(Struct, frozen=True, kw_only=True):
    """One account or group with its cells."""

    address: Address
    display_name: str
    kind: Kind
    dn: str
    cells: tuple[Cell | None, ...]
    """In the order of the report's columns; ``None`` where it has no meaning: a group sends no mail."""

    @property
    def lacks_a_copy(self) -> bool:
        """Whether some mail of this entry, in the columns of the report, is never copied."""
        return self.kind != "system account" and any(
            cell is not None and cell.status == "uncovered" for cell in self.cells
        )


class About(Struct, frozen=True, kw_only=True):
    """What a report is of: stated in every form of it."""

    directory: str
    """Where it was read."""
    day: date
    """The day in UTC on which values were held against their ``until``."""
    began: str
    """Date and time (UTC, ISO 8601) at which reading began."""
    columns: tuple[Column, ...]
    narrowed: tuple[str, ...]
    """The options that leave entries or columns out, as given; empty: it is about all."""
    notes: tuple[str, ...]
    """What the reader must know to read it right: parts that are not applied, or switched off."""
