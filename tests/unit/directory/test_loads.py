"""Groups that take longer to read than a message may wait: read in the background, and there at the next try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from ldapmilter.daemon import decision_log
from ldapmilter.directory.cache.loads import Loads
from ldapmilter.directory.cache.progress import LONGEST, Progress
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable, StillReading
from ldapmilter.message import Envelope, HandledMessage
from tests.contract.asking import address, entry, names, who
from tests.support.builders import account, custom_group, domain, dynamic_group, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.directory.scene import LIMITS
from tests.unit.directory.stage import DEADLINE, PART, POLICY, Theatre, make_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ldapmilter.directory.cache.entries import Limits
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

PEOPLE: Final = 100
ALL: Final = "all@example.test"
BACK_OFF: Final = 300.0
"""Seconds until an MTA tries again."""


def person(number: int) -> str:
    return f"p{number}@example.test"


def records(*more: Record, copy_of: str = "p7", policy: bool = False) -> list[Record]:
    """Return a hundred people, one of whom has an archive, and a list of them all."""
    crew = zimbra_id("group", "crew@example.test")
    people = [
        one
        for number in range(PEOPLE)
        for one in account(
            person(number),
            zimbraMemberOf=crew,
            ldapMilterArchiveBcc="seven@vault.test" if copy_of == f"p{number}" else None,
        )
    ]
    return [
        *base_records(),
        *global_config(zimbraDefaultDomainName="example.test"),
        *domain("example.test"),
        *people,
        *account("ann@example.test"),
        *account("bob@example.test", zimbraPrefMailForwardingAddress=ALL),
        *static_list(ALL, map(person, range(PEOPLE)), ldapMilterAppliesToMembers=policy or None),
        *static_list("outer@example.test", ["inner@example.test"]),
        *static_list("inner@example.test", [ALL]),
        *dynamic_group("crew@example.test"),
        *custom_group("chosen@example.test", "ldap:///??sub?(objectClass=zimbraAccount)"),
        *more,
    ]


class Stage(Theatre):
    """The hundred people and their lists; mail is to all of them unless told otherwise."""

    def __init__(self, found: Iterable[Record] | None = None, limits: Limits = LIMITS, groups: int = 50_000) -> None:
        super().__init__(records() if found is None else found, limits, groups)

    def mail(self, *recipients: str, login: str | None = None) -> Decision:
        return super().mail(*(recipients or (ALL,)), login=login)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def texts(decision: Decision) -> str:
    return " ".join(notice.text for notice in decision.warnings)


# -- the first try, and the next ------------------------------------------------------------

GROUPS: Final = (ALL, "outer@example.test", "bob@example.test", "crew@example.test", "chosen@example.test")


@pytest.mark.parametrize("group", GROUPS)
def test_the_second_try_passes(group: str) -> None:
    stage = Stage()
    first = stage.mail(group)
    assert first.verdict == "tempfail"
    assert not first.unavailable
    assert f"{group} is being read" in texts(first)
    assert first.warnings[0].of_list  # the log names it
    stage.run()
    before = stage.store.searches
    second = stage.mail(group)
    assert second.verdict == "accept", texts(second)
    assert [copy.address.key for copy in second.copies] == ["seven@vault.test"]
    assert (stage.store.searches, second.searches) == (before, 0)


def test_it_says_how_far_it_is() -> None:
    stage = Stage()
    stage.mail()
    said: list[str] = []
    stage.store.during = lambda: said.append(texts(stage.mail()))
    stage.run()
    assert f"{ALL} is being read, 50 of 100 members so far" in said[5]


def test_it_says_that_it_is_being_worked_out() -> None:
    """Once all members are there, it is no longer said that so many of so many have been read."""
    stage = Stage()
    stage.mail()
    stage.run()
    (progress, *_) = (load.progress for load in stage.loads._loads.values())
    assert str(progress) == f"{ALL} is being read: all 100 members known so far are there, and being worked out"


def test_a_small_group_is_read_at_once() -> None:
    stage = Stage(records(*static_list("few@example.test", map(person, range(12)))))
    decision = stage.mail("few@example.test")
    assert decision.verdict == "accept"
    assert len(decision.copies) == 1
    assert stage.jobs == []


class Slow(Stage):
    """A list of twelve, below what is large; every search takes so long that three are too many for a message."""

    def __init__(self, *more: Record) -> None:
        super().__init__(records(*static_list(FEW, map(person, range(12))), *more))
        self.mail("ann@example.test", "eva@example.test")
        self.takes = DEADLINE / 2.5

    def mail(self, *recipients: str, login: str | None = None) -> Decision:
        self.limit()
        return super().mail(*recipients, login=login)

    def limit(self) -> None:
        began = self.clock.now

        def overrun() -> None:
            if self.clock.now > began + DEADLINE:
                message = "lookup_deadline has passed"
                raise DeadlineExceeded(message)

        self.store.during = overrun

    def run(self) -> None:
        self.store.during, self.takes = lambda: None, 0.0
        super().run()


FEW: Final = "few@example.test"


def test_a_small_group_of_a_slow_directory_is_read_on() -> None:
    """What was read is kept, the rest is read all the same; the log names the list, and the other workers read it."""
    stage = Slow()
    first = stage.mail(FEW)
    assert (first.verdict, first.still_reading, first.unavailable) == ("tempfail", True, False)
    (notice,) = first.warnings
    assert f"{FEW} is being read, 10 of 12 members so far; it goes on" in notice.text
    assert notice.of_list
    stage.run()
    assert stage.mail(FEW).verdict == "accept"


def test_a_small_group_that_a_confidential_value_looks_at() -> None:
    eva = account("eva@example.test", ldapMilterLegalSentBcc=f"a@vault.test with=group:{FEW}")
    stage = Slow(*eva)
    first = stage.mail("ann@example.test", login="eva@example.test")
    assert (first.verdict, first.still_reading) == ("tempfail", True)
    assert [(notice.confidential, notice.of_list) for notice in first.warnings] == [(True, False)]
    assert FEW not in texts(first)


def test_two_groups_in_one_message_wait_once() -> None:
    stage = Stage()
    assert stage.mail(ALL, "crew@example.test").verdict == "tempfail"
    stage.run()
    assert stage.mail(ALL, "crew@example.test").verdict == "accept"


@pytest.mark.parametrize("value", ["a@vault.test with=group:all@example.test", "a@vault.test"])
def test_whatever_else_the_message_needs_is_there_too(value: str) -> None:
    """One that was put off for one group is not put off for the next one at its next try."""
    stage = Stage(
        records(*account("eva@example.test", ldapMilterArchiveBcc=value), *static_list("two@example.test", [ALL]))
    )
    assert stage.mail("two@example.test", login="eva@example.test").verdict == "tempfail"
    stage.run()
    second = stage.mail("two@example.test", login="eva@example.test")
    assert second.verdict == "accept", texts(second)
    assert {copy.address.key for copy in second.copies} == {"a@vault.test", "seven@vault.test"}


def test_which_group_a_confidential_value_looks_at_is_not_told() -> None:
    """Neither by the list's own reading, nor by anything else that is done for it."""
    value = "a@vault.test with=group:all@example.test"
    stage = Stage(records(*account("eva@example.test", ldapMilterLegalBcc=value)))
    decision = stage.mail("ann@example.test", login="eva@example.test")
    assert decision.verdict == "tempfail"
    assert "a group that a value looks at is being read" in texts(decision)
    assert ALL not in texts(decision)
    assert [(notice.confidential, notice.of_list) for notice in decision.warnings] == [(True, False)]
    stage.run()
    assert stage.mail("ann@example.test", login="eva@example.test").verdict == "accept"


