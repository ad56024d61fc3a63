"""Seals: what they are made of, rotation, restarts, crashes, and a file that was cut."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit import seals as seals_module
from ldapmilter.audit.reading import files_of
from ldapmilter.audit.sealing import NAMELESS_SECONDS, SEAL_SECONDS
from ldapmilter.audit.seals import FIRST, Seal, latest_seal, open_line, read_open, read_seal, seal_line
from ldapmilter.audit.verification import ChainVerdict, verify
from ldapmilter.errors import AuditError
from tests.unit.audit.sealed import SealedAudit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def audit(tmp_path: Path) -> SealedAudit:
    return SealedAudit(tmp_path)


def events(file: Path) -> list[Any]:
    return [found for line in file.read_bytes().splitlines() if "event" in (found := json.loads(line))]


def kinds(file: Path) -> str:
    """Return the kinds of a file's lines, a letter each: message, open, seal, anchor, cut."""
    return "".join(json.loads(line).get("event", "m")[0] for line in file.read_bytes().splitlines())


def verdict(audit: SealedAudit) -> ChainVerdict:
    return verify(files_of(audit.path), audit.path)


def assert_whole(audit: SealedAudit, seals: int) -> ChainVerdict:
    found = verdict(audit)
    assert found.problem is None
    assert found.ends is not None
    assert found.ends.n == seals
    return found


def test_the_chain_is_what_the_contract_says(audit: SealedAudit) -> None:
    audit.look()
    audit.minute()
    audit.minute()
    octets = audit.path.read_bytes()
    before, start = "0" * 64, 0
    seals = [one for one in events(audit.path) if one["event"] == "seal"]
    assert [list(one) for one in seals] == [["event", "n", "from", "to", "sha256"]] * 3
    for n, seal in enumerate(seals, 1):
        line = json.dumps(seal, separators=(",", ":")).encode() + b"\n"
        at = octets.index(line)
        assert (seal["n"], seal["from"], seal["to"]) == (n, start, at)
        assert hashlib.sha256(before.encode() + octets[start:at]).hexdigest() == seal["sha256"]
        before, start = seal["sha256"], at + len(line)
    assert start == len(octets)
    assert octets.startswith(b'{"event":"open","seal":0,"sha256":"' + b"0" * 64 + b'"}\n')
    assert latest_seal(audit.path) == Seal(3, before)


def test_there_is_a_seal_each_minute_and_none_between(audit: SealedAudit) -> None:
    audit.look()
    for _ in range(3):
        audit.write()
        audit.look(SEAL_SECONDS / 3)
    assert kinds(audit.path) == "oasmmms"


def test_a_minute_without_mail_has_a_seal_too_or_seals_would_tell_of_mail(audit: SealedAudit) -> None:
    audit.look()
    for _ in range(3):
        audit.look(SEAL_SECONDS)
    assert kinds(audit.path) == "oassss"
    assert_whole(audit, 4)


def test_what_is_told_elsewhere_cannot_be_guessed_from_what_was_told_before(audit: SealedAudit) -> None:
    audit.look()
    audit.hour()
    audit.hour()
    assert [seal.n for seal in audit.anchors] == [1, 2, 3]
    salts = [one["salt"] for one in events(audit.path) if one["event"] == "anchor"]
    assert len(set(salts)) == 3
    assert kinds(audit.path) == "oasasas"


def test_a_file_that_was_renamed_and_replaced_is_sealed_to_its_end(audit: SealedAudit) -> None:
    audit.minute()
    audit.write(2)
    old = audit.rotate("audit.jsonl.1")
    audit.look()
    audit.write()
    assert kinds(old).endswith("smms")
    assert kinds(audit.path) == "om"
    assert_whole(audit, 2)
    audit.finish()
    assert not [note for note in assert_whole(audit, 3).notes if "not sealed" in note]


