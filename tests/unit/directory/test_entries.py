"""From an LDAP entry to an account or a group."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.address import Address, stored_address
from ldapmilter.directory import entries
from ldapmilter.directory.backend.dn import unescaped
from ldapmilter.directory.backend.filters import And, Equal, Filter, Or
from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.entries import catch_all_keys, entries_filter, read_entry, spelt_by_dn

INDEXED_BY_ZIMBRA = {
    "zimbramaildeliveryaddress",
    "zimbramailalias",
    "zimbraoldmailaddress",
    "zimbramailcatchalladdress",
}
PEOPLE = "ou=people,dc=example,dc=test"


def raw(dn: str, classes: str, **attributes: tuple[str, ...]) -> RawEntry:
    return RawEntry(dn, {"objectclass": tuple(classes.split()), **attributes})


@pytest.mark.parametrize(
    ("dn", "name"),
    [
        (f"uid=ann,{PEOPLE}", "ann@example.test"),
        ("UID=Ann,OU=People,DC=Example,DC=Test", "ann@example.test"),
        ("uid=ann, ou=people, dc=example, dc=test", "ann@example.test"),
        ("cn=dyn,cn=groups,dc=example,dc=test", "dyn@example.test"),
        ("cn=internal,cn=dyn,cn=groups,dc=example,dc=test", "internal@example.test"),
        ("cn=hab,ou=hierarchy,ou=unit,dc=example,dc=test", "hab@example.test"),
        (f"uid=plus\\2Btag,{PEOPLE}", "plus+tag@example.test"),
        (f"uid=plus\\+tag,{PEOPLE}", "plus+tag@example.test"),
        (f"uid=\\#hash,{PEOPLE}", "#hash@example.test"),
        (f"uid=a\\3Db,{PEOPLE}", "a=b@example.test"),
        ("uid=ida,ou=people,dc=xn--bcher-kva,dc=test", "ida@xn--bcher-kva.test"),
        ("uid=zimbra,cn=admins,cn=zimbra", None),
        ("dc=example,dc=test", None),
        ("ou=people,dc=example,dc=test", None),
        ("", None),
    ],
)
def test_the_name_that_a_dn_spells(dn: str, name: str | None) -> None:
    found = stored_address(spelt_by_dn(dn))
    assert (found.key if found is not None else None) == name


def test_an_entry_whose_dn_spells_its_address_has_it_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def noting(text: str) -> Address | None:
        parsed.append(text)
        return stored_address(text)

    monkeypatch.setattr(entries, "stored_address", noting)
    attributes = {
        "objectclass": ("zimbraAccount",),
        "zimbramaildeliveryaddress": ("ann@example.test",),
        "zimbramailalias": ("a.smith@example.test",),
    }
    entry = read_entry(RawEntry(f"uid=ann,{PEOPLE}", attributes))
    assert entry is not None
    assert entry.name.text == "ann@example.test"
    assert parsed == ["ann@example.test", "a.smith@example.test"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("a\\,b", "a,b"),
        ("a\\2cb", "a,b"),
        ("a\\2Cb", "a,b"),
        ("\\\\", "\\"),
        ("\\5C", "\\"),
        ("\\20x\\20", " x "),
        ("\\ x\\ ", " x "),
        # RFC 4514, section 4: octets of UTF-8
        ("Lu\\C4\\8Di\\C4\\87", "Lučić"),
        ("M\\c3\\bcller", "Müller"),
    ],
)
def test_escapes_of_a_dn_are_undone(written: str, value: str) -> None:
    assert unescaped(written) == value


@settings(deadline=None)
@given(st.text(alphabet='abc,+"\\<>;=# äč\u2028'))
def test_every_value_survives_escaping_by_octets(value: str) -> None:
    assert unescaped("".join(f"\\{octet:02X}" for octet in value.encode())) == value


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ("inetOrgPerson zimbraAccount amavisAccount", "account"),
        ("inetOrgPerson zimbraAccount zimbraCalendarResource", "account"),
        ("INETORGPERSON ZIMBRAACCOUNT", "account"),
        ("zimbraDistributionList zimbraMailRecipient", "group"),
        ("groupOfURLs dgIdentityAux zimbraGroup", "group"),
        ("groupOfURLs dgIdentityAux zimbraGroupDynamicUnit", "group"),
        ("zimbraDistributionList zimbraMailRecipient ldapMilterPolicy", "group"),
        ("zimbraAlias", None),
        ("zimbraGroupStaticUnit", None),
        ("dcObject organization zimbraDomain", None),
        ("zimbraCOS", None),
        ("zimbraMailRecipient", None),
        ("", None),
    ],
)
def test_what_kind_of_entry_it_is(classes: str, kind: str | None) -> None:
    found = read_entry(raw(f"uid=x,{PEOPLE}", classes, zimbramailalias=("x@example.test",)))
    assert (found.kind if found is not None else None) == kind


def test_addresses_of_an_account() -> None:
    found = read_entry(
        raw(
            f"uid=ann,{PEOPLE}",
            "zimbraAccount",
            zimbramaildeliveryaddress=("Ann@Example.test",),
            zimbramailalias=("a.able@example.test", "no address", "Ännchen@x.test"),
            zimbraoldmailaddress=("ann.maiden@example.test",),
            zimbramailforwardingaddress=("elsewhere@isp.test",),
            zimbramailcatchalladdress=("@example.test",),
            zimbraprefmailforwardingaddress=("home@isp.test",),
            mail=("stray@example.test",),
        )
    )
    assert found is not None
    assert found.name.text == "Ann@example.test"
    assert found.addresses >= {"ann@example.test", "a.able@example.test", "ann.maiden@example.test"}
    assert not found.addresses & {"elsewhere@isp.test", "home@isp.test", "stray@example.test", "@example.test"}


@pytest.mark.parametrize("order", list(itertools.permutations(["zed@x.test", "ann@example.test", "abe@x.test"])))
def test_of_several_delivery_addresses_the_dn_says_which(order: tuple[str, ...]) -> None:
    found = read_entry(raw(f"uid=ann,{PEOPLE}", "zimbraAccount", zimbramaildeliveryaddress=order))
    assert found is not None
    assert found.name.key == "ann@example.test"


@pytest.mark.parametrize("kind", ["zimbraAccount", "zimbraDistributionList"])
def test_where_the_dn_does_not_say_the_order_of_values_does_not_either(kind: str) -> None:
    names = set()
    for order in itertools.permutations(["zed@x.test", "mia@x.test", "abe@x.test"]):
        found = read_entry(raw(f"uid=ann,{PEOPLE}", kind, zimbramaildeliveryaddress=order, zimbramailalias=order))
        assert found is not None
        names.add(found.name.key)
    assert len(names) == 1


def test_an_account_without_delivery_address_is_called_by_its_dn() -> None:
    found = read_entry(raw(f"uid=ann,{PEOPLE}", "zimbraAccount", zimbramailalias=("a.able@example.test",)))
    assert found is not None
    assert found.name.key == "ann@example.test"


def test_an_identity_without_any_address_is_nobody() -> None:
    assert read_entry(raw("uid=zimbra,cn=admins,cn=zimbra", "zimbraAccount")) is None


def test_a_renamed_account_is_called_by_its_delivery_address() -> None:
    found = read_entry(raw(f"uid=ann,{PEOPLE}", "zimbraAccount", zimbramaildeliveryaddress=("ann.b@example.test",)))
    assert found is not None
    assert found.name.key == "ann.b@example.test"


def test_display_name_then_cn_then_nothing() -> None:
    def name(**attributes: tuple[str, ...]) -> str:
        found = read_entry(raw(f"uid=ann,{PEOPLE}", "zimbraAccount", **attributes))
        assert found is not None
        return found.display_name

    assert name(displayname=("Ann A.",), cn=("Ann",)) == "Ann A."
    assert name(cn=("Ann",)) == "Ann"
    assert name() == ""


def test_catch_all_keys_are_folded() -> None:
    assert catch_all_keys(raw("uid=x", "zimbraAccount", zimbramailcatchalladdress=("@Other.TEST",))) == ["@other.test"]


def _parts(search_filter: Filter) -> list[Equal]:
    if isinstance(search_filter, Equal):
        return [search_filter]
    assert isinstance(search_filter, And | Or), "no negation: it is not indexed"
    return [leaf for part in search_filter.parts for leaf in _parts(part)]


def test_the_filter_asks_indexed_attributes_by_equality_only() -> None:
    leaves = _parts(entries_filter(["ann@example.test", "@other.test", "*)(uid=*@example.test"]))
    assert {leaf.attribute.lower() for leaf in leaves} == INDEXED_BY_ZIMBRA
    assert {leaf.value for leaf in leaves} == {"ann@example.test", "@other.test", "*)(uid=*@example.test"}
