"""``ldapmilter audit find``: what was done with a message, long after it has gone (``verify``: audit_verify.py).

Exit status 0 means that something was found and that every line of the audit was read. Where
anything could not be read, the status is 1 although something was found: an answer that may be
incomplete must not pass for a whole one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING

from ldapmilter.address import envelope_address, strip_brackets
from ldapmilter.audit.criteria import Criteria, bare_message_id
from ldapmilter.audit.search import Search
from ldapmilter.cli import arguments, audit_text, audit_verify, exit_status, fate_text
from ldapmilter.cli.complaint import complain
from ldapmilter.cli.words import counted
from ldapmilter.config import load
from ldapmilter.errors import ConfigError
from ldapmilter.plain import plain
from ldapmilter.relay.fates import ends_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ldapmilter.address import Address
    from ldapmilter.audit.record import AuditRecord
    from ldapmilter.relay.ends import EndLine

_OCTET = re.compile(r"\\x[0-9A-F]{2}")
"""An octet that is not UTF-8, as the audit spells it: what it shows can be looked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, prog="ldapmilter audit")
    find = actions.add_parser(
        "find",
        help="search the audit file and its rotated siblings",
        description="Search the audit file and its rotated siblings. All criteria that are given have to hold.",
        allow_abbrev=False,
    )
    find.add_argument("--message-id", metavar="ID", type=_message_id, help="the Message-ID, with or without <>")
    find.add_argument("--queue-id", metavar="ID", type=_queue_id, help="Postfix's queue id")
    find.add_argument(
        "--address",
        metavar="ADDR",
        type=_address,
        help="an address: sender, identity, recipient, member of a list, From, or where a copy went",
    )
    find.add_argument("--day", metavar="YYYY-MM-DD", type=arguments.day, help="the day, in UTC")
    find.add_argument("--json", action="store_true", help="for programs: the records, one a line")
    find.set_defaults(action=_find)
    audit_verify.add_arguments(actions)


def run(options: argparse.Namespace) -> int:
    """Run the verb; return its exit status."""
    status: int = options.action(options)
    return status


def _message_id(text: str) -> str:
    if not (bare := bare_message_id(text)):
        raise argparse.ArgumentTypeError("is empty")
    return bare


def _queue_id(text: str) -> str:
    if not (bare := text.strip()):
        raise argparse.ArgumentTypeError("is empty")
    return bare


def _address(text: str) -> Address:
    arguments.address(_OCTET.sub("x", text.strip()))
    address = envelope_address(strip_brackets(text.strip()))
    assert address is not None  # noqa: S101 - or it had been refused
    return address


def _find(options: argparse.Namespace) -> int:
    criteria = Criteria(
        message_id=options.message_id, queue_id=options.queue_id, address=options.address, day=options.day
    )
    if criteria == Criteria():
        raise ConfigError("audit find: what to find? Give --message-id, --queue-id, --address or --day")
    config = load(options.config)
    file = config.audit
    if file is None:
        message = f"{options.config}: [audit] file is empty: no audit is kept"
        raise ConfigError(message)
    search = Search(file, complain)
    found = 0
    held: list[AuditRecord] = []
    for record in search.run(criteria):
        found += 1
        # How a copy has ended stands further on: what has to be shown after it waits, too.
        if held or fate_text.tokens_of(record):
            held.append(record)
        else:
            _show(record, {}, as_json=options.json)
    if held:
        ends = ends_of(file, {token for record in held for token in fate_text.tokens_of(record)})
        for record in held:
            _show(record, ends, as_json=options.json)
    read = _read(search)
    if not found:
        complain(f"nothing found: {read}")
    elif not options.json:
        print(f"{counted(found, 'record')} found: {read}")
    _show_coverage(config.coverage_history, options)
    sys.stdout.flush()
    if search.problems:
        complain("THIS ANSWER MAY BE INCOMPLETE: not everything could be read (see above)")
    return exit_status.FINE if found and not search.problems else exit_status.PROBLEM


def _show(record: AuditRecord, ends: Mapping[str, Sequence[EndLine]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(fate_text.with_ends(record, ends)))
        return
    applied = record["verdict"] == "accept" and record.get("takes_back") is None and not record["probe"]
    told = {
        token: tuple(fate_text.in_lines(token, ends.get(token, ())))
        for token in fate_text.tokens_of(record)
        if applied or token in ends
    }
    print(audit_text.as_text(record, told) + "\n")


def _show_coverage(folder: Path | None, options: argparse.Namespace) -> None:
    """Show what the directory asked for, of an address on a day, where it was kept."""
    if folder is None or options.address is None or options.day is None or options.json:
        return
    from ldapmilter.cli.coverage_entry import told_of_day  # noqa: PLC0415 - for this question only
    from ldapmilter.coverage.history import History, HistoryError  # noqa: PLC0415

    try:
        lines = told_of_day(History(folder), options.address.text, options.day)
    except HistoryError as error:
        lines = [f"its coverage is not known: {error}"]
    print("\n".join(["", f"what the directory asked for on {options.day}:", *map(plain, lines)]))


def _read(search: Search) -> str:
    """Say what an answer rests on."""
    files = f"{counted(search.files, 'file')} read"
    if not search.records:
        return f"{files}, without any record"
    text = f"{files}, {counted(search.records, 'record')} from {search.first} to {search.last}"
    if search.without_message_id:
        text += (
            f"; {counted(search.without_message_id, 'record')} of that time without a Message-ID:"
            " look for them by --queue-id, --address or --day"
        )
    return text
