"""The figures of a report: how many are covered, by which level, in which domain."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ldapmilter.coverage.model import KINDS, LEVELS, PEOPLE, STATUSES, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.coverage.model import Cell, Column, Row
    from ldapmilter.directory.model import Level


class Figures(Struct):
    """What one column counts."""

    accounts: Counter[Status] = field(default_factory=Counter)
    """Accounts and resources."""
    groups: Counter[Status] = field(default_factory=Counter)
    """Lists and dynamic groups, as recipients."""
    system: Counter[Status] = field(default_factory=Counter)
    """Zimbra's own accounts."""
    levels: Counter[Level] = field(default_factory=Counter)
    """Entries that get a copy from a value on this level; one may count on several."""
    expired: int = 0
    """Entries for which a value has expired."""
    invalid: int = 0
    """Entries for which a value cannot be used."""
    domains: dict[str, Counter[Status]] = field(default_factory=dict)
    """Accounts and resources, by domain."""
    group_domains: dict[str, Counter[Status]] = field(default_factory=dict)
    """Lists and dynamic groups, by domain."""

    def add(self, row: Row, cell: Cell) -> None:
        """Count one entry."""
        if row.kind == "system account":
            self.system[cell.status] += 1
        else:
            people = row.kind in PEOPLE
            (self.accounts if people else self.groups)[cell.status] += 1
            domains = self.domains if people else self.group_domains
            domains.setdefault(row.address.domain, Counter())[cell.status] += 1
        self.levels.update({one.origin.level for one in cell.copies})
        self.expired += bool(cell.expired)
        self.invalid += bool(cell.invalid)


class Summary:
    """Counts over every row, those that a report leaves out of its table included."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Begin at nothing."""
        self.columns = tuple(columns)
        self.figures = tuple(Figures() for _ in columns)
        self.kinds: Counter[Kind] = Counter()
        self.lacking_people = 0
        """Accounts and resources that lack a copy in some column."""
        self.lacking_groups = 0
        """Lists and dynamic groups that do: mail to them is not copied for a member, either."""
        self.without_address = 0
        """Entries that mail cannot be addressed to: they have no row."""

    @property
    def entries(self) -> int:
        """How many there are."""
        return sum(self.kinds.values())

    @property
    def lacking(self) -> int:
        """How many entries lack a copy in some column."""
        return self.lacking_people + self.lacking_groups

    @property
    def invalid(self) -> int:
        """How many cells hold a value that cannot be used."""
        return sum(one.invalid for one in self.figures)

    def add(self, row: Row) -> None:
        """Count one entry."""
        self.kinds[row.kind] += 1
        if row.kind in PEOPLE:
            self.lacking_people += row.lacks_a_copy
        else:
            self.lacking_groups += row.lacks_a_copy
        for figures, cell in zip(self.figures, row.cells, strict=True):
            if cell is not None:
                figures.add(row, cell)

    def as_json(self) -> dict[str, Any]:
        """Return the figures under the keys that programs rely on."""
        return {
            "entries": {kind: self.kinds[kind] for kind in KINDS},
            "lacking": self.lacking,
            "lacking_people": self.lacking_people,
            "lacking_groups": self.lacking_groups,
            "without_address": self.without_address,
            "columns": [
                {
                    "class": column.copy_class,
                    "direction": column.direction,
                    "accounts": _statuses(one.accounts),
                    "groups": _statuses(one.groups),
                    "system": _statuses(one.system),
                    "levels": {level: one.levels[level] for level in LEVELS if one.levels[level]},
                    "expired": one.expired,
                    "invalid": one.invalid,
                    "domains": {name: _statuses(one.domains[name]) for name in sorted(one.domains)},
                    "group_domains": {name: _statuses(one.group_domains[name]) for name in sorted(one.group_domains)},
                }
                for column, one in zip(self.columns, self.figures, strict=True)
            ],
        }


def _statuses(counts: Counter[Status]) -> dict[str, int]:
    return {status: counts[status] for status in STATUSES}
