"""``ldapmilter trace``: seen, seen and nothing applied, never seen and aged out look different."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.checks import postfix
from ldapmilter.daemon.recent import RecentMessages
from ldapmilter.policy.model import Decision
from tests.unit.cli.test_asking import ADaemon
from tests.unit.daemon.test_recent import NOTHING, POLICY, copies, handled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config

NONE: Final[dict[str, Any]] = {
    "messages": [],
    "since": time.time() - 60,
    "whole": True,
    "remembered": 7,
    "trace_messages": 1000,
    "switched_off": False,
    "reads_audit": True,
    "silent": [],
    "socket": "unix:/x",
}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ADaemon]:
    monkeypatch.setattr(postfix, "find_postconf", lambda: None)
    found = ADaemon(tmp_path)
    found.answer = dict(NONE)
    yield found
    found.close()


def remembered(decision: Decision, *, reads_audit: bool = True) -> list[dict[str, Any]]:
    recent = RecentMessages()
    recent.keep(handled("4QID"), decision, POLICY, 10)
    found: list[dict[str, Any]] = recent.find(queue_id=None, address=None, most=1, reads_audit=reads_audit)["messages"]
    return found


def test_a_message_to_which_nothing_was_done(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer["messages"] = remembered(NOTHING)
    assert daemon.run("trace", "4QID") == 0
    shown = capsys.readouterr().out
    assert "queue id 4QID" in shown
    assert "  seen, and nothing applied\n" in shown
    assert "7 messages are remembered, since 2" in shown
    assert "not shown" not in shown


def test_a_message_with_an_effect(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer["messages"] = remembered(Decision(identity=NOTHING.identity, copies=copies(1, "archive")))
    daemon.answer["whole"] = False
    assert daemon.run("trace") == 0
    shown = capsys.readouterr().out
    assert "copy to     archive0@keep.test (archive)" in shown
    assert "nothing applied" not in shown
    assert "; what is older has aged out" in shown


def test_whoever_may_not_read_the_audit_is_told_so(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer |= {"messages": remembered(NOTHING, reads_audit=False), "reads_audit": False}
    assert daemon.run("trace", "bob@example.com") == 0
    shown = capsys.readouterr().out
    assert "4QID: verdict=accept" in shown
    assert "confidential copies are not shown: root and the daemon's user see them" in shown


NOT_SEEN: Final[list[tuple[dict[str, Any], list[str], str]]] = [
    ({}, ["4QID"], "no message of 4QID was seen since the daemon started at 2"),
    ({}, ["4QID"], "(7 others were)\nPostfix: no postconf on this host"),
    ({"whole": False}, ["4QID"], "is among those remembered: 7 messages are remembered, since 2"),
    ({"whole": False}, ["4QID"], "what is older has aged out: ldapmilter audit find --queue-id 4QID has older ones"),
    ({"whole": False}, ["a@b.test"], "aged out: ldapmilter audit find --address a@b.test has older ones"),
    ({"remembered": 0}, [], "no message was seen since the daemon started"),
    ({"trace_messages": 0}, ["4QID"], "no message is remembered: [control] trace_messages = 0"),
    ({"switched_off": True}, ["4QID"], "is in mode pass"),
    ({"silent": [12]}, ["4QID"], "worker 12 does not answer: what it has seen is missing here"),
]


@pytest.mark.parametrize(("answer", "arguments", "said"), NOT_SEEN)
def test_why_a_message_is_not_there(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], arguments: list[str], said: str
) -> None:
    daemon.answer |= answer
    assert daemon.run("trace", *arguments) == 1
    assert said in capsys.readouterr().out


def test_what_postfix_lacks_is_told_where_the_daemon_was_not_asked(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"finding": postfix.UNLISTED.found("smtpd_milters = (empty)", socket="unix:/x")}

    def check(_config: Config, report: Report, **_: object) -> None:
        for one in found.values():
            report.add(one)

    monkeypatch.setattr(postfix, "check", check)
    assert daemon.run("trace", "4QID") == 1
    shown = capsys.readouterr().out
    assert "Postfix: smtpd_milters = (empty); register the milter" in shown
    found.clear()
    assert daemon.run("trace", "4QID") == 1
    assert "Postfix lists unix:/x for SMTP and for sendmail" in capsys.readouterr().out
    daemon.write("ldap://a", "nothing")
    assert daemon.run("trace", "4QID") == 1
    shown = capsys.readouterr().out
    assert "no message of 4QID was seen" in shown
    assert "Postfix was not looked at: " in shown


@pytest.mark.parametrize(
    ("given", "said"), [("4Q ID", "neither a queue id"), ("a@b@", "address"), ("--last=0", "no number of messages")]
)
def test_what_is_neither_queue_id_nor_address(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        daemon.run("trace", given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
