"""What check finds on real LDAP servers: each finding provoked once, and nothing where all is well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ldapmilter.checks import indexes, ldap_servers, replicas, visibility
from ldapmilter.checks.finding import Report
from ldapmilter.checks.visibility import MailUser
from ldapmilter.directory.ldap import connection as ldap_connection
from ldapmilter.directory.ldap.command_connection import connect
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.exchange import Credentials
from ldapmilter.schema.definition import own_attributes
from tests.contract.shapes import ANN_DN, shapes
from tests.support.builders import USER_PASSWORD, account
from tests.support.identities import MILTER_DN
from tests.support.ports import free_port
from tests.support.record import merge, without_policy
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ATTRIBUTES = tuple(name for name in own_attributes() if name != "ldapMilterAppliesToMembers")
USER = MailUser(dn=ANN_DN, password=USER_PASSWORD)
DAY = 86400
MAIL = "olcDatabase={2}mdb,cn=config"
SYNCPROV = """\
dn: cn=module{{0}},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: syncprov

dn: olcOverlay=syncprov,{mail}
changetype: add
objectClass: olcOverlayConfig
objectClass: olcSyncProvConfig
olcOverlay: syncprov
"""


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    held = account("held@example.test", ldapMilterLegalBcc="vault@keep.test")
    with Slapd(merge([*shapes(), *held]), tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def bare() -> Iterator[Slapd]:
    with Slapd(without_policy(shapes()), with_schema=False, milter_acl=False) as server:
        yield server


def settings_of(slapd: Slapd, *uris: str, password: str | None = None, ca_file: Path | None = None) -> LdapSettings:
    return LdapSettings(
        uris=uris or (slapd.uri,),
        bind_dn=slapd.bind_dn,
        read_password=lambda: slapd.password if password is None else password,
        starttls=slapd.ca_file is not None,
        ca_file=ca_file or slapd.ca_file,
        connect_timeout=2,
        policy_attributes=ATTRIBUTES,
    )


def look(settings: LdapSettings, *, mail_user: MailUser | None = USER, now: float | None = None) -> Report:
    report = Report()
    moment = time.time() - 40 * DAY if now is None else now
    server = ldap_servers.check(settings, settings.endpoints, report, mail_user=mail_user, now=moment)
    if server is not None:
        server.close()
    return report


def codes(report: Report) -> list[str]:
    """All codes, but for the one that any server gives that does as Zimbra does."""
    return [one.code for one in report.findings if one.code != "ldap-indexes-unseen"]


def allow(slapd: Slapd, rule: str) -> None:
    slapd.modify(f"dn: {MAIL}\nchangetype: modify\nadd: olcAccess\nolcAccess: {{0}}{rule}\n")


def forbid_first(slapd: Slapd) -> None:
    slapd.modify(f"dn: {MAIL}\nchangetype: modify\ndelete: olcAccess\nolcAccess: {{0}}\n")


def test_a_server_on_which_all_is_well(slapd: Slapd) -> None:
    report = look(settings_of(slapd))
    assert [one.code for one in report.findings] == ["ldap-indexes-unseen"]
    assert report.directory_asked
    fine = [text.removeprefix(f"{slapd.uri}: ") for _, text in report.looked_at]
    assert fine == [
        "encrypted; the certificate is valid for 41 days more",
        f"bound as {MILTER_DN}; schema and policy readable (COS, global config, domain, account)",
        "anonymous sees no policy",
        f"a mail user ({ANN_DN}) sees no policy",
        "changes can be followed",
    ]
    assert report.figures == {"certificate_days": 41, "ldap_servers": 1, "ldap_servers_up": 1}


def test_unreachable(slapd: Slapd) -> None:
    dead = f"ldap://127.0.0.1:{free_port()}"
    report = look(settings_of(slapd, dead, slapd.uri))
    assert codes(report) == ["ldap-unreachable"]
    assert report.findings[0].text.startswith(dead)
    assert report.directory_asked
    assert report.figures["ldap_servers_up"] == 1
    assert not look(settings_of(slapd, dead)).directory_asked


@pytest.mark.parametrize("secure", ["starttls", "ldaps"])
def test_tls_failed(slapd: Slapd, bare: Slapd, tmp_path: Path, secure: str) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(_another_authority(tmp_path))
    uri = slapd.uri if secure == "starttls" else slapd.ldaps_uri
    assert codes(look(settings_of(slapd, uri, ca_file=other))) == ["ldap-tls-failed"]
    assert codes(look(settings_of(slapd, bare.uri))) == ["ldap-tls-failed"]  # there is no TLS


def _another_authority(directory: Path) -> bytes:
    from tests.support.certificates import make_certificates  # noqa: PLC0415

    place = directory / "authority"
    place.mkdir()
    return make_certificates(place).read_bytes()


def test_ldaps_is_as_good(slapd: Slapd) -> None:
    assert codes(look(settings_of(slapd, slapd.ldaps_uri))) == []


def test_cleartext_beyond_this_machine(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(settings_of(slapd), starttls=False)
    assert codes(look(plain)) == []
    monkeypatch.setattr(ldap_servers, "_LOCAL", ("ldap://elsewhere",))
    assert codes(look(plain)) == ["ldap-cleartext"]


@pytest.mark.parametrize(
    ("days", "code"), [(40, None), (20, "ldap-certificate-expiring"), (6, "ldap-certificate-nearly-expired")]
)
def test_a_certificate_that_expires(slapd: Slapd, days: int, code: str | None) -> None:
    ends = connect(slapd.uri, settings_of(slapd).endpoints, Credentials())
    assert ends.certificate_ends is not None
    report = look(settings_of(slapd), now=ends.certificate_ends - days * DAY - 1)
    ends.close()
    assert codes(report) == ([code] if code else [])
    assert report.figures["certificate_days"] == days


def test_bind_refused(slapd: Slapd) -> None:
    report = look(settings_of(slapd, password="wrong"))
    assert codes(report) == ["ldap-bind-refused"]
    assert "invalidCredentials" in report.findings[0].text


def test_schema_missing_and_unreadable(bare: Slapd) -> None:
    report = look(settings_of(bare))
    assert set(codes(report)) == {"ldap-schema-missing", "ldap-unreadable"}
    assert not report.directory_asked
    assert "no domain can be seen; no account can be seen" in " ".join(one.text for one in report.findings)
    schema = next(one.text for one in report.findings if one.code == "ldap-schema-missing")
    assert "ldapMilterLegalBcc" in schema


def test_one_attribute_that_may_not_be_read(slapd: Slapd) -> None:
    allow(slapd, f'to attrs=ldapMilterLegalBcc by dn.exact="{MILTER_DN}" none by * break')
    try:
        report = look(settings_of(slapd))
    finally:
        forbid_first(slapd)
    assert codes(report) == ["ldap-unreadable"]
    assert (
        "ldapMilterLegalBcc of COS, global config, domain, account may not be read; the access rule for"
        in report.findings[0].text
    )
    assert not report.directory_asked


def test_rights_that_may_not_be_read(slapd: Slapd) -> None:
    allow(slapd, f'to attrs=zimbraDataSourceEmailAddress by dn.exact="{MILTER_DN}" none by * break')
    try:
        report = look(settings_of(slapd))
    finally:
        forbid_first(slapd)
    assert codes(report) == ["ldap-rights-unreadable"]
    assert "zimbraDataSourceEmailAddress of the account" in report.findings[0].text
    assert report.directory_asked


def test_one_server_without_the_schema_is_named(slapd: Slapd, bare: Slapd) -> None:
    plain = replace(settings_of(slapd, slapd.uri, bare.uri), starttls=False)
    report = look(plain)
    named = [one.text for one in report.findings if one.code == "ldap-schema-missing"]
    assert len(named) == 1
    assert named[0].startswith(bare.uri)
    assert report.directory_asked


def test_a_server_that_stops_answering(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = ldap_servers._samples

    def freeze(server: ldap_connection.Connection) -> object:
        slapd.suspend()
        monkeypatch.setattr(ldap_connection, "PATIENCE", 0.2)
        return samples(server)

    monkeypatch.setattr(ldap_servers, "_samples", freeze)
    try:
        report = look(settings_of(slapd))
    finally:
        slapd.resume()
    assert codes(report) == ["ldap-stopped-answering"]


@pytest.mark.parametrize("starttls", [True, False])
def test_a_server_that_hangs_refuses_nothing(slapd: Slapd, *, starttls: bool) -> None:
    slapd.suspend()
    try:
        report = look(replace(settings_of(slapd), starttls=starttls))
    finally:
        slapd.resume()
    assert codes(report) == ["ldap-stopped-answering"], [one.text for one in report.findings]


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ("to attrs=ldapMilterLegalBcc by * read", "may compare ldapMilterLegalBcc"),
        ("to attrs=ldapMilterLegalBcc by * read", "reads ldapMilterLegalBcc of uid=held"),
        ("to attrs=ldapMilterLegalBcc by * =s", "by a filter on ldapMilterLegalBcc"),
        ("to attrs=ldapMilterLegalBcc by * =c", "may compare ldapMilterLegalBcc"),
        ('to attrs=objectClass val="ldapMilterPolicy" by * read', "the objectClass ldapMilterPolicy"),
        ('to attrs=objectClass val="ldapMilterPolicy" by * =s', "by a filter on objectClass"),
        ('to attrs=objectClass val="ldapMilterPolicy" by * =s', "by a negated filter on objectClass"),
    ],
)
def test_policy_that_a_mail_user_sees(slapd: Slapd, rule: str, how: str) -> None:
    allow(slapd, f'{rule.partition(" by ")[0]} by dn.exact="{MILTER_DN}" read by {rule.partition(" by ")[2]}')
    try:
        report = look(settings_of(slapd))
    finally:
        forbid_first(slapd)
    assert set(codes(report)) == {"ldap-policy-visible"}
    assert any(how in one.text and ANN_DN in one.text for one in report.findings)


def test_policy_that_anybody_sees(slapd: Slapd) -> None:
    allow(slapd, "to attrs=ldapMilterLegalBcc by * read")
    try:
        report = look(settings_of(slapd), mail_user=None)
    finally:
        forbid_first(slapd)
    assert codes(report) == ["ldap-user-untried", "ldap-policy-visible"]
    assert "anonymous may compare ldapMilterLegalBcc" in report.findings[1].text


def test_a_server_that_lets_nobody_in_without_a_login(slapd: Slapd) -> None:
    change = "dn: cn=config\nchangetype: modify\n%s: olcDisallows\nolcDisallows: bind_anon\n"
    slapd.modify(change % "add")
    try:
        report = look(settings_of(slapd))
    finally:
        slapd.modify(change % "delete")
    assert codes(report) == []
    assert (f"{slapd.uri}: anonymous access is refused") in [text for _, text in report.looked_at]


def test_who_may_not_search_sees_nothing_but_what_compare_told(slapd: Slapd) -> None:
    change = f"dn: {MAIL}\nchangetype: modify\n%s: olcRestrict\nolcRestrict: search\n"
    allow(slapd, "to attrs=ldapMilterLegalBcc by * =c")
    places = visibility._places
    try:
        with pytest.MonkeyPatch.context() as patch:

            def restrict(*arguments: Any) -> Any:
                found = places(*arguments)
                slapd.modify(change % "add")
                return found

            patch.setattr(visibility, "_places", restrict)
            report = look(settings_of(slapd), mail_user=None)
    finally:
        slapd.modify(change % "delete")
        forbid_first(slapd)
    visible = [one.text for one in report.findings if one.code == "ldap-policy-visible"]
    assert len(visible) == 1
    assert "may compare ldapMilterLegalBcc of uid=" in visible[0]


def test_a_mail_user_who_cannot_bind(slapd: Slapd) -> None:
    report = look(settings_of(slapd), mail_user=MailUser(dn=ANN_DN, password="wrong"))
    assert codes(report) == ["ldap-user-refused"]


def test_indexes(slapd: Slapd) -> None:
    rule = f'{{0}}to * by dn.exact="{MILTER_DN}" read by * none'
    config = "dn: olcDatabase={0}config,cn=config\nchangetype: modify\n"
    slapd.modify(f"{config}add: olcAccess\nolcAccess: {rule}\n")
    index = f"dn: {MAIL}\nchangetype: modify\n%s: olcDbIndex\nolcDbIndex: zimbraMemberOf eq\n"
    try:
        report = look(settings_of(slapd))
        assert report.findings == ()
        assert any("all indexes" in text for _, text in report.looked_at)
        slapd.modify(index % "delete")
        report = look(settings_of(slapd))
        slapd.modify(index % "add")
        assert [one.code for one in report.findings] == ["ldap-index-missing"]
        assert report.findings[0].text.endswith("no equality index on zimbraMemberOf")
        changes = index.replace("zimbraMemberOf", "entryCSN")
        slapd.modify(changes % "delete")
        report = look(settings_of(slapd))
        slapd.modify(changes % "add")
        assert [one.code for one in report.findings] == ["ldap-changes-unindexed"]
    finally:
        slapd.modify(f"{config}delete: olcAccess\nolcAccess: {{0}}\n")
    assert indexes.UNSEEN.code in [one.code for one in look(settings_of(slapd)).findings]


def test_replicas() -> None:
    with Slapd(shapes()) as one, Slapd(shapes()) as two:
        both = settings_of(one, one.uri, two.uri)
        assert codes(look(both)) == ["ldap-replica-lag-unknown"]
        one.modify(SYNCPROV.format(mail=MAIL))
        two.modify(SYNCPROV.format(mail=MAIL))
        one.add(account("new@example.test"))
        now = time.time()
        assert "ldap-replica-lags" not in codes(look(both, now=now))  # it may be under way
        report = look(both, now=now + 2 * replicas.PATIENCE_SECONDS)
        assert codes(report) == ["ldap-replica-lags"]
        assert report.findings[-1].text.startswith((one.uri, two.uri))
