"""docs/evidence.md: its examples work as they stand there, with the programs that every Unix has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from ldapmilter.audit.reading import files_of
from ldapmilter.audit.verification import verify
from tests.support.ports import HANG
from tests.unit.audit.sealed import SealedAudit

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """Return what stands in an example."""
    (found,) = re.findall(rf"<!-- example: {name} -->\n\n```\w*\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def shell(text: str, folder: Path) -> str:
    done = subprocess.run(["sh", "-euc", text], cwd=folder, check=True, capture_output=True, text=True, timeout=HANG)
    return done.stdout


def test_the_smallest_audit_is_one_that_verifies(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text(example("file"), encoding="ascii")
    found = verify(files_of(tmp_path / "audit.jsonl"), tmp_path / "audit.jsonl")
    assert found.holds
    assert found.ends is not None
    assert found.ends.n == 1


def test_one_seal_by_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text(example("file"), encoding="ascii")
    command, _, shown = example("one").removeprefix("$ ").partition("\n")
    assert shell(command, tmp_path) == shown


@pytest.fixture
def audit(tmp_path: Path) -> SealedAudit:
    made = SealedAudit(tmp_path)
    for _ in range(3):
        made.minute(2)
    made.rotate("audit.jsonl.1")
    made.look()
    made.minute(2)
    made.hour()
    return made


def test_all_seals_by_sha256sum(audit: SealedAudit) -> None:
    here = shell(example("all"), audit.path.parent).splitlines()
    before = shell(example("all").replace("audit.jsonl", "audit.jsonl.1"), audit.path.parent).splitlines()
    ends = verify(files_of(audit.path), audit.path).ends
    assert ends is not None
    assert [re.sub(":.{64} ", ": ", line) for line in (*before, *here)] == [f"seal {n}: holds" for n in range(1, 7)]
    assert here[-1] == f"seal {ends} holds"


def test_a_change_is_found_by_sha256sum(audit: SealedAudit) -> None:
    audit.path.write_bytes(audit.path.read_bytes().replace(b'"Q7"', b'"Q8"'))
    assert shell(example("all"), audit.path.parent).splitlines()[0] == "seal 5 DOES NOT HOLD"
