"""Modes observe and pass: mail leaves as it came, whatever happens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM
from tests.e2e.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = "ann@example.test"
OPTIONS = {
    "observe": {"policy": {"mode": "observe"}, "ldap": {"lookup_deadline": "6", "connect_timeout": "1"}},
    "pass": {"policy": {"mode": "pass"}},
    "from observed": {"from": {"mode": "observe"}},
    "legal observed": {"copy legal": {"mode": "observe"}},
    "only legal applied": {"policy": {"mode": "observe"}, "copy legal": {"mode": "apply"}},
}
RECIPIENTS = [JOE, "carl@example.test"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene(OPTIONS) as running:
        yield running


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_mail_is_delivered_untouched(scene: Scene, mode: str) -> None:
    mailed = scene.submit(ANN, RECIPIENTS, header=f"From: one <{ANN}>\nFROM: two@example.test", through=mode)
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == set(RECIPIENTS)
    for (message,) in delivered.values():
        assert message.froms == [f"one <{ANN}>".encode(), b"two@example.test"]


def test_observe_logs_what_it_would_do(scene: Scene) -> None:
    mailed = scene.submit(ANN, RECIPIENTS, through="observe")
    (line,) = scene.daemons["observe"].said(mailed.sent.queue_id)
    assert f'would_from="{LEGAL_FROM}"' in line
    assert f"would_copy={ARCHIVE}" in line
    assert f"would_copy={CARL_ARCHIVE}" in line
    for applied in (" from=", " copy="):
        assert applied not in line
    assert "counsel" not in scene.daemons["observe"].log()


def test_pass_decides_nothing(scene: Scene) -> None:
    mailed = scene.submit(ANN, RECIPIENTS, through="pass")
    assert scene.daemons["pass"].log_lines(mailed.sent.queue_id) == []


@pytest.mark.parametrize("mode", ["observe", "pass"])
def test_explain_tells_what_apply_would_do(scene: Scene, mode: str) -> None:
    told = scene.daemons[mode].explain("--auth", ANN, "--rcpt", *RECIPIENTS)
    assert (told["exit_status"], told["mode"], told["from"]["value"]) == (0, mode, LEGAL_FROM)
    assert {copy["address"] for copy in told["copies"]} == {ARCHIVE, HOLD, CARL_ARCHIVE, CARL_HOLD}


def test_observe_holds_no_mail_up_for_a_broken_legal_value(scene: Scene) -> None:
    mailed = scene.submit("erin@example.test", ["bob@example.test"], through="observe")
    assert scene.counts(mailed.token) == {"bob@example.test": 1}
    # Nobody sees a 451: a line would be the only trace, and tell on whom the value is.
    assert scene.daemons["observe"].log_lines(mailed.sent.queue_id) == []
    found = scene.daemons["observe"].cli("audit", "find", "--queue-id", str(mailed.sent.queue_id), "--json")
    assert json.loads(found.stdout)["verdict"] == "tempfail"


def test_observe_holds_no_mail_up_for_an_unknown_login(scene: Scene) -> None:
    told = scene.daemons["observe"].probe("--auth", "stranger@example.test", "--rcpt", "bob@example.test")
    assert (told["exit_status"], told["verdict"]) == (0, "accept")


def test_only_the_from_is_observed(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE], through="from observed")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD}
    assert delivered[JOE][0].froms == [f"<{ANN}>".encode()]
    (line,) = scene.daemons["from observed"].said(mailed.sent.queue_id)
    assert f'would_from="{LEGAL_FROM}"' in line
    assert f" copy={ARCHIVE}" in line


def test_only_legal_copies_are_observed(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE], through="legal observed")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE}
    assert delivered[JOE][0].froms == [LEGAL_FROM.encode()]
    assert "counsel" not in scene.daemons["legal observed"].log()
    waits = scene.submit("erin@example.test", ["bob@example.test"], through="legal observed")
    assert scene.counts(waits.token) == {"bob@example.test": 1}


def test_only_legal_copies_are_applied(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE], through="only legal applied")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, HOLD}
    assert delivered[JOE][0].froms == [f"<{ANN}>".encode()]
    broken = scene.mail(
        "erin@example.test", ["bob@example.test"], login="erin@example.test", through="only legal applied"
    )
    assert broken.sent.code == 451


def test_observe_holds_no_mail_up_when_the_directory_is_down(scene: Scene) -> None:
    scene.slapd.stop()
    try:
        for who in ("many-1@example.test", ANN):
            mailed = scene.submit(who, ["many-2@example.test"], through="observe")
            assert scene.counts(mailed.token) == {"many-2@example.test": 1}
        passed = scene.submit("many-3@example.test", ["many-4@example.test"], through="pass")
        assert scene.counts(passed.token) == {"many-4@example.test": 1}
        waits = scene.mail(
            "many-5@example.test", ["bob@example.test"], login="many-5@example.test", through="only legal applied"
        )
        assert waits.sent.code == 451
    finally:
        scene.slapd.start()
