"""Rows and cells as the history keeps them: JSON, in which what many rows have in common is written once.

An address with the row's own local part is written from its ``@`` on, and the row's own DN as null: so the cell of
everybody with an archive mailbox of their own, or with a value of the same words, is the same.
"""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

from ldapmilter.address import make_address
from ldapmilter.coverage.model import KINDS, Cell, Column, Given, Origin, Row

if TYPE_CHECKING:
    from collections.abc import Sequence


def dumped(value: object) -> str:
    """Return JSON as it is compared: one spelling for one value."""
    return json.dumps(value, separators=(",", ":"))


def cell_text(row: Row, cell: Cell) -> str:
    """Return a cell of a row."""
    local = row.address.text.rpartition("@")[0]

    def stored(given: Sequence[Given]) -> list[list[Any]]:
        return [[_own(one.address, f"{local}@", local), *_origin(one.origin, row.dn)] for one in given]

    return dumped(
        [
            stored(cell.copies),
            stored(cell.expired),
            list(cell.invalid),
            list(cell.remarks),
            _own_dn(cell.ended_by, row.dn),
            cell.by_members,
        ]
    )


def _own(address: str, start: str, local: str) -> str:
    return address[len(local) :] if address.startswith(start) else address


def _own_dn(dn: str | None, own: str) -> str | bool | None:
    return True if dn == own else dn


def _origin(origin: Origin, own: str) -> list[Any]:
    until = origin.until.isoformat() if origin.until is not None else None
    dn = _own_dn(origin.dn, own)
    path = list(origin.group_path)
    return [origin.level, dn, origin.attribute, origin.value, path, origin.condition, until, origin.ref]


def row_of(stored: Sequence[Any], cells: Sequence[Sequence[Any]]) -> Row:
    """Return a row.

    Args:
        stored: address, DN, name, number of its kind, numbers of its cells (-1: none).
        cells: all cells, as read back.
    """
    text, dn, name, kind, numbers = stored
    local, _, domain = text.rpartition("@")
    return Row(
        address=make_address(local, domain),
        display_name=name,
        kind=KINDS[kind],
        dn=dn,
        cells=tuple(_cell(cells[number], local, dn) if number >= 0 else None for number in numbers),
    )


def _cell(stored: Sequence[Any], local: str, dn: str) -> Cell:
    copies, expired, invalid, remarks, ended_by, by_members = stored
    return Cell(
        copies=tuple(_given(one, local, dn) for one in copies),
        expired=tuple(_given(one, local, dn) for one in expired),
        invalid=tuple(invalid),
        remarks=tuple(remarks),
        ended_by=dn if ended_by is True else ended_by,
        by_members=by_members,
    )


def _given(stored: Sequence[Any], local: str, own: str) -> Given:
    address, level, dn, attribute, value, path, condition, until, ref = stored
    return Given(
        address=f"{local}{address}" if address.startswith("@") else address,
        origin=Origin(
            level=level,
            dn=own if dn is True else dn,
            attribute=attribute,
            value=value,
            group_path=tuple(path),
            condition=condition,
            until=date.fromisoformat(until) if until is not None else None,
            ref=ref,
        ),
    )


def column_of(stored: dict[str, Any]) -> Column:
    """Return a column, as :func:`~ldapmilter.coverage.plain.about_json` writes it."""
    return Column(
        copy_class=stored["class"],
        direction=stored["direction"],
        inherit=stored["inherit"],
        invalid_value=stored["invalid_value"],
        mode=stored["mode"],
    )