def test_a_grant_to_a_large_group() -> None:
    stage = Stage(
        records(
            *account(
                "shared@example.test",
                zimbraACE=f"{zimbra_id('list', ALL)} grp sendAs",
                zimbraMailDeliveryAddress="shared@example.test",
            )
        )
    )
    view = stage.view()
    one = entry(view, person(3))
    with pytest.raises(StillReading, match=r"all@example\.test is being read"):
        view.may_send_as(one, [address("shared@example.test")])
    stage.run()
    assert stage.view().may_send_as(one, [address("shared@example.test")]) == {"shared@example.test": "granted"}


def test_lenient_goes_on_with_what_is_known() -> None:
    stage = Stage()
    view = stage.view(lenient=True)
    found = view.expand([entry(view, ALL)])
    assert any("is being read" in text for text in view.failures)
    assert len(next(iter(found.values())).members) == PEOPLE
    stage.run()
    view = stage.view(lenient=True)
    assert len(view.expand([entry(view, ALL)])) == 1
    assert view.failures == ()


@pytest.mark.parametrize("of", [FEW, ALL])
def test_where_mail_goes_on_the_others_are_told_and_the_line_names_the_list(of: str) -> None:
    stage = Slow()
    stage.lenient = True
    first = stage.mail(of)
    assert (first.verdict, first.still_reading) == ("accept", True)
    assert any(f"{of} is being read" in text for text in first.incomplete)
    stage.run()
    second = stage.mail(of)
    assert (second.incomplete, second.still_reading, len(second.copies)) == ((), False, 1)


