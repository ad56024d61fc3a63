"""Verification: every kind of tampering is found at its place, and what is whole passes."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit.reading import files_of
from ldapmilter.audit.sealed_parts import parts_of
from ldapmilter.audit.seals import FIRST, Seal, read_seal, seal_line
from ldapmilter.audit.verification import ChainVerdict, verify
from ldapmilter.cli.main import main
from tests.unit.audit.sealed import SealedAudit

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = 1000


@pytest.fixture
def audit(tmp_path: Path) -> SealedAudit:
    """Three files: of three days, with three seals each and more; ended."""
    made = SealedAudit(tmp_path)
    for day in ("audit.jsonl-20261121", "audit.jsonl-20261122", ""):
        for _ in range(3):
            made.minute(2)
        if day:
            made.rotate(day)
            made.look()
    made.finish()
    return made


def verdict(audit: SealedAudit, anchors: dict[int, str] | None = None) -> ChainVerdict:
    return verify(files_of(audit.path), audit.path, anchors)


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def problem(audit: SealedAudit) -> tuple[str, str]:
    """Return where something does not hold, and what is wrong there."""
    found = verdict(audit)
    assert not found.holds
    assert found.problem is not None
    assert found.problem.file.read_bytes()
    return found.problem.file.name, found.problem.text


def test_what_is_whole_holds(audit: SealedAudit) -> None:
    found = verdict(audit)
    assert found.holds
    assert found.begins == FIRST
    assert [(one.file.name, one.first, one.last, one.unsealed) for one in found.files] == [
        ("audit.jsonl-20261121", 1, 4, 0),
        ("audit.jsonl-20261122", 5, 8, 0),
        ("audit.jsonl", 9, 12, 0),
    ]
    assert found.notes == []
    assert sum(one.octets for one in found.files) == sum(file.stat().st_size for file in audit.files)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_files_are_read_as_they_are(audit: SealedAudit, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    for file in audit.files[1:]:
        file.with_name(file.name + suffix).write_bytes(pack(file.read_bytes()))
        file.unlink()
    assert verdict(audit).holds
    assert len(verdict(audit).files) == 3


def changed(audit: SealedAudit, change: Callable[[list[bytes]], object]) -> Path:
    """Change the lines of the second file."""
    file = audit.files[2]
    assert file.name == "audit.jsonl-20261122"
    lines = lines_of(file)
    change(lines)
    file.write_bytes(b"".join(lines))
    return file


def swap(lines: list[bytes], one: int, other: int) -> None:
    lines[one], lines[other] = lines[other], lines[one]


def edit(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b"ann@example.test", b"bob@example.test")


TAMPERED: dict[str, tuple[Callable[[list[bytes]], object], int]] = {
    "a line is changed": (edit, 5),
    "a line is removed": (lambda lines: lines.pop(2), 5),
    "a line is inserted": (lambda lines: lines.insert(2, lines[1]), 5),
    "lines are swapped": (lambda lines: swap(lines, 1, 2), 5),
    "a line is moved past a seal": (lambda lines: lines.insert(5, lines.pop(2)), 5),
    "a seal is removed": (lambda lines: lines.pop(3), 6),
    "a seal and its lines are removed": (lambda lines: lines.__delitem__(slice(4, 7)), 7),
    "seals are swapped": (lambda lines: swap(lines, 3, 6), 6),
    "a seal stands twice": (lambda lines: lines.insert(4, lines[3]), 5),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_is_found_at_its_place(audit: SealedAudit, kind: str) -> None:
    change, seal = TAMPERED[kind]
    changed(audit, change)
    where, text = problem(audit)
    assert where == "audit.jsonl-20261122"
    assert f"seal {seal}" in text


def test_a_place_is_told_in_octets_and_lines(audit: SealedAudit) -> None:
    file = changed(audit, edit)
    found = verdict(audit)
    lines = lines_of(file)
    assert [line[:16] for line in lines[:4]] == [b'{"event":"open",', *([b'{"format":1,"tim'] * 2), b'{"event":"seal",']
    assert found.problem is not None
    assert (found.problem.first, found.problem.to) == (0, sum(map(len, lines[:3])))
    assert found.problem.lines == (1, 3)
    assert found.ends is not None
    assert found.ends.n == 4


@pytest.mark.parametrize("what", ["the line after which the chain goes on", "the first seal, too"])
def test_the_beginning_of_a_file_is_removed(audit: SealedAudit, what: str) -> None:
    changed(audit, lambda lines: lines.__delitem__(slice(0, 4 if "seal" in what else 1)))
    where, _ = problem(audit)
    assert where == "audit.jsonl-20261122"


@pytest.mark.parametrize(("count", "left"), [(1, 7), (2, 6), (3, 6)])
def test_a_rotated_file_is_cut(audit: SealedAudit, count: int, left: int) -> None:
    changed(audit, lambda lines: lines.__delitem__(slice(-count, None)))
    assert problem(audit) == ("audit.jsonl", f"it goes on after seal 8, and what is before it ends with seal {left}")


def test_a_file_is_missing(audit: SealedAudit) -> None:
    audit.files[2].unlink()
    assert problem(audit) == ("audit.jsonl", "it goes on after seal 8, and what is before it ends with seal 4")


def test_older_files_that_are_missing_were_deleted_in_time(audit: SealedAudit) -> None:
    audit.files[1].unlink()
    found = verdict(audit)
    assert found.holds
    assert found.begins is not None
    assert found.begins.n == 4
    assert verdict(audit, {2: "0" * 64}).anchors == {2: "earlier"}
    assert verdict(audit, {4: found.begins.sha256}).holds


@pytest.mark.parametrize("name", ["audit.jsonl-20261123", "audit.jsonl.1"])
def test_a_file_without_seals_among_sealed_ones(audit: SealedAudit, name: str) -> None:
    later = json.loads(lines_of(audit.path)[1]) | {"time": "2026-11-23T00:00:00.000Z"}
    audit.path.with_name(name).write_bytes(json.dumps(later).encode() + b"\n")
    assert problem(audit) == (name, "it has no seal, and stands where sealed files do")


def test_a_file_of_another_chain(audit: SealedAudit, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = SealedAudit(elsewhere)
    for _ in range(3):
        other.minute(2)
    other.rotate("audit.jsonl-20261122")
    other.look()
    other.minute(2)
    other.finish()
    audit.path.write_bytes(other.path.read_bytes())
    assert problem(audit)[0] == "audit.jsonl"


def seals_of(audit: SealedAudit) -> list[Seal]:
    found = [read_seal(line) for file in (*audit.files[1:], audit.path) for line in lines_of(file)]
    return [one.seal for one in found if one is not None]


def forged(lines: list[bytes], number: int, before: str, *, go_on: bool) -> list[bytes]:
    """Make the seal of a number anew, and with ``go_on`` those after it."""
    made: list[bytes] = []
    start, ended = 0, 0
    for line in lines:
        seal = read_seal(line)
        if seal is not None:
            if seal.seal.n == number or (go_on and seal.seal.n > number):
                octets = b"".join(made)[start:]
                digest = hashlib.sha256(before.encode() + octets).hexdigest()
                line = seal_line(Seal(seal.seal.n, digest), start, start + len(octets))  # noqa: PLW2901
                before = digest
            else:
                before = seal.seal.sha256
            ended = 1
        made.append(line)
        if ended:
            start, ended = sum(map(len, made)), 0
    return made


def test_a_seal_is_forged_without_those_after_it(audit: SealedAudit) -> None:
    fourth = seals_of(audit)[3].sha256

    def forge(lines: list[bytes]) -> None:
        edit(lines)
        lines[:] = forged(lines, 5, fourth, go_on=False)

    changed(audit, forge)
    where, text = problem(audit)
    assert (where, text) == ("audit.jsonl-20261122", "not what was sealed: seal 6 does not fit")


def test_seals_that_are_made_anew_to_the_end_are_caught_by_one_that_is_known_from_elsewhere(audit: SealedAudit) -> None:
    known = {seal.n: seal.sha256 for seal in seals_of(audit)}
    lines = lines_of(audit.path)
    lines[2] = lines[2].replace(b"ann@example.test", b"bob@example.test")
    audit.path.write_bytes(b"".join(forged(lines, 9, known[8], go_on=True)))
    assert verdict(audit).holds
    found = verdict(audit, {n: known[n] for n in (3, 12)})
    assert found.anchors == {3: "same", 12: "other"}
    assert not found.holds


def test_the_end_is_cut_off_and_a_known_seal_with_it(audit: SealedAudit) -> None:
    last = seals_of(audit)[-1]
    lines = lines_of(audit.path)
    audit.path.write_bytes(b"".join(lines[:7]))
    assert verdict(audit).holds
    assert verdict(audit, {last.n: last.sha256}).anchors == {last.n: "missing"}


def test_an_audit_from_before_there_were_seals_is_not_sealed_and_not_broken(tmp_path: Path) -> None:
    audit = SealedAudit(tmp_path)
    audit.write(3)
    audit.path.write_bytes(b"".join(lines_of(audit.path)[1:]))
    found = verdict(audit)
    assert found.holds
    assert found.begins is None
    assert found.notes == [f"{audit.path}: not sealed: it is from before there were seals, or they were taken out"]
    audit.rotate("audit.jsonl.1")
    audit.minute()
    audit.finish()
    found = verdict(audit)
    assert found.holds
    assert found.begins == FIRST
    assert found.notes == [f"{audit.path}.1: not sealed: it is from before there were seals, or they were taken out"]


def test_nothing_is_called_unchanged_where_there_is_no_seal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = SealedAudit(tmp_path)
    audit.write(3)
    assert main(["audit", "verify", str(audit.path)]) == 0
    out = capsys.readouterr().out
    assert "NOT SEALED: nothing can be said about whether it was changed" in out
    assert "whole and unchanged" not in out
    assert main(["audit", "verify", "--json", str(audit.path)]) == 0
    assert json.loads(capsys.readouterr().out)["sealed"] is False


@pytest.mark.parametrize("asked", ["one", "configured"])
def test_a_file_of_another_user_is_not_said_to_be_changed(
    audit: SealedAudit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    really_open = Path.open

    def refused(file: Path, *arguments: Any, **more: Any) -> Any:
        if file.name.startswith("audit.jsonl"):
            raise PermissionError(13, "Permission denied")
        return really_open(file, *arguments, **more)

    monkeypatch.setattr("pathlib.Path.open", refused)
    config = audit.path.with_name("config.ini")
    config.write_text(f"[audit]\nfile = {audit.path}\n[ldap]\nuri = ldif:/none\n", encoding="utf-8")
    command = ["audit", "verify", str(audit.path)] if asked == "one" else ["--config", str(config), "audit", "verify"]
    assert main(command) == 2
    told = capsys.readouterr()
    assert "cannot be read: Permission denied; " in told.err
    assert "DOES NOT HOLD" not in told.out


def test_a_file_that_cannot_be_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(tmp_path / ("x" * 300))]) == 2
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["short", "foreign"])
def test_a_compressed_file_that_cannot_be_read_to_its_end(audit: SealedAudit, damage: str) -> None:
    file = audit.files[2]
    packed = gzip.compress(file.read_bytes())
    half = packed[: len(packed) // 2]
    file.with_name(f"{file.name}.gz").write_bytes(half if damage == "short" else half + b"x" * 100)
    file.unlink()
    where, text = problem(audit)
    assert where == f"{file.name}.gz"
    assert "it cannot be read" in text


def test_a_thousand_changes_of_one_octet_are_all_found(audit: SealedAudit) -> None:
    chance = random.Random(17)
    originals = {file: file.read_bytes() for file in audit.files}
    places = [(file, at) for file, octets in originals.items() for at in range(len(octets))]
    missed = []
    for file, at in chance.sample(places, CHANGES):
        octets = bytearray(originals[file])
        octets[at] = chance.choice([octet for octet in range(256) if octet != octets[at]])
        file.write_bytes(octets)
        found = verdict(audit)
        if found.problem is None:
            missed.append((file.name, at, bytes(octets[max(0, at - 20) : at + 20])))
        file.write_bytes(originals[file])
    assert not missed
    assert verdict(audit).holds


def test_no_octet_of_the_last_seal_can_be_changed(audit: SealedAudit) -> None:
    original = audit.path.read_bytes()
    length = len(lines_of(audit.path)[-1])
    missed = []
    for at in range(len(original) - length - 1, len(original)):
        for octet in (b"\n", b"0", b"}"):
            if octet != original[at : at + 1]:
                audit.path.write_bytes(original[:at] + octet + original[at + 1 :])
                if verdict(audit).problem is None:
                    missed.append((at, octet))
    assert not missed


class Blocks:
    """A file that comes in blocks of any size."""

    def __init__(self, octets: bytes, size: int) -> None:
        self._octets, self._size = octets, size

    def read(self, _most: int, /) -> bytes:
        part, self._octets = self._octets[: self._size], self._octets[self._size :]
        return part

    def readline(self, _most: int, /) -> bytes:
        raise NotImplementedError


@pytest.mark.parametrize("size", [1, 2, 17, 100, 255, 256, 257, 1000])
def test_a_seal_is_found_wherever_blocks_end(audit: SealedAudit, size: int) -> None:
    octets = audit.path.read_bytes()
    taken: list[Any] = []
    rest = b""
    for part in parts_of(Blocks(octets, size)):
        if isinstance(part, memoryview):
            rest += bytes(part)
        else:
            taken.append(part)
    expected = [line for line in lines_of(audit.path) if line.startswith(b'{"event":"seal"')]
    assert [octets[one.start : one.end] for one in taken] == expected
    assert rest == b"".join(line for line in lines_of(audit.path) if line not in expected)
