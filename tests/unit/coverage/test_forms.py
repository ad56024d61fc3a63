"""The report as CSV, as JSON, as figures and on a terminal."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from ldapmilter.coverage.plain import CSV_HEADER, CsvForm, JsonForm
from ldapmilter.coverage.summary import Summary
from ldapmilter.coverage.terminal import LinesForm, TableForm
from tests.unit.coverage.scene import reported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.coverage.scene import Report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Return the rows of the company's branch."""
    with reported(tmp_path_factory.mktemp("company")) as made:
        yield made


def summary_of(report: Report) -> Summary:
    summary = Summary(report.about.columns)
    for row in report.rows.values():
        summary.add(row)
    return summary


def lines(report: Report) -> list[dict[str, str]]:
    out = io.StringIO()
    form = CsvForm(out, report.about)
    for row in report.rows.values():
        form.add(row)
    form.end(summary_of(report))
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


def document(report: Report) -> dict[str, Any]:
    out = io.StringIO()
    form = JsonForm(out, report.about)
    for row in report.rows.values():
        form.add(row)
    form.end(summary_of(report))
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def table(report: Report, limit: int) -> str:
    out = io.StringIO()
    form = TableForm(Console(file=out, width=200, highlight=False), report.about, limit)
    for row in report.rows.values():
        form.add(row)
    form.end(summary_of(report))
    return out.getvalue()


def test_csv_has_a_line_for_each_copy_with_everything_that_led_to_it(report: Report) -> None:
    found = [one for one in lines(report) if one["address"] == "grace@branch.test" and one["class"] == "legal"]
    assert [(one["direction"], one["copy_to"], one["with"], one["status"]) for one in found] == [
        ("sent", "audit@counsel.test", "", "covered"),
        ("sent", "hold@counsel.test", "external", "covered"),
        ("received", "audit@counsel.test", "", "covered"),
        ("received", "hold@counsel.test", "external", "covered"),
    ]
    assert found[0]["group_path"] == "audit@branch.test > audit-eu@branch.test"
    assert found[0]["level"] == "policy-group"
    assert found[1]["ref"] == "CASE-12"
    assert found[1]["value"] == "hold@counsel.test with=external ref=CASE-12"


def test_csv_has_a_line_for_who_gets_nothing(report: Report) -> None:
    found = [one for one in lines(report) if one["address"] == "dave@branch.test" and one["class"] == "archive"]
    assert [(one["status"], one["copy_to"]) for one in found] == [("uncovered", ""), ("uncovered", "")]
    assert found[0]["problems"].startswith("none at uid=dave")


def test_csv_names_what_has_expired_and_what_is_broken(report: Report) -> None:
    found = lines(report)
    assert [one["copy_to"] for one in found if one["status"] == "expired" and one["direction"] == "sent"] == [
        "old@keep.test",
        "gone@keep.test",
    ]
    assert {one["address"] for one in found if "invalid value" in one["problems"]} == {"frank@branch.test"}


def test_no_cell_of_the_csv_is_a_formula(report: Report) -> None:
    found = lines(report)
    assert set(found[0]) == set(CSV_HEADER)
    assert {one["name"] for one in found if one["address"] == "bob@branch.test"} == {'\'=HYPERLINK("bob")'}
    assert not [value for one in found for value in one.values() if value.startswith(("=", "+", "-", "@"))]


HOSTILE = "Zoë\x1b]0;owned\x07\x9b2J\r\nforged@branch.test,,"


@pytest.fixture
def hostile(report: Report) -> Report:
    """Return the report of a company in which somebody has a name of control characters, and a wrong value, too."""
    row = report.rows["frank@branch.test"]
    cells = tuple(replace(cell, invalid=(HOSTILE,)) if cell is not None else None for cell in row.cells)
    return replace(report, rows={"frank@branch.test": replace(row, display_name=HOSTILE, cells=cells)})


def test_no_name_or_value_steers_a_terminal(hostile: Report) -> None:
    """Whatever is asked for may be printed there."""
    csv_text, json_text = io.StringIO(), io.StringIO()
    for form in (CsvForm(csv_text, hostile.about), JsonForm(json_text, hostile.about)):
        for row in hostile.rows.values():
            form.add(row)
        form.end(summary_of(hostile))
    for text in (csv_text.getvalue().replace("\r\n", "\n"), json_text.getvalue(), table(hostile, 0)):
        assert "Zoë\\" in text
        assert text.replace("\n", "").isprintable()
    (name,) = {one["name"] for one in lines(hostile)}
    assert name == r"Zoë\x1b]0;owned\x07\x9b2J\r\nforged@branch.test,,"
    assert document(hostile)["entries"][0]["name"] == HOSTILE


