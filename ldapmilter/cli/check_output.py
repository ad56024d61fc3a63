"""A report of checks for a person, for a program, and for a monitoring system."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ldapmilter.checks.finding import Area, Severity
from ldapmilter.cli import nagios
from ldapmilter.cli.words import counted
from ldapmilter.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table
    from rich.text import Text

    from ldapmilter.checks.finding import Finding, Report

MOST = 20
"""Findings of one code that a person is shown; the JSON has all."""

ACCEPTED = "accepted"
"""Where a severity stands, for what ``[check] accept`` names."""

_COLOURS = {Severity.PROBLEM: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_NAGIOS = {
    Severity.NOTE: (nagios.OK, "OK"),
    Severity.WARNING: (nagios.WARNING, "WARNING"),
    Severity.PROBLEM: (nagios.CRITICAL, "CRITICAL"),
}


def in_order(report: Report) -> list[Finding]:
    """Return the findings, the worst first, then by area."""
    areas = list(Area)
    return sorted(report.findings, key=lambda one: (-one.severity.rank, areas.index(one.area), one.code))


def as_json(report: Report) -> dict[str, Any]:
    """Return a report for programs."""
    return {
        "worst": report.worst.value if report.findings else None,
        "directory_asked": report.directory_asked,
        "daemon_reached": report.daemon_reached,
        "findings": [_finding(one) for one in in_order(report)],
        "accepted": [_finding(one) for one in report.accepted],
        "looked_at": [{"area": area.value, "text": text} for area, text in report.looked_at],
        "figures": report.figures,
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "code": one.code,
        "severity": one.severity.value,
        "area": one.area.value,
        "text": one.text,
        "remedy": one.remedy,
        "confidential": one.confidential,
    }


def as_table(report: Report) -> Table:
    """Return a report for a terminal."""
    from rich.table import Table  # noqa: PLC0415 - for a terminal only
    from rich.text import Text  # noqa: PLC0415

    table = Table(show_lines=True, expand=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("area", min_width=8)
    table.add_column("what was found, and what to do", ratio=1, overflow="fold")
    for one, rest in _few(in_order(report)):
        table.add_row(Text(one.severity.value, _COLOURS[one.severity]), one.area.value, _cell(one, rest))
    for one, rest in _few(report.accepted):
        table.add_row(
            Text(ACCEPTED, "dim"), one.area.value, Text(f"{plain(one.text)}{_more(rest)}  [{one.code}]", "dim")
        )
    for area, text in _fine(report):
        table.add_row(Text("fine", "green"), area.value, Text(plain(text), "dim"))
    return table


def _cell(one: Finding, rest: int) -> Text:
    from rich.text import Text  # noqa: PLC0415

    cell = Text(plain(one.text))
    if rest:
        cell.append(f"\n... and {rest} more like it: --json lists all", "bold")
    cell.append(f"\n-> {plain(one.remedy)}", "green")
    cell.append(f"  [{one.code}]", "dim")
    return cell


def as_text(report: Report) -> str:
    """Return a report as plain lines."""
    lines = []
    for one, rest in _few(in_order(report)):
        lines.append(f"{one.severity.value:8} {one.area.value}: {plain(one.text)} [{one.code}]{_more(rest)}")
        lines.append(f"{'':8} -> {plain(one.remedy)}")
    for one, rest in _few(report.accepted):
        lines.append(f"{ACCEPTED:8} {one.area.value}: {plain(one.text)} [{one.code}]{_more(rest)}")
    lines += [f"{'fine':8} {area.value}: {plain(text)}" for area, text in _fine(report)]
    return "\n".join(lines)


def _more(rest: int) -> str:
    return f"\n{'':8} ... and {rest} more like it: --json lists all" if rest else ""


def _fine(report: Report) -> list[tuple[Area, str]]:
    return sorted(report.looked_at, key=lambda pair: list(Area).index(pair[0]))


def summary(report: Report) -> str:
    """Return the counts in words."""
    counts = [counted(report.count(severity), severity.value) for severity in reversed(Severity)]
    return ", ".join([*counts, *([f"{len(report.accepted)} accepted"] if report.accepted else [])])


def _few(findings: Sequence[Finding]) -> Iterator[tuple[Finding, int]]:
    """Yield the findings to show, and after the last of a code how many more it has."""
    total = Counter(one.code for one in findings)
    shown: Counter[str] = Counter()
    for one in findings:
        shown[one.code] += 1
        if shown[one.code] <= MOST:
            yield one, total[one.code] - MOST if shown[one.code] == MOST else 0


def _is_outage(finding: Finding, report: Report) -> bool:
    """Whether a finding concerns all mail; one LDAP server of several does not."""
    return finding.outage and not (finding.area is Area.LDAP and report.directory_asked)


def as_nagios(report: Report, seconds: float) -> tuple[int, str]:
    """Return the plugin's exit status and its one line, with performance data.

    Texts that name who is copied stay out of it: a monitoring system is read by many.
    """
    code, word = _NAGIOS[report.worst]
    worst = [one for one in in_order(report) if one.severity is report.worst and one.severity is not Severity.NOTE]
    open_ones = sorted((one for one in worst if not one.confidential), key=lambda one: not _is_outage(one, report))
    told = f"{open_ones[0].code}: {open_ones[0].text}; " if open_ones else ""
    codes = Counter(one.code for one in worst)
    listed = " (" + ", ".join(f"{name} {count}" for name, count in codes.items()) + ")" if codes else ""
    figures = {
        "problems": report.count(Severity.PROBLEM),
        "warnings": report.count(Severity.WARNING),
        "notes": report.count(Severity.NOTE),
        **({"accepted": len(report.accepted)} if report.accepted else {}),
        **report.figures,
    }
    data = " ".join(f"{name}={value:g}" for name, value in figures.items())
    return code, nagios.line(word, f"{told}{summary(report)}{listed}", f"{data} time={seconds:.2f}s")
