"""Who is behind a group or a forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.asking import entry, expansion, names, who
from tests.contract.crowd import BULK, EVERYBODY
from tests.contract.shapes import ANN, BOB, DEEPEST, LONG_MEMBER, LOOSE

if TYPE_CHECKING:
    from ldapmilter.directory.zimbra import MessageDirectory
    from tests.contract.backends import BackEnd

ANNS = {"ann-home@isp.test", "ann2@isp.test"}
BOBS = {"bob-pager@isp.test", "bob-desk@isp.test"}


def direct(view: MessageDirectory, text: str) -> dict[str, tuple[str, ...]]:
    """Return the members that are reached without anybody's forward."""
    found = expansion(view, text)
    assert found.truncated is None
    return {member.resolution.address.key: member.path for member in found.members if not member.by_forward}


def forwarded(view: MessageDirectory, text: str) -> dict[str, tuple[str, ...]]:
    found = expansion(view, text)
    assert found.truncated is None
    return {member.resolution.address.key: member.path for member in found.members if member.by_forward}


def test_a_static_list_with_a_nested_one_a_cycle_and_outsiders(view: MessageDirectory) -> None:
    top, nested = ("all@example.test",), ("all@example.test", "eng@example.test")
    members = direct(view, "all@example.test")
    # Whether the list that comes back to itself is called its own member is nobody's business.
    members.pop("all@example.test", None)
    assert members == {
        "eng@example.test": top,
        BOB: top,
        "consultant@outside.test": top,
        "no address at all@example.test": top,
        "a.able@example.test": nested,
    }


def test_nested_groups_and_outsiders_are_told_apart(view: MessageDirectory) -> None:
    by_address = {
        member.resolution.address.key: member.resolution for member in expansion(view, "all@example.test").members
    }
    eng = by_address["eng@example.test"].entry
    assert eng is not None
    assert eng.kind == "group"
    assert names(by_address["a.able@example.test"]) == [ANN]
    assert by_address["consultant@outside.test"].entries == ()
    assert by_address["consultant@outside.test"].hosted_domain is None
    assert by_address["consultant@outside.test"].address.text == "Consultant@outside.test"


def test_a_list_is_entered_by_any_of_its_addresses(view: MessageDirectory) -> None:
    by_alias = expansion(view, "everyone@alias.test")
    assert who(by_alias) == who(expansion(view, "all@example.test"))


def test_members_spelled_in_alias_domains(view: MessageDirectory) -> None:
    found = {
        member.resolution.address.key: names(member.resolution)
        for member in expansion(view, "partners@example.test").members
        if not member.by_forward
    }
    assert found == {
        "ann@alias.test": [ANN],
        "boardroom@prov.test": ["boardroom@example.test"],
        "dora@fwd.test": ["dora@example.test"],
    }


def test_an_id_with_blanks_makes_a_member(view: MessageDirectory) -> None:
    assert set(direct(view, "blankdyn@example.test")) == {"blank@example.test"}


def test_members_spelled_as_delivery_and_slapd_read_them(view: MessageDirectory) -> None:
    found = {
        member.resolution.address.key: names(member.resolution)
        for member in expansion(view, LOOSE).members
        if not member.by_forward
    }
    assert found == {
        ANN: [ANN],
        LONG_MEMBER: [BOB],
        "in side@example.test": ["blank@example.test"],
        "tongue@example.test": ["optional@example.test"],
        # Postfix reads two addresses in the value with a blank, of which one is a word: whoever that may be.
        "side@example.test": [],
        "in side@example.test@example.test": [],
    }


def test_a_managed_dynamic_group_has_accounts_and_outsiders(view: MessageDirectory) -> None:
    path = ("dyn@example.test",)
    assert direct(view, "dyn@example.test") == {
        ANN: path,
        BOB: path,
        "guest@outside.test": path,
        "zoe@other.test": path,
    }


def test_the_unit_address_has_the_accounts_only(view: MessageDirectory) -> None:
    assert set(direct(view, "dyn.__internal__@example.test")) == {ANN, BOB}


def test_a_custom_dynamic_group_has_whom_its_search_finds(view: MessageDirectory) -> None:
    path = ("engineers@example.test",)
    assert direct(view, "engineers@example.test") == {
        BOB: path,
        "boardroom@example.test": path,
        "plus+tag@example.test": path,
    }
    assert set(direct(view, "titled@example.test")) == {"sue@sub.example.test"}


@pytest.mark.parametrize("group", ["empty@example.test", "nobodies@example.test"])
def test_nobody_is_behind_an_empty_group(view: MessageDirectory, group: str) -> None:
    assert expansion(view, group).members == ()
    assert expansion(view, group).truncated is None


