"""Findings about what the running daemon has noticed."""

from __future__ import annotations

import time

from ldapmilter.checks import daemon_status
from ldapmilter.checks.finding import Report, Severity
from ldapmilter.cli import check_output


def found(**status: object) -> Report:
    report = Report()
    daemon_status.check(status, report)
    return report


def test_nothing_to_say() -> None:
    assert found().findings == found(waiting=[], unknown_clients=[]).findings == ()


def test_mail_that_waits_is_one_finding_that_no_monitoring_system_reads() -> None:
    cause = "an invalid value of copy class legal"
    report = found(waiting=[{"cause": cause, "messages": 50, "seconds": 3 * 86400.0}])

    (one,) = report.findings
    assert (one.code, one.severity) == ("mail-waits", Severity.PROBLEM)
    assert one.text == f"50 messages wait for {cause}, the longest for 3 d"
    _, line = check_output.as_nagios(report, 1.0)
    assert "mail-waits 1" in line
    assert "legal" not in line


def test_a_client_that_is_busy_is_a_warning() -> None:
    clients = [("198.51.100.7", 250), ("198.51.100.8", 2)]
    report = found(
        unknown_clients=[{"client": client, "messages": count, "last": time.time() - 1800} for client, count in clients]
    )

    busy, other = report.findings
    assert (busy.code, busy.severity) == ("identity-unknown-client-busy", Severity.WARNING)
    assert busy.text.startswith("198.51.100.7: 250 messages from hosted senders without identity, the last 30 min")
    assert "198.51.100.7" in busy.remedy
    assert (other.code, other.severity) == ("identity-unknown-client", Severity.NOTE)
