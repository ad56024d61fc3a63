"""docs/why-not.md: every example is run, and one screen is enough for each."""

from __future__ import annotations

import json
import shlex
from math import ceil
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest

from ldapmilter.cli.main import main
from ldapmilter.cli.why_not_text import WAYS
from ldapmilter.policy.not_applied import Cause
from tests.support.record import to_ldif
from tests.support.why_not_page import PAGE, SECTIONS, configuration, directory, message, without_searches
from tests.unit.policy.table import read_tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.guide import Section

COLUMNS: Final = 80
LINES: Final = 24


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Section:
    section: Section = request.param
    (tmp_path / "directory.ldif").write_text(to_ldif(directory(section)), encoding="utf-8")
    (tmp_path / "message.eml").write_text(message(section), encoding="utf-8")
    config = f"[ldap]\nuri = ldif:directory.ldif\n{configuration(section)}"
    (tmp_path / "config.ini").write_text(config, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return section


def explained(command: str, *more: str) -> tuple[str, ...]:
    name, *arguments = shlex.split(command)
    assert name == "ldapmilter"
    return ("--config", "config.ini", *arguments, *more)


@pytest.mark.parametrize("site", SECTIONS, indirect=True, ids=lambda section: section.heading)
def test_the_page_tells_what_explain_says(site: Section, capsys: pytest.CaptureFixture[str]) -> None:
    for step in site.steps():
        main(explained(step.command))
        shown = capsys.readouterr().out
        assert without_searches(shown) == step.output
        # An administrator sees the whole answer at once.
        assert sum(max(1, ceil(len(line) / COLUMNS)) for line in shown.splitlines()) <= LINES
        main(explained(step.command, "--json"))
        told = json.loads(capsys.readouterr().out)
        for one in told["not_applied"]:
            is_shown(one, shown)


def is_shown(one: dict[str, Any], text: str) -> None:
    """See that a program learns the same as people do."""
    assert (one["class"] is None) == (one["way"] is not None)
    assert one["cause"] in get_args(Cause)
    lines = text.splitlines()
    if one["cause"] == "undecided":
        assert any(line.startswith(("untouched ", "because ")) for line in lines)
        return
    if one["cause"] == "no-identity":
        assert f"identity  none: {one['text']}" in lines
        return
    name = WAYS[one["way"]] if one["way"] else f"{one['class']} {one['direction']}"
    assert any(name in line and f": {one['text']}" in line for line in lines)
    for value in one["values"][:1]:
        assert f"{value['attribute']}: {value['value']} " in text


def test_the_page_has_every_cause() -> None:
    rows = read_tables(PAGE.read_text(encoding="utf-8"))["causes"]
    assert [row.value("cause") for row in rows] == list(get_args(Cause))