def test_dynamic_groups_inside_a_list(view: MessageDirectory) -> None:
    assert direct(view, "umbrella@example.test") == {
        "dynamic@example.test": ("umbrella@example.test",),
        "engineers@example.test": ("umbrella@example.test",),
        ANN: ("umbrella@example.test", "dyn@example.test"),
        BOB: ("umbrella@example.test", "dyn@example.test"),
        "guest@outside.test": ("umbrella@example.test", "dyn@example.test"),
        "zoe@other.test": ("umbrella@example.test", "dyn@example.test"),
        "boardroom@example.test": ("umbrella@example.test", "engineers@example.test"),
        "plus+tag@example.test": ("umbrella@example.test", "engineers@example.test"),
    }
    assert set(direct(view, "inside@example.test")) == {"dyn.__internal__@example.test", ANN, BOB}


def test_members_behind_a_catch_all_and_two_entries(view: MessageDirectory) -> None:
    caught = {
        member.resolution.address.key: names(member.resolution)
        for member in expansion(view, "catching@example.test").members
    }
    assert caught == {"nobody@other.test": ["catcher@other.test"], "olga@other.test": ["olga@other.test"]}
    (twins,) = expansion(view, "twins@example.test").members
    assert names(twins.resolution) == ["twin1@example.test", "twin2@example.test"]


def test_the_forwards_of_an_account(view: MessageDirectory) -> None:
    assert direct(view, ANN) == {}
    found = forwarded(view, ANN)
    assert set(found) == {*ANNS, BOB, *BOBS}
    assert {found[target] for target in ANNS} == {(ANN,)}
    assert {found[target] for target in BOBS} == {(ANN, BOB)}


def test_the_administrators_forwards(view: MessageDirectory) -> None:
    assert forwarded(view, BOB) == dict.fromkeys(BOBS, (BOB,))


def test_an_account_without_forwards_has_nobody_behind_it(view: MessageDirectory) -> None:
    assert expansion(view, "carl@example.test").members == ()


def test_forwards_of_members_are_told_from_members(view: MessageDirectory) -> None:
    assert set(forwarded(view, "all@example.test")) == ANNS | BOBS
    found = forwarded(view, "all@example.test")
    assert found["ann2@isp.test"] == ("all@example.test", "eng@example.test", ANN)
    assert found["bob-pager@isp.test"] == ("all@example.test", BOB)


def test_accounts_that_forward_to_each_other_end_quietly(view: MessageDirectory) -> None:
    assert "pong@example.test" in forwarded(view, "ping@example.test")
    assert "ping@example.test" in forwarded(view, "pong@example.test")


def test_many_groups_at_once(view: MessageDirectory) -> None:
    spelled = [
        "all@example.test",
        "eng@example.test",
        "dyn@example.test",
        "empty@example.test",
        ANN,
        "carl@example.test",
    ]
    entries = [entry(view, text) for text in spelled]
    together = view.expand(entries)
    assert set(together) == {one.dn for one in entries}
    for one in entries:
        assert who(together[one.dn]) == who(view.expand([one])[one.dn])


def test_more_than_a_thousand_members(view: MessageDirectory) -> None:
    everybody = {f"user{number}@bulk.test" for number in range(BULK)}
    for group in (EVERYBODY, "crowd@bulk.test"):
        found = expansion(view, group)
        assert found.truncated is None
        assert set(who(found)) == everybody
        assert all(member.resolution.entry is not None for member in found.members)


@pytest.mark.parametrize("group", [EVERYBODY, "crowd@bulk.test"])
def test_too_many_members_are_truncated_and_the_group_is_named(backend: BackEnd, group: str) -> None:
    with backend.opened(f"[groups]\nmax_members = {BULK - 1}\n") as opened:
        found = expansion(opened.directory.for_message(), group)
        assert found.truncated is not None
        assert group in found.truncated
        assert "max_members" in found.truncated


@pytest.mark.parametrize("group", [EVERYBODY, "crowd@bulk.test"])
def test_exactly_as_many_members_as_allowed_are_all_there(backend: BackEnd, group: str) -> None:
    with backend.opened(f"[groups]\nmax_members = {BULK}\n") as opened:
        found = expansion(opened.directory.for_message(), group)
        assert found.truncated is None
        assert len(found.members) == BULK


def test_too_deep_a_nesting_is_truncated_and_a_group_is_named(backend: BackEnd) -> None:
    with backend.opened("[groups]\nmax_depth = 3\n") as opened:
        view = opened.directory.for_message()
        found = expansion(view, "deep1@example.test")
        assert found.truncated is not None
        assert "deep" in found.truncated
        assert "max_depth" in found.truncated
        assert expansion(view, f"deep{DEEPEST - 1}@example.test").truncated is None


def test_a_nesting_within_the_bound_is_whole(view: MessageDirectory) -> None:
    members = direct(view, "deep1@example.test")
    assert members[BOB] == tuple(f"deep{level}@example.test" for level in range(1, DEEPEST + 1))


def test_a_cycle_is_no_depth(backend: BackEnd) -> None:
    with backend.opened("[groups]\nmax_depth = 3\n") as opened:
        assert expansion(opened.directory.for_message(), "eng@example.test").truncated is None
