"""The one operation of a back end: what matches, where, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.backend.filters import And, Equal, Filter, Not, Or, Present, Substring, any_of
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.errors import DirectoryUnavailable
from tests.contract.backends import LIMIT, Searcher
from tests.contract.crowd import BULK
from tests.contract.shapes import ANN, ANN_DN, BOB, BOB_DN, DYN_DN, SALES_ID
from tests.support.names import account_dn, cos_dn, domain_dn, zimbra_id

if TYPE_CHECKING:
    from ldapmilter.directory.backend.store import Scope
    from tests.contract.backends import BackEnd

TAGGED = "ldapMilterArchiveSentBcc"
TAGGED_DN = account_dn("tagged@example.test")
PEOPLE = f"ou=people,{domain_dn('example.test')}"
ACCOUNT = Equal("objectClass", "zimbraAccount")
DELIVERY = "zimbraMailDeliveryAddress"
STAR_DN = account_dn("st*r@example.test")
BLANK_DN = account_dn("blank@example.test")
OPTIONAL_DN = account_dn("optional@example.test")
BEA_DN = account_dn("bea@blank.test")
KATE_DN = account_dn("kate@example.test")
MIXED_DN = account_dn("mixed.case@example.test")

FILTERS: dict[str, tuple[Filter, list[str]]] = {
    "equality": (Equal(DELIVERY, ANN), [ANN_DN]),
    "equality on one of several values": (Equal("cn", "Ann"), [ANN_DN]),
    "attribute name in any case": (Equal("ZIMBRAmaildeliveryADDRESS", ANN), [ANN_DN]),
    "value in any case": (Equal(DELIVERY, "ANN@Example.TEST"), [ANN_DN]),
    "stored in mixed case": (Equal(DELIVERY, "mixed.case@example.test"), [MIXED_DN]),
    "non-ASCII letters in any case": (Equal("cn", "ÄNN aBLE"), [ANN_DN]),
    "blanks squeezed": (Equal("cn", " Änn   Able "), [ANN_DN]),
    "outer blanks of an address": (Equal(DELIVERY, f"  {ANN} "), [ANN_DN]),
    "a blank before the at sign is one": (Equal(DELIVERY, "ann @example.test"), []),
    "stored with an outer blank": (Equal("zimbraMailAlias", "LED@example.test"), [BLANK_DN]),
    "stored with two blanks": (Equal("zimbraMailAlias", "in side@example.test"), [BLANK_DN]),
    "asked with three blanks": (Equal("zimbraMailAlias", " in   side@example.test"), [BLANK_DN]),
    "stored in quotes": (Equal("zimbraMailAlias", '"QUOTED  one"@example.test'), [BLANK_DN]),
    "an address is ASCII": (Equal("zimbraMailAlias", "in\u00a0side@example.test"), []),
    "a tab is no blank": (Equal(DELIVERY, f"\t{ANN}"), []),
    "a tab is no blank inside": (Equal("zimbraMailAlias", "in\tside@example.test"), []),
    "a tab is no blank of a name": (Equal("cn", "\tÄnn Able"), []),
    "a hard blank of a name is a blank": (Equal("cn", "\u00c4nn\u00a0Able"), [ANN_DN]),
    "letters of a name that fold into ASCII": (And((ACCOUNT, Equal("cn", "\u212aate"))), [KATE_DN]),
    "compatible letters of a name": (Equal("cn", "\uff21nn"), [ANN_DN]),
    "a letter whose lower case is two": (Equal("cn", "ix"), [BLANK_DN]),
    "letters that become capital ones": (Equal("cn", "a\u2116b"), [BLANK_DN]),
    "are not those that they look like": (Equal("cn", "aNob"), []),
    "an id with blanks": (And((Present("cn"), Equal("zimbraId", f" {SALES_ID} "))), [cos_dn("sales")]),
    "a catch-all with blanks": (Equal("zimbraMailCatchAllAddress", "@blank.test"), [BEA_DN]),
    "an alias with an option": (Equal("zimbraMailAlias", "tongue@example.test"), [OPTIONAL_DN]),
    "decomposed letters": (Equal("displayName", "straßer e\u0301va"), [MIXED_DN]),
    "sharp s is one letter": (Equal("displayName", "Strasser Éva"), []),
    "non-ASCII never folds into ASCII": (Equal(DELIVERY, "\u212aate@example.test"), []),
    "zimbraId in any case": (
        And((Equal("zimbraId", SALES_ID.lower()), Equal("objectClass", "zimbracos"))),
        [cos_dn("sales")],
    ),
    "or": (Or((Equal(DELIVERY, ANN), Equal(DELIVERY, BOB), Equal(DELIVERY, "no@example.test"))), [ANN_DN, BOB_DN]),
    "or with itself": (Or((Equal(DELIVERY, ANN), Equal(DELIVERY, ANN), Equal("cn", "ann"))), [ANN_DN]),
    "any_of": (any_of(DELIVERY, [BOB, ANN]), [ANN_DN, BOB_DN]),
    "and": (And((ACCOUNT, Equal("cn", "ann"))), [ANN_DN]),
    "and that contradicts itself": (And((Equal(DELIVERY, ANN), Equal(DELIVERY, BOB))), []),
    "not": (And((any_of(DELIVERY, [ANN, BOB]), Not(Equal("uid", "ann")))), [BOB_DN]),
    "not, of an attribute that is not set": (
        And((any_of(DELIVERY, [ANN, BOB]), Not(Present("zimbraOldMailAddress")))),
        [BOB_DN],
    ),
    "presence": (And((ACCOUNT, Present("zimbraOldMailAddress"))), [ANN_DN]),
    "presence, with an option": (Present(TAGGED), [TAGGED_DN]),
    "equality, with an option": (Equal(TAGGED, "TAGGED@keep.test"), [TAGGED_DN]),
    "presence of what nobody has": (Present("zimbraArchiveAccount"), []),
    "initial": (Substring("displayName", ("ÄNN", "")), [ANN_DN]),
    "final": (Substring("displayName", ("", "éva")), [MIXED_DN]),
    "any": (Substring("displayName", ("", "(the", "")), [BOB_DN]),
    "several anys, in order": (Substring("displayName", ("b", "the", "\\", "er")), [BOB_DN]),
    "several anys, out of order": (Substring("displayName", ("b", "\\", "the", "er")), []),
    "parts may not overlap": (Substring("uid", ("ann", "ann")), []),
    "attribute that nobody knows": (Equal("noSuchAttributeAnywhere", "x"), []),
    "presence of an attribute that nobody knows": (Present("noSuchAttributeAnywhere"), []),
    "or with an attribute that nobody knows": (
        Or((Equal("noSuchAttributeAnywhere", "x"), Equal(DELIVERY, ANN))),
        [ANN_DN],
    ),
    "a star is a star": (Equal("mail", "st*r@example.test"), [STAR_DN]),
    "a star alone": (Equal("uid", "*"), []),
    "parentheses, star and backslash": (Equal("displayName", "bob (the *star*) \\ builder"), [BOB_DN]),
    "escapes inside a substring": (Substring("displayName", ("bob", "*star*", "")), [BOB_DN]),
    "an escape is text": (Equal("mail", "st\\2ar@example.test"), []),
    "breaking out": (Equal("uid", "ann)(objectClass=*"), []),
    "breaking out of an or": (Or((Equal("uid", "*)(uid=bob"), Equal("uid", "x))(|(uid=*"))), []),
    "NUL": (Equal("displayName", "a\x00b"), []),
    "NUL at the end": (Equal("uid", "ann\x00"), []),
    "empty value": (Equal("displayName", ""), []),
    "line ends": (Equal("displayName", "a\nb\r\n"), []),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds(store: Searcher, name: str) -> None:
    search_filter, expected = FILTERS[name]
    assert list(store.dns(search_filter)) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="*()\\\x00 |&!=aAn")))
def test_no_value_breaks_a_search_or_means_more_than_itself(store: Searcher, value: str) -> None:
    known = Equal("displayName", "Änn Able")
    for attribute in ("displayName", DELIVERY, "zimbraId"):
        found = store.dns(And((ACCOUNT, Or((Equal(attribute, value), known)))))
        assert ANN_DN in found
        assert len(found) <= 2
    assert store.dns(And((known, Equal("uid", value)))) == ([ANN_DN] if value.strip().lower() == "ann" else [])


SCOPES: dict[str, tuple[str, Scope, Filter, list[str]]] = {
    "base": (ANN_DN, "base", Present("objectClass"), [ANN_DN]),
    "base, no match": (ANN_DN, "base", Equal("uid", "bob"), []),
    "base in any case and with blanks": (
        "UID=Ann, OU=People, DC=example,  DC=test",
        "base",
        Present("objectClass"),
        [ANN_DN],
    ),
    "one is not the base": (PEOPLE, "one", Equal("ou", "people"), []),
    "one": (PEOPLE, "one", Equal("uid", "ann"), [ANN_DN]),
    "one is not deeper": (domain_dn("example.test"), "one", ACCOUNT, []),
    "one at the top": ("", "one", Present("objectClass"), ["cn=zimbra", "dc=test"]),
    "sub holds the base": (ANN_DN, "sub", ACCOUNT, [ANN_DN]),
    "sub": (domain_dn("sub.example.test"), "sub", ACCOUNT, [account_dn("sue@sub.example.test")]),
    "sub of everything": ("", "sub", Equal("cn", "config"), ["cn=config,cn=zimbra"]),
    "sub of another tree": ("cn=zimbra", "sub", Equal(DELIVERY, ANN), []),
}
MISSING: list[tuple[str, Scope]] = [
    ("dc=missing,dc=test", "base"),
    ("dc=missing,dc=test", "one"),
    ("dc=missing,dc=test", "sub"),
    ("dc=missing", "sub"),
    ("dc=xample,dc=test", "sub"),
    ("cn=missing,cn=zimbra", "sub"),
]


@pytest.mark.parametrize("name", SCOPES)
def test_a_scope_reaches(store: Searcher, name: str) -> None:
    base, scope, search_filter, expected = SCOPES[name]
    assert list(store.dns(search_filter, base=base, scope=scope)) == sorted(expected)


@pytest.mark.parametrize(("base", "scope"), MISSING)
def test_a_base_that_is_not_there_may_be_hidden(store: Searcher, base: str, scope: Scope) -> None:
    with pytest.raises(DirectoryUnavailable, match=base):
        store.raws(Present("objectClass"), base=base, scope=scope)
    with pytest.raises(DirectoryUnavailable, match=base):
        list(store.store.pages(base, scope, Present("objectClass"), ("cn",), Deadline.after(LIMIT, store.clock)))


def test_only_what_was_asked_for_comes_back_with_lower_case_names(store: Searcher) -> None:
    (raw,) = store.raws(Equal(DELIVERY, ANN), "displayName", "ZIMBRAMAILALIAS", "zimbraArchiveAccount")
    assert raw.dn.lower() == ANN_DN
    assert set(raw.attributes) == {"displayname", "zimbramailalias"}
    assert raw.all("displayname") == ("Änn Able",)
    assert sorted(raw.all("zimbramailalias")) == ["a.able@example.test", "both@example.test"]


def test_an_attribute_that_nobody_knows_is_not_there(store: Searcher) -> None:
    (raw,) = store.raws(Equal(DELIVERY, ANN), "noSuchAttributeAnywhere", "uid")
    assert raw.attributes == {"uid": ("ann",)}


def test_nothing_known_asked_for_is_an_entry_without_attributes(store: Searcher) -> None:
    (raw,) = store.raws(Equal(DELIVERY, ANN), "noSuchAttributeAnywhere")
    assert (raw.dn.lower(), dict(raw.attributes)) == (ANN_DN, {})


def test_every_value_is_plain_text(store: Searcher) -> None:
    wanted = ("zimbraId", "zimbraIsExternalVirtualAccount", "displayName", "zimbraMailForwardingAddress")
    for raw in store.raws(ACCOUNT, *wanted, base=domain_dn("example.test")):
        assert all(type(value) is str for values in raw.attributes.values() for value in values)
    (visitor,) = store.raws(Equal(DELIVERY, "visitor@example.test"), *wanted)
    assert visitor.is_true("zimbraisexternalvirtualaccount")
    assert visitor.first("zimbraid") == zimbra_id("account", "visitor@example.test")


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("dyn@example.test", [ANN_DN, BOB_DN, f"cn=external,{DYN_DN}"]),
        ("dyn.__internal__@example.test", [ANN_DN, BOB_DN]),
        (
            "engineers@example.test",
            [BOB_DN, account_dn("boardroom@example.test"), f"uid=plus\\2Btag,{PEOPLE}".lower()],
        ),
        ("titled@example.test", [account_dn("sue@sub.example.test")]),
        ("nobodies@example.test", []),
    ],
)
def test_member_is_made_when_it_is_asked_for(store: Searcher, group: str, members: list[str]) -> None:
    (raw,) = store.raws(Equal("zimbraMailAlias", group), "member")
    assert sorted(dn.lower() for dn in raw.all("member")) == sorted(members)
    (without,) = store.raws(Equal("zimbraMailAlias", group), "cn")
    assert set(without.attributes) == {"cn"}


def test_lists_have_no_member(store: Searcher) -> None:
    (raw,) = store.raws(Equal("zimbraMailAlias", "all@example.test"), "member", "uid")
    assert raw.attributes == {"uid": ("all",)}


def test_more_than_a_thousand_entries_and_values(store: Searcher) -> None:
    found = store.raws(And((ACCOUNT, Substring(DELIVERY, ("", "@bulk.test")))), DELIVERY)
    assert len({raw.first("zimbramaildeliveryaddress") for raw in found}) == BULK
    assert len(found) == BULK
    (everybody,) = store.raws(Equal("zimbraMailAlias", "everybody@bulk.test"), "zimbraMailForwardingAddress")
    assert len(set(everybody.all("zimbramailforwardingaddress"))) == BULK
    (crowd,) = store.raws(Equal("zimbraMailAlias", "crowd@bulk.test"), "member")
    assert len(set(crowd.all("member"))) == BULK + 1


def test_many_assertions_in_one_search(store: Searcher) -> None:
    keys = [f"user{number}@bulk.test" for number in range(0, BULK, 2)]
    assert len(store.dns(any_of(DELIVERY, keys))) == len(keys)


def test_every_transport_answers_alike(transport: BackEnd) -> None:
    with transport.opened() as opened:
        searcher = Searcher(opened.store, transport.clock)
        for search_filter, expected in FILTERS.values():
            assert list(searcher.dns(search_filter)) == sorted(expected)
        for base, scope, search_filter, expected in SCOPES.values():
            assert list(searcher.dns(search_filter, base=base, scope=scope)) == sorted(expected)
        assert len(searcher.dns(Substring(DELIVERY, ("", "@bulk.test")))) == BULK


def test_values_with_options_come_under_their_own_names(store: Searcher) -> None:
    (entry,) = store.raws(Equal(TAGGED, "tagged@keep.test"), TAGGED, base=PEOPLE)
    assert dict(entry.attributes) == {"ldapmilterarchivesentbcc;lang-en": ("tagged@keep.test",)}
    assert entry.all("ldapmilterarchivesentbcc") == ()
    assert entry.with_options == ("ldapmilterarchivesentbcc;lang-en",)
