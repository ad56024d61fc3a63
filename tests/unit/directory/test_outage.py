"""What a message learns while the directory fails, and when what it holds changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.errors import DirectoryUnavailable
from tests.contract.asking import address, entry, names, resolved, who
from tests.support.builders import account, alias_domain, cos, custom_group, domain, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.directory.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.directory.zimbra import MessageDirectory
    from tests.support.record import Record

ANN, BOB, TEAM = "ann@example.test", "bob@example.test", "team@example.test"


def records(*, archive: str = "old@vault.test", members: tuple[str, ...] = (ANN,)) -> list[Record]:
    """Return a small directory; ann and bob have the COS sales, team applies to its members."""
    sales = zimbra_id("cos", "sales")
    return [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test"),
        *cos("sales", ldapMilterArchiveBcc=archive),
        *domain("example.test"),
        *alias_domain("alias.test", "example.test"),
        *account(ANN, cos_id=sales),
        *account(BOB, cos_id=sales),
        *static_list(TEAM, members, ldapMilterAppliesToMembers=True, ldapMilterLegalBcc="team@vault.test"),
        *custom_group("custom@example.test", "ldap:///??sub?(uid=ann)"),
    ]


def archives(view: MessageDirectory, text: str) -> tuple[str, ...]:
    one = entry(view, text)
    return tuple(value for holder in view.chains([one])[one.dn] for value in holder.values("ldapMilterArchiveBcc"))


def policy_groups(view: MessageDirectory, text: str) -> int:
    one = entry(view, text)
    return sum(holder.level == "policy-group" for holder in view.chains([one])[one.dn])


def behind(view: MessageDirectory, text: str) -> set[str]:
    one = entry(view, text)
    return set(who(view.expand([one])[one.dn]))


QUESTIONS: dict[str, Callable[[MessageDirectory], object]] = {
    "hosts": lambda view: view.hosts("example.test"),
    "login": lambda view: view.login(ANN),
    "sender": lambda view: view.sender(address(ANN)),
    "resolve": lambda view: view.resolve([address(ANN)]),
    "outsider": lambda view: view.resolve([address("somebody@outside.test")]),
    "domain chain": lambda view: view.domain_chain("example.test"),
    "mailbox host": lambda view: view.is_mailbox_host("192.0.2.1"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_nothing_known_is_unavailable_never_absent(question: str) -> None:
    scene = Scene(records())
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        QUESTIONS[question](scene.view())


@pytest.mark.parametrize("question", ["login", "sender", "resolve"])
def test_an_entry_that_was_never_read_is_unavailable(question: str) -> None:
    scene = Scene(records())
    scene.view().hosts("example.test")
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        QUESTIONS[question](scene.view())


def test_a_cos_that_was_never_read_is_unavailable_not_the_default() -> None:
    scene = Scene(records(members=()))
    view = scene.view()
    ann = entry(view, ANN)
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        scene.view().chains([ann])


@pytest.mark.parametrize("group", [TEAM, "custom@example.test"])
def test_members_that_were_never_read_are_unavailable(group: str) -> None:
    scene = Scene(records())
    view = scene.view()
    one = entry(view, group)
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        scene.view().expand([one])


def test_lenient_goes_on_with_what_is_known() -> None:
    scene = Scene(records())
    resolved(scene.view(), ANN)
    scene.store.down = True
    view = scene.view(lenient=True)
    found = view.resolve([address(ANN), address(BOB), address("x@outside.test")])
    assert names(found[ANN]) == [ANN]
    assert found[ANN].known
    assert not found[BOB].known
    assert found[BOB].entries == ()
    assert found[BOB].hosted_domain == "example.test"
    assert found["x@outside.test"].known
    assert view.failures
    assert scene.view(lenient=True).failures == ()


def test_a_strict_view_lists_no_failures() -> None:
    scene = Scene(records())
    view = scene.view()
    resolved(view, ANN)
    assert view.failures == ()


def test_stale_entries_and_domains_stand_in() -> None:
    scene = Scene(records())
    fresh = scene.view()
    expected = (archives(fresh, ANN), policy_groups(fresh, ANN), behind(fresh, TEAM))
    assert not fresh.stale
    scene.clock.now += 500
    scene.store.down = True
    view = scene.view()
    assert view.hosts("alias.test")
    assert not view.hosts("outside.test")
    assert names(view.login("ann")) == [ANN]
    assert (archives(view, ANN), policy_groups(view, ANN), behind(view, TEAM)) == expected
    assert view.stale


@pytest.mark.parametrize("age", [21, 99, 500])
def test_a_recipient_that_is_known_is_all_that_is_needed(age: float) -> None:
    """Whether the domain has a catch-all decides nothing where the address itself has an entry."""
    scene = Scene(records())
    assert names(resolved(scene.view(), ANN)) == [ANN]
    scene.clock.now += age
    scene.store.down = True
    assert names(resolved(scene.view(), ANN)) == [ANN]


def test_members_that_are_known_are_all_that_is_needed() -> None:
    scene = Scene(records())
    assert behind(scene.view(), TEAM) == {ANN}
    scene.clock.now += 500
    scene.store.down = True
    assert behind(scene.view(), TEAM) == {ANN}


def test_stale_ends_with_stale_ttl() -> None:
    scene = Scene(records())
    resolved(scene.view(), ANN)
    scene.clock.now += 1001
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        resolved(scene.view(), ANN)


@pytest.mark.parametrize("text", ["nobody@example.test", "nobody@alias.test"])
def test_no_such_entry_is_never_served_stale(text: str) -> None:
    scene = Scene(records())
    assert names(resolved(scene.view(), text)) == []
    scene.clock.now += 21
    scene.store.down = True
    with pytest.raises(DirectoryUnavailable):
        resolved(scene.view(), text)
    with pytest.raises(DirectoryUnavailable):
        scene.view().login(text)
    with pytest.raises(DirectoryUnavailable):
        scene.view().sender(address(text))


def test_a_view_that_was_fresh_is_not_called_stale() -> None:
    scene = Scene(records())
    resolved(scene.view(), ANN)
    scene.store.down = True
    view = scene.view()
    assert names(resolved(view, ANN)) == [ANN]
    assert not view.stale


# -- changes --------------------------------------------------------------------------------


def test_a_change_shows_after_the_time_to_live() -> None:
    scene = Scene(records())
    assert archives(scene.view(), ANN) == ("old@vault.test",)
    scene.store.fill(records(archive="new@vault.test"))
    assert archives(scene.view(), ANN) == ("old@vault.test",)
    scene.clock.now += 101
    assert archives(scene.view(), ANN) == ("new@vault.test",)


def test_a_flushed_cos_acts_at_once_for_all_its_accounts() -> None:
    scene = Scene(records())
    for name in (ANN, BOB):
        assert archives(scene.view(), name) == ("old@vault.test",)
    scene.store.fill(records(archive="new@vault.test"))
    scene.cache.flush()
    for name in (ANN, BOB):
        assert archives(scene.view(), name) == ("new@vault.test",)


def test_a_flush_shows_new_members_and_whom_a_policy_group_applies_to() -> None:
    scene = Scene(records(members=(ANN,)))
    view = scene.view()
    assert (behind(view, TEAM), policy_groups(view, ANN), policy_groups(view, BOB)) == ({ANN}, 1, 0)
    scene.store.fill(records(members=(BOB,)))
    scene.cache.flush()
    view = scene.view()
    assert (behind(view, TEAM), policy_groups(view, ANN), policy_groups(view, BOB)) == ({BOB}, 0, 1)


def test_an_account_that_was_just_made_can_log_in_at_once() -> None:
    scene = Scene([one for one in records() if not one.dn.startswith("uid=bob")])
    assert names(scene.view().login(BOB)) == []
    scene.store.fill(records())
    assert names(scene.view().login(BOB)) == [BOB]
    assert names(resolved(scene.view(), BOB)) == [BOB]


def test_a_directory_that_shows_no_domain_hides_them() -> None:
    scene = Scene([one for one in records() if not one.dn.startswith("dc=")])
    with pytest.raises(DirectoryUnavailable):
        scene.view().hosts("example.test")