def test_where_mail_goes_on_nothing_tells_that_a_confidential_value_looks_at_a_group() -> None:
    eva = account("eva@example.test", ldapMilterLegalBcc=f"a@vault.test with=group:{ALL}")
    stage = Stage(records(*eva))
    stage.lenient = True
    decision = stage.mail("ann@example.test", login="eva@example.test")
    assert decision.incomplete
    envelope = Envelope(login="eva@example.test", client="192.0.2.1", sender="eva@example.test", recipients=())
    message = HandledMessage(queue_id="4XYZ", envelope=envelope, message_ids=())
    assert decision_log.line(message, decision, POLICY) is None


# -- others ---------------------------------------------------------------------------------


def test_nobody_else_waits_for_it() -> None:
    stage = Stage()
    stage.mail()
    verdicts: list[str] = []

    def others() -> None:
        stage.store.during = lambda: None
        # One who is in the part that is on its way waits for that part, and for no more.
        verdicts.extend(stage.mail(person(number)).verdict for number in (55, 80, 99))
        verdicts.append(stage.mail("ann@example.test").verdict)

    stage.store.during = others
    stage.run()
    assert verdicts == ["accept"] * 4


def test_only_one_reads_a_group() -> None:
    stage = Stage()
    for _ in range(5):
        assert stage.mail().verdict == "tempfail"
    assert len(stage.jobs) == 1
    before = stage.store.searches
    stage.run()
    assert stage.store.searches - before <= PEOPLE // PART + 3


def test_there_is_a_pause_after_every_search_and_it_grows_with_it() -> None:
    stage = Stage()
    stage.mail()
    stage.takes = 0.4
    stage.run()
    assert [round(seconds, 3) for seconds in stage.pauses[1:10]] == [0.1] * 9


def test_so_many_groups_at_a_time_and_no_more() -> None:
    lists = [f"l{number}@example.test" for number in range(40)]
    stage = Stage(records(*(one for name in lists for one in static_list(name, map(person, range(PEOPLE))))))
    said = [texts(stage.mail(name)) for name in lists]
    assert "other groups are being read" in said[-1]
    assert 4 <= len(stage.jobs) < len(lists)
    for _ in range(4):
        stage.run()
        for name in lists:
            stage.mail(name)
    stage.run()
    assert [stage.mail(name).verdict for name in lists[:3]] == ["accept"] * 3


# -- what goes wrong in between -------------------------------------------------------------


def interrupt(stage: Stage, number: int, action: Callable[[], None]) -> None:
    """Do something in the middle of a search, counted from now."""
    left = [number]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            action()

    stage.store.during = count


def test_an_outage_in_the_middle_keeps_what_was_read() -> None:
    stage = Stage()
    stage.mail()

    def go_down() -> None:
        stage.store.down = True

    interrupt(stage, 4, go_down)
    stage.run()
    assert stage.mail().verdict == "tempfail"
    stage.jobs.clear()
    stage.store.down = False
    before = stage.store.searches
    stage.loads._loads.clear()
    assert stage.mail().verdict == "tempfail"
    stage.run()
    assert stage.mail().verdict == "accept"
    assert stage.store.searches - before <= PEOPLE // PART - 4 + 3


def test_one_search_that_fails_is_asked_again() -> None:
    stage = Stage()
    stage.mail()
    failures = [3]

    def break_once() -> None:
        failures[0] -= 1
        if failures[0] == 0:
            message = "connection reset by peer"
            raise DirectoryUnavailable(message)

    stage.store.during = break_once
    stage.run()
    assert stage.mail().verdict == "accept"
    assert failures[0] < 0


