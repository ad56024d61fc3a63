"""``coverage --lists``: every list with what counts for it, and which with members outside say nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.cli.main import main
from tests.support.builders import account, domain, dynamic_group, global_config, static_list
from tests.support.record import merge, to_ldif
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.record import Record

ANN, AWAY = "ann@example.test", "away@elsewhere.example"
STAFF: Final = "staff@example.test"


def records(**broken: Any) -> list[Record]:
    return merge(
        [
            *base_records(),
            *global_config(),
            *domain("example.test"),
            *domain("example.org", ldapMilterListTag="[org]"),
            *account(ANN),
            *static_list(STAFF, [ANN, AWAY], ldapMilterListFrom="foreign", ldapMilterListTag="=staff", **broken),
            *static_list("bare@example.test", [ANN, AWAY]),
            *static_list("inside@example.test", [ANN]),
            *dynamic_group("team@example.org", external=[AWAY]),
        ]
    )


@pytest.fixture
def coverage(tmp_path: Path) -> Any:
    """Return a function that runs the verb."""

    def run(*options: str, **broken: Any) -> int:
        (tmp_path / "directory.ldif").write_text(to_ldif(records(**broken)), encoding="utf-8")
        file = tmp_path / "config.ini"
        file.write_text("[ldap]\nuri = ldif:directory.ldif\n", encoding="utf-8")
        return main(["--config", str(file), "coverage", "--lists", *options])

    return run


def test_each_list_has_its_settings_with_their_place(coverage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["mode"], told["lacking"]) == ("apply", 1)
    found = {one["address"]: one for one in told["lists"]}
    assert list(found) == sorted(found)
    assert {name: one["members_outside"] for name, one in found.items()} == {
        "bare@example.test": True,
        "inside@example.test": False,
        STAFF: True,
        "team@example.org": True,
    }
    assert [name for name, one in found.items() if one["lacks_settings"]] == ["bare@example.test"]
    assert [(one["attribute"], one["value"], one["level"]) for one in found[STAFF]["settings"]] == [
        ("ldapMilterListFrom", "foreign", "group"),
        ("ldapMilterListTag", "=staff", "group"),
    ]
    assert [(one["value"], one["level"]) for one in found["team@example.org"]["settings"]] == [("[org]", "domain")]


def test_lists_without_settings_alone(coverage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage("--uncovered") == 1
    told = capsys.readouterr().out
    assert "bare@example.test  (members outside)  NO SETTINGS" in told
    assert STAFF not in told
    assert told.endswith("4 lists, 1 with members outside and without settings\n")


def test_a_table_for_spreadsheets(coverage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage("--csv", "--domain", "example.test") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "address,members_outside,lacks_settings,attribute,value,level,dn"
    assert "bare@example.test,yes,yes,,,," in lines
    assert any(line.startswith(f"{STAFF},yes,no,ldapMilterListTag,'=staff,group,") for line in lines)
    assert not any("example.org" in line for line in lines)


def test_a_table_steers_no_terminal(coverage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage("--csv", ldapMilterListHeaders="TRUE\x1f") == 0
    assert ",ldapMilterListHeaders,TRUE\\x1f," in capsys.readouterr().out


def test_an_invalid_value_is_a_problem(coverage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage(ldapMilterListBounces=STAFF) == 1
    assert "INVALID" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--class", "archive"], ["--direction", "sent"], ["--html", "x.html"]])
def test_options_about_copies_do_not_go_with_it(coverage: Any, option: list[str]) -> None:
    assert coverage(*option) == 2