def test_a_file_that_was_renamed_and_not_replaced_gets_a_successor(audit: SealedAudit) -> None:
    audit.minute()
    old = audit.rotate("audit.jsonl.1", create=False)
    audit.look()
    assert not audit.path.exists()
    audit.look(NAMELESS_SECONDS + 0.01)
    assert kinds(audit.path) == "o"
    assert read_open(audit.path.read_bytes()) == read_seal(old.read_bytes().splitlines(keepends=True)[-1]).seal  # type: ignore[union-attr]


def test_whoever_says_that_a_rotation_is_done_has_the_old_file_sealed_at_once(audit: SealedAudit) -> None:
    audit.minute()
    audit.write()
    old = audit.rotate("audit.jsonl.1", create=False)
    audit.sealing.look(rotated=True)
    assert kinds(old).endswith("sms")
    assert kinds(audit.path) == "o"


def test_a_writer_that_is_first_in_the_new_file_goes_on_with_the_chain(audit: SealedAudit) -> None:
    audit.minute()
    audit.write()
    old = audit.rotate("audit.jsonl.1")
    audit.write(2)
    audit.look(SEAL_SECONDS)
    assert kinds(old).endswith("sm")
    assert kinds(audit.path) == "omms"
    found = assert_whole(audit, 2)
    assert found.files[0].unsealed > 0
    assert "audit.jsonl.1: its last" in found.notes[0]


def test_lines_that_come_late_to_the_old_file_are_an_unsealed_tail(audit: SealedAudit) -> None:
    audit.minute()
    old = audit.rotate("audit.jsonl.1")
    audit.look()
    with old.open("ab") as late:
        late.write(b'{"format":1}\n')
    found = assert_whole(audit, 2)
    assert found.notes == [f"{old}: its last 13 octets, since seal 2, are not sealed", *found.notes[1:]]


def test_many_rotations_and_restarts_make_one_chain(audit: SealedAudit) -> None:
    for turn in range(6):
        audit.minute()
        if turn % 2:
            audit.finish()
            audit.restart()
        audit.rotate(f"audit.jsonl.{turn}", create=turn % 3 > 0)
        audit.look()
        audit.look(NAMELESS_SECONDS + 0.01)
    audit.minute()
    found = verdict(audit)
    assert found.problem is None
    assert [one.file.name for one in found.files] == [*(f"audit.jsonl.{n}" for n in range(6)), "audit.jsonl"]
    assert found.begins == FIRST


def test_rotated_while_nobody_seals(audit: SealedAudit) -> None:
    audit.minute()
    audit.finish()
    audit.rotate("audit.jsonl.1")
    audit.restart()
    audit.minute()
    assert kinds(audit.path) == "ommmas"
    assert_whole(audit, 3)


@pytest.mark.parametrize("torn", [b"{", b'{"format":1,"time":"2026-', b'{"event":"seal","n":2,"from":'])
def test_a_line_or_a_seal_that_a_killed_process_began_is_ended_and_sealed(audit: SealedAudit, torn: bytes) -> None:
    audit.minute()
    with audit.path.open("ab") as killed:
        killed.write(torn)
    audit.restart()
    audit.look()
    audit.minute()
    assert torn + b'\n{"event":"anchor"' in audit.path.read_bytes()
    assert_whole(audit, 3)


def test_a_seal_whose_end_of_line_alone_is_missing_counts(audit: SealedAudit) -> None:
    audit.minute()
    audit.look(SEAL_SECONDS)
    os.truncate(audit.path, audit.path.stat().st_size - 1)
    audit.restart()
    audit.look()
    assert_whole(audit, 3)


def test_an_audit_from_before_there_were_seals_is_sealed_from_now_on(audit: SealedAudit) -> None:
    audit.write(3)
    octets = audit.path.read_bytes()
    audit.path.write_bytes(octets[octets.index(b"\n") + 1 :])
    audit.look()
    assert kinds(audit.path) == "mmmas"
    assert_whole(audit, 1)


