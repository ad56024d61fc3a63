"""Reading in the background: who gets a place, what is kept, and what nobody takes away."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ldapmilter.directory.cache.load import Outcome
from ldapmilter.directory.cache.loads import KEPT_FOR
from ldapmilter.directory.working_out import InBackground
from tests.contract.asking import entry
from tests.support.builders import account, alias_domain, static_list
from tests.unit.directory.scene import LIMITS
from tests.unit.directory.test_loads import ALL, BACK_OFF, PEOPLE, Stage, person, records, texts
from tests.unit.directory.test_loads import _small as _small  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ldapmilter.directory.cache.load import Run
    from ldapmilter.directory.cache.progress import Progress
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record


# -- no thread ------------------------------------------------------------------------------


def without_threads(stage: Stage, failures: int) -> None:
    """Let so many starts of a thread fail, from now on."""
    spawn, left = stage.loads._spawn, [failures]

    def start(work: Callable[[], None]) -> None:
        left[0] -= 1
        if left[0] >= 0:
            message = "can't start new thread"
            raise RuntimeError(message)
        spawn(work)

    stage.loads._spawn = start


@pytest.mark.parametrize("failures", [1, 2, 5])
def test_a_thread_that_does_not_start_is_started_at_the_next_try(failures: int) -> None:
    stage = Stage()
    without_threads(stage, failures)
    first = stage.mail()
    assert first.verdict == "tempfail"
    for _ in range(failures):
        stage.mail()
    stage.run()
    assert stage.mail().verdict == "accept"


def test_a_thread_that_does_not_start_is_said() -> None:
    stage = Stage()
    without_threads(stage, 5)
    assert f"{ALL} has to be read" in texts(stage.mail())
    assert "can't start new thread" in texts(stage.mail())


def test_whoever_has_a_value_at_hand_needs_no_thread() -> None:
    stage = Stage()
    stage.mail()
    stage.run()
    without_threads(stage, 100)
    for _ in range(9):
        stage.clock.now += 10
        assert stage.mail().verdict == "accept"


def test_where_mail_goes_on_what_is_known_is_applied_without_a_thread() -> None:
    stage = Stage()
    without_threads(stage, 100)
    view = stage.view(lenient=True)
    found = view.expand([entry(view, ALL)])
    assert any("can't start new thread" in text for text in view.failures)
    assert len(next(iter(found.values())).members) == PEOPLE


# -- places ---------------------------------------------------------------------------------

LISTS = [f"l{number}@example.test" for number in range(40)]


def many(*more: Record) -> list[Record]:
    return records(*(one for name in LISTS for one in static_list(name, map(person, range(PEOPLE)))), *more)


def put_off(stage: Stage, lists: Iterable[str]) -> None:
    """Send a message to each list, which is read, and does not come back."""
    for name in lists:
        assert stage.mail(name).verdict == "tempfail"
        stage.run()


def test_one_whose_forward_changes_keeps_nobody_out() -> None:
    def world(version: int) -> list[Record]:
        forward = [ALL, f"x{version}@outside.test"]
        return many(*account("eve@example.test", zimbraPrefMailForwardingAddress=forward))

    stage = Stage(world(0))
    for version in range(20):
        stage.store.fill(world(version))
        stage.cache.flush(lambda key, _value: key == "eve@example.test")
        put_off(stage, ["eve@example.test"])
    put_off(stage, [LISTS[0]])
    decision = stage.mail(LISTS[0])
    assert decision.verdict == "accept", texts(decision)
    assert len(stage.loads._loads) <= 5  # of all her versions there is one


def test_messages_that_never_come_back_keep_nobody_out() -> None:
    stage = Stage(many())
    put_off(stage, LISTS)
    stage.clock.now += BACK_OFF
    put_off(stage, [ALL])
    assert stage.mail().verdict == "accept"


def test_what_has_been_waited_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldapmilter.directory.cache.loads._MOST_KEPT", 20)
    stage = Stage(many(), replace(LIMITS, max_entries=100))  # too small to remember anything else
    for name in LISTS:
        stage.clock.now += 0.1
        put_off(stage, [name])
    assert len(stage.loads._loads) <= 21
    assert [stage.mail(name).verdict for name in LISTS[-5:]] == ["accept"] * 5
    assert [stage.mail(name).verdict for name in LISTS[:5]] == ["tempfail"] * 5


def on_their_way(stage: Stage) -> list[Callable[[], None]]:
    """Let as many lists be read as may at a time; return what reads them."""
    while "other groups are being read" not in texts(stage.mail(LISTS[len(stage.jobs)])):
        assert len(stage.jobs) < len(LISTS) - 1
    jobs = stage.jobs[:]
    stage.jobs.clear()
    return jobs


def test_everybodys_mail_has_a_place_of_its_own() -> None:
    def world(*more: str) -> list[Record]:
        members = [*map(person, range(PEOPLE)), *more]
        return many(*static_list("policy@example.test", members, ldapMilterAppliesToMembers=True))

    stage = Stage(world())
    stage.mail("ann@example.test")
    stage.run()
    on_their_way(stage)
    stage.store.fill(world("bob@example.test"))
    stage.cache.flush()
    stage.mail("ann@example.test")
    assert len(stage.jobs) == 1
    stage.run()
    decision = stage.mail("ann@example.test")
    assert decision.verdict == "accept"
    assert stage.jobs == []  # who is in which policy group is at hand


def test_renewing_needs_no_place() -> None:
    """A value at hand is of use until it is old, whether or not there is room to work it out again."""
    stage = Stage(many())
    put_off(stage, [ALL])
    assert stage.mail().verdict == "accept"
    stage.clock.now += LIMITS.ttl * 0.75
    on_their_way(stage)
    verdicts = []
    for _ in range(8):
        stage.clock.now += LIMITS.ttl * 0.02
        verdicts.append(stage.mail().verdict)
    assert verdicts == ["accept"] * 8


def test_what_is_read_anew_takes_nobodys_place() -> None:
    stage = Stage(many())
    put_off(stage, LISTS)
    for load in stage.loads._loads.values():
        stage.loads._anew(load)
    put_off(stage, [ALL])
    assert stage.mail().verdict == "accept"


def test_a_version_that_has_been_replaced_is_not_read_to_its_end() -> None:
    def world(version: int) -> list[Record]:
        return records(*static_list("busy@example.test", [*map(person, range(PEOPLE)), f"x{version}@outside.test"]))

    stage = Stage(world(0))
    stage.mail("busy@example.test")
    (before,) = stage.jobs
    stage.jobs.clear()
    stage.store.fill(world(1))
    stage.cache.flush(lambda key, _value: key == "busy@example.test")
    stage.mail("busy@example.test")
    asked = stage.store.searches
    before()
    assert stage.store.searches == asked
    stage.run()
    assert stage.mail("busy@example.test").verdict == "accept"


# -- what is kept ---------------------------------------------------------------------------


def test_whoever_passes_takes_nothing_from_who_was_put_off() -> None:
    stage = Stage()
    assert stage.mail(login="ann@example.test").verdict == "tempfail"
    stage.run()
    assert stage.mail().verdict == "accept"
    stage.renewals = 20
    began = stage.clock.now
    load = next(iter(stage.loads._loads.values()))
    while stage.clock.now - began < 3 * BACK_OFF:
        assert stage.loads._has_to_go_on(load)
        stage.loads._pass(load, load.run)
        load.run.go_on()
    before = stage.store.searches
    assert stage.mail(login="ann@example.test").verdict == "accept"
    assert stage.store.searches == before


@pytest.mark.parametrize("seconds", [1.0, 2.1, 3.0, 5.0, 9.0, 30.0])
@pytest.mark.parametrize("domain", ["example.test", "other.test"])
def test_members_that_are_absent_or_in_an_alias_domain(domain: str, seconds: float) -> None:
    """What is absent counts for a fifth of the time; nothing is lost, even while it is read over and over."""
    members = [f"p{number}@other.test" if domain == "other.test" else f"gone{number}@{domain}" for number in range(100)]
    stage = Stage(records(*alias_domain("other.test", "example.test"), *static_list("slow@example.test", members)))
    stage.mail("ann@example.test")
    assert stage.mail("slow@example.test").verdict == "tempfail"
    stage.takes = seconds
    stage.run()
    verdicts: list[str] = []

    def ask() -> None:
        stage.takes, stage.store.during = 0.0, lambda: None
        verdicts.append(stage.mail("slow@example.test").verdict)
        stage.takes, stage.store.during = seconds, ask

    ask()
    assert verdicts == ["accept"]
    verdicts.clear()
    began = stage.clock.now
    original = stage._pause

    def pause(seconds: float) -> bool:
        if seconds > 1:
            stage.renewals = 1
        return stage.clock.now - began > 3 * BACK_OFF or original(seconds)

    stage.loads.pause = pause
    load = next(one for one in stage.loads._loads.values() if one.main is None)
    stage.jobs.append(lambda: stage.loads._work(load))
    stage.loads._anew(load)
    stage.run()
    assert set(verdicts) == {"accept"}


class Buggy:
    """Reads a group once; then it has a bug."""

    def __init__(self, run: Run, *, in_what_follows: bool) -> None:
        self._run, self._in_what_follows = run, in_what_follows
        self._times = 0

    def __call__(self, progress: Progress) -> Outcome:
        self._times += 1
        if self._times > 1:
            raise LookupError
        return self._run(progress)

    def go_on(self) -> None:
        if self._in_what_follows:
            raise LookupError


@pytest.mark.parametrize("in_what_follows", [False, True])
def test_what_nobody_reads_anew_any_more_does_not_outlast_its_time(*, in_what_follows: bool) -> None:
    """A bug has ended the thread that looks after it: what has changed since must not be passed over."""
    stage = Stage()
    assert stage.mail(login="ann@example.test").verdict == "tempfail"
    load = next(iter(stage.loads._loads.values()))
    load.run = Buggy(load.run, in_what_follows=in_what_follows)
    stage.renewals = 1
    with pytest.raises(LookupError):
        stage.run()
    assert stage.loads.outcome(load.place, load.key) is not None
    stage.clock.now += 2 * LIMITS.ttl
    assert stage.loads.outcome(load.place, load.key) is None


def test_nothing_is_kept_of_what_has_been_replaced() -> None:
    """The thread that looked after it sleeps on for minutes: many flushes would else be many copies of the list."""
    stage = Stage()
    stage.mail()
    stage.run()
    before = next(iter(stage.loads._loads.values()))
    run = before.run
    assert before.future.done()
    stage.cache.flush()
    assert stage.mail().verdict == "tempfail"
    assert before.outcome is None
    assert not before.future.done()
    stage.run()
    assert isinstance(run, InBackground)
    assert run._opened is None
    assert stage.mail().verdict == "accept"


class Value:
    """Something that is read."""


class Reading:
    """Reads it, and sees when nobody holds it any more."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.seen: weakref.ref[Value] | None = None

    def __call__(self, progress: Progress) -> Outcome:
        del progress
        value = Value()
        self.seen = weakref.ref(value)
        return Outcome(value=value, reads={}, stale=False, epoch=self._stage.cache.epoch)

    def go_on(self) -> None:
        """Need nothing else."""


