"""Every code is documented, provoked by a test, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks.catalogue import KINDS, READS

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Kind

ROOT = Path(__file__).resolve().parents[3]


def documented() -> list[tuple[str, ...]]:
    """The rows of all tables of findings in docs/check.md, in order."""
    rows: list[tuple[str, ...]] = []
    for part in (ROOT / "docs" / "check.md").read_text(encoding="utf-8").split("<!-- table: findings -->")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        rows += [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines[2:]]
    return rows


def test_the_page_and_the_code_agree() -> None:
    said = {row[0].strip("`"): row[1:] for row in documented()}
    assert said == {kind.code: (kind.severity.value, kind.meaning, kind.general_remedy) for kind in KINDS}
    assert len(documented()) == len(KINDS)


def test_the_page_groups_by_area() -> None:
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    for kind in KINDS:
        heading = page[: page.index(f"| `{kind.code}` |")].rpartition("\n## ")[2].partition("\n")[0]
        assert heading.lower() == kind.area.value.lower()


def test_the_page_lists_what_a_check_reads() -> None:
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    listed = page.partition("<!-- list: attributes -->")[2].partition("\n\nTexts")[0]
    assert tuple(re.findall(r"\* `(\w+)`", listed)) == READS


def test_no_code_occurs_twice() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", code) for code in codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_code_is_provoked_by_a_test(kind: Kind) -> None:
    tests = [*(ROOT / "tests" / "unit" / "checks").glob("test_*.py"), *(ROOT / "tests" / "e2e").glob("test_check*.py")]
    named = re.compile(rf'"{kind.code}[":]')
    assert any(named.search(file.read_text(encoding="utf-8")) for file in tests)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_code_says_why_and_what_to_do(kind: Kind) -> None:
    assert kind.meaning.endswith(".")
    assert kind.remedy
    assert not kind.remedy.endswith(".")
    assert "|" not in kind.meaning + kind.remedy
    assert "$" not in kind.general_remedy