def test_it_goes_on_by_itself_after_an_outage() -> None:
    stage = Stage()
    stage.mail()

    def go_down() -> None:
        stage.store.down = True

    interrupt(stage, 4, go_down)
    stage.renewals = 3
    original = stage._pause

    def pause(seconds: float) -> bool:
        if seconds > 1:
            stage.store.down = False
        return original(seconds)

    stage.loads.pause = pause
    stage.run()
    assert stage.mail().verdict == "accept"


def test_a_bug_reaches_whoever_waits() -> None:
    stage = Stage()
    stage.mail()

    def fail() -> None:
        raise LookupError

    interrupt(stage, 2, fail)
    load = next(iter(stage.loads._loads.values()))
    with pytest.raises(LookupError):
        stage.run()
    with pytest.raises(LookupError):
        load.future.result(0)
    stage.store.during = lambda: None
    stage.mail()
    stage.run()
    assert stage.mail().verdict == "accept"


@pytest.mark.parametrize("at", [1, 3, 9])
def test_a_flush_in_the_middle_reads_anew(at: int) -> None:
    """What was read before a flush is never used after it."""
    stage = Stage()
    stage.mail()

    def change() -> None:
        stage.store.fill(records(copy_of="p9"))
        stage.cache.flush()

    interrupt(stage, at, change)
    stage.run()
    decision = stage.mail()
    if decision.verdict == "tempfail":
        stage.run()
        decision = stage.mail()
    (copy,) = decision.copies
    assert [reason.recipient for reason in copy.reasons] == [person(9)]


def test_a_flush_of_somebody_else_reads_nothing_anew() -> None:
    stage = Stage()
    stage.mail()

    def flush() -> None:
        stage.cache.flush(lambda key, _value: key == "ann@example.test")

    interrupt(stage, 5, flush)
    before = stage.store.searches
    stage.run()
    assert stage.mail().verdict == "accept"
    # The part that was on its way is asked for once more, since a search that began before a flush fills nothing.
    assert stage.store.searches - before <= PEOPLE // PART + 4


def test_after_an_hour_it_is_given_up() -> None:
    stage = Stage()
    stage.mail()
    stage.takes = 700.0
    load = next(iter(stage.loads._loads.values()))
    stage.run()
    with pytest.raises(StillReading, match="given up after 3600 seconds"):
        load.future.result(0)


def test_whoever_reads_waits_an_hour_for_what_another_reads() -> None:
    """Both of them count from where they began."""
    stage = Stage()
    stage.mail()
    other = next(iter(stage.loads._loads.values()))
    waiting = Progress("mine", "my list", stage.loads, stage.clock.now - LONGEST)
    with pytest.raises(StillReading, match="my list is being read: given up after 3600 seconds"):
        stage.loads.here(other.place, other.key, ALL, other.run, other.run, waiting)


def test_it_stops_with_the_worker() -> None:
    stage = Stage()
    stage.mail()

    def stop() -> None:
        stage.stopped = True

    interrupt(stage, 2, stop)
    before = stage.store.searches
    load = next(iter(stage.loads._loads.values()))
    stage.run()
    with pytest.raises(StillReading, match="stops"):
        load.future.result(0)
    assert stage.store.searches - before == 2


def test_stopping_ends_a_thread_that_waits() -> None:
    stage = Stage()
    loads = Loads(stage.cache, stage.clock)
    loads.stop()
    assert loads.pause(60.0)


def test_a_list_that_has_been_read_before_stands_in_during_an_outage() -> None:
    stage = Stage()
    stage.mail()
    stage.run()
    assert stage.mail().verdict == "accept"
    stage.clock.now += 500
    stage.store.down = True
    stage.mail()
    stage.run()
    decision = stage.mail()
    assert decision.verdict == "accept", texts(decision)
    assert decision.stale
    assert len(decision.copies) == 1


# -- until the message comes back -----------------------------------------------------------


def test_it_is_kept_until_the_message_comes_back() -> None:
    """The time to live is shorter than an MTA's back-off."""
    stage = Stage()
    stage.mail()
    stage.renewals = 20
    began = stage.clock.now

    def until_then() -> bool:
        return stage.clock.now - began > 3 * BACK_OFF

    original = stage._pause
    stage.loads.pause = lambda seconds: until_then() or original(seconds)
    stage.run()
    assert until_then()
    before = stage.store.searches
    assert stage.mail().verdict == "accept"
    assert stage.store.searches == before


