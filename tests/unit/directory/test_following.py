"""What the follower asks a server, and what it concludes: clocks, masters, storms, servers that go and come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.directory.backend.raw_entry import RawEntry
from ldapmilter.directory.following.change_number import earlier, moment, number_at, originator
from ldapmilter.directory.following.follower import MOST, CannotFollow, Follower, TooMany, seconds_behind
from ldapmilter.directory.following.window import MARGIN, MOST_SEEN, Span, Window
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW: Final = 1_781_500_000.0
HOUR: Final = 3600.0
AT_MOST: Final = 1_000
"""Entries of one answer while thousands log in."""


@dataclass
class Server:
    """A directory server: entries with their change numbers, and what may be seen of them."""

    uri: str = "ldap://one"
    session: int = 1
    entries_held: dict[str, str] = field(default_factory=dict)
    refuses: str = ""
    down: str = ""
    answered: list[int] = field(default_factory=list)
    """How many entries each answer had."""
    looked_at: int = 0

    def change(self, name: str, clock: float, master: int = 0) -> None:
        count = len(self.answered) % 1_000_000
        self.entries_held[name] = number_at(clock).replace("#000000#000#", f"#{count:06x}#{master:03x}#")

    def connect(self) -> None:
        if self.down:
            raise DirectoryUnavailable(self.down)

    def must_be_followable(self) -> None:
        self.looked_at += 1
        if self.refuses:
            raise CannotFollow(self.refuses)

    def numbers(self, spans: Sequence[Span], most: int) -> list[tuple[str, str]]:
        self.connect()
        found = [
            (name, number)
            for name, number in self.entries_held.items()
            if any(span.first <= number and (span.end is None or number < span.end) for span in spans)
        ]
        if len(found) > most:
            raise TooMany(str(len(found)))
        self.answered.append(len(found))
        return found

    def any_since(self, number: str) -> bool:
        return any(held >= number for held in self.entries_held.values())

    def entries(self, names: Sequence[str]) -> list[RawEntry]:
        return [RawEntry(f"uid={name}", {}) for name in names if name in self.entries_held]


class Scene:
    """A follower, its server, and the time."""

    def __init__(self, **entries: float) -> None:
        self.now = 1000.0
        self.server = Server()
        for name, ago in entries.items():
            self.server.change(name, NOW - ago)
        self.follower = Follower(server=self.server, clock=lambda: self.now, wall_clock=lambda: NOW + self.now - 1000.0)

    @property
    def wall(self) -> float:
        return NOW + self.now - 1000.0

    def look(self, seconds: float = 1.0) -> list[str]:
        """Return who is told to have changed, so many seconds later; nothing else may be told."""
        self.now += seconds
        news = self.follower.look()
        assert not news.outdated
        return sorted(raw.dn.removeprefix("uid=") for raw in news.entries)

    def outdated(self, seconds: float = 1.0) -> str:
        self.now += seconds
        news = self.follower.look()
        assert not news.entries
        return news.outdated


def followed(**entries: float) -> Scene:
    scene = Scene(**(entries or {"old": HOUR}))
    assert scene.outdated()
    return scene


# -- change numbers -------------------------------------------------------------------------


def test_a_change_number_is_read_and_made() -> None:
    number = "20260615050640.250000Z#00002a#001#000000"
    assert originator(number) == "001"
    assert number_at(moment(number)) == "20260615050640.250000Z#000000#000#000000"
    assert earlier(number, 60.25) == "20260615050540.000000Z#000000#000#000000"
    assert originator("nonsense") == ""


def test_a_change_number_of_older_servers_has_no_fraction() -> None:
    assert moment("20260615050640Z#00002a#01#000000") == moment("20260615050640.000000Z#00002a#001#000000")


# -- in peace -------------------------------------------------------------------------------


def test_a_change_is_told_once() -> None:
    scene = followed()
    assert scene.look() == []
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]
    assert scene.look() == []
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]
    assert scene.follower.state.changes == 2


def test_what_was_there_when_following_began_is_no_change() -> None:
    scene = followed(ann=10, bob=100, carl=1e8)
    assert scene.look() == []


def test_what_is_known_grows_old_while_nobody_answers() -> None:
    scene = followed()
    scene.look()
    assert seconds_behind(scene.follower.state, scene.now + 3) == 3
    scene.server.down = "no route"
    assert scene.look() == []
    assert "no route" in scene.follower.state.why_not
    assert seconds_behind(scene.follower.state, scene.now) is None


# -- clocks and masters ---------------------------------------------------------------------


@pytest.mark.parametrize("late", [1, 30, MARGIN - 1])
def test_a_change_that_comes_late(late: float) -> None:
    scene = followed()
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]
    scene.server.change("bob", scene.wall - late)
    assert scene.look() == ["bob"]


@pytest.mark.parametrize("off", [-HOUR, HOUR, -300 * HOUR, 300 * HOUR])
def test_a_single_server_with_another_clock(off: float) -> None:
    scene = Scene()
    scene.server.change("old", scene.wall + off - 10)
    assert scene.outdated()
    for name in ("ann", "bob"):
        scene.server.change(name, scene.wall + off)
        assert scene.look(300) == [name]


@pytest.mark.parametrize("off", [-HOUR, HOUR])
@pytest.mark.parametrize("busy", [0, 40])
def test_two_masters_whose_clocks_are_an_hour_apart(off: float, busy: int) -> None:
    """Whoever is busy, and whoever was changed last: the other one's changes are seen, and soon."""
    scene = Scene()
    scene.server.change("one", scene.wall - 10, master=1)
    scene.server.change("two", scene.wall + off - 20, master=2)
    assert scene.outdated()
    assert scene.look() == []
    for second in range(60):
        expected = []
        for number in range(busy):
            scene.server.change(f"login-{second}-{number}", scene.wall, master=1)
            expected.append(f"login-{second}-{number}")
        if second % 7 == 0:
            scene.server.change(f"ann-{second}", scene.wall, master=1)
            scene.server.change(f"bob-{second}", scene.wall + off, master=2)
            expected += [f"ann-{second}", f"bob-{second}"]
        assert scene.look() == sorted(expected)


