"""``ldapmilter coverage --save``, ``--on``, ``--address`` and ``--diff``: the coverage of other days."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ldapmilter.address import fold_domain
from ldapmilter.cli import arguments, exit_status
from ldapmilter.cli.arguments import address as read_address
from ldapmilter.cli.coverage_forms import report, show
from ldapmilter.coverage.day_writer import DayWriter
from ldapmilter.coverage.difference import CHANGES, Counts, differences
from ldapmilter.coverage.entry_text import cell_lines
from ldapmilter.coverage.history import History, first_kept
from ldapmilter.coverage.survey import Page
from ldapmilter.errors import ConfigError
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ldapmilter.config import Config
    from ldapmilter.coverage.difference import EntryChange
    from ldapmilter.coverage.history import Day
    from ldapmilter.coverage.model import About, Row

_ROWS = 1000
_WORDS = {
    "lost": "LOST",
    "gained": "gained",
    "changed": "changed",
    "came": "new entry",
    "went": "entry is gone",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that are about other days."""
    group = parser.add_argument_group("history", "the coverage of other days, as [coverage] history keeps it")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--save", action="store_true", help="keep today's coverage (UTC), of everything and everybody")
    which.add_argument("--on", type=arguments.day, metavar="DAY", help="show the coverage of a day that was kept")
    which.add_argument(
        "--diff", nargs=2, type=arguments.day, metavar=("DAY", "DAY"), help="show what is different between two days"
    )
    group.add_argument(
        "--address",
        type=read_address,
        metavar="ADDR",
        help="one entry by its main address: on that day, or on all days",
    )
    group.add_argument(
        "--keep", type=_count, metavar="DAYS", help="with --save: delete what is older than so many days"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is not a number of days; allowed is a whole number from 1 on"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def history_of(config: Config) -> History:
    """Return the history that is configured.

    Raises:
        ConfigError: none is.
    """
    if config.coverage_history is None:
        message = f"{config.file}: [coverage] history is empty: no day is kept; name a directory for it"
        raise ConfigError(message)
    return History(config.coverage_history)


def refuse_combinations(options: argparse.Namespace) -> None:
    """See that the options go together.

    Raises:
        ConfigError: they do not.
    """
    narrowed = [
        name
        for name, given in (
            ("--class", options.classes),
            ("--direction", options.direction),
            ("--domain", options.domains),
            ("--uncovered", options.uncovered),
            ("--lists", options.lists),
            ("--csv", options.csv),
            ("--html", options.html),
        )
        if given
    ]
    if options.keep is not None and not options.save:
        raise ConfigError("--keep goes with --save")
    if options.save and (narrowed or options.address):
        message = f"--save keeps the coverage of everything: it goes without {', '.join(narrowed or ['--address'])}"
        raise ConfigError(message)
    if options.diff and ([one for one in narrowed if one != "--html"] or options.address):
        raise ConfigError("--diff goes with --json and --html only")
    if options.address and narrowed:
        message = f"--address shows one entry: it goes without {', '.join(narrowed)}"
        raise ConfigError(message)
    if options.on and options.lists:
        raise ConfigError("--on is about copies: it goes without --lists")


def save(config: Config, pages: Iterable[Page], about: About, options: argparse.Namespace) -> int:
    """Keep today's coverage, and delete what is old; return the exit status."""
    history = history_of(config)
    with closing(DayWriter(history, about)) as writer:
        report(pages, about, [nullcontext(writer)], uncovered=False)
    saved = writer.saved
    assert saved is not None  # noqa: S101 - or it had raised
    deleted = history.delete_before(first_kept(about.day, options.keep)) if options.keep is not None else []
    same_as = saved.same_as.isoformat() if saved.same_as is not None else None
    if options.json:
        print(
            plain_json(
                {
                    "file": str(saved.file),
                    "entries": saved.rows,
                    "same_as": same_as,
                    "deleted": [one.isoformat() for one in deleted],
                },
                indent=1,
            )
        )
    else:
        print(f"saved: {saved.file}, {saved.rows} entries" + (f", the same as on {same_as}" if same_as else ""))
        if deleted:
            print(f"deleted: {len(deleted)} days, {deleted[0]} to {deleted[-1]}")
    return exit_status.FINE


def show_day(history: History, options: argparse.Namespace, narrowed: tuple[str, ...]) -> int:
    """Show the report of a day that was kept; return the exit status."""
    day = history.day(options.on)
    places = [
        place
        for place, column in enumerate(day.columns)
        if (not options.classes or column.copy_class in options.classes)
        and options.direction in {None, column.direction}
    ]
    if not places:
        kept = ", ".join(column.title for column in day.columns)
        message = f"nothing to report: on {day.day} there is {kept}"
        raise ConfigError(message)
    about = day.about(tuple(day.columns[place] for place in places), narrowed)
    domains = {fold_domain(domain.removeprefix("@")) for domain in options.domains}
    rows = (
        replace(row, cells=tuple(row.cells[place] for place in places))
        for row in day.rows()
        if not domains or row.address.domain in domains
    )
    return show(_pages(rows, day), about, options)


def _pages(rows: Iterator[Row], day: Day) -> Iterator[Page]:
    while part := tuple(islice(rows, _ROWS)):
        yield Page(len(part), 0, part)
    yield Page(0, int(day.header["summary"]["without_address"]), ())


def show_difference(history: History, options: argparse.Namespace) -> int:
    """Show what is different between two days; return the exit status: a problem when somebody has lost copies."""
    one, other = (history.day(day) for day in sorted(options.diff))
    counts = Counts()
    if options.html is not None:
        from ldapmilter.coverage.difference_page import write_page  # noqa: PLC0415 - for a page only

        changes = list(differences(one, other, counts))
        write_page(options.html, one, other, changes, counts)
        print(f"written: {options.html}")
    elif options.json:
        print(f'{{"from": "{one.day}", "to": "{other.day}",\n"entries": [', end="")
        separator = "\n"
        for change in differences(one, other, counts):
            print(separator + plain_json(change.as_json()), end="")
            separator = ",\n"
        print(f'],\n"same": {counts.same}, "changes": {plain_json(counts.changes)}}}')
    else:
        for change in differences(one, other, counts):
            print("\n".join(map(plain, _change_lines(change))))
        print(_figures(one, other, counts))
    sys.stdout.flush()
    return exit_status.PROBLEM if counts.changes["lost"] else exit_status.FINE


def _figures(one: Day, other: Day, counts: Counts) -> str:
    parts = [f"{counts.changes[kind]} {_WORDS[kind]}" for kind in CHANGES if counts.changes[kind]]
    different = ", ".join(parts) or "nothing is different"
    return f"from {one.day} to {other.day}: {different}; {counts.same} entries are the same"


def _change_lines(change: EntryChange) -> Iterator[str]:
    row = change.row
    yield f"{_WORDS[change.change]}: {row.address.text} ({row.display_name}), {row.kind}"
    for cell in change.cells:
        yield f"  {cell.title}"
        yield from (f"    - {line}" for line in cell_lines(cell.before))
        yield from (f"    + {line}" for line in cell_lines(cell.after))
