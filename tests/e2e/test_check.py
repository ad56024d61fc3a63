"""``ldapmilter check`` as an administrator runs it: a real slapd, a real Postfix, the real daemon."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.checks import survey
from ldapmilter.checks.survey import CheckOptions, look_around
from ldapmilter.cli.main import main
from ldapmilter.config import load
from ldapmilter.errors import DirectoryUnavailable
from tests.support.builders import USER_PASSWORD, account, cos, domain, global_config, server, static_list
from tests.support.daemon import Daemon
from tests.support.identities import MILTER_DN
from tests.support.names import account_dn
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.record import Record

MAIL = "olcDatabase={2}mdb,cn=config"
ANN_DN = account_dn("ann@example.test")
SECRET_TARGET = "ghost@example.test"


def company() -> list[Record]:
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *cos("sales", ldapMilterArchiveBcc="vault@example.test"),
            *server("localhost", ["mailbox"]),
            *domain("example.test"),
            *account("ann@example.test"),
            *account("vault@example.test"),
        ]
    )


class Site:
    """Directory, daemon and MTA, all of them right."""

    def __init__(self, slapd: Slapd, daemon: Daemon, postfix: Postfix) -> None:
        self.slapd, self.daemon, self.postfix = slapd, daemon, postfix

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("--postconf-dir", str(self.postfix.config_directory), *arguments)

    def run(self, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the verb in this process: a new one would take longer to start than the check takes."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                status = main(["--config", str(config or self.daemon.config), "check", *arguments])
            except SystemExit as leaving:
                status = int(str(leaving.code))
        return subprocess.CompletedProcess(["check", *arguments], status, out.getvalue(), errors.getvalue())

    def report(self, *arguments: str) -> dict[str, Any]:
        done = self.check("--json", *arguments)
        assert not done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def codes(self, *arguments: str) -> set[str]:
        return {one["code"] for one in self.report(*arguments)["findings"]}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        Slapd(company()) as slapd,
        Daemon(slapd, {"milter": {"socket_mode": "0660", "socket_group": "postfix"}}) as daemon,
        Postfix(milters=daemon.socket, users={"ann@example.test": "secret"}) as postfix,
    ):
        main = {"zimbraMtaSmtpdMilters": daemon.socket, "zimbraMtaNonSmtpdMilters": daemon.socket}
        slapd.add(server("mx1.example.test", ["mta"], zimbraMilterServerEnabled="TRUE", **main))
        yield Site(slapd, daemon, postfix)


NOTES = {"ldap-indexes-unseen", "ldap-user-untried"}


def test_a_site_on_which_all_is_well(site: Site) -> None:
    done = site.check("--json", "--directory")
    report = json.loads(done.stdout)
    assert {one["code"] for one in report["findings"]} == {*NOTES, "target-replies-unseen"}
    assert done.returncode == 0
    assert report["worst"] == "note"
    assert {one["area"] for one in report["looked_at"]} == {
        "configuration",
        "milter socket",
        "LDAP servers",
        "Postfix",
        "identity",
        "registration",
        "policy values",
    }


def test_plain_lines(site: Site) -> None:
    done = site.daemon.cli("check", "--postconf-dir", str(site.postfix.config_directory))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 problems, 0 warnings, 2 notes"
    assert "note     LDAP servers: no mail user was given [ldap-user-untried]" in lines
    assert any(line.startswith("         -> run: ldapmilter check --as-user DN") for line in lines)
    assert "fine     Postfix: smtpd_milters: ldapmilter" in lines


def test_a_table_on_a_terminal(site: Site) -> None:
    ours, theirs = pty.openpty()
    done = site.daemon.cli_to(theirs, "check", "--postconf-dir", str(site.postfix.config_directory))
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # at its end: nobody has the other side any more
        while octets := os.read(ours, 65536):
            shown += octets
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert done.returncode == 0
    assert "severity" in text
    assert "ldap-indexes-unseen" in text
    assert "0 problems, 0 warnings, 2 notes" in text
    assert "\x1b[" in shown.decode()


def test_as_a_mail_user(site: Site, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(USER_PASSWORD + "\n")
    password.chmod(0o600)
    report = site.report("--as-user", ANN_DN, "--as-password-file", str(password))
    assert {one["code"] for one in report["findings"]} == NOTES - {"ldap-user-untried"}
    assert any(f"a mail user ({ANN_DN}) sees no policy" in one["text"] for one in report["looked_at"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--as-user", ANN_DN], "--as-user DN and --as-password-file FILE go together"),
        (["--as-user", ANN_DN, "--as-password-file", "/nowhere"], "--as-password-file = /nowhere: cannot be read"),
        (["--postconf-dir", "/nowhere"], "--postconf-dir /nowhere: has no main.cf"),
        (["--json", "--nagios"], "not allowed with argument"),
    ],
)
def test_wrong_usage(site: Site, arguments: Sequence[str], complaint: str) -> None:
    done = site.run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not done.stdout


def test_nagios(site: Site) -> None:
    done = site.check("--nagios")
    assert done.returncode == 0
    line, time = done.stdout.split(" time=")
    counts = "problems=0 warnings=0 notes=2 ldap_servers=1 ldap_servers_up=1"
    assert line == f"LDAPMILTER OK - 0 problems, 0 warnings, 2 notes | {counts}"
    assert re.fullmatch(r"[0-9.]+s\n", time)
    assert not done.stderr


def test_nagios_says_when_it_could_not_look(site: Site, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ini"
    broken.write_text("[ldap]\nuri = http://nonsense|here\n")
    done = site.run("--nagios", config=broken)
    assert done.returncode == 3
    assert done.stdout.startswith("LDAPMILTER UNKNOWN - ")
    assert done.stdout.count("\n") == 1
    assert "|" not in done.stdout


def test_what_is_copied_where_never_reaches_the_monitoring(site: Site) -> None:
    site.slapd.add(account("held@example.test", ldapMilterLegalBcc=SECRET_TARGET))
    try:
        report = site.report("--directory")
        told = site.check("--nagios", "--directory")
    finally:
        site.slapd.delete(account_dn("held@example.test"))
    assert [one["text"] for one in report["findings"] if one["code"] == "target-missing"] == [
        f"{SECRET_TARGET} does not exist: ldapMilterLegalBcc: {SECRET_TARGET} at {account_dn('held@example.test')}"
    ]
    assert told.returncode == 2
    assert told.stdout.startswith(
        "LDAPMILTER CRITICAL - 1 problem, 0 warnings, 3 notes (target-missing 1) | problems=1 "
    )
    assert SECRET_TARGET not in told.stdout
    assert "held" not in told.stdout


def test_nor_does_it_when_anybody_can_see_it(site: Site) -> None:
    site.slapd.add(account("held@example.test", ldapMilterLegalBcc="vault@example.test"))
    rule = "to attrs=ldapMilterLegalBcc by * read"
    site.slapd.modify(f"dn: {MAIL}\nchangetype: modify\nadd: olcAccess\nolcAccess: {{0}}{rule}\n")
    try:
        report, told = site.report(), site.check("--nagios")
    finally:
        site.slapd.modify(f"dn: {MAIL}\nchangetype: modify\ndelete: olcAccess\nolcAccess: {{0}}\n")
        site.slapd.delete(account_dn("held@example.test"))
    (visible,) = (one for one in report["findings"] if one["code"] == "ldap-policy-visible")
    assert "uid=held" in visible["text"]
    assert visible["confidential"] is True
    assert told.stdout.startswith("LDAPMILTER CRITICAL - 1 problem, 0 warnings, 2 notes (ldap-policy-visible 1) |")
    assert "held" not in told.stdout


def test_what_the_bind_identity_may_not_read(site: Site) -> None:
    group = static_list(
        "crew@example.test",
        ["ann@example.test"],
        ldapMilterAppliesToMembers=True,
        ldapMilterLegalBcc="vault@example.test",
    )
    other = domain("sister.example")
    writer = account("writer@example.test", ldapMilterSenderFromRewrite="* => <{localpart}@sister.example>")
    site.slapd.add([*other, *group, *writer])
    hidden = "zimbraSmtpRestrictEnvelopeFrom,zimbraMtaSmtpdMilters"
    rule = f'to attrs={hidden} by dn.exact="{MILTER_DN}" none by * break'
    site.slapd.modify(f"dn: {MAIL}\nchangetype: modify\nadd: olcAccess\nolcAccess: {{0}}{rule}\n")
    try:
        found = site.codes("--directory")
    finally:
        site.slapd.modify(f"dn: {MAIL}\nchangetype: modify\ndelete: olcAccess\nolcAccess: {{0}}\n")
        for record in (*writer, *group, *reversed(other)):
            site.slapd.delete(record.dn)
    assert found == {
        *NOTES,
        "identity-unseen",
        "zimbra-registration-unseen",
        "policy-group-visible",
        "target-replies-unseen",
        "from-dkim-unseen",
        "policy-group-unseen",
    }


def test_the_directory_is_down(site: Site) -> None:
    site.slapd.stop()
    try:
        done = site.check("--json", "--directory")
        told = site.check("--nagios")
    finally:
        site.slapd.start()
    report = json.loads(done.stdout)
    assert done.returncode == 3
    assert report["directory_asked"] is False
    assert {one["code"] for one in report["findings"]} == {"ldap-unreachable", "ldap-user-untried"}
    assert told.returncode == 2
    assert told.stdout.startswith("LDAPMILTER CRITICAL - ldap-unreachable: ldap://127.0.0.1:")


@pytest.mark.parametrize("what", ["identity_settings.check", "policy_values.scan"])
def test_the_directory_stops_answering(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise DirectoryUnavailable("broke off")

    module, _, function = what.partition(".")
    monkeypatch.setattr(getattr(survey, module), function, fail)
    report = look_around(load(site.daemon.config), CheckOptions(directory=True))
    code = "identity-unanswered" if module == "identity_settings" else "values-unanswered"
    assert ("broke off", code) in {(one.text, one.code) for one in report.findings}
    assert not report.directory_asked


def test_the_daemon_is_down(site: Site) -> None:
    site.daemon.stop()
    try:
        done = site.check("--json")
        told = site.check("--nagios")
        worse = site.run("--postconf-dir", "/etc/postfix")  # the milter is not listed there
    finally:
        site.daemon.start()
    assert done.returncode == 4
    assert json.loads(done.stdout)["daemon_reached"] is False
    assert told.returncode == 2
    assert worse.returncode == 1


def test_a_warning_is_no_success(site: Site) -> None:
    change = "dn: cn=sales,cn=cos,cn=zimbra\nchangetype: modify\n%s: zimbraAllowAnyFromAddress\n"
    site.slapd.modify(f"{change % 'add'}zimbraAllowAnyFromAddress: TRUE\n")
    try:
        done, told = site.check(), site.check("--nagios")
    finally:
        site.slapd.modify(change % "delete")
    assert "[identity-any-from]" in done.stdout
    assert done.returncode == 1
    assert told.returncode == 1
    assert told.stdout.startswith("LDAPMILTER WARNING - identity-any-from: COS sales: zimbraAllowAnyFromAddress TRUE; ")


def test_an_export_in_place_of_servers(site: Site, tmp_path: Path) -> None:
    export = tmp_path / "export.ldif"
    export.write_text(site.slapd.slapcat())
    config = tmp_path / "config.ini"
    config.write_text(f"[milter]\nsocket = {site.daemon.socket}\n[ldap]\nuri = ldif:export.ldif\n")
    done = site.run("--json", "--directory", "--postconf-dir", str(site.postfix.config_directory), config=config)
    report = json.loads(done.stdout)
    assert {one["code"] for one in report["findings"]} == {"config-embedded-directory"}
    assert report["directory_asked"] is True
    assert done.returncode == 1
