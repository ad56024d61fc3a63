"""Findings about the directory's own settings: identity and registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import identity_settings, registration
from ldapmilter.checks.finding import Report
from ldapmilter.checks.reading import RawDirectory
from ldapmilter.directory.backend.ldif import LdifStore, parse
from tests.support.builders import cos, server
from tests.support.record import to_ldif
from tests.unit.checks.scene import codes, config_of, site, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.support.record import Record

OURS = "inet:127.0.0.1:8800"
MX = "mx1.example.test"


def sight_of(records: Iterable[Record]) -> RawDirectory:
    return RawDirectory(store=LdifStore(parse(to_ldif(records))), server=None, base="", seconds=10)


def mailbox(**attributes: str) -> list[Record]:
    return server("localhost", ["mailbox"], **attributes)


def mta(**attributes: str) -> list[Record]:
    given = {
        "zimbraMtaSmtpdMilters": OURS,
        "zimbraMtaNonSmtpdMilters": OURS,
        "zimbraMilterServerEnabled": "TRUE",
        "zimbraMtaMilterDefaultAction": "tempfail",
        "zimbraMtaMilterCommandTimeout": "30s",
    }
    return server(MX, ["mta"], **{**given, **attributes})


def identity(
    directory: Path,
    *records: Iterable[Record],
    sections: Mapping[str, Mapping[str, str]] | None = None,
    config: Mapping[str, str] | None = None,
    delimiter: str | None = "",
) -> Report:
    report = Report()
    there = sight_of(site(*records, config=config))
    identity_settings.check(there, config_of(directory, sections), report, delimiter=delimiter)
    return report


def test_settings_that_are_in_order(tmp_path: Path) -> None:
    report = identity(tmp_path, mailbox(zimbraMtaMyNetworks="127.0.0.0/8 [::1]/128"))
    assert report.findings == ()
    assert len(report.looked_at) == 1


@pytest.mark.parametrize(
    ("attributes", "code", "remedy"),
    [
        ({"zimbraSmtpRestrictEnvelopeFrom": "FALSE"}, "identity-envelope-unrestricted", "zmprov mc loose zimbraSmtp"),
        ({"zimbraAllowAnyFromAddress": "TRUE"}, "identity-any-from", "zmprov mc loose zimbraAllowAny"),
    ],
)
def test_a_class_of_service(tmp_path: Path, attributes: dict[str, str], code: str, remedy: str) -> None:
    report = identity(tmp_path, mailbox(), cos("loose", **attributes))
    assert codes(report) == {code}
    assert report.findings[0].remedy.startswith(remedy)


@pytest.mark.parametrize("networks", ["192.0.2.0/24", "127.0.0.0/8, 192.0.2.0/24", "[2001:db8::]/32"])
def test_networks_that_need_no_login(tmp_path: Path, networks: str) -> None:
    assert codes(identity(tmp_path, mailbox(zimbraMtaMyNetworks=networks))) == {"identity-networks"}


def test_networks_of_mailbox_servers(tmp_path: Path) -> None:
    trusted = {"identity": {"mailbox_hosts": "192.0.2.0/24"}}
    assert identity(tmp_path, mailbox(zimbraMtaMyNetworks="192.0.2.25/32"), sections=trusted).findings == ()


def test_no_mailbox_server_is_known(tmp_path: Path) -> None:
    assert codes(identity(tmp_path)) == {"identity-no-mailbox-hosts"}
    gone = server("nowhere.invalid", ["mailbox"])
    assert "none of these names resolves" in texts(identity(tmp_path, gone), "identity-no-mailbox-hosts")[0]
    empty = {"identity": {"mailbox_hosts": ""}}
    assert codes(identity(tmp_path, mailbox(), sections=empty)) == {"identity-no-mailbox-hosts"}


def test_a_header_that_is_trusted_and_not_written(tmp_path: Path) -> None:
    trusting = {"identity": {"trust_x_authenticated_user": "yes"}}
    assert codes(identity(tmp_path, mailbox(), sections=trusting)) == {"identity-person-unnamed"}
    written = {"zimbraSmtpSendAddAuthenticatedUser": "TRUE"}
    assert identity(tmp_path, mailbox(), sections=trusting, config=written).findings == ()


REDIRECT = "zimbraMailRedirectSetEnvelopeSender"


@pytest.mark.parametrize(
    ("config", "servers", "command"),
    [
        ({REDIRECT: "FALSE"}, {}, "zmprov mcf"),
        ({REDIRECT: "TRUE"}, {REDIRECT: "FALSE"}, "zmprov ms localhost"),
        ({}, {REDIRECT: "FALSE"}, "zmprov ms localhost"),
        ({REDIRECT: "FALSE"}, {REDIRECT: "TRUE"}, ""),
        ({REDIRECT: "TRUE"}, {}, ""),
    ],
)
def test_redirects_whose_sender_an_outsider_writes(
    tmp_path: Path, config: dict[str, str], servers: dict[str, str], command: str
) -> None:
    report = identity(tmp_path, mailbox(**servers), config=config)
    assert [(one.code, one.remedy.startswith(command)) for one in report.findings] == (
        [("identity-redirect-sender", True)] if command else []
    )


def test_automatic_replies_without_a_sender(tmp_path: Path) -> None:
    for value, found in (("TRUE", {"identity-automatic-null-sender"}), ("FALSE", set())):
        assert codes(identity(tmp_path, mailbox(), config={"zimbraAutoSubmittedNullReturnPath": value})) == found


def test_no_default_domain(tmp_path: Path) -> None:
    assert codes(identity(tmp_path, mailbox(), config={"zimbraDefaultDomainName": ""})) == {
        "identity-no-default-domain"
    }


def test_two_recipient_delimiters(tmp_path: Path) -> None:
    assert codes(identity(tmp_path, mailbox(), delimiter="+")) == {"identity-delimiter"}
    same = {"zimbraMtaRecipientDelimiter": "+"}
    assert identity(tmp_path, mailbox(), delimiter="+", config=same).findings == ()
    assert identity(tmp_path, mailbox(), delimiter=None, config=same).findings == ()


def registered(
    directory: Path, *records: Iterable[Record], config: Mapping[str, str] | None = None, deadline: str = "10"
) -> Report:
    report = Report()
    ours = config_of(directory, {"milter": {"socket": OURS}, "ldap": {"lookup_deadline": deadline}})
    registration.check(sight_of(site(*records, config=config)), ours, report)
    return report


def test_a_registration_that_is_in_order(tmp_path: Path) -> None:
    report = registered(tmp_path, mta())
    assert report.findings == ()
    assert report.looked_at[0][1] == f"{MX}: registered; the timeouts suffice"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"zimbraMtaSmtpdMilters": "inet:127.0.0.1:7026"}, "zimbra-not-registered"),
        ({"zimbraMtaNonSmtpdMilters": "inet:127.0.0.1:7026"}, "zimbra-non-smtpd-not-registered"),
        ({"zimbraMilterServerEnabled": "FALSE"}, "zimbra-milter-server-off"),
        ({"zimbraMtaMilterDefaultAction": "accept"}, "zimbra-default-action"),
        ({"zimbraMtaMilterCommandTimeout": "5s"}, "zimbra-timeout"),
        ({"zimbraMtaMilterContentTimeout": "5s"}, "zimbra-timeout"),
    ],
)
def test_a_registration_that_is_not(tmp_path: Path, attributes: dict[str, str], code: str) -> None:
    report = registered(tmp_path, mta(**attributes))
    assert codes(report) == {code}
    assert MX in report.findings[0].remedy
    assert registered(tmp_path, server("mbox.example.test", ["mailbox"], **attributes)).findings == ()  # no MTA


def test_the_server_counts_before_the_global_config(tmp_path: Path) -> None:
    everywhere = {"zimbraMtaSmtpdMilters": OURS, "zimbraMtaNonSmtpdMilters": OURS, "zimbraMilterServerEnabled": "TRUE"}
    assert registered(tmp_path, server(MX, ["mta"]), config=everywhere).findings == ()
    own = server(MX, ["mta"], zimbraMtaSmtpdMilters="inet:127.0.0.1:7026")
    assert codes(registered(tmp_path, own, config=everywhere)) == {"zimbra-not-registered"}


def test_a_daemon_beside_another_mta_is_as_good(tmp_path: Path) -> None:
    other = {"zimbraMtaSmtpdMilters": "inet:192.0.2.9:8800", "zimbraMtaNonSmtpdMilters": "inet:192.0.2.9:8800"}
    assert registered(tmp_path, mta(**other)).findings == ()


@pytest.mark.parametrize(("said", "found"), [("true", {"zimbra-postjournal"}), ("false", set())])
def test_postjournal(tmp_path: Path, said: str, found: set[str]) -> None:
    file = tmp_path / "localconfig.xml"
    setting = f'<key name="postjournal_enabled"><value>{said}</value></key>'
    keys = f'<key name="ldap_url"><value>ldap://h:389</value></key>{setting}'
    file.write_text(f"<localconfig>{keys}</localconfig>")
    report = Report()
    registration.check_postjournal(config_of(tmp_path, {"ldap": {"zimbra_localconfig": str(file)}}), report)
    assert codes(report) == found
