"""Findings that a site knows and accepts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import acceptance, catalogue
from ldapmilter.checks.configuration import WRITABLE
from ldapmilter.checks.finding import Area, Report
from ldapmilter.checks.identity_settings import ANY_FROM, NETWORKS
from ldapmilter.checks.ldap_servers import UNREACHABLE as LDAP_UNREACHABLE
from ldapmilter.checks.milter_socket import UNREACHABLE
from ldapmilter.checks.survey import CheckOptions, look_around
from ldapmilter.cli import check_output, exit_status
from ldapmilter.cli.check import status_of
from ldapmilter.errors import ConfigError
from tests.support.record import to_ldif
from tests.unit.checks.scene import config_of, site, texts

if TYPE_CHECKING:
    from pathlib import Path

LISTS = ANY_FROM.found("account lists@example.test: zimbraAllowAnyFromAddress TRUE", command="ma")
SALES = ANY_FROM.found("COS sales: zimbraAllowAnyFromAddress TRUE", command="mc")


def reported(tmp_path: Path, accept: str, *, directory: bool = True, daemon: bool = True) -> Report:
    """Return a report of three findings after some are accepted."""
    report = Report(directory_asked=True, daemon_reached=daemon)
    for finding in (LISTS, SALES, NETWORKS.found("mx1: zimbraMtaMyNetworks has 10.0.0.0/8", server="mx1")):
        report.add(finding)
    config = config_of(tmp_path, {"check": {"accept": accept}})
    acceptance.check_codes(config, {kind.code for kind in catalogue.KINDS})
    if not directory:
        report.not_looked_for |= catalogue.OF_VALUES
    acceptance.apply(config, report)
    return report


def test_nothing_is_accepted_by_default(tmp_path: Path) -> None:
    report = reported(tmp_path, "")

    assert (len(report.findings), report.accepted) == (3, ())
    assert "accepted" not in check_output.summary(report)


def test_a_code_accepts_all_findings_that_have_it(tmp_path: Path) -> None:
    report = reported(tmp_path, "identity-any-from")

    assert [one.code for one in report.findings] == ["identity-networks"]
    assert report.accepted == (LISTS, SALES)
    assert check_output.summary(report) == "0 problems, 1 warning, 0 notes, 2 accepted"


@pytest.mark.parametrize("subject", ["lists@example.test", "LISTS@Example.Test"])
def test_a_subject_accepts_the_findings_that_name_it(tmp_path: Path, subject: str) -> None:
    report = reported(tmp_path, f"identity-any-from:{subject}")

    assert report.accepted == (LISTS,)
    assert SALES in report.findings
    assert texts(report, "accept-gone") == []


@pytest.mark.parametrize(
    "subject", ["lists", "example.test", "lists@example", "ists@example.test", "other@example.test"]
)
def test_a_part_of_a_name_is_no_subject(tmp_path: Path, subject: str) -> None:
    report = reported(tmp_path, f"identity-any-from:{subject}")

    assert report.accepted == ()
    assert texts(report, "accept-gone") == [f"identity-any-from:{subject} does not occur"]


def test_what_is_accepted_does_not_count_for_the_exit_status(tmp_path: Path) -> None:
    both = "identity-any-from identity-networks:mx1"

    assert status_of(reported(tmp_path, "identity-any-from")) == exit_status.PROBLEM
    assert status_of(reported(tmp_path, both)) == exit_status.FINE
    status, line = check_output.as_nagios(reported(tmp_path, both), 1.0)
    assert status == 0
    assert "accepted=3" in line
    assert "warnings=0" in line


def test_a_monitoring_system_is_told_first_what_concerns_all_mail(tmp_path: Path) -> None:
    report = reported(tmp_path, "")
    report.add(WRITABLE.found("config.ini: everybody may write it", mode="go-w", path="config.ini"))
    report.add(LDAP_UNREACHABLE.found("ldap://one: refused"))
    report.directory_asked = True  # another server answers
    assert "config-writable: " in check_output.as_nagios(report, 1.0)[1]
    report.directory_asked = False
    assert "CRITICAL - ldap-unreachable: ldap://one: refused; " in check_output.as_nagios(report, 1.0)[1]


def test_a_daemon_that_may_be_away(tmp_path: Path) -> None:
    every = "identity-any-from identity-networks"
    away = reported(tmp_path, every, daemon=False)
    away.add(UNREACHABLE.found("nobody answers", start="x"))
    config = config_of(tmp_path, {"check": {"accept": f"{every} {UNREACHABLE.code}"}})

    assert status_of(away) == exit_status.DAEMON_UNREACHABLE
    acceptance.apply(config, away)
    assert status_of(away) == exit_status.FINE


def test_one_that_is_gone_is_named_where_it_was_looked_for(tmp_path: Path) -> None:
    accept = "target-list:team@example.test identity-delimiter"

    assert texts(reported(tmp_path, accept), "accept-gone") == [
        "target-list:team@example.test does not occur",
        "identity-delimiter does not occur",
    ]
    assert texts(reported(tmp_path, accept, directory=False), "accept-gone") == ["identity-delimiter does not occur"]


def test_what_nobody_could_look_for_is_not_gone(tmp_path: Path) -> None:
    """The daemon is away; no mail user was given; a reload is tried with --config-only."""
    codes = "mail-waits identity-unknown-client:198.51.100.7 socket-wrong-milter socket-daemon-troubled"
    codes += " ldap-user-refused config-reload-refused"
    (tmp_path / "site.ldif").write_text(to_ldif(site()))
    sections = {"ldap": {"uri": "ldif:site.ldif"}, "check": {"accept": f"{codes} identity-any-from"}}
    config = config_of(tmp_path, sections)
    report = look_around(config, CheckOptions(postfix_directory=tmp_path, directory=True))
    acceptance.apply(config, report)

    assert report.directory_asked
    assert texts(report, "accept-gone") == ["identity-any-from does not occur"]


def test_accepted_findings_are_listed_as_such(tmp_path: Path) -> None:
    report = reported(tmp_path, "identity-any-from:sales")

    assert f"accepted {Area.IDENTITY.value}: {SALES.text} [identity-any-from]" in check_output.as_text(report)
    listed = json.loads(json.dumps(check_output.as_json(report)))
    assert [one["text"] for one in listed["accepted"]] == [SALES.text]
    assert SALES.text not in [one["text"] for one in listed["findings"]]


def test_a_code_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[check\] accept: .*identity-any-form; did you mean identity-any-from\?"):
        reported(tmp_path, "identity-any-form:lists@example.test")
