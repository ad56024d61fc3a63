"""The manual pages: clean to the linter, and in agreement with parser and schema."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter import __version__
from ldapmilter.cli.main import command_line
from ldapmilter.schema.definition import ARC, own_attributes
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[3]
MAN: Final = ROOT / "man"
PAGES: Final = ("ldapmilter.1", "ldapmilter.ini.5", "ldapmilter-attributes.5")
# mandoc looks for our own pages and Postfix's among those that are installed.
ELSEWHERE: Final = "referenced manual not found: Xr "
SCHEMA: Final = re.compile(r"\( ldapMilterAttributeType:(\d+) NAME '(\w+)'(.*?)\)\n", re.DOTALL)


def text(page: str) -> str:
    return (MAN / page).read_text(encoding="utf-8")


def parts(page: str, macro: str) -> dict[str, str]:
    """Return what follows each `.Ss`, `.It Cm` and the like, by its argument."""
    found = re.split(rf"^\.{macro} (.+)$", text(page), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def verbs(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield name, parser
    for action in nested:
        for verb, below in action.choices.items():
            yield from verbs(below, f"{name} {verb}".strip())


def spelled(option: str) -> str:
    """Return an option as mdoc spells it."""
    return f"Fl Fl {option.removeprefix('--')}" if option.startswith("--") else f"Fl {option.removeprefix('-')}"


@pytest.mark.parametrize("page", PAGES)
def test_the_linter_finds_nothing(page: str) -> None:
    command = ["mandoc", "-T", "lint", "-W", "style", str(MAN / page)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    found = [line for line in (done.stdout + done.stderr).splitlines() if "STYLE: " in line or "mandoc.db" not in line]
    assert [line for line in found if ELSEWHERE not in line] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_page_names_the_version(page: str) -> None:
    assert f".Os ldapmilter {__version__}\n" in text(page)


def test_references_lead_somewhere() -> None:
    known = {page.rpartition(".")[0] + " " + page.rpartition(".")[2] for page in PAGES} | {"postconf 5"}
    for page in PAGES:
        assert set(re.findall(r"^\.Xr (\S+ \d)", text(page), re.MULTILINE)) <= known


def test_every_page_is_installed_and_removed() -> None:
    assert sorted(path.name for path in MAN.iterdir()) == sorted(PAGES)
    for script in ("install", "uninstall"):
        assert f"for page in {' '.join(PAGES)}; do" in (ROOT / "scripts" / script).read_text(encoding="utf-8")


def test_the_page_has_every_verb_with_its_options_and_no_other() -> None:
    everywhere = {option for action in command_line()._actions for option in action.option_strings}
    described = parts("ldapmilter.1", "Ss")
    parsed = dict(verbs(command_line()))
    assert list(described) == list(parsed)
    for verb, parser in parsed.items():
        shown = re.findall(r"^\.It (?:Fl|Ar) .+$", described[verb].partition("\n.Sh ")[0], re.MULTILINE)
        actions = [
            action
            for action in parser._actions
            if not everywhere.intersection(action.option_strings) and action.help != argparse.SUPPRESS
        ]
        assert len(shown) == len(actions), verb
        for action in actions:
            names = [spelled(option) for option in action.option_strings] or [f"Ar {action.metavar or action.dest}"]
            metavar = action.metavar if isinstance(action.metavar, str) else " | Ar ".join(action.choices or ())
            metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else metavar
            argument = f" Ar {metavar}" if action.option_strings and action.nargs != 0 else ""
            wanted = f".It {' , '.join(names)}{argument}"
            assert any(line in (wanted, f"{wanted} ...") for line in shown), (verb, wanted, shown)


def test_the_page_has_the_options_before_the_verb() -> None:
    before = text("ldapmilter.1").partition(".Sh VERBS")[0]
    for action in command_line()._actions:
        for option in action.option_strings:
            assert option in {"-h", "--help"} or f".It {spelled(option)}" in before


def test_the_page_has_every_attribute_with_oid_and_number_of_values() -> None:
    described = parts("ldapmilter-attributes.5", "It Cm")
    defined = {
        name: (number, "SINGLE-VALUE" in rest)
        for number, name, rest in SCHEMA.findall((ROOT / "schema" / "ldapmilter.ldif").read_text(encoding="utf-8"))
    }
    assert set(described) == set(defined) == set(own_attributes())
    for name, (number, single) in defined.items():
        count = "one value" if single else "many values"
        assert described[name].strip().startswith(f"OID {ARC}.1.{number},\n{count}"), name


def test_the_page_has_the_words_of_the_grammar() -> None:
    page = text("ldapmilter-attributes.5")
    placeholders = ["{displayName}", "{address}", "{localpart}", "{domain}", "{fromName}"]
    for word in ("with=", "until=", "ref=", "none", "internal", "external", "group:", *placeholders):
        assert word in page
    for word in ("off", "rewrite", "reject"):
        assert re.search(rf"\b{word} \(", page), word
