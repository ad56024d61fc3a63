"""What documents say of findings and options, made from the code and from the words of config.ini.example."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.checks.catalogue import KINDS, READS
from ldapmilter.checks.finding import Area
from ldapmilter.config_options import SECTIONS
from ldapmilter.relay.answers import table as answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "config.ini.example"
WIDTH = 79

FINDINGS = "<!-- table: findings -->\n\n"
HEADER = "| code | severity | meaning | remedy |\n|---|---|---|---|\n"
ANSWERS = "<!-- table: answers -->\n\n"
ANSWERS_HEADER = "| step | answer | what becomes of the copy |\n|---|---|---|\n"
ATTRIBUTES = "<!-- list: attributes -->\n\n"
OPTIONS = ".Sh SECTIONS AND OPTIONS\n"
SENTENCE = re.compile(r"(?<=[.?!]) +")


class NotGenerated(Exception):
    """A page has no place for what is made, or an option has no words."""


@dataclass(frozen=True)
class Described:
    """An option in config.ini.example."""

    words: str
    value: str


@dataclass(frozen=True)
class Section:
    """A section of config.ini.example."""

    words: str
    """What stands above it; often nothing."""
    options: dict[str, Described] = field(default_factory=dict)


def check_page(page: str) -> str:
    """Return docs/check.md with its tables of findings and its list of attributes made anew."""
    page = _replaced(page, ATTRIBUTES, "".join(f"* `{name}`\n" for name in READS))
    for area in Area:
        heading = f"## {area.value[0].upper()}{area.value[1:]}\n"
        before, found, after = page.partition(heading)
        if not found:
            raise NotGenerated(f"docs/check.md has no section {heading.strip()!r}")
        rows = (
            f"| `{kind.code}` | {kind.severity.value} | {kind.meaning} | {kind.general_remedy} |\n"
            for kind in KINDS
            if kind.area is area
        )
        page = before + found + _replaced(after, FINDINGS, HEADER + "".join(rows))
    return page


def copies_page(page: str) -> str:
    """Return docs/copies.md with its table of answers made anew."""
    rows = (f"| {step} | {answer} | {outcome} |\n" for step, answer, outcome in answers())
    return _replaced(page, ANSWERS, ANSWERS_HEADER + "".join(rows))


def _replaced(page: str, marker: str, block: str) -> str:
    """Return a page with another block of lines below a marker; an empty line ends a block."""
    before, found, after = page.partition(marker)
    if not found:
        raise NotGenerated(f"the page has no {marker.strip()}")
    _, _, rest = after.partition("\n\n")
    return before + found + block + (f"\n{rest}" if rest else "")


def described(example: str) -> dict[str, Section]:
    """Return the sections of an example; a comment belongs to the options, or the section, that follow it.

    An option without a comment means what it means in the last section before that has words for it.
    """
    sections: dict[str, Section] = {}
    last: dict[str, str] = {}
    options: dict[str, Described] = {}
    section, words, complete = "", "", False
    for line in example.splitlines():
        if line.startswith(";"):
            words = line[1:].strip() if complete else f"{words} {line[1:].strip()}".strip()
            complete = False
        elif line.startswith("["):
            section = line.strip("[]")
            options = {}
            sections[section] = Section("" if complete else words, options)
            words = ""
        elif "=" in line:
            name, value = (part.strip() for part in line.split("=", 1))
            if words:
                last[name] = section
            elif name not in last:
                raise NotGenerated(f"{EXAMPLE}: [{section}] {name} has no comment")
            options[name] = Described(words or f"As in [{last[name]}].", value)
            complete = True
        else:
            words, complete = "", False
    return sections


def options_page(page: str, example: str) -> str:
    """Return ldapmilter.ini(5) with its sections and options made anew."""
    before, found, after = page.partition(OPTIONS)
    if not found:
        raise NotGenerated(f"ldapmilter.ini(5) has no {OPTIONS.strip()}")
    sections = described(example)
    for name in {**SECTIONS, **sections}:
        written = [*sections[name].options] if name in sections else []
        if written != [*SECTIONS.get(name, {})]:
            raise NotGenerated(
                f"{EXAMPLE}: [{name}] has the options {written}, config_options.py {[*SECTIONS.get(name, {})]}"
            )
    lines = [rf".\" Made by scripts/tables from {EXAMPLE}."]
    for name, section in sections.items():
        lines += [rf".Ss [{name}]\&", *mdoc(section.words), ".Bl -tag -width Ds"]
        for option, said in section.options.items():
            lines += [f".It Cm {option}", *mdoc(said.words), *_default(SECTIONS[name][option].default)]
        lines.append(".El")
    return before + found + "".join(f"{line}\n" for line in lines) + after[after.index(".Sh ") :]


def _default(default: str | None) -> list[str]:
    if default is None:
        return ["There is no default."]
    return ["Default:", f".Ql {default} ."] if default else ["Default: empty."]


def mdoc(words: str) -> list[str]:
    """Return plain words as lines of mdoc, each sentence on lines of its own."""
    lines: list[str] = []
    for sentence in SENTENCE.split(words.replace("\\", r"\e")):
        lines += textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [rf"\&{line}" if line.startswith((".", "'")) else line for line in lines]


MADE: Mapping[str, Callable[[str], str]] = {
    "docs/check.md": check_page,
    "docs/copies.md": copies_page,
    "man/ldapmilter.ini.5": lambda page: options_page(page, (ROOT / EXAMPLE).read_text(encoding="utf-8")),
}


def main() -> None:
    for path, made in MADE.items():
        page = (ROOT / path).read_text(encoding="utf-8")
        anew = made(page)
        if anew != page:
            (ROOT / path).write_text(anew, encoding="utf-8")
        print(f"{path}: {'unchanged' if anew == page else 'changed'}")


if __name__ == "__main__":
    main()
