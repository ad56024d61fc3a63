"""A change that is told acts on the next decision, and costs nobody else anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.directory.backend.filters import Present
from ldapmilter.directory.backend.store import Deadline
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.directory.test_flush import (
    APPLIES,
    ARCHIVE,
    CAROL,
    CREW,
    LIST,
    NEW,
    OLD,
    SALES_ID,
    TEAM,
    WAYS_IN,
    policy_of,
)
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, BOB, JOE, Message, World, addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from tests.support.record import Record

FOLLOWS: Final = {"ldap": {"uri": "ldap://127.0.0.1:1", "starttls": "no"}}
ENGINEERS: Final = "ldap:///ou=people,dc=example,dc=com??sub?(title=engineer)"


def entries_of(world: World) -> dict[str, RawEntry]:
    """Return what the directory holds, as far as the searches ask for it, by name."""
    wanted = world.directory._reader._loading.asked.all
    found = world.store._holding.search("", "sub", Present("objectClass"), wanted, Deadline.after(1, world.clock))
    return {raw.dn: raw for raw in found}


def all_attributes(world: World) -> dict[str, RawEntry]:
    return dict(world.store._holding._entries)


class Followed:
    """A world that is told what changed in it."""

    def __init__(self, before: Iterable[Record], after: Iterable[Record]) -> None:
        after = list(after)
        self.world = World(before, FOLLOWS)
        self.fresh = World(after, FOLLOWS)
        self._after = after

    def change(self) -> int:
        """Let the directory change, and tell the entries that did."""
        before = all_attributes(self.world)
        self.world.replace(self._after)
        after, shown = all_attributes(self.world), entries_of(self.world)
        told = [shown[raw.dn] for dn, raw in after.items() if before.get(dn) != raw]
        return self.world.directory.changed(told)


def sent(world: World, login: str = ANN) -> list[str]:
    return addresses(world.decide(Message(login=login)))


def received(world: World, to: str) -> list[str]:
    return addresses(world.decide(Message(login=None, sender=JOE, to=[to])))


def outcome(world: World) -> list[object]:
    """Return what becomes of mail of many kinds."""
    names = (ANN, "a.able@example.com", "ann@example.org", "old.ann@example.com", BOB, CAROL, "fresh@example.org",
             CREW, TEAM, LIST, "all@example.com", "any@catchall.example", "custom@example.com", "inner@example.com",
             "nobody@example.com", "anew@example.com", "anna@example.org")  # fmt: skip
    found: list[object] = [received(world, name) for name in names]
    found += [sent(world, name) for name in (ANN, BOB, CAROL)]
    found += [world.decide(Message(headers=[("From", value)])).verdict for value in (BOB, CAROL, "ann@own.example.net")]
    return found


OFTEN: Final = 2.0
"""Seconds between two readings of what every change may outdate."""
CALLED: Final = {"zimbraMailAlias": "anna@example.com", "zimbraMailCatchAllAddress": "@example.com"}
JOINED: Final = {"zimbraMemberOf": zimbra_id("group", CREW)}
ENFORCED: Final = {"ldapMilterFromEnforce": "reject"}
GRANT_GROUP: Final = {"zimbraACE": f"{zimbra_id('list', LIST)} grp sendAs"}
GRANT_ANN: Final = {"zimbraACE": f"{zimbra_id('account', ANN)} usr sendAs"}
COS_PEOPLE: Final = builders.account("s0@example.com", cos_id=SALES_ID)

CHANGES: Final[dict[str, tuple[list[Record], list[Record]]]] = {
    "value on an account": (example_records({ANN: OLD}), example_records({ANN: NEW})),
    "value that goes": (example_records({ANN: OLD}), example_records()),
    "alias and catch-all": (
        example_records({ANN: OLD}),
        example_records({ANN: {**NEW, **CALLED}}),
    ),
    "account that is made": (example_records(), example_records({}, *builders.account("fresh@example.com", **NEW))),
    "renamed": (
        example_records({}, *builders.account("fresh@example.com", zimbraId="0f0f", **OLD)),
        example_records({}, *builders.account("anew@example.com", zimbraId="0f0f", **OLD)),
    ),
    "catch-all account": (example_records({"keeper@example.com": OLD}), example_records({"keeper@example.com": NEW})),
    "old address": (
        example_records({ANN: OLD}), example_records({ANN: {**OLD, "zimbraOldMailAddress": "old.ann@example.com"}})
    ),
    "member of a list": (
        example_records({ANN: OLD}, *builders.static_list(LIST, [ANN, BOB])),
        example_records({ANN: OLD}, *builders.static_list(LIST, [BOB])),
    ),
    "leaves a managed group": (example_records({ANN: {**OLD, **JOINED}}), example_records({ANN: OLD})),
    "joins a managed group": (example_records({ANN: OLD}), example_records({ANN: {**OLD, **JOINED}})),
    "value of a member of a managed group": (
        example_records({ANN: {**OLD, **JOINED}}), example_records({ANN: {**NEW, **JOINED}})
    ),
    "joins a group with a search": (
        example_records({ANN: OLD}, *builders.custom_group("custom@example.com", ENGINEERS)),
        example_records({ANN: {**OLD, "title": "engineer"}}, *builders.custom_group("custom@example.com", ENGINEERS)),
    ),
    "policy group's value": (example_records({TEAM: {**OLD, **APPLIES}}), example_records({TEAM: {**NEW, **APPLIES}})),
    "becomes a policy group": (example_records({TEAM: NEW}), example_records({TEAM: {**NEW, **APPLIES}})),
    "is no policy group any more": (example_records({TEAM: {**OLD, **APPLIES}}), example_records({TEAM: OLD})),
    "domain": (example_records({"example.com": OLD}), example_records({"example.com": NEW})),
    "global config": (example_records({GLOBAL: OLD}), example_records({GLOBAL: NEW})),
    "new domain": (
        example_records(), example_records({}, *builders.domain("fresh.example"), *builders.account("x@fresh.example"))
    ),
    "grant on an account": (example_records({ANN: ENFORCED}), example_records({ANN: ENFORCED, BOB: GRANT_ANN})),
    "grant that goes": (example_records({ANN: ENFORCED, BOB: GRANT_ANN}), example_records({ANN: ENFORCED})),
    "member of a granted group": (
        example_records({BOB: GRANT_GROUP, ANN: ENFORCED}, *builders.static_list(LIST, [])),
        example_records({BOB: GRANT_GROUP, ANN: ENFORCED}, *builders.static_list(LIST, [ANN])),
    ),
    "grant on a list around": (
        example_records({ANN: ENFORCED}, *builders.static_list(LIST, [BOB])),
        example_records({ANN: ENFORCED}, *builders.static_list(LIST, [BOB], **GRANT_ANN)),
    ),
    **{
        f"{kind}: {'joins' if joins else 'leaves'}": (
            policy_of(kind, member=not joins), policy_of(kind, member=joins)
        )
        for kind in WAYS_IN
        for joins in (True, False)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_told_acts_on_the_next_message(name: str) -> None:
    followed = Followed(*CHANGES[name])
    outcome(followed.world)
    followed.world.clock.now += OFTEN  # what only the server can tell is not read more often than that

    assert followed.change() >= 0

    assert outcome(followed.world) == outcome(followed.fresh)


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_not_changed_costs_nothing(name: str) -> None:
    """A login moves a time stamp: the entry is told, and nothing that decides has changed."""
    world = World(CHANGES[name][0], FOLLOWS)
    outcome(world)
    for message in (Message(login=ANN, to=[BOB]), Message(login=CAROL, to=[ANN, TEAM])):
        world.decide(message)
        assert world.decide(message).searches == 0
    told = [raw for raw in entries_of(world).values() if "zimbraAccount" in raw.all("objectclass")]
    before = world.store.searches
    world.directory.changed(told)
    for message in (Message(login=ANN, to=[BOB]), Message(login=CAROL, to=[ANN, TEAM])):
        world.decide(message)
    assert world.store.searches == before


STORM: Final = 60
"""Seconds in which somebody logs in every second."""


@pytest.mark.parametrize("policy", [{}, APPLIES])
def test_a_storm_of_logins_reads_a_group_with_a_search_now_and_then(policy: dict[str, Any]) -> None:
    """Only the server can tell who is in it, and by what: a login may be a change of it."""
    world = World(
        example_records({}, *builders.custom_group("custom@example.com", ENGINEERS, **OLD, **policy)), FOLLOWS
    )
    told = [raw for raw in entries_of(world).values() if "zimbraAccount" in raw.all("objectclass")]
    for _ in range(2):
        received(world, "custom@example.com")
    before = world.store.searches
    for _ in range(STORM):
        world.clock.now += 1
        world.directory.changed(told)
        received(world, "custom@example.com")
    read = world.store.searches - before
    assert 0 < read <= (STORM / OFTEN) * 3


def test_who_joins_a_group_with_a_search_in_a_storm_of_logins_is_in_it_soon() -> None:
    followed = Followed(*CHANGES["joins a group with a search"])
    world = followed.world
    before = received(world, "custom@example.com")
    world.clock.now += 1
    followed.change()
    assert received(world, "custom@example.com") == before
    world.clock.now += OFTEN
    assert received(world, "custom@example.com") == received(followed.fresh, "custom@example.com") != before


def test_somebody_else_is_not_read_again() -> None:
    followed = Followed(example_records({ANN: OLD}), example_records({ANN: NEW}))
    world = followed.world
    message = Message(login=CAROL, to=[BOB])
    world.decide(message)
    sent(world)
    assert followed.change() > 0
    assert world.decide(message).searches == 0
    assert sent(world) == [NEW[ARCHIVE]]


def test_a_change_is_no_reason_to_have_nothing_in_an_outage() -> None:
    """The directory may fail before it is asked again: what was known of the entry then has to do."""
    followed = Followed(example_records({ANN: OLD}), example_records({ANN: NEW}))
    sent(followed.world)
    followed.change()
    followed.world.goes_down()
    decision = followed.world.decide(Message())
    assert decision.verdict == "accept"
    assert decision.stale
    followed.world.goes_down(lambda _search_filter: False)
    assert sent(followed.world) == [NEW[ARCHIVE]]


def test_everything_may_have_changed() -> None:
    followed = Followed(example_records({ANN: OLD}), example_records({ANN: NEW}))
    sent(followed.world)
    followed.world.replace(followed._after)
    assert followed.world.cache.outdate() > 0
    assert sent(followed.world) == [NEW[ARCHIVE]]
    followed.world.cache.outdate()
    followed.world.goes_down()
    assert sent(followed.world) == [NEW[ARCHIVE]]


def test_a_search_that_began_before_the_change_does_not_fill_the_cache() -> None:
    followed = Followed(example_records({ANN: OLD}), example_records({ANN: NEW}))
    world = followed.world
    told: list[Any] = []

    def change_once() -> None:
        if not told:
            told.append(True)
            told.append(followed.change())

    world.store.during = change_once
    received(world, ANN)
    world.store.during = lambda: None
    assert received(world, ANN) == [NEW[ARCHIVE]]
