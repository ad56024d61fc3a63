"""What one worker, and all together, know of the way to the relay."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from ldapmilter.daemon.copy_route import CopyRoute, LostRoute, problem, worst
from ldapmilter.postfix.transport import Route
from ldapmilter.socket_address import parse_socket
from tests.support.ports import wait_until
from tests.unit.delivery.test_settings import settings

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.socket_address import SocketAddress

ROUTED = Route("routed", "a table")


class Postfix:
    """Answers as it is told."""

    def __init__(self, *routes: Route) -> None:
        self.routes = list(routes)
        self.asked: list[tuple[str, str, Path | None]] = []

    def was_asked(self, times: int) -> bool:
        return len(self.asked) == times

    def __call__(self, domain: str, listen: SocketAddress, directory: Path | None) -> Route:
        self.asked.append((domain, str(listen), directory))
        return self.routes.pop(0)


def test_nothing_is_known_before_postfix_is_asked() -> None:
    route = CopyRoute(settings("smtp:[a.test]:25"), Postfix())
    assert route.route is not None
    assert route.route.state == "unknown"


def test_what_postfix_said_last_counts() -> None:
    postfix = Postfix(ROUTED, Route("not routed", "gone"))
    route = CopyRoute(settings("smtp:[a.test]:25"), postfix)
    route.ask_within(60.0)
    assert route.route == ROUTED
    route.ask()
    assert route.route == Route("not routed", "gone")
    assert postfix.asked[0] == ("copies.invalid", "inet:127.0.0.1:10024", None)


def test_without_a_relay_nobody_is_asked() -> None:
    postfix = Postfix()
    route = CopyRoute(structs.replace(settings(""), listen=None), postfix)
    route.ask()
    route.ask_within(0)
    assert (route.route, postfix.asked) == (None, [])


def test_another_domain_is_not_known_until_it_is_asked_for() -> None:
    before = settings("smtp:[a.test]:25")
    route = CopyRoute(before, Postfix(ROUTED))
    route.ask()
    route.follow(settings("smtp:[b.test]:25"))
    assert route.route == ROUTED
    route.follow(structs.replace(before, domain="other.invalid"))
    assert route.route is not None
    assert route.route.state == "unknown"


def test_what_was_not_routed_is_not_taken_for_routed_because_postfix_does_not_answer() -> None:
    unknown = [Route("unknown", "a table is denied"), Route("unknown", "timed out")]
    route = CopyRoute(settings("smtp:[a.test]:25"), Postfix(Route("not routed", "gone"), *unknown, ROUTED))
    for state, text in (
        ("not routed", "gone"),
        ("not routed", "gone, when it could be seen last; now a table is denied"),
        ("not routed", "gone, when it could be seen last; now timed out"),
        ("routed", "a table"),
    ):
        route.ask()
        assert route.route is not None
        assert (route.route.state, route.route.text) == (state, text)


def test_postfix_is_asked_at_once_when_a_file_of_its_answer_changes(tmp_path: Path) -> None:
    main, table = tmp_path / "main.cf", tmp_path / "transport.lmdb"
    main.write_text("transport_maps = lmdb:transport")
    found = Route("routed", "a table", files=(main, table))
    postfix = Postfix(found, found, found)
    route = CopyRoute(settings("smtp:[a.test]:25"), postfix)
    route.look()
    assert postfix.asked == []  # there is nothing to compare with
    route.ask()
    route.look()
    assert len(postfix.asked) == 1
    for number, changed in enumerate((main, table), start=2):
        changed.write_text("another")
        route.look()
        wait_until(partial(postfix.was_asked, number), "the question")
        wait_until(lambda: not route._asking.locked(), "the answer")


def test_a_file_that_has_not_changed_is_no_reason_to_ask_again_whatever_was_answered_last(tmp_path: Path) -> None:
    missing = Route("not routed", "gone", files=(tmp_path / "main.cf",))
    unread = Route("unknown", "denied", files=(tmp_path / "other.cf", tmp_path / "main.cf"))
    postfix = Postfix(missing, unread)
    route = CopyRoute(settings("smtp:[a.test]:25"), postfix)
    for asked in (1, 2):
        route.ask()
        route.look()
        assert not route._asking.locked()
        assert len(postfix.asked) == asked


def test_the_return_of_the_way_is_told_once() -> None:
    lost = LostRoute()
    ways = [Route(state, "a") for state in ("unknown", "routed", "not routed", "not routed", "unknown", "routed")]
    assert [lost.follow(way) for way in ways] == [None] * 5 + ["Postfix routes copies to the copy relay again"]
    assert lost.follow(Route("routed", "a")) is None
    lost.follow(Route("not routed", "a"))
    assert [lost.follow(None), lost.follow(Route("routed", "a"))] == [None, None]  # there was no relay meanwhile


def test_a_way_that_comes_into_sight_again_is_told_but_not_the_first_sight_of_it() -> None:
    lost = LostRoute()
    ways = [Route(state, "a") for state in ("unknown", "routed", "unknown", "unknown", "routed", "routed")]
    told = "Postfix routes copies to the copy relay again"
    assert [lost.follow(way) for way in ways] == [None, None, None, None, told, None]


def test_the_worst_of_all_workers_counts() -> None:
    said = [{"state": "routed", "text": "a"}, {"state": "unknown", "text": "b"}]
    assert worst(said) == Route("unknown", "b")
    assert worst([*said, {"state": "not routed", "text": "c"}]) == Route("not routed", "c")
    assert worst(said[:1]) == Route("routed", "a")
    assert worst([]) is None


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (None, None),
        (ROUTED, None),
        (Route("unknown", "why"), "it is not known whether Postfix routes copies to the copy relay"),
        (Route("not routed", "why"), "Postfix does not route copies to the copy relay, so mail with such copies waits"),
    ],
)
def test_what_has_to_be_said(route: Route | None, text: str | None) -> None:
    said = problem(route, parse_socket("inet:127.0.0.1:8825"))
    if text is None:
        assert said is None
        return
    assert said is not None
    assert said.startswith(text)
    assert said.endswith(": why; register --relay inet:127.0.0.1:8825 puts the route there (docs/copies.md)")
