"""What the log says of mail that waits or is refused: loud enough, and never on whom a legal value is.

Whoever reads the mail log knows who sent what when. A line that only a broken legal value can
cause would say who is under a legal hold.
"""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit.file import AuditFile
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.deciding import Decider
from ldapmilter.daemon.decision_log import level
from ldapmilter.errors import AuditError
from ldapmilter.message import HandledMessage
from tests.support import builders
from tests.unit.policy.example import GLOBAL, example_records
from tests.unit.policy.world import ANN, BOB, Message, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ldapmilter.policy.model import Decision
    from tests.support.builders import Value
    from tests.support.record import Record

    Sections = Mapping[str, Mapping[str, str]]

LIST = "everybody@example.com"
HOLDING = {"copy archive": {"invalid_value": "tempfail"}, "from": {"invalid_value": "tempfail"}}
"""Where every broken value holds mail up."""
ARCHIVED: dict[str, Value] = {"ldapMilterArchiveBcc": "vault@elsewhere.test"}
"""What would stand in the line of a message that goes on."""


def world(ann: Mapping[str, Value], sections: Sections | None = None, *more: Record) -> World:
    example = example_records({ANN: {**ARCHIVED, **ann}, BOB: {}, "example.com": {}, GLOBAL: {}}, *more)
    return World(example, sections)


def _broken(attribute: str, value: str = "no-at-sign") -> Decision:
    return world({attribute: value}, HOLDING).decide()


def _unavailable() -> Decision:
    found = world({})
    found.goes_down()
    return found.decide()


def _unavailable_after_a_while() -> Decision:
    """The login is known, the recipient is not: some searches are sent, some of what is known is stale."""
    found = world({})
    found.decide()
    found.clock.now += 1000
    found.goes_down(lambda text: BOB in text)
    return found.decide(Message(to=[BOB]))


def _too_many_copies() -> Decision:
    more = [f"vault{number}@elsewhere.test" for number in range(3)]
    return world({"ldapMilterArchiveBcc": more}, {"policy": {"max_copies": "2"}}).decide()


def _two_logins() -> Decision:
    twin = builders.account("twin@example.com", zimbraMailAlias=[ANN])
    return world({}, None, *twin).decide()


CAUSES: Mapping[str, Callable[[], Decision]] = {
    "the directory does not answer": _unavailable,
    "the directory does not answer about the recipient": _unavailable_after_a_while,
    "the login is two people's": _two_logins,
    "too many copies": _too_many_copies,
    "an invalid legal value": lambda: _broken("ldapMilterLegalBcc"),
    "an invalid legal value of a legal address that does not exist": lambda: _broken(
        "ldapMilterLegalSentBcc", "phantom@example.com"
    ),
    "an invalid archive value": lambda: _broken("ldapMilterArchiveSentBcc"),
    "an invalid From value": lambda: _broken("ldapMilterSenderFromRewrite", "* => nobody at all"),
}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Decider]:
    yield from _serving(tmp_path, HOLDING)


def _serving(folder: Path, sections: Sections) -> Iterator[Decider]:
    config = world({}, {**sections, "audit": {"file": str(folder / "audit.jsonl")}}).config
    no_servers: Any = SimpleNamespace(store=SimpleNamespace(states=dict))
    serving = Decider(ActiveConfiguration(config=config, opened=no_servers))
    yield serving


