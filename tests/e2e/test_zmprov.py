"""The stand-in for zmprov keeps Zimbra's semantics: what the scripts and the guide rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.contract.shapes import BOB, shapes
from tests.support.builders import cos
from tests.support.identities import ADMIN_DN, ADMIN_PASSWORD
from tests.support.names import account_dn, zimbra_id
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_home import ZimbraHome
from tests.support.zmprov.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Zmprov = Callable[..., tuple[int, str, str]]

MX: Final = "mx1.example.test"
SMTPD: Final = "zimbraMtaSmtpdMilters"


@pytest.fixture(scope="module")
def home() -> Iterator[ZimbraHome]:
    data = merge([*shapes(), *cos("staff", zimbraInterceptAddress=["a@keep.test", "b@keep.test"])])
    with Slapd(data) as slapd, ZimbraHome(slapd) as made:
        yield made


@pytest.fixture
def zmprov(home: ZimbraHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zmprov:
    monkeypatch.setenv("ZIMBRA_HOME", str(home.directory))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(list(arguments))
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def stored(home: ZimbraHome, dn: str, attribute: str) -> list[str]:
    _, text = home.slapd.search(ADMIN_DN, ADMIN_PASSWORD, "-s", "base", "-b", dn, "(objectClass=*)", attribute)
    return sorted(line.split(": ", 1)[1] for line in text.splitlines() if line.startswith(f"{attribute}: "))


def test_a_plain_value_replaces_all(zmprov: Zmprov, home: ZimbraHome) -> None:
    assert zmprov("ma", BOB, "description", "one", "description", "two") == (0, "", "")
    assert stored(home, account_dn(BOB), "description") == ["one", "two"]
    zmprov("ma", BOB, "description", "three")
    assert stored(home, account_dn(BOB), "description") == ["three"]
    zmprov("ma", BOB, "description", "")
    assert stored(home, account_dn(BOB), "description") == []


def test_signs_add_and_take_away_and_are_silent_where_nothing_is_to_do(zmprov: Zmprov, home: ZimbraHome) -> None:
    for change in (("+description", "one"), ("+description", "two"), ("+description", "ONE"), ("-description", "six")):
        assert zmprov("ma", BOB, *change) == (0, "", "")
    assert stored(home, account_dn(BOB), "description") == ["one", "two"]
    zmprov("ma", BOB, "-description", "ONE")
    assert stored(home, account_dn(BOB), "description") == ["two"]
    status, _, told = zmprov("ma", BOB, "+description", "x", "description", "y")
    assert (status, "cannot mix" in told) == (2, True)
    zmprov("ma", BOB, "description", "")


def test_headers_differ_by_kind(zmprov: Zmprov) -> None:
    assert zmprov("gs", "-e", MX, SMTPD)[1] == f"# name {MX}\n{SMTPD}: inet:127.0.0.1:8890\n\n"
    assert zmprov("gc", "staff", "cn")[1] == "# name staff\ncn: staff\n\n"
    assert zmprov("gcf", "zimbraDefaultDomainName")[1] == "zimbraDefaultDomainName: example.test\n"
    assert zmprov("gcf", SMTPD) == (0, "", "")
    assert zmprov("gacf", "zimbraDefaultDomainName")[1] == "zimbraDefaultDomainName: example.test\n"
    told = zmprov("gdl", "eng@example.test", "mail")[1]
    assert told == (
        "# distributionList eng@example.test memberCount=2\nmail: eng@example.test\n\n"
        "members\na.able@example.test\nall@example.test\n"
    )


def test_values_come_in_order_of_attributes_and_may_span_lines(
    zmprov: Zmprov,
) -> None:
    zmprov("ma", BOB, "zimbraNotes", "first\nsecond")
    assert zmprov("ga", BOB, "zimbraNotes", "cn")[1] == f"# name {BOB}\ncn: Bob\nzimbraNotes: first\nsecond\n\n"
    zmprov("ma", BOB, "zimbraNotes", "")


def test_inheritance_is_shown_for_zimbras_own_attributes_alone(
    zmprov: Zmprov,
) -> None:
    zmprov("sac", BOB, "staff")
    zmprov("mc", "staff", "+objectClass", "ldapMilterPolicy", "ldapMilterArchiveBcc", "vault@keep.test")
    told = zmprov("ga", BOB)[1]
    assert "zimbraInterceptAddress: a@keep.test\nzimbraInterceptAddress: b@keep.test\n" in told
    assert "ldapMilterArchiveBcc" not in told
    assert "zimbraInterceptAddress" not in zmprov("ga", "-e", BOB)[1]
    zmprov("ma", BOB, "zimbraInterceptAddress", "own@keep.test")
    assert zmprov("ga", BOB, "zimbraInterceptAddress")[1].count("@keep.test") == 1
    zmprov("mcf", SMTPD, "unix:/global", "zimbraMtaNonSmtpdMilters", "unix:/global")
    assert zmprov("gs", MX, "zimbraMtaNonSmtpdMilters")[1].splitlines()[1] == "zimbraMtaNonSmtpdMilters: unix:/global"
    assert "unix:/global" not in zmprov("gs", "-e", MX)[1]
    assert "inet:127.0.0.1:8890" in zmprov("gs", MX, SMTPD)[1]


@pytest.mark.parametrize(
    "key",
    ["ann@example.test", "a.able@example.test", "ann@alias.test", "ann", zimbra_id("account", "ann@example.test")],
)
def test_an_account_has_many_names(zmprov: Zmprov, key: str) -> None:
    assert zmprov("ga", key, "cn")[1].startswith("# name ann@example.test\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("ga", "no@example.test"), "account.NO_SUCH_ACCOUNT (no such account: no@example.test)"),
        (("mc", "no", "description", "x"), "account.NO_SUCH_COS (no such cos: no)"),
        (("gd", "no.test"), "account.NO_SUCH_DOMAIN (no such domain: no.test)"),
        (("gs", "no.test"), "account.NO_SUCH_SERVER (no such server: no.test)"),
        (("mdl", "no@example.test", "cn", "x"), "account.NO_SUCH_DISTRIBUTION_LIST"),
        (("ma", BOB, "noSuchThing", "x"), "account.INVALID_ATTR_NAME (invalid attr name: "),
        (("ma", BOB, "zimbraMailDeliveryAddress", "x@example.test"), "zimbraMailDeliveryAddress is immutable"),
        (("ms", MX, "zimbraMilterServerEnabled", "true"), "must be TRUE or FALSE"),
        (("ms", MX, SMTPD, "x" * 1025), "larger than max allowed: 1024"),
        (("ms", MX, SMTPD, "unix:/a", SMTPD, "unix:/b"), "is a single-valued attribute"),
        (
            ("ma", BOB, "ldapMilterArchiveBcc", "x@keep.test"),
            "service.FAILURE (system failure: unable to modify attrs: ",
        ),
        (("mcf", "+objectClass", "noSuchClass"), "account.INVALID_ATTR_VALUE"),
        (("-l", "fc", "config"), "service.INVALID_REQUEST"),
    ],
)
def test_a_refusal_is_a_line_and_status_2(zmprov: Zmprov, arguments: tuple[str, ...], error: str) -> None:
    status, told, failed = zmprov(*arguments)
    assert (status, told, failed.startswith("ERROR: "), failed.count("\n")) == (2, "", True, 1)
    assert error in failed


@pytest.mark.parametrize(
    "arguments", [(), ("nosuch",), ("ma", BOB), ("ma", BOB, "description"), ("gcf",), ("sac", BOB)]
)
def test_wrong_usage_is_status_1(zmprov: Zmprov, arguments: tuple[str, ...]) -> None:
    assert zmprov(*arguments)[0] == 1


def test_a_new_cos_gets_the_values_of_the_default_one_and_not_its_classes(
    zmprov: Zmprov,
) -> None:
    zmprov("mc", "default", "+objectClass", "ldapMilterPolicy", "ldapMilterArchiveBcc", "vault@keep.test")
    status, _, told = zmprov("cc", "gold")
    assert (status, "object class violation" in told) == (2, True)
    zmprov("mcf", "+zimbraCosExtraObjectClass", "ldapMilterPolicy")
    assert zmprov("cc", "gold")[0] == 0
    assert "ldapMilterArchiveBcc: vault@keep.test\n" in zmprov("gc", "gold")[1]


def test_members_come_and_go(zmprov: Zmprov) -> None:
    zmprov("adlm", "eng@example.test", BOB)
    assert BOB in zmprov("gdl", "eng@example.test")[1]
    zmprov("rdlm", "eng@example.test", BOB)
    assert BOB not in zmprov("gdl", "eng@example.test")[1]
    assert zmprov("rdlm", "eng@example.test", BOB)[0] == 2
    members = ["ann@example.test", BOB, "guest@outside.test", "zoe@other.test"]
    assert zmprov("gdl", "dyn@example.test")[1].partition("members\n")[2].splitlines() == members
    new = ["carl@example.test", "new@outside.test"]
    zmprov("adlm", "dyn@example.test", *new)
    assert zmprov("gdl", "dyn@example.test")[1].partition("members\n")[2].splitlines() == sorted([*members, *new])