def test_a_master_that_was_idle_for_long_and_then_cut_off() -> None:
    """The replica hears late of what was changed there: its numbers are old, and newer than all of that master's."""
    scene = Scene()
    scene.server.change("one", scene.wall - 10, master=1)
    scene.server.change("two", scene.wall - HOUR, master=2)
    assert scene.outdated()
    for second in range(30):
        scene.server.change(f"one-{second}", scene.wall, master=1)
        scene.look()
    scene.server.change("late", scene.wall - 600, master=2)
    assert scene.look() == ["late"]


def test_a_replica_that_was_cut_off_from_its_only_provider() -> None:
    scene = followed()
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]
    made = scene.wall
    scene.look(900)
    scene.server.change("bob", made + 60)
    scene.server.change("carl", made + 800)
    assert scene.look() == ["bob", "carl"]


# -- many changes ---------------------------------------------------------------------------


def test_a_storm_of_logins_is_told_and_costs_bounded_answers() -> None:
    scene = followed()
    names = [f"user-{number}" for number in range(40)]
    for second in range(130):
        changed = [f"{name}-{second}" for name in names]
        for name in changed:
            scene.server.change(name, scene.wall)
        assert scene.look() == sorted(changed)
        scene.server.answered[:-1] = []
        assert scene.server.answered[-1] <= AT_MOST


def test_a_late_change_in_a_storm_is_found_in_turn() -> None:
    scene = followed()
    for second in range(130):
        for number in range(40):
            scene.server.change(f"{number}-{second}", scene.wall)
        scene.look()
    scene.server.change("late", scene.wall - 60)
    found: list[str] = []
    for _ in range(30):
        found += scene.look()
    assert found == ["late"]


