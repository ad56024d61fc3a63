"""Whatever people call themselves and whatever comes by mail: a verb shows it, no terminal obeys it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.cli import audit_text, cache, decision_text, explain, main, probe, status
from ldapmilter.cli.complaint import complain
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.message import Identity
from ldapmilter.policy.document import as_json
from ldapmilter.policy.model import Decision
from tests.unit.audit.example import FULL, recorded

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "\x1b[2J\x9b31m\r\ncopies    none\u202e\u2028caf\udce9"
ENTRY = replace(FULL.copies[0].reasons[0], dn=HOSTILE, value=HOSTILE)
DECISION = replace(
    FULL,
    verdict="accept",
    refusal=None,
    identity=Identity(source="sasl", address=make_address("a", "b.test"), dn=HOSTILE),
    copies=(replace(FULL.copies[0], reasons=(ENTRY,)),),
    incomplete=(HOSTILE,),
)
UNAVAILABLE = Decision(
    identity=Identity(source="none"), verdict="tempfail", smtp_reply=f"451 {HOSTILE}", unavailable=True
)


def shown(text: str) -> None:
    assert "copies    none" in text  # it is there, and
    assert text.replace("\n", "").isprintable()
    assert not [line for line in text.split("\n") if line.startswith("copies    none\\")]


@pytest.mark.parametrize("decision", [DECISION, UNAVAILABLE])
def test_a_decision(decision: Decision) -> None:
    shown(decision_text.as_text(as_json(decision)))
    shown(audit_text.as_text(json.loads(json.dumps(recorded(decision)))))


def test_explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(explain, "_ask_daemon", lambda *_: as_json(DECISION))
    arguments = ["explain", "--live", "--auth", "a@b.test", "--rcpt", "c@d.test"]
    main.main(arguments)
    shown(capsys.readouterr().out)
    main.main([*arguments, "--json"])
    text = capsys.readouterr().out
    shown(text)
    assert json.loads(text)["incomplete"] == [HOSTILE]


def test_a_probe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report: dict[str, Any] = {
        "verdict": "reject",
        "smtp_reply": f"550 {HOSTILE}",
        "from_before": [HOSTILE],
        "from_after": [],
        "headers": [{"name": HOSTILE, "before": [HOSTILE], "after": [HOSTILE]}],
        "envelope_sender": HOSTILE,
        "copies": [{"address": HOSTILE, "parameters": [HOSTILE]}],
        "replaced": [HOSTILE],
        "seconds": 0.1,
    }
    monkeypatch.setattr(probe, "_ask", lambda _options: report)
    config = SimpleNamespace(relay=SimpleNamespace(domain="copies.invalid"))
    monkeypatch.setattr(probe, "load", lambda _file: config)
    for more in ([], ["--json"], ["--nagios"]):
        main.main(["probe", "--auth", "a@b.test", "--rcpt", "c@d.test", *more])
        shown(capsys.readouterr().out)


def test_what_the_cache_holds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"kind": "entry", "key": HOSTILE, "dns": [HOSTILE], "age": 1.0, "fresh_for": 2.0}
    answer = {"workers": [{"pid": 1, "answers": [held]}], "silent": []}
    monkeypatch.setattr(cache, "ask", lambda *_, **__: answer)
    main.main(["cache", "show", "a@b.test"])
    shown(capsys.readouterr().out)


def test_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(status, "_lines", lambda *_: iter(["pid 1"]))
    monkeypatch.setattr(status, "_problems", lambda *_: iter([HOSTILE]))
    monkeypatch.setattr(status, "_file_problems", lambda *_: iter([]))
    monkeypatch.setattr(status, "ask_and_compare", lambda *_: ({}, None))
    main.main(["status"])
    shown(capsys.readouterr().out)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise DirectoryUnavailable(HOSTILE)

    monkeypatch.setattr(explain, "_ask_daemon", fail)
    main.main(["--config", str(tmp_path), "explain", "--live", "--auth", "a@b.test", "--rcpt", "c@d.test"])
    error = capsys.readouterr().err
    assert error.replace("\n", "").isprintable()
    complain(HOSTILE)
    shown(capsys.readouterr().err)
