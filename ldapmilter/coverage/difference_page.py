"""The difference between two days as one self-contained page, in the style of the coverage page."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from ldapmilter import __version__
from ldapmilter.coverage.difference import CHANGES
from ldapmilter.coverage.entry_text import cell_lines
from ldapmilter.coverage.page_file import page_file
from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ldapmilter.coverage.difference import Change, Counts, EntryChange
    from ldapmilter.coverage.history import Day
    from ldapmilter.coverage.model import Cell

WORDS: dict[Change, str] = {
    "lost": "lost copies",
    "gained": "gained copies",
    "changed": "changed otherwise",
    "came": "new entry",
    "went": "entry is gone",
}
_STATUS: dict[Change, str] = {
    "lost": "uncovered",
    "gained": "covered",
    "changed": "conditional",
    "came": "covered",
    "went": "uncovered",
}
"""Whose colour of the coverage page a change has."""


def write_page(file: Path, one: Day, other: Day, changes: Sequence[EntryChange], counts: Counts) -> None:
    """Write the page, readable by its owner only; what was there stays until it is whole.

    Raises:
        ConfigError: the file cannot be written.
    """
    with page_file(file) as out:
        out.writelines(_page(one, other, changes, counts))


def _page(one: Day, other: Day, changes: Sequence[EntryChange], counts: Counts) -> Iterator[str]:
    folder = files("ldapmilter.coverage")
    page = (folder / "difference.html").read_text(encoding="utf-8")
    page = page.replace("@page.css@", (folder / "page.css").read_text(encoding="utf-8"))
    page = page.replace("@from@", str(one.day)).replace("@to@", str(other.day)).replace("@version@", _text(__version__))
    page = page.replace("@directory@", _text(other.header["directory"]))
    page = page.replace("@figures@", "".join(_figures(counts)))
    page = page.replace("@choices@", "".join(f'<option value="{kind}">{WORDS[kind]}</option>' for kind in CHANGES))
    before, after = page.split("@rows@")
    yield before
    for change in changes:
        yield _row(change)
    yield after


def _figures(counts: Counts) -> Iterator[str]:
    for kind in CHANGES:
        count = counts.changes[kind]
        yield f'<tr><th scope="row"><i class="{_STATUS[kind]}"></i>{WORDS[kind]}</th><td>{count}</td></tr>\n'
    yield f'<tr><th scope="row">the same</th><td>{counts.same}</td></tr>\n'


def _row(change: EntryChange) -> str:
    row = change.row
    cells = "".join(
        f"<dt>{_text(cell.title)}</dt><dd>{_cell(cell.before, 'before')}{_cell(cell.after, 'after')}</dd>"
        for cell in change.cells
    )
    return (
        f'<tr data-change="{change.change}">'
        f"<td>{_text(row.address.text)}<br><small>{_text(row.display_name)}</small></td>"
        f'<td>{row.kind}</td><td><i class="{_STATUS[change.change]}"></i>{WORDS[change.change]}</td>'
        f"<td><dl>{cells}</dl></td></tr>\n"
    )


def _cell(cell: Cell | None, when: str) -> str:
    lines = cell_lines(cell) or ["(no entry, or no such column)"]
    return f"<p><b>{when}:</b> {'<br>'.join(map(_text, lines))}</p>"


def _text(text: str) -> str:
    return escape(plain(text))
