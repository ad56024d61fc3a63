"""Which connections ask the MTA to let the envelope sender be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.sender_changes import SenderChanges
from ldapmilter.directory.flush import flush_addresses
from ldapmilter.opening import OpenDirectory
from tests.unit.policy.test_lists import STAFF, records, world
from tests.unit.policy.world import ANN, Message

if TYPE_CHECKING:
    from tests.unit.policy.world import World

BOUNCES: dict[str, Any] = {"ldapMilterListBounces": ANN}


def active(here: World) -> ActiveConfiguration:
    opened = OpenDirectory(
        directory=here.directory,
        cache=here.cache,
        store=here.store,
        executor=None,
        loads=None,
        described="a test",
        embedded=True,
    )
    return ActiveConfiguration(config=here.config, opened=opened)


def read(here: World) -> None:
    """Let the site be read, as every first message does."""
    here.decide(Message(to=[ANN]))


def test_until_the_site_is_known_such_a_message_may_come() -> None:
    assert SenderChanges().may_come(active(world({})))


@pytest.mark.parametrize(
    ("staff", "on_domain", "expected"),
    [({}, {}, False), ({"ldapMilterListTag": "[x]"}, {}, False), (BOUNCES, {}, True), ({}, BOUNCES, True)],
)
def test_it_may_come_where_a_list_or_domain_has_an_address_for_bounces(
    staff: dict[str, Any], on_domain: dict[str, Any], *, expected: bool
) -> None:
    here = world(staff, on_domain=on_domain)
    read(here)
    assert SenderChanges().may_come(active(here)) is expected


def test_asking_costs_no_search() -> None:
    here = world(BOUNCES)
    read(here)
    before = here.store.searches
    SenderChanges().may_come(active(here))
    assert here.store.searches == before


def test_a_message_that_needs_it_teaches_until_the_site_is_read_again() -> None:
    here = world({})
    read(here)
    changes, now = SenderChanges(), active(here)
    assert not changes.may_come(now)
    changes.met(now)
    assert changes.may_come(now)
    here.cache.flush()
    read(here)
    assert not changes.may_come(now)


def test_a_flush_of_the_list_tells_of_its_first_address() -> None:
    """Else the first post would be deferred, in every worker."""
    here = world({})
    read(here)
    changes = SenderChanges()
    here.replace(records(BOUNCES))
    flush_addresses(here.cache, [STAFF], here.directory.present)
    assert changes.may_come(active(here))
    read(here)
    assert changes.may_come(active(here))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "observe"}, False),
        ({"mode": "pass"}, False),
        ({"bounces_attributes": ""}, False),
        ({"bounces_attributes": "businessCategory"}, True),
    ],
)
def test_what_the_configuration_says_comes_first(options: dict[str, str], *, expected: bool) -> None:
    here = world({}, options={"lists": options})
    read(here)
    assert SenderChanges().may_come(active(here)) is expected


def test_a_list_with_an_address_is_no_policy_group() -> None:
    here = world({"ldapMilterListBounces": ANN, "ldapMilterArchiveBcc": "vault@keep.example"})
    assert here.decide(Message(to=["joe@elsewhere.example"])).copies == ()
    assert here.decide(Message(to=[STAFF])).copies != ()
