"""The snapshot of domains, global config and mailbox servers."""

from __future__ import annotations

import pytest

from ldapmilter.address import Address, parse_address
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.site import Site, read_site

CONFIG = "cn=config,cn=zimbra"


def raw(dn: str, classes: str, **attributes: str | tuple[str, ...]) -> RawEntry:
    values = {name: (value,) if isinstance(value, str) else value for name, value in attributes.items()}
    return RawEntry(dn, {"objectclass": tuple(classes.split()), **values})


def domain(name: str, identifier: str = "", **attributes: str | tuple[str, ...]) -> RawEntry:
    given: dict[str, str | tuple[str, ...]] = {
        "zimbradomaintype": "local",
        "zimbraid": identifier or f"id-{name}",
        **attributes,
    }
    return raw(f"dc={name}", "dcObject organization zimbraDomain", zimbradomainname=name, **given)


def alias(name: str, target: str, **attributes: str | tuple[str, ...]) -> RawEntry:
    return domain(name, "", **{"zimbradomaintype": "alias", "zimbradomainaliastargetid": target, **attributes})


def config(**attributes: str | tuple[str, ...]) -> RawEntry:
    return raw(CONFIG, "organizationalRole zimbraGlobalConfig", **attributes)


def address(text: str) -> Address:
    found = parse_address(text)
    assert found is not None
    return found


def target(site: Site, name: str) -> str | None:
    found = site.local_domain(name)
    return found.name if found is not None else None


def without_extension(site: Site, text: str) -> str | None:
    found = site.without_extension(address(text))
    return found.text if found is not None else None


def test_domains_by_folded_name() -> None:
    site = read_site([domain("Example.TEST"), domain("bücher.test"), raw("dc=test", "dcObject organization")])
    assert set(site.domains) == {"example.test", "xn--bcher-kva.test"}


def test_an_alias_domain_by_its_target_id_in_any_case() -> None:
    site = read_site([domain("example.test", "ABC-1"), alias("alias.test", "abc-1")])
    assert target(site, "alias.test") == "example.test"
    assert target(site, "example.test") == "example.test"
    assert target(site, "outside.test") is None


@pytest.mark.parametrize("kind", ["alias", "ALIAS", "forwarding"])
def test_any_domain_that_is_not_local_may_have_a_target(kind: str) -> None:
    site = read_site([domain("example.test", "1"), alias("alias.test", "1", zimbradomaintype=kind)])
    assert target(site, "alias.test") == "example.test"


def test_a_local_domain_is_its_own_whatever_its_target_id() -> None:
    site = read_site([domain("example.test", "1"), domain("local.test", zimbradomainaliastargetid="1")])
    assert target(site, "local.test") == "local.test"


def test_a_target_that_is_not_there_or_is_itself() -> None:
    site = read_site([alias("lost.test", "nowhere"), alias("self.test", "id-self.test")])
    assert target(site, "lost.test") == "lost.test"
    assert target(site, "self.test") == "self.test"


def test_one_hop() -> None:
    site = read_site([domain("a.test", "a"), alias("b.test", "a"), alias("c.test", "id-b.test")])
    assert [spelling.key for spelling in site.spellings(address("ann@c.test"))] == ["ann@c.test", "ann@b.test"]


def test_the_forwarding_way() -> None:
    site = read_site(
        [
            domain("example.test"),
            domain(
                "fwd.test",
                zimbradomaintype="alias",
                zimbramailcatchalladdress="@Fwd.test",
                zimbramailcatchallforwardingaddress="@Example.TEST",
            ),
            domain("half.test", zimbramailcatchallforwardingaddress="@example.test"),
            domain("other.test", zimbramailcatchalladdress="@other.test"),
            domain(
                "away.test",
                zimbramailcatchalladdress="@away.test",
                zimbramailcatchallforwardingaddress="@outside.test",
            ),
        ]
    )
    assert target(site, "fwd.test") == "example.test"
    for name in ("half.test", "other.test", "away.test"):
        assert target(site, name) == name


def test_spellings_keep_the_local_part() -> None:
    site = read_site([domain("example.test", "1"), alias("alias.test", "1")])
    assert [one.text for one in site.spellings(address("Ann+X@alias.test"))] == [
        "Ann+X@alias.test",
        "Ann+X@example.test",
    ]
    assert [one.text for one in site.spellings(address("ann@example.test"))] == ["ann@example.test"]
    assert [one.text for one in site.spellings(address("ann@outside.test"))] == ["ann@outside.test"]


@pytest.mark.parametrize(
    ("delimiters", "text", "expected"),
    [
        ((), "ann+x@a.test", None),
        (("+",), "ann+x@a.test", "ann@a.test"),
        (("+",), "ann+@a.test", "ann@a.test"),
        (("+",), "ann+x+y@a.test", "ann@a.test"),
        (("+",), "ann-x@a.test", None),
        (("+",), "+x@a.test", None),
        (("+",), "ann@a.test", None),
        (("+-",), "ann-x+y@a.test", "ann@a.test"),
        (("+-",), "ann+x-y@a.test", "ann@a.test"),
        (("+", "-"), "ann-x@a.test", "ann@a.test"),
        (("",), "ann+x@a.test", None),
        (("-",), "Owner-staff@a.test", None),
        (("-",), "staff-Request@a.test", None),
        (("-+",), "staff-request+x@a.test", "staff@a.test"),
        (("-",), "-request@a.test", None),
        (("-",), "x-requests@a.test", "x@a.test"),
        (("+",), "owner+staff@a.test", "owner@a.test"),
        (("-",), "Mailer-Daemon@a.test", None),
        (("-",), "double-bounce@a.test", None),
        (("-",), "double-bounced@a.test", "double@a.test"),
    ],
)
def test_recipient_delimiter(delimiters: tuple[str, ...], text: str, expected: str | None) -> None:
    attributes = {"zimbramtarecipientdelimiter": delimiters} if delimiters else {}
    assert without_extension(read_site([config(**attributes)]), text) == expected


def test_default_domain() -> None:
    assert read_site([config(zimbradefaultdomainname="Bücher.TEST")]).default_domain == "xn--bcher-kva.test"
    assert read_site([config()]).default_domain is None
    assert read_site([]).default_domain is None
    assert read_site([config(zimbradefaultdomainname="no domain")]).default_domain is None


def test_without_config_there_is_no_delimiter() -> None:
    assert without_extension(read_site([domain("a.test")]), "ann+x@a.test") is None


def test_mailbox_servers() -> None:
    site = read_site(
        [
            raw(
                "cn=1",
                "zimbraServer",
                cn="one",
                zimbraservicehostname="m1.test",
                zimbraserviceenabled=("mta", "mailbox"),
            ),
            raw("cn=2", "zimbraServer", cn="m2.test", zimbraserviceenabled="mailbox"),
            raw("cn=3", "zimbraServer", cn="mta.test", zimbraserviceenabled="mta"),
            raw("cn=4", "zimbraServer", cn="none.test"),
        ]
    )
    assert site.mailbox_host_names == ("m1.test", "m2.test")