def handle(serving: Decider, decision: Decision, caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Take a decision to the end; return what the log got, level and text, from any module."""
    caplog.clear()
    message = HandledMessage(queue_id="4QID", envelope=Message().envelope)
    with caplog.at_level(logging.DEBUG):
        try:
            serving.done(message, decision)
        except AuditError:
            assert decision.applied_verdict == "accept"
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_causes_cannot_be_told_apart(serving: Decider, caplog: pytest.LogCaptureFixture) -> None:
    said = {}
    for cause, decide in CAUSES.items():
        decision = decide()
        assert decision.applied_verdict == "tempfail", cause
        said[cause] = handle(serving, decision, caplog)
    (only,) = {tuple(lines) for lines in said.values()}
    ((loud, text),) = only
    assert loud == logging.WARNING
    assert text == f"4QID: verdict=tempfail identity=sasl:{ANN} mail_from=<{ANN}> nrcpt=1"


def test_an_audit_that_fails_for_a_legal_copy_looks_the_same(
    serving: Decider, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = handle(serving, _unavailable(), caplog)

    def fail(_self: AuditFile, _record: object, **_how: object) -> None:
        message = "the disk is full"
        raise AuditError(message)

    monkeypatch.setattr(AuditFile, "write", fail)
    decision = world({"ldapMilterLegalBcc": "hold@elsewhere.test"}).decide()
    assert decision.verdict == "accept"
    assert handle(serving, decision, caplog) == other


def test_look_up_and_audit_share_one_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the MTA would wait for twice the time that its users may expect."""
    (serving,) = _serving(tmp_path, {})
    assert serving.configurations.active.config.ldap.lookup_deadline == 10
    given: list[float] = []

    def write(_self: AuditFile, _record: object, *, durable: bool, seconds: float) -> None:
        assert durable
        given.append(seconds)

    monkeypatch.setattr(AuditFile, "write", write)
    decision = world({"ldapMilterLegalBcc": "hold@elsewhere.test"}).decide()
    now = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        for waited in (None, 0.0, 7.0, 9.9, 10.0, 12.0):
            ended_at = now - waited if waited is not None else None
            serving.done(HandledMessage(queue_id="4QID", envelope=Message().envelope, ended_at=ended_at), decision)
    assert given == pytest.approx([10, 10, 3, 1, 1, 1])


def test_a_metrics_page_tells_them_apart_as_little(serving: Decider, caplog: pytest.LogCaptureFixture) -> None:
    counted = []
    for decide in CAUSES.values():
        handle(serving, decide(), caplog)
        numbers = serving.tally.numbers()
        counted.append({name: numbers[name] for name in ("verdicts", "effects", "events")})
    first = counted[0]
    for number, then in enumerate(counted, 1):
        assert then == {**first, "verdicts": {"tempfail": number}}


def test_a_client_that_nobody_knows_counts_when_its_mail_goes_on(
    serving: Decider, caplog: pytest.LogCaptureFixture
) -> None:
    """Each try would count as a message, and counts would move with a broken legal value of the recipient's."""
    unknown = Message(login=None, sender=ANN, to=[BOB])
    for held in (True, True, False):
        values: dict[str, dict[str, Value]] = {BOB: {"ldapMilterLegalBcc": "no-at-sign"} if held else {}}
        decision = World(example_records(values)).decide(unknown)
        assert decision.applied_verdict == ("tempfail" if held else "accept")
        handle(serving, decision, caplog)
        assert [count for count, _ in serving.unknown_clients.report().values()] == ([] if held else [1])


def test_a_list_may_be_named(serving: Decider, caplog: pytest.LogCaptureFixture) -> None:
    """It says nothing about a person: everybody who writes to the list waits alike."""
    members = builders.static_list(LIST, members=[BOB, ANN, "x@elsewhere.test"])
    limits = {"groups": {"max_members": "2"}}
    said = []
    for ann in ({}, {"ldapMilterLegalBcc": "no-at-sign"}):
        decision = world(ann, limits, *members).decide(Message(to=[LIST]))
        assert decision.applied_verdict == "tempfail"
        said.append(handle(serving, decision, caplog))
    assert said[0] == said[1]
    ((loud, text),) = said[0]
    assert loud == logging.WARNING
    assert LIST in text
    assert "max_members" in text


def test_a_list_that_a_legal_value_names_is_not(serving: Decider, caplog: pytest.LogCaptureFixture) -> None:
    members = builders.static_list(LIST, members=[BOB, ANN, "x@elsewhere.test"])
    for failure in ("tempfail", "accept"):
        options = {"groups": {"max_members": "2"}, "policy": {"directory_failure": failure}}
        legal = {"ldapMilterLegalBcc": f"hold@elsewhere.test with=group:{LIST}"}
        decision = world(legal, options, *members).decide(Message(to=[BOB]))
        assert LIST in " ".join(notice.text for notice in decision.warnings)  # for the audit
        ((_, text),) = handle(serving, decision, caplog)
        assert LIST not in text
        assert "incomplete" not in text


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_what_would_wait_for_a_legal_value_only_is_not_said_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """Its mail goes on and nobody sees a 451: a word in the log would be all there is, and too much."""
    observed = {"copy legal": {"mode": mode}}
    for serving in _serving(tmp_path, observed):
        broken = world({"ldapMilterLegalBcc": "no-at-sign"}, observed).decide()
        assert (broken.verdict, broken.applied_verdict) == ("tempfail", "accept")
        plain = world({}, observed).decide()
        said = [handle(serving, decision, caplog) for decision in (plain, broken)]
        assert said[0] == said[1]
        assert [loud for loud, _ in said[0]] == [logging.INFO]
        assert serving.tally.numbers()["verdicts"] == {"accept": 2}


def test_what_would_wait_for_anything_else_is_said(serving: Decider, caplog: pytest.LogCaptureFixture) -> None:
    observed = {"policy": {"mode": "observe"}, "copy archive": {"invalid_value": "tempfail"}}
    decision = world({"ldapMilterArchiveBcc": "no-at-sign", "ldapMilterLegalBcc": "no-at-sign"}, observed).decide()
    ((_, text),) = handle(serving, decision, caplog)
    assert "verdict=would-tempfail" in text
    assert "ldapMilterArchiveBcc" in text
    assert "Legal" not in text


def test_what_goes_wrong_with_mail_is_a_warning() -> None:
    lenient = {"policy": {"directory_failure": "accept"}}
    refused = world({"ldapMilterFromEnforce": "reject"}).decide(Message(headers=[("From", "boss@example.com")]))
    assert refused.applied_verdict == "reject"
    gone = world({}, lenient)
    gone.goes_down()
    twins = builders.account("twin@example.com", zimbraMailAlias=[BOB])
    loud = {
        "refused": refused,
        "goes on without what could not be known": gone.decide(),
        "an error that an administrator has to correct": world({}, None, *twins).decide(Message(to=[BOB])),
    }
    for what, decision in loud.items():
        assert level(decision) == logging.WARNING, what
    observed = {"policy": {"mode": "observe"}}
    quiet = {
        "a copy": world({}).decide(),
        "an invalid legal value that holds nothing up": world(
            {"ldapMilterLegalBcc": "no-at-sign"}, {"copy legal": {"invalid_value": "ignore"}}
        ).decide(),
        "would be refused": world({"ldapMilterFromEnforce": "reject"}, observed).decide(
            Message(headers=[("From", "boss@example.com")])
        ),
    }
    for what, decision in quiet.items():
        assert level(decision) == logging.INFO, what
