"""A directory, opened as the verb opens it, and the rows of its coverage."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter.config import load
from ldapmilter.coverage.collect import columns_of
from ldapmilter.coverage.model import About
from ldapmilter.coverage.survey import survey
from ldapmilter.opening import open_directory
from tests.e2e.company import branch
from tests.support.record import to_ldif

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.coverage.model import Cell, Row
    from ldapmilter.opening import OpenDirectory
    from tests.support.record import Record

TODAY: Final = date(2026, 6, 15)


class Report(Struct, frozen=True):
    """A directory with the rows that were made of it."""

    config: Config
    opened: OpenDirectory
    about: About
    rows: dict[str, Row]

    def cell(self, address: str, copy_class: str, direction: str) -> Cell:
        columns = [f"{one.copy_class} {one.direction}" for one in self.about.columns]
        cell = self.rows[address].cells[columns.index(f"{copy_class} {direction}")]
        assert cell is not None
        return cell


@contextmanager
def reported(
    folder: Path,
    records: Iterable[Record] | None = None,
    more: str = "",
    today: date = TODAY,
    domains: Collection[str] = (),
) -> Iterator[Report]:
    """Report on records, those of the company's branch unless others are given."""
    (folder / "directory.ldif").write_text(to_ldif(records or branch()), encoding="utf-8")
    file = folder / "config.ini"
    file.write_text(f"[ldap]\nuri = ldif:directory.ldif\n{more}", encoding="utf-8")
    config = load(file)
    opened = open_directory(config)
    classes = config.policy.copy_classes
    columns = columns_of(classes)
    about = About(
        directory=opened.described, day=today, began="2026-06-15T08:00:00+00:00", columns=columns, narrowed=(), notes=()
    )
    pages = survey(opened.directory, columns, classes, today, domains, seconds=60)
    try:
        yield Report(config, opened, about, {row.address.key: row for page in pages for row in page.rows})
    finally:
        opened.close()