def test_a_full_disk_leaves_no_half_seal_and_the_next_one_is_for_all(
    audit: SealedAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.minute()
    audit.write()
    size = audit.path.stat().st_size
    really, left = os.write, [50]

    def full(descriptor: int, octets: Any) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        part = really(descriptor, octets[: left[0]])
        left[0] -= part
        return part

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        audit.now += SEAL_SECONDS
        with pytest.raises(AuditError, match="make room"):
            audit.look()
    assert audit.path.stat().st_size == size
    audit.write()
    audit.look()
    assert kinds(audit.path).endswith("smms")
    assert_whole(audit, 2)


@pytest.mark.parametrize("copied", [True, False])
def test_copytruncate_is_refused_with_a_reason(
    audit: SealedAudit, caplog: pytest.LogCaptureFixture, *, copied: bool
) -> None:
    audit.minute()
    audit.minute()
    if copied:
        audit.path.with_name("audit.jsonl.1").write_bytes(audit.path.read_bytes())
    os.truncate(audit.path, 0)
    audit.look()
    assert "was cut short while it is in use, by copytruncate perhaps" in caplog.text
    assert "rotate it by renaming" in caplog.text
    assert kinds(audit.path) == "ocs"
    audit.minute()
    found = verdict(audit)
    assert found.problem is not None
    assert found.problem.file == audit.path
    assert found.problem.text.startswith("the file was cut while ldapmilter wrote to it (copytruncate?)")


def test_a_file_that_was_cut_and_has_grown_since_is_found_to_be_another(
    audit: SealedAudit, caplog: pytest.LogCaptureFixture
) -> None:
    audit.minute(2)
    os.truncate(audit.path, 0)
    audit.write(20)
    audit.look(SEAL_SECONDS)
    assert "was cut short" in caplog.text
    assert verdict(audit).problem is not None


def test_seals_are_spelt_in_one_way_only() -> None:
    line = seal_line(Seal(7, "ab" * 32), 10, 20)
    found = read_seal(line, 20)
    assert found is not None
    assert (found.seal, found.first, found.to, found.end) == (Seal(7, "ab" * 32), 10, 20, 20 + len(line))
    for other in (line[:-1], line + b" ", line.replace(b":7", b":07"), line.replace(b"ab", b"AB"), b" " + line):
        assert read_seal(other) is None
    assert read_open(open_line(Seal(7, "ab" * 32))) == Seal(7, "ab" * 32)


def test_the_newest_seal_is_found_far_from_the_end(audit: SealedAudit) -> None:
    audit.minute()
    newest = latest_seal(audit.path)
    audit.write(1, message_ids=("x" * 3_000_000,))
    assert latest_seal(audit.path) == newest
    assert newest is not None


def test_without_any_seal_there_is_none(audit: SealedAudit) -> None:
    assert latest_seal(audit.path) is None


def test_the_newest_seal_of_a_compressed_file_is_found_wherever_blocks_end(
    audit: SealedAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.minute()
    audit.minute()
    newest = latest_seal(audit.path)
    assert newest is not None
    assert newest.n == 2
    old = audit.rotate("audit.jsonl.1", create=False)
    old.with_name("audit.jsonl.1.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    for size in (150, 299, 512, 1000, 4096):
        monkeypatch.setattr(seals_module, "_BLOCK", size)
        assert latest_seal(audit.path) == newest


def test_a_copy_that_somebody_made_leads_nobody_astray(audit: SealedAudit) -> None:
    audit.minute()
    copy = audit.path.with_name("audit.jsonl.bak")
    copy.write_bytes(audit.path.read_bytes())
    audit.minute()
    audit.rotate("audit.jsonl.1")
    os.utime(copy, (2e9, 2e9))
    audit.write()
    audit.look()
    assert read_open(audit.path.read_bytes().splitlines(keepends=True)[0]) == latest_seal(audit.path)
    assert audit.sealing.look() is None
    assert latest_seal(audit.path) == Seal(2, latest_seal(audit.path).sha256)  # type: ignore[union-attr]
