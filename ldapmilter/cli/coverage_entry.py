"""``ldapmilter coverage --address``: one entry on one day, or on all days that were kept."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from ldapmilter.cli import exit_status
from ldapmilter.coverage.entry_text import cell_lines
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.coverage.history import Day, History
    from ldapmilter.coverage.model import Column, Row


def show_entry(history: History, address: str, on: date | None, *, as_json: bool) -> int:
    """Show one entry on one day, or on all days that were kept; return the exit status."""
    if on is not None:
        day = history.day(on)
        rows = list(day.rows(address))
        periods = [_Period(on, on, day.columns, rows)]
    else:
        periods = list(_periods(history, address))
    found = any(period.rows for period in periods)
    if as_json:
        print(plain_json([period.as_json() for period in periods], indent=1))
    else:
        print("\n".join(map(plain, _told(periods, address, history))))
    return exit_status.FINE if found else exit_status.PROBLEM


def told_of_day(history: History, address: str, day: date) -> list[str]:
    """Return what one entry got on one day, in lines.

    Raises:
        HistoryError: the day is not kept, or cannot be read.
    """
    kept = history.day(day)
    return list(_told([_Period(day, day, kept.columns, list(kept.rows(address)))], address, history))


class _Period:
    """Days one after the other on which an entry got the same."""

    def __init__(self, first: date, last: date, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        self.first, self.last = first, last
        self.columns, self.rows = columns, rows

    def goes_on(self, day: Day, rows: Sequence[Row]) -> bool:
        same = [row.cells for row in rows] == [row.cells for row in self.rows] and self.columns == day.columns
        return same and day.day == self.last + timedelta(days=1)

    def as_json(self) -> dict[str, object]:
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "entries": [
                {
                    "address": row.address.text,
                    "name": row.display_name,
                    "kind": row.kind,
                    "dn": row.dn,
                    "coverage": {
                        column.title: cell_lines(cell)
                        for column, cell in zip(self.columns, row.cells, strict=True)
                        if cell is not None
                    },
                }
                for row in self.rows
            ],
        }


def _periods(history: History, address: str) -> Iterator[_Period]:
    days = history.days()
    if not days:
        history.day(date.max)  # says that none is kept
    period: _Period | None = None
    known: dict[date, list[Row]] = {}
    for one in days:
        day = history.day(one)
        if day.rows_day not in known:
            known = {day.rows_day: list(day.rows(address))}  # later days name the newest of them
        rows = known[day.rows_day]
        if period is not None and period.goes_on(day, rows):
            period.last = one
            continue
        if period is not None:
            yield period
        period = _Period(one, one, day.columns, rows)
    if period is not None:
        yield period


def _told(periods: Sequence[_Period], address: str, history: History) -> Iterator[str]:
    before: date | None = None
    for period in periods:
        if before is not None and period.first > before + timedelta(days=1):
            yield f"{before + timedelta(days=1)} to {period.first - timedelta(days=1)}: not kept"
        before = period.last
        when = str(period.first) if period.first == period.last else f"{period.first} to {period.last}"
        if not period.rows:
            yield f"{when}: no entry has the main address {address}"
        for row in period.rows:
            yield f"{when}: {row.address.text} ({row.display_name}), {row.kind}, {row.dn}"
            for column, cell in zip(period.columns, row.cells, strict=True):
                for number, line in enumerate(cell_lines(cell)):
                    yield f"  {column.title:<20}{line}" if number == 0 else f"      {line}"
    yield f"from the coverage that is kept in {history.folder}"
