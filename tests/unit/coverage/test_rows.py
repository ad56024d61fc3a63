"""What a row says about an entry, and that it says what the daemon does."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from ldapmilter.coverage.summary import Summary
from ldapmilter.message import Envelope
from ldapmilter.policy.decide import decide
from tests.e2e.company import company
from tests.support.builders import account, cos, domain, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.zimbra_base import base_records
from tests.unit.coverage.scene import TODAY, reported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.coverage.model import Given
    from tests.support.record import Record
    from tests.unit.coverage.scene import Report

OUTSIDER = "joe@client.invalid"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Return the rows of the company's branch."""
    with reported(tmp_path_factory.mktemp("company")) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Return the rows of the whole company."""
    with reported(tmp_path_factory.mktemp("whole"), company()) as made:
        yield made


def told(given: tuple[Given, ...]) -> list[tuple[str, str, str | None]]:
    return [(one.address, one.origin.level, one.origin.condition) for one in given]


@pytest.mark.parametrize(
    ("address", "copy_class", "direction", "status", "copies"),
    [
        ("ann@branch.test", "archive", "sent", "covered", [("ann@branch.test.vault.keep.test", "cos", None)]),
        ("ann@branch.test", "legal", "sent", "conditional", [("hold@counsel.test", "domain", "external")]),
        ("carol@branch.test", "archive", "received", "covered", [("carol@keep.test", "account", None)]),
        ("dave@branch.test", "archive", "sent", "uncovered", []),
        ("eve@branch.test", "archive", "sent", "covered", [("eve@branch.test.vault.keep.test", "cos", None)]),
        ("frank@branch.test", "archive", "sent", "uncovered", []),
        ("frank@branch.test", "archive", "received", "covered", [("vault@branch.test", "cos", None)]),
        (
            "grace@branch.test",
            "legal",
            "received",
            "covered",
            [("audit@counsel.test", "policy-group", None), ("hold@counsel.test", "domain", "external")],
        ),
        ("vault@branch.test", "archive", "sent", "uncovered", []),
        ("sales-team@branch.test", "archive", "received", "covered", [("team@keep.test", "group", None)]),
        ("crew@branch.test", "legal", "received", "conditional", [("hold@counsel.test", "domain", "external")]),
        ("room@branch.test", "legal", "sent", "conditional", [("hold@counsel.test", "domain", "external")]),
        ("nina@plain.test", "legal", "received", "uncovered", []),
    ],
)
def test_a_cell_says_who_is_covered_by_which_level(
    report: Report, address: str, copy_class: str, direction: str, status: str, copies: list[object]
) -> None:
    cell = report.cell(address, copy_class, direction)
    assert (cell.status, told(cell.copies)) == (status, copies)


def test_every_account_and_group_has_one_row(report: Report) -> None:
    assert {address: row.kind for address, row in report.rows.items()} == {
        **{f"{name}@branch.test": "account" for name in ("ann", "bob", "carol", "dave", "eve", "frank", "grace")},
        "vault@branch.test": "account",
        "nina@plain.test": "account",
        "room@branch.test": "resource",
        **{f"{name}@branch.test": "list" for name in ("audit", "audit-eu", "sales-team")},
        "crew@branch.test": "dynamic group",
    }


def test_a_list_is_covered_by_the_accounts_behind_it_if_they_all_are(tmp_path: Path) -> None:
    def member(name: str, **values: str) -> list[Record]:
        return list(account(f"{name}@example.test", **values))

    archived = {"ldapMilterArchiveBcc": "vault@keep.test"}
    records = [
        *base_records(),
        *global_config(),
        *domain("example.test"),
        *domain("other.test"),
        *member("ann", **archived),
        *member("bob", **archived),
        *member("carol"),
        *member("dora", ldapMilterArchiveBcc="vault@keep.test with=external"),
        *account("eve@other.test", **archived),
        *static_list("whole@example.test", ["ann@example.test", "inner@example.test", "joe@outside.test"]),
        *static_list("inner@example.test", ["bob@example.test", "eve@other.test"]),
        *static_list("part@example.test", ["ann@example.test", "carol@example.test"]),
        *static_list("some@example.test", ["ann@example.test", "dora@example.test"]),
        *static_list("outside@example.test", ["joe@outside.test"]),
        *static_list("empty@example.test", []),
    ]
    with reported(tmp_path, records, domains=["example.test"]) as report:
        cells = {row.address.local: row.cells[1] for row in report.rows.values() if row.kind == "list"}
    assert {name: cell.by_members for name, cell in cells.items() if cell is not None} == {
        "whole": True,
        "inner": True,
        "part": False,
        "some": False,
        "outside": False,
        "empty": False,
    }
    assert {cell.status for cell in cells.values() if cell is not None and not cell.by_members} == {"uncovered"}


def test_accounts_of_zimbras_own_lack_nothing(tmp_path: Path) -> None:
    records = [
        *base_records(),
        *global_config(),
        *domain("example.test"),
        *account("spam.x@example.test", zimbraIsSystemResource="TRUE"),
        *account("ann@example.test", zimbraIsSystemResource="FALSE"),
    ]
    with reported(tmp_path, records) as report:
        found = {row.address.local: (row.kind, row.lacks_a_copy) for row in report.rows.values()}
        summary = Summary(report.about.columns)
        for row in report.rows.values():
            summary.add(row)
    assert found == {"spam.x": ("system account", False), "ann": ("account", True)}
    assert (summary.lacking_people, summary.lacking_groups, summary.figures[0].accounts.total()) == (1, 0, 1)


def test_a_group_sends_nothing(report: Report) -> None:
    columns = [(one.copy_class, one.direction) for one in report.about.columns]
    for name in ("sales-team@branch.test", "crew@branch.test"):
        cells = dict(zip(columns, report.rows[name].cells, strict=True))
        assert [key for key, cell in cells.items() if cell is None] == [("archive", "sent"), ("legal", "sent")]


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_rows_say_what_the_daemon_decides(whole: Report, direction: str) -> None:
    """For everybody: mail from or to an outsider gets the copies that the row names, for the reasons it gives."""
    compared = 0
    for row in whole.rows.values():
        if direction == "sent" and row.kind in {"list", "dynamic group"}:
            continue
        name = row.address.text
        envelope = Envelope(
            login=name if direction == "sent" else None,
            client="198.51.100.9",
            sender=name if direction == "sent" else OUTSIDER,
            recipients=(OUTSIDER if direction == "sent" else name,),
        )
        decision = decide(envelope, whole.opened.directory.for_message(), whole.config.policy, today=TODAY)
        decided = {  # the members of a list have copies of their own, which are in their rows
            (reason.copy_class, copy.address.text, reason.dn, reason.value, reason.group_path)
            for copy in decision.copies
            for reason in copy.reasons
            if reason.recipient in {None, name}
        }
        shown = {
            (column.copy_class, one.address, one.origin.dn, one.origin.value, one.origin.group_path)
            for column, cell in zip(whole.about.columns, row.cells, strict=True)
            if cell is not None and column.direction == direction
            for one in cell.copies
        }
        assert shown == decided, name
        compared += bool(shown)
    assert compared > 8


def test_an_expired_value_shows_as_such_and_the_next_level_counts(report: Report) -> None:
    eve = report.cell("eve@branch.test", "archive", "sent")
    assert told(eve.expired) == [("gone@keep.test", "account", None)]
    assert eve.expired[0].origin.until == date(2020, 1, 31)
    carol = report.cell("carol@branch.test", "archive", "received")
    assert told(carol.expired) == [("old@keep.test", "account", None)]
    assert report.cell("ann@branch.test", "archive", "sent").expired == ()


def test_on_its_last_day_a_value_counts(tmp_path: Path) -> None:
    with reported(tmp_path, today=date(2020, 1, 31)) as report:
        eve = report.cell("eve@branch.test", "archive", "sent")
        assert (told(eve.copies), eve.expired) == ([("gone@keep.test", "account", None)], ())


def test_an_invalid_value_is_named(report: Report) -> None:
    frank = report.cell("frank@branch.test", "legal", "sent")
    (text,) = frank.invalid
    assert "invalid value of ldapMilterLegalBcc at uid=frank" in text
    assert told(frank.copies) == [("hold@counsel.test", "domain", "external")]
    assert report.cell("frank@branch.test", "archive", "sent").invalid == ()


def test_a_copy_address_that_does_not_exist_is_invalid(tmp_path: Path) -> None:
    records = [
        *base_records(),
        *global_config(),
        *domain("example.test"),
        *account("ann@example.test", ldapMilterArchiveBcc="vualt@example.test"),
    ]
    with reported(tmp_path, records) as report:
        cell = report.cell("ann@example.test", "archive", "sent")
    assert cell.status == "uncovered"
    assert "vualt@example.test does not exist" in cell.invalid[0]


def test_none_is_named_where_it_ends_inheritance(report: Report) -> None:
    assert report.cell("dave@branch.test", "archive", "sent").ended_by == report.rows["dave@branch.test"].dn
    assert report.cell("nina@plain.test", "archive", "sent").ended_by is None


def test_under_union_none_ends_nothing(tmp_path: Path) -> None:
    records = [
        *base_records(),
        *global_config(),
        *domain("example.test"),
        *account("ann@example.test", ldapMilterLegalBcc="none", ldapMilterArchiveBcc="none"),
    ]
    with reported(tmp_path, records) as report:
        assert report.cell("ann@example.test", "legal", "sent").ended_by is None
        assert report.cell("ann@example.test", "archive", "sent").ended_by is not None


def test_an_archive_mailbox_of_everybodys_own_is_none_for_a_list(tmp_path: Path) -> None:
    records = [
        *base_records(),
        *global_config(ldapMilterArchiveBcc="fallback@keep.test"),
        *domain("example.test", ldapMilterArchiveBcc="{localpart}@keep.test"),
        *account("ann@example.test"),
        *static_list("team@example.test", ["ann@example.test"]),
    ]
    with reported(tmp_path, records) as report:
        ann = report.cell("ann@example.test", "archive", "received")
        team = report.cell("team@example.test", "archive", "received")
    assert told(ann.copies) == [("ann@keep.test", "domain", None)]
    assert told(team.copies) == [("fallback@keep.test", "global", None)]


def test_the_groups_that_lead_to_a_member_are_named(report: Report) -> None:
    given = report.cell("grace@branch.test", "legal", "sent").copies[0]
    assert given.origin.group_path == ("audit@branch.test", "audit-eu@branch.test")


def test_an_address_gets_no_copy_of_its_own_mail_and_the_row_says_so(report: Report) -> None:
    (remark,) = report.cell("vault@branch.test", "archive", "sent").remarks
    assert "names the author's own address" in remark


@pytest.mark.parametrize(
    ("value", "condition", "status"),
    [
        ("a@x.invalid with=*", None, "covered"),
        ("a@x.invalid with=.client.invalid", ".client.invalid", "conditional"),
        ("a@x.invalid with=Client.Invalid", "client.invalid", "conditional"),
        ("a@x.invalid with=group:Audit@example.test", "group:audit@example.test", "conditional"),
        ("a@x.invalid with=Joe@client.invalid", "joe@client.invalid", "conditional"),
    ],
)
def test_a_condition_is_told_as_it_is_written(tmp_path: Path, value: str, condition: str | None, status: str) -> None:
    records = [
        *base_records(),
        *global_config(),
        *domain("example.test"),
        *cos("own", ldapMilterArchiveBcc=value),
        *account("ann@example.test", cos_id=zimbra_id("cos", "own")),
    ]
    with reported(tmp_path, records) as report:
        cell = report.cell("ann@example.test", "archive", "sent")
    assert (cell.status, [one.origin.condition for one in cell.copies]) == (status, [condition])


def test_a_direction_without_attributes_has_no_column(tmp_path: Path) -> None:
    with reported(tmp_path, more="[copy archive]\nsent_attributes =\n") as report:
        columns = [(one.copy_class, one.direction) for one in report.about.columns]
    assert columns == [("archive", "received"), ("legal", "sent"), ("legal", "received")]
