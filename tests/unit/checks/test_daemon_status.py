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


def test_copies_that_are_kept_or_late() -> None:
    relay = {"kept": 2, "oldest": time.time() - 3600, "late_after": 900.0}
    kept, late = found(relay=relay).findings
    assert (kept.code, kept.severity) == ("relay-kept", Severity.PROBLEM)
    assert kept.text == "2 copies are kept: refused, or not through in time"
    assert (late.code, late.severity) == ("relay-late", Severity.WARNING)
    assert late.text.startswith("a copy has waited for 1 h")


def test_copies_that_are_neither_and_a_daemon_without_a_relay() -> None:
    in_time = {"kept": 0, "oldest": time.time() - 60, "late_after": 900.0}
    not_reported = {"kept": None, "oldest": None, "late_after": 900.0}
    assert found(relay=in_time).findings == found(relay=not_reported).findings == found(relay=None).findings == ()
