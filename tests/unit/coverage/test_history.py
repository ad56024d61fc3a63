"""The coverage of days that were: kept whole, small, read back as it was, and what is different between two."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ldapmilter.address import make_address
from ldapmilter.cli.main import main
from ldapmilter.coverage import day_writer
from ldapmilter.coverage.day_writer import DayWriter, Saved
from ldapmilter.coverage.difference import Counts, differences
from ldapmilter.coverage.history import History, HistoryError, first_kept
from ldapmilter.coverage.page_file import page_file
from ldapmilter.coverage.summary import Summary
from ldapmilter.errors import ConfigError
from tests.unit.coverage.scene import TODAY, Report, reported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ldapmilter.coverage.model import Row

DAY = timedelta(days=1)
CAROL = "carol@branch.test"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    with reported(tmp_path_factory.mktemp("company")) as report:
        yield report


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def keep(history: History, report: Report, day: date = TODAY, rows: Iterable[Row] | None = None) -> Saved:
    summary = Summary(report.about.columns)
    with closing(DayWriter(history, replace(report.about, day=day))) as writer:
        for row in report.rows.values() if rows is None else rows:
            summary.add(row)
            writer.add(row)
        writer.end(summary)
    assert writer.saved is not None
    return writer.saved


def other_rows(report: Report) -> list[Row]:
    """Return the rows of another day: one has lost its copies, one is gone, one is new."""
    rows = dict(report.rows)
    bare = rows["nina@plain.test"].cells
    rows[CAROL] = replace(rows[CAROL], cells=bare)
    gone = rows.pop("dave@branch.test")
    rows["zoe@branch.test"] = replace(gone, address=make_address("zoe", "branch.test"), dn="uid=zoe,dc=branch,dc=test")
    return list(rows.values())


def test_a_day_is_read_back_as_it_was(history: History, report: Report) -> None:
    saved = keep(history, report)
    day = history.day(TODAY)
    assert {row.address.text: row for row in day.rows()} == report.rows
    assert [row.address.text for row in day.rows()] == sorted(report.rows)
    assert list(day.rows(CAROL)) == [report.rows[CAROL]]
    assert day.columns == report.about.columns
    assert day.about(day.columns, ()) == replace(report.about, narrowed=())
    assert saved.file.stat().st_mode & 0o7777 == 0o600
    assert history.folder.stat().st_mode & 0o7777 == 0o700


def test_rows_are_sorted_in_parts(history: History, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_writer, "_PART", 3)
    keep(history, report, rows=reversed(list(report.rows.values())))
    assert [row.address.text for row in history.day(TODAY).rows()] == sorted(report.rows)


def test_a_day_on_which_nothing_has_changed_names_the_one_before(history: History, report: Report) -> None:
    assert keep(history, report).same_as is None
    for n in (1, 2, 3):
        saved = keep(history, report, TODAY + n * DAY, reversed(list(report.rows.values())))
        assert saved.same_as == TODAY
    assert len(gzip.decompress(saved.file.read_bytes()).splitlines()) == 1
    assert {row.address.text: row for row in history.day(TODAY + 3 * DAY).rows()} == report.rows


def test_what_is_deleted_takes_no_rows_along_that_a_later_day_needs(history: History, report: Report) -> None:
    for n in range(5):
        keep(history, report, TODAY + n * DAY)
    first = first_kept(TODAY + 4 * DAY, 3)
    assert history.delete_before(first) == [TODAY, TODAY + DAY]
    assert history.days() == [TODAY + n * DAY for n in (2, 3, 4)]
    for n in (2, 3, 4):
        day = history.day(TODAY + n * DAY)
        assert day.rows_day == TODAY + 2 * DAY
        assert {row.address.text: row for row in day.rows()} == report.rows


def test_a_day_that_cannot_be_written_leaves_what_was_there(
    history: History, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(history, report)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(HistoryError, match="No space left"):
            keep(history, report, rows=other_rows(report))
    assert {row.address.text: row for row in history.day(TODAY).rows()} == report.rows
    assert [file.name for file in history.folder.iterdir()] == [f"coverage-{TODAY}.jsonl.gz"]


def test_a_day_that_is_not_kept_is_told_with_the_nearest(history: History, report: Report) -> None:
    with pytest.raises(HistoryError, match="none is: coverage --save"):
        history.day(TODAY)
    keep(history, report)
    with pytest.raises(HistoryError, match=f"no coverage of {TODAY + DAY} is kept in .*; the nearest are {TODAY}"):
        history.day(TODAY + DAY)


def test_a_directory_that_cannot_be_asked_is_not_taken_for_one_without_the_day(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"jsonl\.gz: cannot be read: File name too long"):
        History(tmp_path / ("x" * 300)).day(TODAY)


def test_a_page_in_such_a_directory(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"--html .* cannot be written: File name too long"),
        page_file(tmp_path / ("x" * 300) / "page.html"),
    ):
        pytest.fail("it cannot be written")


def test_a_directory_of_another_user_says_who_may(
    history: History, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(history, report)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.stat", refused)
        with pytest.raises(HistoryError, match=r"jsonl\.gz: cannot be read: Permission denied; .* as root \(sudo\)"):
            history.day(TODAY)


@pytest.mark.parametrize("damage", ["cut", "foreign", "rows"])
def test_a_file_that_cannot_be_read_is_named(history: History, report: Report, damage: str) -> None:
    file = keep(history, report).file
    octets = file.read_bytes()
    if damage == "rows":
        octets = gzip.compress(b"".join(gzip.decompress(octets).splitlines(keepends=True)[:-1]))
    file.write_bytes(octets[:-20] if damage == "cut" else b"x" if damage == "foreign" else octets)
    with pytest.raises(HistoryError, match=rf"coverage-{TODAY}\.jsonl\.gz: (cannot be read|ends early)"):
        list(history.day(TODAY).rows())


def test_what_is_different_between_two_days(history: History, report: Report) -> None:
    keep(history, report)
    keep(history, report, TODAY + DAY, other_rows(report))
    counts = Counts()
    found = list(differences(history.day(TODAY), history.day(TODAY + DAY), counts))
    assert {one.row.address.text: one.change for one in found} == {
        CAROL: "lost",
        "dave@branch.test": "went",
        "zoe@branch.test": "came",
    }
    assert counts.same == len(report.rows) - 2
    back = list(differences(history.day(TODAY + DAY), history.day(TODAY), Counts()))
    assert {one.change for one in back} == {"gained", "came", "went"}


def test_nothing_is_different_on_days_that_are_the_same(history: History, report: Report) -> None:
    for n in (0, 1):
        keep(history, report, TODAY + n * DAY)
    counts = Counts()
    assert list(differences(history.day(TODAY), history.day(TODAY + DAY), counts)) == []
    assert counts.same == len(report.rows)


class Verb:
    """The verb with a configuration whose history has four days: the third is missing, the last is different."""

    def __init__(self, folder: Path, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
        self.history = History(folder / "history")
        self.config = folder / "config.ini"
        ldif = report.config.file.with_name("directory.ldif")
        self.config.write_text(
            f"[ldap]\nuri = ldif:{ldif}\n[audit]\nfile = {folder}/audit.jsonl\n"
            f"[coverage]\nhistory = {self.history.folder}\n",
            encoding="ascii",
        )
        for n in (0, 1, 3):
            keep(self.history, report, TODAY + n * DAY, other_rows(report) if n == 3 else None)
        self.capsys = capsys
        self.error = ""

    def run(self, *arguments: str, status: int = 0, verb: tuple[str, ...] = ("coverage",)) -> str:
        try:
            found = main(["--config", str(self.config), *verb, *arguments])
        except SystemExit as error:
            found = int(error.code or 0)
        out, self.error = self.capsys.readouterr()
        assert found == status, (found, out, self.error)
        return out


@pytest.fixture
def verb(tmp_path: Path, report: Report, capsys: pytest.CaptureFixture[str]) -> Verb:
    return Verb(tmp_path, report, capsys)


def test_one_entry_over_all_days(verb: Verb) -> None:
    told = verb.run("--address", CAROL).splitlines()
    days = [line for line in told if line.startswith("2026-")]
    assert [line.partition(": ")[0] for line in days] == [
        f"{TODAY} to {TODAY + DAY}",
        f"{TODAY + 2 * DAY} to {TODAY + 2 * DAY}",
        f"{TODAY + 3 * DAY}",
    ]
    assert days[1].endswith("not kept")
    periods = json.loads(verb.run("--address", CAROL, "--json"))
    assert [period["entries"][0]["coverage"]["archive sent"][0] for period in periods] == ["covered", "uncovered"]
    verb.run("--address", "none@branch.test", status=1)


def test_one_entry_on_one_day_and_beside_the_audit(verb: Verb) -> None:
    told = verb.run("--on", str(TODAY), "--address", CAROL)
    assert "  archive sent        covered\n      carol@keep.test: account uid=carol" in told
    verb.config.with_name("audit.jsonl").write_text("", encoding="ascii")
    beside = verb.run("--address", CAROL, "--day", str(TODAY), status=1, verb=("audit", "find"))
    assert f"what the directory asked for on {TODAY}:" in beside
    assert "carol@keep.test: account uid=carol" in beside
    missing = verb.run("--address", CAROL, "--day", "2020-01-01", status=1, verb=("audit", "find"))
    assert "its coverage is not known: no coverage of 2020-01-01 is kept" in missing


def test_the_report_of_a_day_has_the_forms_of_today(verb: Verb, report: Report) -> None:
    document: dict[str, Any] = json.loads(verb.run("--on", str(TODAY), "--json", status=1))
    assert {one["address"] for one in document["entries"]} == set(report.rows)
    assert document["day"] == str(TODAY)
    narrow = json.loads(verb.run("--on", str(TODAY), "--json", "--class", "archive", "--domain", "plain.test"))
    assert [one["address"] for one in narrow["entries"]] == ["nina@plain.test"]
    assert {one["class"] for one in narrow["columns"]} == {"archive"}


def test_the_difference_and_who_has_lost_copies(verb: Verb) -> None:
    asked = ("--diff", str(TODAY + 3 * DAY), str(TODAY))
    assert f"from {TODAY} to {TODAY + 3 * DAY}: 1 LOST, 1 new entry, 1 entry is gone" in verb.run(*asked, status=1)
    document = json.loads(verb.run(*asked, "--json", status=1))
    assert document["changes"] == {"lost": 1, "gained": 0, "changed": 0, "came": 1, "went": 1}
    verb.run("--diff", str(TODAY), str(TODAY + DAY))


def test_today_is_kept_and_old_days_go(verb: Verb) -> None:
    assert "saved: " in verb.run("--save", "--keep", "30")
    assert len(verb.history.days()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--keep", "3"), "--keep goes with --save"),
        (("--save", "--class", "legal"), "--save keeps the coverage of everything: it goes without --class"),
        (("--diff", "2026-01-01", "2026-01-02", "--csv"), "--diff goes with --json and --html only"),
        (("--address", CAROL, "--uncovered"), "--address shows one entry: it goes without --uncovered"),
        (("--on", "2026-01-01", "--lists"), "--on is about copies"),
        (("--on", "yesterday"), "is not a day such as"),
        (("--save", "--keep", "0"), "is not a number of days"),
    ],
)
def test_what_does_not_go_together_is_refused(verb: Verb, arguments: tuple[str, ...], said: str) -> None:
    verb.run(*arguments, status=2)
    assert said in verb.error


def test_without_a_directory_for_it_no_day_is_kept(verb: Verb) -> None:
    verb.config.write_text(verb.config.read_text(encoding="ascii").partition("[coverage]")[0], encoding="ascii")
    verb.run("--save", status=2)
    assert "[coverage] history is empty" in verb.error