def test_nothing_is_kept_for_a_message_that_does_not_come_back() -> None:
    stage = Stage()
    stage.mail()
    stage.run()
    stage.clock.now += 5000
    before = stage.store.searches
    assert not stage.loads._has_to_go_on(next(iter(stage.loads._loads.values())))
    assert stage.store.searches == before


@pytest.mark.parametrize("seconds", [9.0, 12.0, 60.0])
def test_however_slow_the_directory_is(seconds: float) -> None:
    """Reading takes as long as an answer counts, or many times that."""
    stage = Stage(limits=replace(LIMITS, stale_ttl=0, negative_ttl=5))
    assert stage.mail().verdict == "tempfail"
    stage.takes = seconds
    stage.run()
    stage.takes = 0.0
    assert stage.mail().verdict == "accept"


def test_a_cache_that_is_too_small_for_it() -> None:
    stage = Stage(limits=replace(LIMITS, max_entries=100))
    assert stage.mail().verdict == "tempfail"
    stage.run()
    decision = stage.mail()
    assert decision.verdict == "accept"
    assert len(decision.copies) == 1


def test_a_change_shows_after_the_time_to_live() -> None:
    stage = Stage()
    stage.mail()
    stage.run()
    assert [reason.recipient for copy in stage.mail().copies for reason in copy.reasons] == [person(7)]
    stage.store.fill(records(copy_of="p9"))
    stage.clock.now += 101
    stage.mail()
    stage.run()
    assert [reason.recipient for copy in stage.mail().copies for reason in copy.reasons] == [person(9)]


def test_what_is_about_to_grow_old_is_renewed_while_it_serves() -> None:
    stage = Stage()
    stage.mail()
    stage.run()
    renewed = 0
    for _ in range(20):
        stage.clock.now += 30
        decision = stage.mail()
        assert decision.verdict == "accept", texts(decision)
        renewed += len(stage.jobs)
        stage.run()
    assert 4 <= renewed <= 20


# -- the cache ------------------------------------------------------------------------------


def test_each_part_is_there_as_soon_as_it_is_answered() -> None:
    stage = Stage()
    view = stage.view()
    view.hosts("example.test")
    seen: list[int] = []
    stage.store.during = lambda: seen.append(
        sum(isinstance(key, str) and key.startswith("p") for key, _ in stage.cache.items())
    )
    view.resolve([address(person(number)) for number in range(25)])
    assert seen == [0, 9, 19]  # the catch-all is asked for, too


def test_a_failure_takes_nothing_from_the_parts_before_it() -> None:
    stage = Stage()
    view = stage.view(lenient=True)
    view.hosts("example.test")

    def go_down() -> None:
        stage.store.down = True

    interrupt(stage, 2, go_down)
    view.resolve([address(person(number)) for number in range(PEOPLE)])
    assert names(stage.view().resolve([address(person(15))])[person(15)]) == [person(15)]
    assert stage.store.searches <= 5  # the parts after it are not asked for
    with pytest.raises(DirectoryUnavailable):
        stage.view().resolve([address(person(60))])


def test_somebody_who_shares_a_search_with_a_large_group_asks_again() -> None:
    """The search for the group finds too many; whoever waits for a person in it does not wait in vain."""
    stage = Stage()
    view = stage.view()
    view.hosts("example.test")
    found: dict[str, object] = {}

    def ask() -> None:
        stage.store.during = lambda: None
        found["ann"] = names(stage.view().resolve([address("ann@example.test")])["ann@example.test"])

    stage.store.during = ask
    one = entry(view, "crew@example.test")
    with pytest.raises(StillReading):
        stage.view().expand([one])
    assert found["ann"] == ["ann@example.test"]


def test_who_is_behind_it_is_the_same_as_ever() -> None:
    stage = Stage()
    for group in GROUPS:
        with pytest.raises(StillReading):
            stage.view().expand([entry(stage.view(), group)])
        stage.run()
        view = stage.view()
        assert set(who(view.expand([entry(view, group)])[entry(view, group).dn])) >= set(map(person, range(PEOPLE)))
