"""Findings that are known and accepted: ``[check] accept``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.errors import ConfigError
from ldapmilter.options import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from ldapmilter.checks.finding import Finding, Report
    from ldapmilter.config import Config

GONE = Kind(
    code="accept-gone",
    severity=Severity.NOTE,
    area=Area.CONFIGURATION,
    meaning="A finding that `[check] accept` names was looked for and is not there any more.",
    remedy="take $item out of [check] accept, so that you hear of it if it comes back",
)
KINDS = (GONE,)


def check_codes(config: Config, codes: Collection[str]) -> None:
    """Refuse a code that no finding has: what it was meant for would never be accepted.

    Args:
        config: what is accepted.
        codes: of all findings that there are.

    Raises:
        ConfigError: there is no such code.
    """
    for code, _ in config.accepted:
        if code not in codes:
            near = nearest(code, codes)
            message = f"{config.file}: [check] accept: check has no finding {code}; did you mean {near}?"
            raise ConfigError(message)


def apply(config: Config, report: Report) -> None:
    """Take what is accepted out of the findings that count, and name what is accepted and not there.

    Args:
        config: what is accepted.
        report: whole.
    """
    for code, subject in config.accepted:
        every = (*report.findings, *report.accepted)
        found = [one for one in every if one.code == code and _is_about(one, subject)]
        for one in found:
            report.accept(one)
        if not found and report.directory_asked and code not in report.not_looked_for:
            item = f"{code}:{subject}" if subject else code
            report.add(GONE.found(f"{item} does not occur", item=item))


def _is_about(finding: Finding, subject: str) -> bool:
    """Whether the text names a subject: as a whole name, in any case."""
    return (
        not subject
        or re.search(rf"(?<![\w.@=+-])(?<!,){re.escape(subject)}(?![\w@=+-]|[.,][\w])", finding.text, re.IGNORECASE)
        is not None
    )
