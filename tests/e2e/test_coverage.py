"""``ldapmilter coverage`` over a real slapd: what it prints, what it writes, and that it is whole or nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import stat
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.company import branch, company
from tests.support.builders import account, alias_domain
from tests.support.daemon import Daemon
from tests.support.ports import HANG, free_port, wait_until
from tests.support.record import merge, to_ldif
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PAGES = 1200
"""Accounts beside the company's: three pages."""


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """Return a running server with the company and a crowd."""
    crowd = [one for number in range(PAGES) for one in account(f"u{number}@plain.test")]
    with Slapd([*company(), *crowd]) as server:
        yield server


@contextmanager
def verb(slapd: Slapd | None, sections: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Daemon]:
    daemon = Daemon(slapd, sections)  # never started: only its configuration is used
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def command(slapd: Slapd) -> Iterator[Daemon]:
    """Return the verb's configuration."""
    with verb(slapd) as daemon:
        yield daemon


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def entries(text: str) -> dict[str, dict[str, Any]]:
    return {one["address"]: one for one in json.loads(text)["entries"]}


def test_everybody_is_in_it_over_several_pages(command: Daemon) -> None:
    done = command.cli("coverage", "--json")
    assert (done.returncode, done.stderr) == (1, "")  # there are values that cannot be used
    found = json.loads(done.stdout)
    counted = {"account": 38 + PAGES, "resource": 1, "list": 5, "dynamic group": 1, "system account": 0}
    assert found["summary"]["entries"] == counted
    assert len({one["address"] for one in found["entries"]}) == len(found["entries"]) == 45 + PAGES
    (given,) = [
        one
        for one in entries(done.stdout)["grace@branch.test"]["coverage"][2]["copies"]
        if one["level"] == "policy-group"
    ]
    assert given["group_path"] == ["audit@branch.test", "audit-eu@branch.test"]


def test_options_narrow_and_the_report_says_so(command: Daemon) -> None:
    done = command.cli("coverage", "--json", "--class", "archive", "--direction", "sent", "--domain", "branch.test")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(one["class"], one["direction"]) for one in found["columns"]] == [("archive", "sent")]
    assert {one["address"].partition("@")[2] for one in found["entries"]} == {"branch.test"}
    assert len(found["entries"]) == 13
    assert len(found["narrowed"]) == 3


def test_uncovered_leaves_the_others_out_but_counts_them(command: Daemon) -> None:
    done = command.cli("coverage", "--csv", "--uncovered", "--class", "archive", "--domain", "branch.test")
    assert done.returncode == 1
    assert {row["address"].partition("@")[0] for row in rows(done.stdout)} == {
        *("crew", "dave", "frank", "grace", "room", "vault")  # of audit and audit-eu, everybody is covered
    }
    table = command.cli("coverage", "--uncovered", "--class", "legal", "--domain", "branch.test")
    assert (table.returncode, "13 entries" in table.stdout) == (1, True)  # frank's value; nobody is listed
    assert "ann@branch.test" not in table.stdout


def test_an_alias_domain_is_the_domain_that_it_stands_for(tmp_path: Path) -> None:
    file = tmp_path / "directory.ldif"
    file.write_text(to_ldif(merge([*branch(), *alias_domain("alias.test", "plain.test")])), encoding="utf-8")
    with verb(None, {"ldap": {"uri": f"ldif:{file}"}}) as command:
        done = command.cli("coverage", "--json", "--domain", "Alias.Test")
    assert set(entries(done.stdout)) == {"nina@plain.test"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--class", "archiv"), "did you mean archive?"),
        (("--domain", "elsewhere.test"), "--domain elsewhere.test: this directory hosts no such domain"),
        (("--domain", "exmaple.test"), "hosts no such domain; did you mean example.test?"),
        (("--domain", "not a domain"), "hosts no such domain"),
        (("--html", "/nowhere/at/all.html"), "--html /nowhere/at/all.html: cannot be written"),
        (("--html", "/"), "--html /: cannot be written"),
        (("--csv", "--json"), "not allowed with argument"),
        (("--limit", "-1"), "-1 is not a number of rows; allowed is a whole number, 0 for all"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(command: Daemon, arguments: tuple[str, ...], words: str) -> None:
    done = command.cli("coverage", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_class_that_is_not_applied_is_no_coverage_without_a_word(slapd: Slapd) -> None:
    with verb(slapd, {"copy legal": {"mode": "observe", "sent_attributes": ""}}) as command:
        done = command.cli("coverage", "--class", "legal")
    assert "[copy legal] is in mode observe: none of it is sent" in done.stdout
    assert "legal copies of mail sent are switched off" in done.stdout


# -- whole or nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",), ("--html", "report.html")])
def test_without_a_directory_there_is_no_report(tmp_path: Path, form: tuple[str, ...]) -> None:
    with verb(None, {"ldap": {"uri": f"ldap://127.0.0.1:{free_port()}", "starttls": "no"}}) as command:
        done = command.cli("coverage", *(part.replace("report", str(tmp_path / "report")) for part in form))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ldapmilter: directory unavailable: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",), ("--html",)])
def test_a_directory_that_stops_in_the_middle_leaves_nothing_that_looks_like_a_report(
    slapd: Slapd, tmp_path: Path, form: tuple[str, ...]
) -> None:
    limits = "dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\n"
    page = tmp_path / "report.html"
    page.write_text("yesterday's", encoding="utf-8")
    arguments = (*form, str(page)) if form == ("--html",) else form
    slapd.modify(f"{limits}add: olcLimits\nolcLimits: * size.prtotal=700\n")
    try:
        with verb(slapd) as command:
            done = command.cli("coverage", *arguments)
    finally:
        slapd.modify(f"{limits}delete: olcLimits\n")
    assert (done.returncode, done.stdout) == (3, "")
    assert "LimitExceeded" in done.stderr
    assert "olcLimits" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert page.read_text(encoding="utf-8") == "yesterday's"


def test_the_page_is_its_owners_alone(command: Daemon, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = command.cli("coverage", "--html", str(page))
    assert done.returncode == 1
    assert f"written: {page}" in done.stdout
    assert f"{38 + PAGES:,} accounts" in done.stdout
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


# -- progress -------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_and_nowhere_else(command: Daemon) -> None:
    assert command.cli("coverage", "--csv").stderr == ""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while block := os.read(ours, 4096):
                seen.extend(block)
        except OSError:
            return  # the other side is closed

    reader = threading.Thread(target=read)
    reader.start()
    arguments = [*command._command("coverage", "--csv")]
    environment = {**command._environment, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        stdout, _ = process.communicate(timeout=HANG)
    os.close(theirs)
    reader.join(HANG)
    os.close(ours)
    wait_until(lambda: not reader.is_alive(), "the end of the terminal")
    assert f"{48 + PAGES}/{48 + PAGES}" in seen.decode(errors="replace")
    assert len({row["address"] for row in rows(stdout.decode())}) == 45 + PAGES
