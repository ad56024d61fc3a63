"""What one worker puts off, the others read: what travels, how much of it, and that it leaves no trace."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon import requests
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.channel import Lines, encode
from ldapmilter.daemon.deciding import Decider
from ldapmilter.daemon.warming import MOST_MESSAGES, PutOff, as_request
from ldapmilter.message import Envelope, Headers, Identity
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.model import Decision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIST = "everybody@example.test"
ENVELOPE = Envelope(
    login="ann\udcff",
    client="192.0.2.1",
    sender="ann@example.test",
    recipients=(LIST, "bob@example.test"),
    submitted_locally=True,
    daemon_port=465,
)
HEADERS = Headers(fields=(("from", "Ann <ann@example.test>"), ("x-authenticated-user", "bob\udcff")))
LATER = Decision(identity=Identity(source="none"), verdict="tempfail", still_reading=True)
Asked = list[tuple[Envelope, "Headers | None"]]


@pytest.fixture
def asked() -> Asked:
    return []


@pytest.fixture
def serving(tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Decider]:
    """Return a function that makes a decider, for which every group is on its way."""

    def decide(
        _active: ActiveConfiguration, envelope: Envelope, headers: Headers | None, _basis: Basis | None = None
    ) -> Decision:
        asked.append((envelope, headers))
        return LATER

    monkeypatch.setattr(ActiveConfiguration, "decide", decide)
    nothing: Any = None

    def made(mode: str = "apply") -> Decider:
        text = f"[ldap]\nuri = ldap://127.0.0.1:9\nstarttls = no\n[policy]\nmode = {mode}\n[audit]\nfile =\n"
        return Decider(ActiveConfiguration(config=parse(text, tmp_path / "config.ini"), opened=nothing))

    return made


def travelled(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request as it comes in on a channel."""

    class Channel:
        def recv(self, _size: int) -> bytes:
            return encode(request)

    channel: Any = Channel()
    (come,) = Lines(channel).receive()
    return come


@pytest.mark.parametrize("headers", [None, HEADERS, Headers()])
@pytest.mark.parametrize("envelope", [ENVELOPE, Envelope()])
def test_another_worker_decides_on_the_same_message(
    serving: Callable[..., Decider], asked: Asked, envelope: Envelope, headers: Headers | None
) -> None:
    first, other = serving(), serving()
    assert first.decide(envelope, headers, Basis()) is LATER
    (request,) = first.put_off.take()
    assert requests.serve(other, travelled(request)) == {}
    assert asked == [(envelope, headers)] * 2


def test_it_leaves_no_trace_and_is_not_passed_on(
    serving: Callable[..., Decider], asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    other = serving()
    before = other.tally.numbers()
    with caplog.at_level(logging.DEBUG):
        requests.serve(other, as_request(ENVELOPE, None))
    assert asked
    assert other.put_off.take() == []
    assert other.tally.numbers() == before
    assert other.last_message is None
    assert caplog.records == []


def test_nothing_is_read_while_policy_is_switched_off(serving: Callable[..., Decider], asked: Asked) -> None:
    requests.serve(serving("pass"), as_request(ENVELOPE, None))
    assert asked == []


def test_what_is_not_put_off_for_a_group_is_not_told(
    serving: Callable[..., Decider], monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = Decision(identity=Identity(source="none"), verdict="tempfail", unavailable=True)
    monkeypatch.setattr(ActiveConfiguration, "decide", lambda *_: decided)
    first = serving()
    assert first.decide(ENVELOPE, None, Basis()) is decided
    assert first.put_off.take() == []


def test_a_message_is_told_once_and_few_at_a_time() -> None:
    put_off = PutOff()
    for number in range(3 * MOST_MESSAGES):
        for _ in range(2):
            put_off.note(Envelope(recipients=(f"list{number}@example.test",)), None)
    assert [request["recipients"] for request in put_off.take()] == [
        [f"list{number}@example.test"] for number in range(MOST_MESSAGES)
    ]
    assert put_off.take() == []
    put_off.note(ENVELOPE, None)  # tried again
    assert len(put_off.take()) == 1
