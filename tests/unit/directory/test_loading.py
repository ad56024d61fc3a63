"""An entry that the server returns fits a question, or nobody knows whom it means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.keys import SITE, GroupMembers, Key
from ldapmilter.directory.searches import Loading
from ldapmilter.directory.searching import Searching
from ldapmilter.directory.trace import Trace
from ldapmilter.errors import DirectoryUnavailable
from tests.support.fake_store import FakeStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.searches import Search

    Load = Callable[[Collection[CacheKey], Search], object]

LOADING = Loading(policy_attributes=("ldapMilterLegalBcc",), search_base="")
DN = "uid=ann,ou=people,dc=example,dc=test"
ANN = "ann@example.test"


def entry(dn: str = DN, /, **attributes: str | Sequence[str]) -> RawEntry:
    return RawEntry(dn, {name.lower(): (v,) if isinstance(v, str) else tuple(v) for name, v in attributes.items()})


def without(raw: RawEntry, hidden: Collection[str]) -> RawEntry:
    return RawEntry(raw.dn, {name: values for name, values in raw.attributes.items() if name not in hidden})


def answering(*raws: RawEntry, hidden: Collection[str] = ()) -> Search:
    """Return a search that finds entries by all that they have, and shows of them what is not hidden."""
    store = FakeStore()
    store.hold(raws)
    store.shows = lambda raw: without(raw, hidden)
    deadline = Deadline.after(60, time.monotonic)
    return Searching(store, deadline, Trace(deadline), next_server_first=False)


def account(**more: str | Sequence[str]) -> RawEntry:
    return entry(
        objectClass="zimbraAccount", zimbraMailDeliveryAddress=ANN, zimbraMailAlias="a.able@example.test", **more
    )


SOMEBODY = account(zimbraId="7", zimbraMemberOf="42")
GROUP = entry(
    "cn=g,dc=example,dc=test", objectClass="zimbraGroup", zimbraId="42", member=DN, zimbraMailAlias="g@x.test"
)
UNIT = entry("cn=external,cn=g,dc=test", objectClass="zimbraGroupStaticUnit", zimbraGroupId="42")
COS = entry("cn=sales,cn=cos,cn=zimbra", objectClass="zimbraCOS", cn="sales", zimbraId="3")
DOMAIN = entry("dc=example,dc=test", objectClass="zimbraDomain", zimbraDomainName="example.test")


@pytest.mark.parametrize(
    ("load", "keys", "raw", "hidden"),
    [
        (LOADING.members, ["a.able@example.test"], SOMEBODY, {"zimbramailalias"}),
        (LOADING.members, [ANN, "a.able@example.test"], SOMEBODY, {"zimbramailalias", "zimbramaildeliveryaddress"}),
        (
            LOADING.members,
            ["@example.test"],
            account(zimbraMailCatchAllAddress="@example.test"),
            {"zimbramailcatchalladdress"},
        ),
        (LOADING.members, [Key("managed", "42")], SOMEBODY, {"zimbramemberof"}),
        (LOADING.members, [Key("managed", "42")], UNIT, {"zimbragroupid"}),
        (LOADING.members, [Key("custom", "42")], GROUP, {"zimbraid"}),
        (LOADING.by_id, [Key("id", "7")], SOMEBODY, {"zimbraid"}),
        (LOADING.cos, [Key("cos", "3")], COS, {"zimbraid"}),
        (LOADING.cos, [Key("cos-name", "sales")], COS, {"cn"}),
    ],
)
def test_an_entry_that_fits_nothing_is_no_answer(
    load: Load, keys: Collection[CacheKey], raw: RawEntry, hidden: Collection[str]
) -> None:
    assert load(keys, answering(raw))
    with pytest.raises(DirectoryUnavailable, match=raw.dn):
        load(keys, answering(raw, DOMAIN, hidden=hidden))


def test_a_domain_without_a_name_is_none_of_those_that_have_one() -> None:
    other = entry("dc=hidden,dc=test", objectClass="zimbraDomain")
    with pytest.raises(DirectoryUnavailable, match="dc=hidden,dc=test"):
        LOADING.site([SITE], answering(DOMAIN, other))


def test_a_member_without_any_name_is_no_answer() -> None:
    nameless = entry("zimbraId=7,cn=x", objectClass="zimbraAccount", zimbraMemberOf="42")
    with pytest.raises(DirectoryUnavailable, match="zimbraId=7,cn=x"):
        LOADING.members([Key("managed", "42")], answering(nameless))


def test_what_fits_but_is_nobody_is_nobody() -> None:
    """The domain itself has the catch-all of an alias domain; any object may have an id."""
    domain = entry("dc=a,dc=test", objectClass="zimbraDomain", zimbraMailCatchAllAddress="@a.test", zimbraId="7")
    assert LOADING.members(["@a.test"], answering(domain)) == {"@a.test": ()}
    assert LOADING.by_id([Key("id", "7")], answering(domain)) == {}


def test_namesakes_of_members_fit() -> None:
    """A member is looked for by the name in its DN, which others have, too."""
    namesake = entry("uid=ann,ou=people,dc=other,dc=test", objectClass="zimbraAccount", uid="ann",
                     zimbraMailDeliveryAddress="ann@other.test")  # fmt: skip
    alias = entry("uid=ann,ou=people,dc=third,dc=test", objectClass="zimbraAlias", uid="ann")
    group = Key("custom", "42")
    found = LOADING.members([group], answering(GROUP, account(uid="ann"), namesake, alias))[group]
    assert isinstance(found, GroupMembers)
    assert [one.dn for one in found.entries] == [DN]


def test_a_unit_asked_for_by_its_address_is_no_member_of_its_group() -> None:
    unit = entry(
        "cn=internal,cn=g,dc=test", objectClass="zimbraGroupDynamicUnit", zimbraGroupId="42", zimbraMailAlias="u@x.test"
    )
    found = LOADING.members([Key("managed", "42"), "u@x.test"], answering(unit, UNIT))
    assert found[Key("managed", "42")] == GroupMembers()
    assert [one.dn for one in found["u@x.test"]] == [unit.dn]  # type: ignore[union-attr]


TONGUE = RawEntry(DN, {**account().attributes, "zimbramailalias;x-a": ("tongue@example.test",)})


@pytest.mark.parametrize(
    ("load", "key", "raw"),
    [
        (LOADING.members, "in side@example.test", account(zimbraOldMailAddress=" IN  side@example.test")),
        (LOADING.members, '"in side"@example.test', account(zimbraOldMailAddress='"In   side"@example.test')),
        (LOADING.members, "tongue@example.test", TONGUE),
        (LOADING.members, "@example.test", account(zimbraMailCatchAllAddress=" @EXAMPLE.test ")),
        (LOADING.members, Key("managed", "a b"), account(zimbraMemberOf=" A  B")),
        (LOADING.by_id, Key("id", "a b"), account(zimbraId=" A  B")),
        (LOADING.cos, Key("cos", "a b"), entry(COS.dn, objectClass="zimbraCOS", zimbraId="A  B ")),
        (LOADING.cos, Key("cos-name", "a b"), entry(COS.dn, objectClass="zimbraCOS", cn=["other", " A  B"])),
    ],
)  # fmt: skip
def test_values_fit_as_the_server_compares_them(load: Load, key: CacheKey, raw: RawEntry) -> None:
    found = load([key], answering(raw))
    assert isinstance(found, dict)
    assert found[key] not in ((), GroupMembers(), None)