def test_the_thread_that_sleeps_holds_nothing() -> None:
    stage = Stage()
    reading = Reading(stage)
    load = stage.loads.want("place", "key", "a list", reading)[0]
    stage.loads.put_off(load)
    alive: list[bool] = []

    def sleep(_seconds: float) -> bool:
        load.let_go()
        gc.collect()
        alive.append(reading.seen is not None and reading.seen() is not None)
        return True

    stage.loads.pause = sleep
    stage.run()
    assert alive == [False]


# -- past the time to live ------------------------------------------------------------------


class Renewal:
    """A list that was read in no time for mail that was put off; to read it once more takes so long for each search."""

    def __init__(self, seconds: float, then: Iterable[Record] | None = None) -> None:
        """Have it read anew; what it finds then may be something else."""
        self.stage = Stage()
        self.stage.mail()
        self.stage.renewals = 1
        self.began = self.stage.clock.now
        self.seen: list[tuple[float, Decision]] = []
        """What a message got meanwhile, and how many seconds after the first reading."""
        pause = self.stage._pause

        def then_slowly(how_long: float) -> bool:
            if how_long > 1 and self.stage.renewals:
                self.stage.takes, self.stage.store.during = seconds, self.ask
                self.stage.store.fill(records() if then is None else then)
            return pause(how_long)

        self.stage.loads.pause = then_slowly
        self._seconds = seconds

    def ask(self) -> None:
        self.stage.takes, self.stage.store.during = 0.0, lambda: None
        self.seen.append((self.stage.clock.now - self.began, self.stage.mail()))
        self.stage.takes, self.stage.store.during = self._seconds, self.ask

    def run(self) -> Decision:
        """Read it once more; return what a message gets afterwards."""
        self.stage.run()
        self.stage.takes, self.stage.store.during = 0.0, lambda: None
        return self.stage.mail()


def test_the_last_reading_counts_until_the_next_one_is_there() -> None:
    """However long ago its time to live has ended."""
    renewal = Renewal(60.0)
    assert renewal.run().verdict == "accept"
    assert {decision.verdict for _, decision in renewal.seen} == {"accept"}
    assert max(seconds for seconds, _ in renewal.seen) > 5 * LIMITS.ttl


def test_it_does_not_count_when_the_list_cannot_be_read_again() -> None:
    renewal = Renewal(600.0)
    assert renewal.run().verdict == "tempfail"
    assert max(seconds for seconds, decision in renewal.seen if decision.verdict == "accept") < KEPT_FOR


def test_it_does_not_count_once_an_answer_has_changed() -> None:
    renewal = Renewal(60.0, records(copy_of="p9"))
    reasons = [reason.recipient for copy in renewal.run().copies for reason in copy.reasons]
    before = renewal.seen[-1][1]
    assert reasons == [person(9)]
    assert before.verdict == "tempfail"
