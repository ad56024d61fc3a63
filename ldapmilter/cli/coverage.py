"""``ldapmilter coverage``: who in the whole directory is copied where and why, and who is not."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter import options as option_types
from ldapmilter.address import fold_domain, make_address
from ldapmilter.cli import coverage_entry, coverage_history, coverage_lists
from ldapmilter.cli.coverage_forms import show
from ldapmilter.cli.coverage_progress import progress_of
from ldapmilter.config import load
from ldapmilter.coverage.collect import columns_of
from ldapmilter.coverage.model import About
from ldapmilter.coverage.survey import Page, survey
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.names import unknown_domain
from ldapmilter.errors import ConfigError
from ldapmilter.opening import open_directory
from ldapmilter.similar import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.config import Config
    from ldapmilter.coverage.model import Column
    from ldapmilter.opening import OpenDirectory

_PATIENCE = 60.0
"""Seconds that a page may take at least: no mail waits for it, and who is in which policy group is read first."""
_DESCRIPTION = """\
Reads every account, list and dynamic group of the directory and shows, for each copy class and direction, to which
addresses copies of their mail go, by which value on which entry, and who gets none. It asks the directory itself, by
the same code as the daemon.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="only this copy class; may be repeated",
    )
    parser.add_argument("--direction", choices=("sent", "received"), help="only mail that goes this way")
    parser.add_argument(
        "--domain",
        dest="domains",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="only addresses in this domain; may be repeated",
    )
    parser.add_argument(
        "--uncovered", action="store_true", help="only entries that get no copy, in one of the columns at least"
    )
    parser.add_argument(
        "--limit", type=_rows, default=200, metavar="N", help="rows in the table, 0 for all (default: %(default)s)"
    )
    parser.add_argument(
        "--lists", action="store_true", help="what becomes of posts to lists, in place of copies (docs/lists.md)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="one line for each copy, for spreadsheets")
    form.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write one self-contained page, readable by its owner only"
    )
    coverage_history.add_arguments(parser)


def _rows(text: str) -> int:
    if not text.isdecimal():
        message = f"{text} is not a number of rows; allowed is a whole number, 0 for all"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    coverage_history.refuse_combinations(options)
    config = load(options.config)
    if options.lists:
        return _lists(config, options)
    if options.diff:
        return coverage_history.show_difference(coverage_history.history_of(config), options)
    if options.address:
        history = coverage_history.history_of(config)
        return coverage_entry.show_entry(history, options.address, options.on, as_json=options.json)
    if options.on:
        return coverage_history.show_day(coverage_history.history_of(config), options, tuple(_narrowed(options)))
    columns = _columns(config, options)
    opened = open_directory(config)
    try:
        domains = _hosted(opened, config, options.domains)
        now = datetime.now(timezone.utc)
        about = About(
            directory=opened.described,
            day=now.date(),
            began=now.isoformat(timespec="seconds"),
            columns=columns,
            narrowed=tuple(_narrowed(options)),
            notes=tuple(_notes(config, columns)),
        )
        pages = _survey(opened, config, about, domains)
        if options.save:
            return coverage_history.save(config, pages, about, options)
        return show(pages, about, options)
    finally:
        opened.close()


def _lists(config: Config, options: argparse.Namespace) -> int:
    if options.classes or options.direction or options.html is not None:
        raise ConfigError("--lists is about no copies: it goes without --class, --direction and --html")
    opened = open_directory(config)
    try:
        domains = _hosted(opened, config, options.domains)
        seconds = max(_PATIENCE, config.ldap.lookup_deadline)
        with progress_of(opened.directory, seconds) as progress:
            return coverage_lists.report(
                opened.directory, config.policy, domains, options, seconds=seconds, progress=progress
            )
    finally:
        opened.close()


def _columns(config: Config, options: argparse.Namespace) -> tuple[Column, ...]:
    """Return the columns that were asked for.

    Raises:
        ConfigError: a class that the configuration does not have, or nothing that could be reported.
    """
    classes = config.policy.copy_classes
    known = [one.name for one in classes]
    for name in options.classes:
        if name not in known:
            near = option_types.nearest(name, known)
            message = f"--class {name}: {config.file} has no [copy {name}]; did you mean {near}?"
            raise ConfigError(message)
    columns = columns_of(classes, options.classes, options.direction)
    if not columns:
        message = f"nothing to report: in {config.file} no attribute asks for such copies"
        raise ConfigError(message)
    return columns


def _hosted(opened: OpenDirectory, config: Config, texts: Sequence[str]) -> frozenset[str]:
    """Return the domains that entries are in, for domains as typed: an alias domain's is its target.

    Raises:
        ConfigError: the directory does not host one.
        DirectoryUnavailable: it could not be asked.
    """
    found = set()
    for text in texts:
        domain = fold_domain(text.removeprefix("@"))
        address = make_address("postmaster", domain) if domain is not None else None
        hosted = None
        if address is not None:
            hosted = opened.directory.for_message().resolve([address])[address.key].hosted_domain
        if hosted is None:
            near = _meant(opened, config, domain) if domain is not None else None
            raise ConfigError(f"--domain {text}: this directory hosts no such domain{did_you_mean(near)}")
        found.add(hosted)
    return frozenset(found)


def _meant(opened: OpenDirectory, config: Config, domain: str) -> str | None:
    deadline = Deadline.after(config.ldap.lookup_deadline, time.monotonic)
    unknown = unknown_domain(opened.store, config.ldap.search_base, domain, deadline)
    return unknown.near if unknown is not None else None


def _narrowed(options: argparse.Namespace) -> Iterator[str]:
    """Yield, in words, what the report leaves out because it was asked to."""
    if options.classes:
        yield f"only the copy classes {', '.join(options.classes)}"
    if options.direction:
        yield f"only mail {options.direction}"
    if options.domains:
        yield f"only addresses in {', '.join(options.domains)}"
    if options.uncovered:
        yield "rows only for entries that get no copy in one of the columns at least; the figures count every entry"


def _notes(config: Config, columns: Sequence[Column]) -> Iterator[str]:
    """Yield what a reader must know who takes "covered" for "is copied today"."""
    shown = {column.copy_class for column in columns}
    for one in config.policy.copy_classes:
        if one.name not in shown:
            continue
        if one.mode != "apply":
            yield f"[copy {one.name}] is in mode {one.mode}: none of it is sent; shown is what mode apply would do"
        for direction in ("sent", "received"):
            if not one.attributes(direction):
                yield f"{one.name} copies of mail {direction} are switched off: [copy {one.name}] names no attribute"


def _survey(opened: OpenDirectory, config: Config, about: About, domains: frozenset[str]) -> Iterator[Page]:
    """Yield all rows, and show how far it is; that has ended when the report is written."""
    seconds = max(_PATIENCE, config.ldap.lookup_deadline)
    classes = config.policy.copy_classes
    with progress_of(opened.directory, seconds) as progress:
        for page in survey(opened.directory, about.columns, classes, about.day, domains, seconds=seconds):
            yield page
            progress(page.read)
