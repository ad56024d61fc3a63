"""How many connections are too many, and whether they are an MTA's."""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import crowd
from ldapmilter.daemon.crowd import Crowd, State

if TYPE_CHECKING:
    from pathlib import Path


def look(seconds: range, *, connections: int, sessions: int, in_flight: int = 0, within: Crowd) -> State:
    """Look once a second; return how it is in the end."""
    states = [
        within.look(float(now), connections=connections, sessions=sessions, in_flight=in_flight) for now in seconds
    ]
    return states[-1]


@pytest.mark.parametrize(("descriptors", "most"), [(1024, 896), (200, 150), (20_000, 4000), (8, 6), (1, 1)])
def test_some_descriptors_are_not_for_connections(descriptors: int, most: int) -> None:
    assert crowd.most_connections(descriptors) == most


def test_the_limit_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(256, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert crowd.raise_descriptor_limit() == 4096


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refused)
    assert crowd.raise_descriptor_limit() == 256


def test_few_connections_are_no_matter() -> None:
    state = look(range(200), connections=70, sessions=70, within=Crowd(100))
    assert (state.problem, state.full, state.hopeless) == (None, False, False)


def test_many_connections_are_told_before_they_are_too_many() -> None:
    state = look(range(2), connections=80, sessions=80, within=Crowd(100))
    assert not state.full
    assert state.problem is not None
    assert "80 connections to one worker; at 100 more are refused" in state.problem
    assert "LimitNOFILE" in state.problem


def test_no_more_are_taken_until_there_is_room_again() -> None:
    full = Crowd(100)
    assert look(range(1), connections=100, sessions=100, within=full).full
    assert look(range(1, 2), connections=95, sessions=95, within=full).full
    assert not look(range(2, 3), connections=89, sessions=89, within=full).full
    assert not look(range(3, 4), connections=95, sessions=95, within=full).full


def test_those_that_say_nothing_for_a_minute_are_no_mta() -> None:
    silent = Crowd(1000)
    state = look(range(60), connections=90, sessions=10, within=silent)
    assert (state.silent, state.hopeless) == (0, False)
    state = look(range(60, 61), connections=90, sessions=10, within=silent)
    assert (state.silent, state.hopeless) == (80, True)
    assert state.problem is not None
    assert "80 of which have said nothing for a minute" in state.problem


def test_those_that_have_only_just_come_may_still_speak() -> None:
    busy = Crowd(1000)
    for now in range(200):
        silent = 0 if now % 50 == 0 else 500
        state = busy.look(float(now), connections=silent + 10, sessions=10, in_flight=0)
    assert (state.silent, state.hopeless) == (0, False)


def test_a_worker_full_of_messages_is_left_to_them_and_one_full_of_idlers_is_not() -> None:
    working = Crowd(100)
    assert not look(range(300), connections=100, sessions=100, in_flight=51, within=working).hopeless
    idle = Crowd(100)
    assert not look(range(60), connections=100, sessions=100, in_flight=10, within=idle).hopeless
    assert look(range(60, 61), connections=100, sessions=100, in_flight=10, within=idle).hopeless


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_accepted_connections_are_counted_and_nothing_else(family: socket.AddressFamily, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        listening, other = (stack.enter_context(socket.socket(family)) for _ in range(2))
        for number, each in enumerate((listening, other)):
            each.bind(str(tmp_path / str(number)) if family == socket.AF_UNIX else ("127.0.0.1", 0))
            each.listen(128)
        for target in (listening,) * 70 + (other,) * 5:
            stack.enter_context(socket.socket(family)).connect(target.getsockname())
            stack.enter_context(target.accept()[0])
        assert crowd.count(listening, 3) == 70
        assert crowd.count(other, 3) == 5
