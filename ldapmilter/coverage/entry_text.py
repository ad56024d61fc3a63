"""What one entry gets in one column, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.coverage.model import Cell, Given


def cell_lines(cell: Cell | None) -> list[str]:
    """Return a cell in lines: its status, each address with why, and what else is known."""
    if cell is None:
        return []
    lines: list[str] = [cell.status]
    lines += [f"{one.address}: {_why(one)}" for one in cell.copies]
    lines += [f"expired: {one.address}: {_why(one)}" for one in cell.expired]
    lines += [f"INVALID: {text}" for text in cell.invalid]
    lines += list(cell.remarks)
    if cell.ended_by is not None:
        lines.append(f"none at {cell.ended_by} ends inheritance")
    return lines


def _why(given: Given) -> str:
    origin = given.origin
    path = f", by way of {' > '.join(origin.group_path)}" if origin.group_path else ""
    return f"{origin.level} {origin.dn}, {origin.attribute}: {origin.value}{path}"
