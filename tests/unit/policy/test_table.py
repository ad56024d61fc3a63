"""The reader of tables: what it takes, and that it lets no table go missing."""

from __future__ import annotations

import pytest

from tests.unit.policy.table import Row, TableError, policy_table, read_tables

GOOD = """
# Page

<!-- table: first -->

| value | valid | copies |
|---|:---:|---|
| `a b` | yes | `x@example.net`, `y@example.net` |
| | no | |

Text.

<!-- table: second -->
| one |
|---|
| words `and` code |
"""


def test_reads_rows() -> None:
    tables = read_tables(GOOD)

    first, second = tables["first"]
    assert list(tables) == ["first", "second"]
    assert first.line == 8
    assert first.value("value") == "a b"
    assert first.is_yes("valid")
    assert first.values("copies") == ("x@example.net", "y@example.net")
    assert second.value("value") == ""
    assert second.values("copies") == ()
    assert not second.is_yes("valid")
    assert tables["second"][0].text("one") == "words and code"


def test_a_row_is_known_by_its_cells() -> None:
    assert str(read_tables(GOOD)["first"][1]) == "first:9: - | no | -"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: t -->",
        "<!-- table: t -->\n\nText first.\n\n| a |\n|---|\n| b |",
        "<!-- table: t -->\n| a |\n|---|",
        "<!-- table: t -->\n| a |\n|---|\n\n| b |",
        "<!-- table: t -->\n| a |\n| b |",
        "<!-- table: t -->\n| a | b |\n|---|---|\n| only one |",
        "<!-- table: t -->\n| a |\n|---|\n| no bar at the end",
        "<!-- table: t -->\n| a | a |\n|---|---|\n| b | c |",
        "<!-- table: t -->\n| a |\n|---|\n| b |\n\n<!-- table: t -->\n| a |\n|---|\n| b |",
        "<!-- tabel: t -->\n| a |\n|---|\n| b |",
    ],
    ids=[
        "end of page",
        "text between",
        "no rows",
        "rows apart",
        "no rule",
        "ragged",
        "no bar",
        "two columns of one name",
        "two tables of one name",
        "slip in the name",
    ],
)
def test_refuses_what_is_no_table(text: str) -> None:
    with pytest.raises(TableError):
        read_tables(text)


@pytest.mark.parametrize("read", [Row.value, Row.is_yes, Row.values])
def test_refuses_a_cell_of_another_kind(read: object) -> None:
    assert callable(read)
    with pytest.raises(TableError):
        read(Row("t", 1, {"a": "`one` or `two`"}), "a")


def test_refuses_two_values_for_one() -> None:
    with pytest.raises(TableError, match="more than one"):
        Row("t", 1, {"a": "`one`, `two`"}).value("a")


def test_refuses_an_unknown_column() -> None:
    with pytest.raises(TableError, match="no column 'b'"):
        Row("t", 1, {"a": ""}).text("b")


def test_a_table_that_the_page_lacks_is_an_error() -> None:
    with pytest.raises(TableError, match="no table called nonsense"):
        policy_table("nonsense")
