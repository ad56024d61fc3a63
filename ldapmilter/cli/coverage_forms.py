"""The forms of a coverage report: what is chosen by the options, written when all of it is known."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from ldapmilter.cli import exit_status
from ldapmilter.coverage.html import HtmlForm
from ldapmilter.coverage.page_file import page_file
from ldapmilter.coverage.plain import CsvForm, JsonForm
from ldapmilter.coverage.summary import Summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ldapmilter.coverage.model import About, Row
    from ldapmilter.coverage.survey import Page

_WIDTH = 160
"""Columns of the figures where they do not go to a terminal."""
_ROOM = 110
"""Columns that the table needs: a narrower terminal gets a line for each entry."""


class Form(Protocol):
    """One way to write a report."""

    def add(self, row: Row) -> None:
        """Take one entry."""

    def end(self, summary: Summary) -> None:
        """Take the figures, after the last entry."""


def report(
    pages: Iterable[Page], about: About, forms: Iterable[AbstractContextManager[Form]], *, uncovered: bool
) -> Summary:
    """Write a report; return its figures.

    Args:
        pages: all rows.
        about: what it is of.
        forms: entered before the first row, and left when all is written: only then it counts.
        uncovered: whether only entries that lack a copy are shown.
    """
    summary = Summary(about.columns)
    with ExitStack() as stack:
        entered = [stack.enter_context(form) for form in forms]
        for page in pages:
            for row in page.rows:
                summary.add(row)
                if row.lacks_a_copy or not uncovered:
                    for form in entered:
                        form.add(row)
            summary.without_address += page.without_address
        for form in entered:
            form.end(summary)
    return summary


def show(pages: Iterable[Page], about: About, options: argparse.Namespace) -> int:
    """Write the report in the forms that were asked for; return the exit status."""
    summary = report(pages, about, forms_of(options, about), uncovered=options.uncovered)
    found = summary.invalid or (options.uncovered and summary.lacking)
    return exit_status.PROBLEM if found else exit_status.FINE


def forms_of(options: argparse.Namespace, about: About) -> Iterator[AbstractContextManager[Form]]:
    """Yield the forms that were asked for."""
    if options.html is not None:
        yield _page(options.html, about)
    if options.csv or options.json:
        yield _spooled(CsvForm if options.csv else JsonForm, about)
        return
    from rich.console import Console  # noqa: PLC0415 - for people only

    from ldapmilter.coverage.terminal import FiguresForm, LinesForm, TableForm  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _WIDTH, highlight=False, emoji=False)
    if options.html is not None:
        yield nullcontext(FiguresForm(console, about))
    elif terminal and console.width >= _ROOM:
        yield nullcontext(TableForm(console, about, options.limit))
    else:
        yield nullcontext(LinesForm(console, about, options.limit, cut=terminal))


@contextmanager
def _spooled(make: Callable[[TextIO, About], Form], about: About) -> Iterator[Form]:
    """Hand out a form whose text goes to the standard output once it is whole, and not before."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="") as spool:
        yield make(spool, about)
        spool.seek(0)
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
        shutil.copyfileobj(spool, sys.stdout)
        sys.stdout.flush()


@contextmanager
def _page(file: Path, about: About) -> Iterator[Form]:
    """Hand out a form whose text becomes the file once it is whole; what was there stays until then.

    Raises:
        ConfigError: the file cannot be written.
    """
    with (
        page_file(file) as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as spool,
    ):
        yield HtmlForm(out, spool, about)
    print(f"written: {file}")
