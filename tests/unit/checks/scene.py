"""Configurations, directories and reports for the tests of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Report
from ldapmilter.checks.reading import RawDirectory
from ldapmilter.checks.survey import look_at_values
from ldapmilter.config import load
from ldapmilter.opening import open_directory
from tests.support.builders import domain, global_config
from tests.support.record import merge, to_ldif
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ldapmilter.config import Config
    from tests.support.record import Record

Sections = dict[str, dict[str, str]]


def config_of(directory: Path, sections: Mapping[str, Mapping[str, str]] | None = None) -> Config:
    """Return a configuration in which nothing is to be remarked, but for what the sections say."""
    whole: Sections = {
        "milter": {"socket": f"unix:{directory / 'milter.sock'}"},
        "ldap": {"uri": "ldap://127.0.0.1:1"},
    }
    for name, options in (sections or {}).items():
        whole.setdefault(name, {}).update(options)
    file = directory / "config.ini"
    file.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
            for name, options in whole.items()
        )
    )
    file.chmod(0o640)
    return load(file)


def site(*records: Iterable[Record], config: Mapping[str, str] | None = None) -> list[Record]:
    """Return a small Zimbra with one domain, and whatever a test adds, or has in place of the like."""
    given = {"zimbraDefaultDomainName": "example.test", **(config or {})}
    added = [record for group in records for record in group]
    replaced = {record.dn.lower() for record in added if not record.filler}
    base = [*base_records(), *global_config(**given), *domain("example.test", DKIMSelector="s1", DKIMKey="k")]
    return merge([*(record for record in base if record.dn.lower() not in replaced), *added])


def look_at(
    directory: Path, records: Iterable[Record], sections: Mapping[str, Mapping[str, str]] | None = None
) -> Report:
    """Return what the values of a directory give rise to."""
    (directory / "site.ldif").write_text(to_ldif(records))
    config = config_of(directory, {"ldap": {"uri": "ldif:site.ldif"}, **(sections or {})})
    report = Report()
    opened = open_directory(config)
    raw_directory = RawDirectory(store=opened.store, server=None, base="", seconds=10)
    look_at_values(raw_directory, opened.directory, config, report)
    opened.close()
    return report


def texts(report: Report, code: str) -> list[str]:
    """Return the texts of the findings with a code."""
    return [one.text for one in report.findings if one.code == code]


def codes(report: Report) -> set[str]:
    """Return the codes of all findings."""
    return {one.code for one in report.findings}
