"""The tables of docs/check.md and the options of ldapmilter.ini(5) are made from the code and config.ini.example."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ldapmilter.checks.catalogue import KINDS
from ldapmilter.config_options import SECTIONS
from scripts import tables

ROOT: Final = Path(__file__).resolve().parents[3]
EXAMPLE: Final = (ROOT / "config.ini.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", list(tables.MADE))
def test_the_generator_changes_nothing(path: str) -> None:
    page = (ROOT / path).read_text(encoding="utf-8")
    assert tables.MADE[path](page) == page, "run scripts/tables"


def test_a_row_that_was_edited_by_hand_is_made_again() -> None:
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    for kind in KINDS:
        edited = page.replace(f"| `{kind.code}` | {kind.severity.value} |", f"| `{kind.code}` | harmless |")
        assert edited != page
        assert tables.check_page(edited) == page


def test_a_page_without_the_section_of_an_area_is_refused() -> None:
    with pytest.raises(tables.NotGenerated, match="Configuration"):
        tables.check_page("# What check finds\n\n<!-- list: attributes -->\n\n* `x`\n")


def test_the_example_gives_every_option_its_default() -> None:
    given = {name: section.options for name, section in tables.described(EXAMPLE).items()}
    assert [*given] == [*SECTIONS]
    for name, options in SECTIONS.items():
        assert [*given[name]] == [*options]
        for option, rule in options.items():
            # These three are shown with a value of a real site.
            if (name, option) not in {("ldap", "uri"), ("ldap", "bind_dn"), ("ldap", "bind_password_file")}:
                assert given[name][option].value == rule.default, (name, option)


def test_words_belong_to_the_options_that_follow_them() -> None:
    sections = tables.described(
        "[a]\n; Both of\n; them.\nx = 1\ny = 2\n; Alone.\nz =\n\n; Of the section.\n[b]\nx = 3\n"
    )
    assert [(option.words, option.value) for option in sections["a"].options.values()] == [
        ("Both of them.", "1"),
        ("Both of them.", "2"),
        ("Alone.", ""),
    ]
    assert sections["b"].words == "Of the section."
    assert sections["b"].options["x"].words == "As in [a]."


def test_an_option_without_words_anywhere_is_refused() -> None:
    with pytest.raises(tables.NotGenerated, match=r"\[b\] y"):
        tables.described("[a]\n; Words.\nx = 1\n\n[b]\ny = 3\n")


@pytest.mark.parametrize("example", [EXAMPLE.replace("starttls = yes\n", ""), EXAMPLE + "colour = red\n"])
def test_an_example_that_is_not_the_configuration_is_refused(example: str) -> None:
    with pytest.raises(tables.NotGenerated, match=r"config\.ini\.example: \["):
        tables.options_page(".Sh SECTIONS AND OPTIONS\n.Sh FILES\n", example)


def test_words_are_mdoc_one_sentence_a_line() -> None:
    assert tables.mdoc("First. Second one.  'Tis a \\ here. .cf is a suffix") == [
        "First.",
        "Second one.",
        "\\&'Tis a \\e here.",
        "\\&.cf is a suffix",
    ]
    assert max(len(line) for line in tables.mdoc("word " * 100)) < 80
