"""After a flush the next decision knows; what was not meant stays in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.directory.cache.entries import Cache, Limits
from ldapmilter.directory.flush import flush_addresses, flush_cos, flush_domain
from tests.support import builders
from tests.support.names import zimbra_id
from tests.unit.directory.hand import Clock, Executor, Source, waiting
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, BOB, JOE, Message, World, addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.support.record import Record

    Flush = Callable[[World], int]

ARCHIVE: Final = "ldapMilterArchiveBcc"
OLD: Final = {ARCHIVE: "old@vault.example.net"}
NEW: Final = {ARCHIVE: "new@vault.example.net"}
APPLIES: Final = {"ldapMilterAppliesToMembers": True}
CREW: Final = "crew@example.com"
TEAM: Final = "team@example.com"
LIST: Final = "list@example.com"
CAROL: Final = "carol@example.com"
SALES_ID: Final = zimbra_id("cos", "sales")


def by_address(*spellings: str) -> Flush:
    return lambda world: flush_addresses(cache_of(world), spellings, world.directory.present)


def by_cos(name: str) -> Flush:
    return lambda world: flush_cos(cache_of(world), name)


def by_domain(name: str) -> Flush:
    return lambda world: flush_domain(cache_of(world), name)


def all_of_it(world: World) -> int:
    return cache_of(world).flush()


def cache_of(world: World) -> Cache:
    return world.directory._reader.cache


def sent(world: World, login: str = ANN) -> list[str]:
    return addresses(world.decide(Message(login=login)))


def received(world: World, to: str) -> list[str]:
    return addresses(world.decide(Message(login=None, sender=JOE, to=[to])))


def changed(before: Iterable[Record], after: Iterable[Record], warm: Callable[[World], object]) -> World:
    """Return a world that was asked before its directory changed, and has not noticed."""
    world = World(before)
    known = warm(world)
    world.replace(after)
    assert warm(world) == known
    return world


# -- by address -----------------------------------------------------------------------------


def test_a_flush_of_somebody_else_leaves_what_was_made_from_the_same_site() -> None:
    world = World(example_records({}))
    message = Message(login=ANN, to=[BOB])
    world.decide(message)
    assert world.decide(message).searches == 0
    flush_addresses(cache_of(world), ["stranger@example.com"], world.directory.present)
    assert world.decide(message).searches == 0


@pytest.mark.parametrize(
    "spelling",
    [
        "ann@example.com",
        "ANN@Example.COM",
        "<ann@example.com>",
        "a.able@example.com",
        "old.ann@example.com",
        "ann@example.org",
        "a.able@example.org",
    ],
)
def test_whatever_an_entry_is_called_all_of_it_is_forgotten(spelling: str) -> None:
    former = {"zimbraOldMailAddress": "old.ann@example.com"}

    def warm(world: World) -> list[list[str]]:
        names = ("ann@example.com", "a.able@example.com", "ann@example.org", "old.ann@example.com")
        return [*(sent(world, name) for name in names), *(received(world, name) for name in names)]

    world = changed(example_records({ANN: {**OLD, **former}}), example_records({ANN: {**NEW, **former}}), warm)

    assert by_address(spelling)(world) > 0
    assert warm(world) == [[NEW[ARCHIVE]]] * 8


@pytest.mark.parametrize("spelling", ["fresh@example.com", "fresh@example.org"])
def test_an_account_that_was_just_made(spelling: str) -> None:
    fresh = builders.account("fresh@example.com", **NEW)
    world = changed(example_records(), example_records({}, *fresh), lambda w: received(w, "fresh@example.org"))

    by_address(spelling)(world)

    assert received(world, "fresh@example.org") == [NEW[ARCHIVE]]


STRONGROOM: Final = "strongroom@example.com"


@pytest.mark.parametrize(
    ("where", "value", "flush"),
    [
        (ANN, STRONGROOM, by_address(ANN)),
        (ANN, f"{STRONGROOM} with=external ref=case-7", by_address(ANN)),
        (ANN, "strongroom@{domain}", by_address(ANN)),
        ("sales", STRONGROOM, by_cos("sales")),
        ("example.com", STRONGROOM, by_domain("example.com")),
    ],
)
def test_where_copies_go_to_was_nobody_and_was_just_made(where: str, value: str, flush: Flush) -> None:
    legal = {where: {"ldapMilterLegalBcc": value}}
    after = example_records(legal, *builders.account(STRONGROOM))
    world = changed(example_records(legal), after, lambda w: w.decide(Message()).verdict)
    assert world.decide(Message()).verdict == "tempfail"

    flush(world)

    assert addresses(world.decide(Message())) == [STRONGROOM]


def test_where_bounces_of_a_list_go_to_was_nobody_and_was_just_made() -> None:
    bounces = {TEAM: {"ldapMilterListBounces": STRONGROOM}}
    after = example_records(bounces, *builders.account(STRONGROOM, **NEW))
    world = changed(example_records(bounces), after, lambda w: [received(w, one) for one in (TEAM, STRONGROOM)])
    by_address(TEAM)(world)
    assert received(world, STRONGROOM) == [NEW[ARCHIVE]]


def test_a_catch_all_account() -> None:
    keeper = "keeper@example.com"
    world = changed(
        example_records({keeper: OLD}), example_records({keeper: NEW}), lambda w: received(w, "any@catchall.example")
    )

    by_address(keeper)(world)

    assert received(world, "any@catchall.example") == [NEW[ARCHIVE]]


@pytest.mark.parametrize(
    ("member", "flushed"),
    [
        (ANN, ANN),
        ("a.able@example.com", ANN),
        (ANN, "a.able@example.com"),
        ("ann@example.org", "ann@example.org"),
        ("ann@example.org", ANN),
        (ANN, LIST),
    ],
)
def test_a_static_list_that_contained_it(member: str, flushed: str) -> None:
    def records(*members: str) -> list[Record]:
        return example_records({ANN: OLD}, *builders.static_list(LIST, members))

    world = changed(records(member, BOB), records(BOB), lambda w: received(w, LIST))
    assert received(world, LIST) == [OLD[ARCHIVE]]

    by_address(flushed)(world)

    assert received(world, LIST) == []


@pytest.mark.parametrize("flushed", [ANN, "a.able@example.com", CREW])
@pytest.mark.parametrize("kind", ["managed", "custom"])
def test_a_dynamic_group_that_contained_it(kind: str, flushed: str) -> None:
    def records(*, member: bool) -> list[Record]:
        if kind == "managed":
            own = {"zimbraMemberOf": zimbra_id("group", CREW)} if member else {}
            return example_records({ANN: {**OLD, **own}})
        url = "ldap:///ou=people,dc=example,dc=com??sub?(title=engineer)"
        title = {"title": "engineer"} if member else {}
        return example_records({ANN: {**OLD, **title}}, *builders.custom_group("custom@example.com", url))

    group = CREW if kind == "managed" else "custom@example.com"
    world = changed(records(member=True), records(member=False), lambda w: received(w, group))
    assert received(world, group) == [OLD[ARCHIVE]]

    by_address(group if flushed == CREW else flushed)(world)

    assert received(world, group) == []


def test_a_dynamic_group_by_its_own_address_shows_who_joined() -> None:
    joined = {"zimbraMemberOf": zimbra_id("group", CREW)}
    world = changed(example_records({ANN: OLD}), example_records({ANN: {**OLD, **joined}}), lambda w: received(w, CREW))

    by_address(CREW)(world)

    assert received(world, CREW) == [OLD[ARCHIVE]]


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("kind", ["static", "managed"])
def test_a_policy_group_and_who_is_in_it(kind: str, joins: bool) -> None:  # noqa: FBT001 - two ways of one change
    def records(*, member: bool) -> list[Record]:
        policy: dict[str, Any] = {**NEW, **APPLIES}
        if kind == "static":
            return example_records({}, *builders.static_list(LIST, [ANN] if member else [], **policy))
        return example_records({CREW: policy, ANN: {"zimbraMemberOf": zimbra_id("group", CREW)} if member else {}})

    world = changed(records(member=not joins), records(member=joins), sent)

    by_address(LIST if kind == "static" else CREW)(world)

    assert sent(world) == ([NEW[ARCHIVE]] if joins else [])


WAYS_IN: Final = (
    "managed",
    "static",
    "by an alias",
    "in an alias domain",
    "custom",
    "nested",
    "nested, one of several in a value",
    "turned",
    "turned above",
)


def policy_of(kind: str, *, member: bool) -> list[Record]:
    """Return a directory in which a group with a policy has a member, or has it not yet."""
    policy: dict[str, Any] = {**NEW, **APPLIES}
    members = [ANN] if member else []
    if kind == "managed":
        return example_records({CREW: policy, ANN: {"zimbraMemberOf": zimbra_id("group", CREW)} if member else {}})
    if kind == "custom":
        url = "ldap:///ou=people,dc=example,dc=com??sub?(title=engineer)"
        return example_records(
            {ANN: {"title": "engineer"} if member else {}}, *builders.custom_group(LIST, url, **policy)
        )
    if kind.startswith("nested"):
        inner = "inner@example.com"
        if "several" in kind:
            members = [f"Bob <{BOB}>, Ann <a.able@example.org>"] if member else [BOB]
        return example_records(
            {}, *builders.static_list(LIST, [inner], **policy), *builders.static_list(inner, members)
        )
    if kind == "turned":
        return example_records({}, *builders.static_list(LIST, [ANN], **(policy if member else NEW)))
    if kind == "turned above":
        inner = "inner@example.com"
        above = {**policy, **({} if member else {"ldapMilterAppliesToMembers": False})}
        return example_records({}, *builders.static_list(LIST, [inner], **above), *builders.static_list(inner, [ANN]))
    spelled = {"by an alias": "a.able@example.com", "in an alias domain": "a.able@example.org"}.get(kind, ANN)
    return example_records({}, *builders.static_list(LIST, [spelled] if member else [], **policy))


@pytest.mark.parametrize("flushed", [ANN, '" a.able"@example.org'])
@pytest.mark.parametrize("known", [ANN, None])
@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("kind", WAYS_IN)
def test_whose_policy_an_account_comes_under(kind: str, joins: bool, known: str | None, flushed: str) -> None:  # noqa: FBT001
    """Which groups contain it now stands nowhere but in the directory."""

    def warm(world: World) -> list[str]:
        return sent(world, known) if known is not None else []

    for directory_answers in (True, False):
        world = changed(policy_of(kind, member=not joins), policy_of(kind, member=joins), warm)
        if not directory_answers:
            world.goes_down()
        by_address(flushed)(world)
        world.goes_down(lambda _search_filter: False)
        assert sent(world) == ([NEW[ARCHIVE]] if joins else [])


@pytest.mark.parametrize("first", [ANN, "nobody@example.com", CREW])
@pytest.mark.parametrize("flushed", [ANN, CREW])
def test_one_flush_after_another(first: str, flushed: str) -> None:
    """The first one forgets by what name groups are known."""
    world = changed(policy_of("managed", member=False), policy_of("managed", member=True), sent)

    by_address(first)(world)
    by_address(flushed)(world)

    assert sent(world) == [NEW[ARCHIVE]]


def test_an_alias_and_a_catch_all_that_are_new() -> None:
    new = {**NEW, "zimbraMailAlias": "anna@example.com", "zimbraMailCatchAllAddress": "@example.com"}

    def warm(world: World) -> list[list[str]]:
        return [received(world, to) for to in ("anna@example.org", "nobody@example.com", ANN)]

    world = changed(example_records({ANN: OLD}), example_records({ANN: new}), warm)

    by_address(ANN)(world)

    assert warm(world) == [[NEW[ARCHIVE]]] * 3


def test_a_group_that_a_grant_names_by_its_id() -> None:
    grant = {"zimbraACE": f"{zimbra_id('list', LIST)} grp sendAs"}
    enforced = {"ldapMilterFromEnforce": "reject"}

    def records(*members: str) -> list[Record]:
        return example_records({BOB: grant, ANN: enforced}, *builders.static_list(LIST, members))

    def verdict(world: World) -> str:
        return world.decide(Message(headers=[("From", BOB)])).verdict

    for flushed in (ANN, LIST):
        world = changed(records(), records(ANN), verdict)
        assert verdict(world) == "reject"
        by_address(flushed)(world)
        assert verdict(world) == "accept"


def test_the_value_of_a_policy_group() -> None:
    world = changed(example_records({TEAM: {**OLD, **APPLIES}}), example_records({TEAM: {**NEW, **APPLIES}}),
                    lambda w: sent(w, CAROL))  # fmt: skip

    assert by_address("all@example.com")(world) > 0

    assert sent(world, CAROL) == [NEW[ARCHIVE]]


def test_a_list_that_becomes_a_policy_group() -> None:
    world = changed(example_records({TEAM: NEW}), example_records({TEAM: {**NEW, **APPLIES}}), lambda w: sent(w, BOB))

    by_address(TEAM)(world)

    assert sent(world, BOB) == [NEW[ARCHIVE]]


def test_a_list_that_is_no_policy_group_any_more() -> None:
    world = changed(example_records({TEAM: {**OLD, **APPLIES}}), example_records({TEAM: OLD}), lambda w: sent(w, BOB))

    by_address(TEAM)(world)

    assert sent(world, BOB) == []


# -- by COS ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sales", "SALES", " sales ", SALES_ID, SALES_ID.upper()])
def test_a_cos_acts_at_once_for_all_its_accounts(name: str) -> None:
    people = [record for n in range(5) for record in builders.account(f"s{n}@example.com", cos_id=SALES_ID)]

    def warm(world: World) -> list[list[str]]:
        names = [ANN, *(f"s{n}@example.com" for n in range(5))]
        return [*(sent(world, one) for one in names), *(received(world, one) for one in names)]

    world = changed(example_records({"sales": OLD}, *people), example_records({"sales": NEW}, *people), warm)

    assert by_cos(name)(world) >= 1
    assert warm(world) == [[NEW[ARCHIVE]]] * 12


def test_the_default_cos_by_its_name() -> None:
    world = changed(example_records({"default": OLD}), example_records({"default": NEW}), lambda w: sent(w, BOB))

    by_cos("default")(world)

    assert sent(world, BOB) == [NEW[ARCHIVE]]


@pytest.mark.parametrize(
    "name",
    [
        zimbra_id("cos", "brand"),
        pytest.param(
            "brand",
        ),
    ],
)
def test_a_cos_that_was_just_made(name: str) -> None:
    dangling = {ANN: {"zimbraCOSId": zimbra_id("cos", "brand")}}
    made = builders.cos("brand", **NEW)
    world = changed(example_records(dangling), example_records(dangling, *made), sent)

    by_cos(name)(world)

    assert sent(world) == [NEW[ARCHIVE]]


# -- by domain, and all ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["example.com", "EXAMPLE.com", " example.com", "example.com."])
def test_a_domain_with_everything_in_it(name: str) -> None:
    def warm(world: World) -> list[list[str]]:
        return [
            sent(world),
            received(world, "ann@example.org"),
            received(world, "nobody@example.com"),
            received(world, "late@example.org"),
            received(world, CREW),
        ]

    def records(values: dict[str, Any], *more: Record) -> list[Record]:
        return example_records({"example.com": values, ANN: {"ldapMilterLegalBcc": values[ARCHIVE]}}, *more)

    late = builders.account("late@example.com", **NEW)
    world = changed(records(OLD), records(NEW, *late), warm)

    assert by_domain(name)(world) > 0
    assert warm(world) == [[NEW[ARCHIVE]]] * 5


def test_the_global_config_falls_with_any_domain() -> None:
    world = changed(example_records({GLOBAL: OLD}), example_records({GLOBAL: NEW}), sent)

    by_domain("catchall.example")(world)

    assert sent(world) == [NEW[ARCHIVE]]


def test_everything() -> None:
    def records(values: dict[str, Any]) -> list[Record]:
        return example_records({ANN: values, "default": values, GLOBAL: {"ldapMilterLegalBcc": values[ARCHIVE]}})

    def warm(world: World) -> list[list[str]]:
        return [sent(world), sent(world, BOB), received(world, TEAM), received(world, "nobody@example.com")]

    world = changed(records(OLD), records(NEW), warm)

    assert all_of_it(world) > 0
    assert len(cache_of(world)) == 0
    assert warm(world) == [[NEW[ARCHIVE]]] * 4


# -- what stays -----------------------------------------------------------------------------

OTHERS: Final = "other@catchall.example"


@pytest.mark.parametrize(
    ("flush", "kept"),
    [
        (by_address(ANN), [BOB, CAROL, OTHERS, TEAM, "big@example.com"]),
        (by_address(CAROL), [ANN, BOB, OTHERS, "big@example.com"]),
        (by_cos("sales"), [BOB, CAROL, OTHERS, TEAM, CREW]),
        (by_cos("no-such-cos"), [ANN, BOB, CAROL, OTHERS, TEAM, CREW]),
        (by_cos(""), [ANN, BOB, CAROL, OTHERS, TEAM, CREW]),
        (by_cos("ann"), [ANN, BOB, CAROL, OTHERS, TEAM, CREW]),
    ],
)
def test_what_was_not_meant_costs_no_search(flush: Flush, kept: Sequence[str]) -> None:
    world = World(example_records({}, *builders.account(OTHERS, cos_id=zimbra_id("cos", "gold"))))
    for _ in range(2):
        for name in (ANN, BOB, CAROL, OTHERS, TEAM, "big@example.com", CREW):
            received(world, name)
    held = len(cache_of(world))

    gone = flush(world)

    assert len(cache_of(world)) == held - gone
    # The list of domains may have gone as well: policy groups are kept with it.
    assert world.decide(Message(login=None, sender=JOE)).searches <= 1
    for name in kept:
        assert world.decide(Message(login=None, sender=JOE, to=[name])).searches == 0


def test_addresses_of_other_domains_stay() -> None:
    world = World(example_records({}, *builders.account(OTHERS)))
    for name in (OTHERS, ANN):
        received(world, name)

    by_domain("example.com")(world)

    # The list of domains is read again, the account is not.
    assert world.decide(Message(login=None, sender=JOE, to=[OTHERS])).searches == 1


# -- while a search is under way ------------------------------------------------------------


@pytest.mark.parametrize(
    "flush",
    [
        lambda cache: flush_addresses(cache, [BOB]),
        lambda cache: flush_addresses(cache, [ANN]),
        lambda cache: flush_cos(cache, "sales"),
        lambda cache: flush_domain(cache, "example.com"),
        Cache.flush,
    ],
)
def test_a_search_under_way_never_fills_the_cache(flush: Callable[[Cache], int]) -> None:
    executor, clock = Executor(), Clock()
    cache = Cache(Limits(ttl=100, negative_ttl=20, stale_ttl=1000), clock, executor, lambda: 0.5)
    key = ANN
    source = Source({key: "before"})
    first = waiting(cache, source.load, clock.deadline(), key)

    flush(cache)
    second = waiting(cache, source.load, clock.deadline(), key)
    executor.run(0)
    source.held[key] = "after"
    executor.run(0)

    # Whoever asked before gets what was true then; nobody who asks now shares it.
    for waiter, value in ((first, "before"), (second, "after")):
        answers = waiter.join().answers
        assert answers is not None
        assert answers.values == {key: value}
    assert cache.get_many([key], source.load, clock.deadline()).values == {key: "after"}
    assert len(source.asked) == 2


def changing(world: World, after: list[Record], number: int) -> Callable[[], None]:
    """Return what changes the directory and flushes the cache while one of the searches is under way."""

    def during() -> None:
        if world.store.searches == number:
            world.store.fill(after)
            cache_of(world).flush()

    return during


def test_nothing_worked_out_from_a_search_under_way_outlives_the_flush() -> None:
    def records(values: dict[str, Any]) -> list[Record]:
        return example_records(
            {
                ANN: {"ldapMilterArchiveSentBcc": values[ARCHIVE]},
                "default": {"ldapMilterLegalBcc": values[ARCHIVE]},
                "sub@example.com": {**values, **APPLIES},
                CREW: {**values, **APPLIES},
                GLOBAL: {"ldapMilterLegalBcc": values[ARCHIVE]},
            }
        )

    message = Message(to=[TEAM, CREW, BOB, "nobody@example.com"])
    expected = World(records(NEW)).decide(message).copies
    searches = World(records(OLD)).decide(message).searches
    assert searches > 1
    outlived = []
    for number in range(1, searches + 1):
        world = World(records(OLD))
        world.store.during = changing(world, records(NEW), number)
        world.decide(message)
        if world.decide(message).copies != expected:
            outlived.append(number)
    assert outlived == []