def test_a_bulk_change_outdates_everything_and_following_goes_on() -> None:
    scene = followed()
    for number in range(MOST + 1):
        scene.server.change(f"bulk-{number}", scene.wall + number / 1e4)
    assert str(MOST) in scene.outdated()
    assert scene.follower.state.outdated == 1
    assert scene.look() == []
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]


def test_following_begins_on_a_directory_that_was_loaded_in_one_go() -> None:
    scene = Scene()
    for number in range(5 * MOST):
        scene.server.change(f"loaded-{number}", scene.wall - 5)
    assert scene.outdated()
    assert scene.look() == []
    scene.server.change("ann", scene.wall)
    assert scene.look(30) == ["ann"]


def test_the_peace_after_a_bulk_change_costs_little() -> None:
    scene = followed()
    for number in range(MOST - 100):
        scene.server.change(f"bulk-{number}", scene.wall + number / 1e4)
    assert len(scene.look()) == MOST - 100
    for _ in range(50):
        assert scene.look() == []
        assert scene.server.answered[-1] <= AT_MOST / 2
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]


def test_memory_is_bounded() -> None:
    window = Window(number_at(NOW))
    for start in range(0, 60_000, 1_000):
        window.take([(f"{start + n}", number_at(NOW + (start + n) / 1000)) for n in range(1_000)], 0.0)
        assert len(window) <= MOST_SEEN


# -- servers --------------------------------------------------------------------------------


def test_another_server_outdates_everything() -> None:
    scene = followed()
    scene.server.uri, scene.server.session = "ldap://two", 2
    assert "ldap://two" in scene.outdated()
    assert scene.follower.state.uri == "ldap://two"
    scene.server.change("ann", scene.wall)
    assert scene.look() == ["ann"]


def test_a_server_that_was_away_outdates_everything_when_it_is_back() -> None:
    scene = followed()
    scene.server.down = "refused"
    assert scene.look() == []
    assert scene.look() == []
    scene.server.down, scene.server.session = "", 2
    assert scene.outdated()
    assert not scene.follower.state.why_not


def test_a_server_that_was_rebuilt_with_older_data_is_followed() -> None:
    scene = followed(old=HOUR, ann=5)
    scene.server.entries_held.clear()
    scene.server.change("old", scene.wall - 10 * HOUR)
    scene.server.session = 2
    assert scene.outdated()
    scene.server.change("bob", scene.wall)
    assert scene.look() == ["bob"]


def test_a_server_that_was_rebuilt_empty_tells_of_no_change_and_is_followed_when_it_is_filled() -> None:
    scene = followed(old=HOUR, ann=5)
    kept = dict(scene.server.entries_held)
    scene.server.entries_held.clear()
    scene.server.session = 2
    for _ in range(3):
        assert scene.look() == []  # nothing is forgotten for it, and nobody is taken for changed
    assert "entryCSN" in scene.follower.state.why_not
    scene.server.entries_held.update(kept)
    scene.now += 60
    assert scene.outdated()
    assert not scene.follower.state.why_not


def test_an_index_or_a_right_that_is_lost_while_a_server_is_followed_is_noticed() -> None:
    scene = followed()
    scene.server.refuses = "entryCSN has no index"
    why_not = []
    for seconds in (1, 600):
        assert scene.look(seconds) == []
        why_not.append(scene.follower.state.why_not)
    assert why_not == ["", "entryCSN has no index"]
    scene.server.refuses = ""
    assert scene.outdated(60)
    assert not scene.follower.state.why_not


def test_who_may_not_follow_is_looked_at_now_and_then_and_goes_on_when_that_is_mended() -> None:
    scene = Scene(old=HOUR)
    scene.server.refuses = "entryCSN may not be read"
    for _ in range(30):
        assert scene.look() == []
        assert scene.follower.state.why_not == "entryCSN may not be read"
    assert scene.server.looked_at == 1
    scene.server.refuses = ""
    assert scene.outdated(60)
    assert not scene.follower.state.why_not


def test_a_directory_that_shows_no_change_number() -> None:
    scene = Scene()
    assert scene.look() == []
    assert "entryCSN" in scene.follower.state.why_not
