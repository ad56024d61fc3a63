"""``audit find`` shows how the copies of a message have ended that travelled by the relay."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.audit.record import line
from ldapmilter.cli.main import main
from tests.unit.audit.example import FULL, recorded
from tests.unit.relay.states import NOW, end, token

if TYPE_CHECKING:
    from pathlib import Path

SERVER: Final = "smtp:[archive.example.net]:25"
AFTER: Final = "(1 attempt, 2 s after the decision)"


class Audit:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "config.ini"
        self.file = folder / "audit.jsonl"
        self.config.write_text(f"[ldap]\nuri = ldif:none.ldif\n[audit]\nfile = {self.file}\n", encoding="ascii")
        self.capsys = capsys

    def find(self, *more: str) -> str:
        assert main(["--config", str(self.config), "audit", "find", "--queue-id", "4A", *more]) == 0
        return self.capsys.readouterr().out

    def fates(self) -> list[str]:
        return [text.strip() for text in self.find().splitlines() if text.strip().startswith("fate: ")]


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    return Audit(tmp_path, capsys)


def message(*numbers: int, verdict: str = "accept", **more: Any) -> dict[str, Any]:
    record: dict[str, Any] = {**recorded(FULL, queue_id="4A"), "verdict": verdict, "smtp_reply": None, **more}
    copies = [dict(record["copies"][0]) for _ in numbers]
    for copy, number in zip(copies, numbers, strict=True):
        copy |= {"delivery": "tracked", "token": token(number) if number else None}
    return {**record, "copies": copies}


def test_accepted_refused_and_not_told(audit: Audit) -> None:
    audit.file.write_bytes(
        b"".join(
            map(line, [message(1, 2, 3), end(2, NOW, "refused"), end(1, NOW + 1, "accepted"), end(9, NOW, "kept")])
        )
    )
    assert audit.fates() == [
        f"fate: accepted 2026-06-15T10:00:01.000Z by {SERVER}: 250 Ok {AFTER}",
        f"fate: REFUSED, and kept 2026-06-15T10:00:00.000Z by {SERVER}: 550 vault@archive.example.net is full {AFTER}",
        f"fate: not told by the audit: not through yet, or it never came (ldapmilter copies {token(3)})",
    ]


def test_another_message_is_told_apart(audit: Audit) -> None:
    notice = {**end(1, NOW, "accepted"), "other_message_id": "<notice@filter.example>"}
    old = {key: value for key, value in end(1, NOW + 1, "accepted").items() if key != "other_message_id"}
    audit.file.write_bytes(b"".join(map(line, [message(1), notice, old])))
    awaited = "; ANOTHER MESSAGE, <notice@filter.example>: the one that was decided was still to come"
    assert audit.fates() == [
        f"fate: accepted 2026-06-15T10:00:00.000Z by {SERVER}: 250 Ok{awaited} {AFTER}",
        f"fate: accepted 2026-06-15T10:00:01.000Z by {SERVER}: 250 Ok {AFTER}",
    ]


def test_in_other_files_and_in_order_of_time(audit: Audit) -> None:
    audit.file.with_name("audit.jsonl.2.gz").write_bytes(gzip.compress(line(message(1))))
    audit.file.with_name("audit.jsonl.1").write_bytes(line(end(1, NOW + 9, "repeat")))
    audit.file.write_bytes(line(end(1, NOW, "kept")) + line(end(1, NOW + 5, "resent")))
    assert [text.split(" 2026")[0] for text in audit.fates()] == [
        "fate: NOT THROUGH in time, and kept",
        "fate: sent again, and accepted",
        "fate: came again, and was not handed on again",
    ]


def test_an_end_that_was_taken_back_is_none(audit: Audit) -> None:
    told = end(1, NOW, "accepted")
    back = {**told, "time": "2026-06-15T10:00:09.000Z", "takes_back": told["time"]}
    audit.file.write_bytes(line(message(1)) + line(told) + line(back))
    assert audit.fates() == [
        f"fate: not told by the audit: not through yet, or it never came (ldapmilter copies {token(1)})"
    ]


@pytest.mark.parametrize("more", [{"verdict": "tempfail"}, {"probe": True}])
def test_where_no_copy_was_made_no_fate_is_missed(audit: Audit, more: dict[str, Any]) -> None:
    audit.file.write_bytes(line(message(1, **more)))
    assert audit.fates() == []


def test_direct_copies_have_no_fate(audit: Audit) -> None:
    audit.file.write_bytes(line(message(0)))
    assert audit.fates() == []
    assert "fate" not in json.loads(audit.find("--json"))["copies"][0]


def test_for_programs(audit: Audit) -> None:
    ends = [end(1, NOW, "refused"), end(1, NOW + 5, "resent")]
    audit.file.write_bytes(b"".join(map(line, [message(1, 2), *ends])))
    copies = json.loads(audit.find("--json"))["copies"]
    assert [(copy["fate"], copy["ends"]) for copy in copies] == [("accepted", ends), (None, [])]


def test_the_order_of_messages_stays(audit: Audit) -> None:
    times = ["2026-11-22T12:00:00.000Z", "2026-11-22T12:00:01.000Z", "2026-11-22T12:00:02.000Z"]
    audit.file.write_bytes(
        b"".join(line(message(number, time=time)) for number, time in zip((0, 1, 0), times, strict=True))
    )
    found = [json.loads(text)["time"] for text in audit.find("--json").splitlines()]
    assert found == times