def test_json_says_the_same_and_ends_with_the_figures(report: Report) -> None:
    found = document(report)
    assert list(found)[-1] == "summary"
    assert {one["address"] for one in found["entries"]} == set(report.rows)
    (eve,) = [one for one in found["entries"] if one["address"] == "eve@branch.test"]
    assert eve["coverage"][0] == {
        "class": "archive",
        "direction": "sent",
        "status": "covered",
        "copies": [
            {
                "address": "eve@branch.test.vault.keep.test",
                "with": None,
                "until": None,
                "ref": None,
                "level": "cos",
                "dn": "cn=field,cn=cos,cn=zimbra",
                "attribute": "ldapMilterArchiveBcc",
                "value": "{localpart}@{domain}.vault.keep.test",
                "group_path": [],
            }
        ],
        "expired": [
            {
                "address": "gone@keep.test",
                "with": None,
                "until": "2020-01-31",
                "ref": None,
                "level": "account",
                "dn": "uid=eve,ou=people,dc=branch,dc=test",
                "attribute": "ldapMilterArchiveBcc",
                "value": "gone@keep.test until=2020-01-31",
                "group_path": [],
            }
        ],
        "invalid": [],
        "remarks": [],
        "ended_by": None,
        "by_members": False,
    }


def test_the_figures_count_everybody_once(report: Report) -> None:
    found = document(report)["summary"]
    assert found["entries"] == {"account": 9, "resource": 1, "list": 3, "dynamic group": 1, "system account": 0}
    archive_sent, archive_received, legal_sent, legal_received = found["columns"]
    assert archive_sent["accounts"] == {"covered": 4, "conditional": 0, "uncovered": 6}
    assert archive_sent["groups"] == {"covered": 0, "conditional": 0, "uncovered": 0}
    assert archive_received["groups"] == {"covered": 3, "conditional": 0, "uncovered": 1}
    assert archive_sent["levels"] == {"account": 1, "cos": 3}
    assert archive_sent["expired"] == 2
    assert legal_sent["accounts"] == {"covered": 1, "conditional": 8, "uncovered": 1}
    assert legal_sent["invalid"] == 1
    assert legal_received["domains"]["plain.test"] == {"covered": 0, "conditional": 0, "uncovered": 1}
    assert archive_received["domains"]["branch.test"] == {"covered": 6, "conditional": 0, "uncovered": 3}
    assert archive_received["group_domains"]["branch.test"] == {"covered": 3, "conditional": 0, "uncovered": 1}
    assert (found["lacking"], found["lacking_people"], found["lacking_groups"]) == (7, 6, 1)
    assert legal_received["levels"] == {"group": 1, "policy-group": 1, "domain": 13}


def test_the_table_shows_those_without_a_copy_first_and_says_what_it_leaves_out(report: Report) -> None:
    shown = table(report, 3)
    assert "3 of 14 shown" in shown
    assert "--limit 0" in shown
    assert "ann@branch.test " not in shown
    assert "dave@branch.test" in shown
    everything = table(report, 0)
    assert "shown, those" not in everything
    assert all(address in everything for address in report.rows)
    assert everything.index("nina@plain.test") < everything.index("ann@branch.test ")


@pytest.mark.parametrize("cut", [False, True])
def test_in_a_pipe_and_at_80_columns_every_entry_has_one_line(report: Report, *, cut: bool) -> None:
    out = io.StringIO()
    form = LinesForm(Console(file=out, width=80, highlight=False), report.about, 0, cut=cut)
    for row in report.rows.values():
        form.add(row)
    form.end(summary_of(report))
    shown = out.getvalue().splitlines()
    found = [line for line in shown if "@" in line.partition("  ")[0]]
    assert {line.partition("  ")[0] for line in found} == set(report.rows)
    assert len(found) == len(report.rows)
    assert (max(map(len, found)) > 80) is not cut
    lines = {line.partition("  ")[0]: line for line in found}
    assert lines["dave@branch.test"].startswith("dave@branch.test  account  archive: no copy (none at dave)")
    assert lines["nina@plain.test"] == "nina@plain.test  account  archive: no copy; legal: no copy"
    by_members = "audit-eu@branch.test  list  archive: every account behind it gets a copy; "
    assert lines["audit-eu@branch.test"].startswith(by_members)
    assert "lacking a copy: 6 people, 1 list" in shown


def test_the_table_tells_level_condition_and_trouble(report: Report) -> None:
    shown = " ".join(table(report, 0).split())
    for words in ("with=external", "(cos office)", "expired 2020-01-31", "no copy (none at dave)", "9 accounts"):
        assert words in shown
