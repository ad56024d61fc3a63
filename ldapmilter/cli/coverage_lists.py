"""``ldapmilter coverage --lists``: which lists have which settings; which with members outside have none."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

from ldapmilter.cli import exit_status
from ldapmilter.cli.words import counted
from ldapmilter.coverage.list_settings import survey_lists
from ldapmilter.coverage.plain import inert
from ldapmilter.plain import plain, plain_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ldapmilter.coverage.list_settings import ListCoverage
    from ldapmilter.directory.zimbra import ZimbraDirectory
    from ldapmilter.policy.settings import Policy

_COLUMNS = ("address", "members_outside", "lacks_settings", "attribute", "value", "level", "dn")


def report(
    directory: ZimbraDirectory,
    policy: Policy,
    domains: Collection[str],
    options: argparse.Namespace,
    *,
    seconds: float,
    progress: Callable[[int], None],
) -> int:
    """Write the report; return the exit status: a problem where a value is invalid.

    Raises:
        DirectoryUnavailable: something could not be asked; nothing is written then.
    """
    lists: list[ListCoverage] = []
    for page in survey_lists(directory, policy, domains, seconds=seconds):
        lists.extend(page.lists)
        progress(page.read)
    lists.sort(key=lambda one: one["address"])
    lacking = [one for one in lists if one["lacks_settings"]]
    shown = lacking if options.uncovered else lists
    if options.json:
        print(plain_json({"lists": shown, "lacking": len(lacking), "mode": policy.lists.mode}, indent=1))
    elif options.csv:
        _csv(shown)
    else:
        print("\n".join(map(plain, _lines(shown, len(lists), len(lacking), policy))))
    problem = any(one["invalid"] for one in lists) or (options.uncovered and lacking)
    return exit_status.PROBLEM if problem else exit_status.FINE


def _csv(lists: Sequence[ListCoverage]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for one in lists:
        head = [one["address"], *("yes" if one[key] else "no" for key in ("members_outside", "lacks_settings"))]
        for setting in one["settings"]:
            cells = (setting["attribute"], setting["value"], setting["level"], setting["dn"])
            writer.writerow([inert(cell) for cell in (*head, *cells)])
        if not one["settings"]:
            writer.writerow([*head, "", "", "", ""])


def _lines(shown: Sequence[ListCoverage], count: int, lacking: int, policy: Policy) -> Iterator[str]:
    for one in shown:
        outside = "members outside" if one["members_outside"] else "members here only"
        yield f"{one['address']}  ({outside})" + ("  NO SETTINGS" if one["lacks_settings"] else "")
        for setting in one["settings"]:
            yield f"    {setting['attribute']}: {setting['value']}   [{setting['level']} {setting['dn']}]"
        yield from (f"    INVALID: {text}" for text in one["invalid"])
    yield f"{counted(count, 'list')}, {lacking} with members outside and without settings"
    if policy.lists.mode != "apply":
        yield f"[lists] is in mode {policy.lists.mode}: nothing of it is applied"
