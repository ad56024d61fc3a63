"""A server that no mail asks is asked whether it answers: beside the mail, bounded, and cheaply."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.health import QUIET
from ldapmilter.directory.ldap.servers import LdapStore
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.ports import free_port, wait_until
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.unit.directory import peers
from tests.unit.directory.peers import Peer, answering, babble, dribble, hang_up, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Behaviour = Callable[..., None]

_LIMIT = 60.0


class Clock:
    """Real time, and more where a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(base_records()) as server:
        yield server


def opened(clock: Clock, *uris: str, password: str = MILTER_PASSWORD) -> LdapStore:
    settings = LdapSettings(
        uris=uris, bind_dn=MILTER_DN, read_password=lambda: password, starttls=False, connect_timeout=0.5
    )
    return LdapStore(settings, clock)


def look(store: LdapStore, seconds: float = _LIMIT) -> dict[str, bool | None]:
    """Look in at the servers, and return whether each is up once that is known."""
    before = [(state["answered_at"], state["failing_since"]) for state in store.states().values()]
    store.look_in(seconds)
    wait_until(
        lambda: all(
            (state["answered_at"], state["failing_since"]) != then
            for state, then in zip(store.states().values(), before, strict=True)
        ),
        "an outcome for every server",
        _LIMIT,
    )
    return {uri: state["up"] for uri, state in store.states().items()}


def test_nothing_is_known_of_a_server_that_was_never_asked(slapd: Slapd, clock: Clock) -> None:
    store = opened(clock, slapd.uri)
    assert store.states()[slapd.uri]["up"] is None
    assert store.problems() == []
    store.close()


def test_it_costs_no_search_and_keeps_its_connection(slapd: Slapd, clock: Clock) -> None:
    store = opened(clock, slapd.uri)
    wait_until(lambda: " ACCEPT " in slapd.log(), "the connection that has seen it serve", _LIMIT)
    searches, connections = slapd.searches(), slapd.log().count(" ACCEPT ")
    for _ in range(3):
        assert look(store) == {slapd.uri: True}
        clock.ahead += QUIET
    assert slapd.searches() == searches
    assert slapd.log().count(" ACCEPT ") == connections + 1
    store.close()


def test_a_server_that_was_heard_a_moment_ago_is_left_alone(slapd: Slapd, clock: Clock) -> None:
    store = opened(clock, slapd.uri)
    assert look(store) == {slapd.uri: True}
    answered = store.states()[slapd.uri]["answered_at"]
    store.look_in(1.0)
    assert not store._looking
    assert store.states()[slapd.uri]["answered_at"] == answered
    store.close()


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(silent, id="silent"),
        pytest.param(hang_up, id="hangs up"),
        pytest.param(babble, id="babbles"),
        pytest.param(dribble, id="dribbles"),
        pytest.param(answering(compare=peers.BUSY), id="is busy"),
        pytest.param(answering(b"", bind=49), id="knows another password"),
    ],
)
def test_a_server_that_does_not_answer(slapd: Slapd, clock: Clock, behaviour: Behaviour) -> None:
    with Peer(behaviour) as bad:
        store = opened(clock, bad.uri, slapd.uri)
        assert look(store, 2.0) == {bad.uri: False, slapd.uri: True}
        (problem,) = store.problems()
        assert problem.startswith(f"{bad.uri}: fails: ")
        store.close()


def test_a_server_that_is_not_there(clock: Clock) -> None:
    uri = f"ldap://127.0.0.1:{free_port()}"
    store = opened(clock, uri)
    assert look(store) == {uri: False}
    store.close()


@pytest.mark.parametrize("code", [5, 6, 16, 32, 50])
def test_a_refusal_is_an_answer(clock: Clock, code: int) -> None:
    """What may be read is another question, and asked by another."""
    with Peer(answering(compare=code)) as server:
        store = opened(clock, server.uri)
        assert look(store) == {server.uri: True}
        store.close()


def test_nobody_waits_for_it(clock: Clock) -> None:
    with Peer(silent) as bad:
        store = opened(clock, bad.uri)
        for _ in range(20):
            store.look_in(_LIMIT)
        assert store.states()[bad.uri]["up"] is None
        assert bad.accepted <= 1
        store.close()
