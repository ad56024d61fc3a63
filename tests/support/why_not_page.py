"""docs/why-not.md as a script: what stands in the directory of each section, and what `explain` says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.builders import account, cos, domain, global_config, static_list
from tests.support.guide import Section, sections
from tests.support.names import zimbra_id
from tests.support.record import Record, merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "why-not.md"
SECTIONS: Final = [section for section in sections(PAGE) if section.steps()]


def directory(section: Section) -> list[Record]:
    """Return the directory of a section: that of the page, with the values of its LDIF blocks."""
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.com"),
            *domain("example.com"),
            *cos("staff"),
            *account("ann@example.com", cos_id=zimbra_id("cos", "staff"), displayName="Ann Able"),
            *account("bob@example.com"),
            *static_list("team@example.com", ["ann@example.com", "bob@example.com"]),
        ]
    )
    given = {dn: values for block in _texts(section, "ldif") for dn, values in _entries(block)}
    assert given.keys() <= {record.dn for record in records}
    return [_with(record, given.get(record.dn, ())) for record in records]


def configuration(section: Section) -> str:
    """Return the configuration of a section: its own, else that of the page."""
    before = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    return section.configuration() or before.partition("```ini\n")[2].partition("```")[0]


def message(section: Section) -> str:
    """Return the message of a section, if it has one."""
    return "".join(f"{text}\n" for text in _texts(section, "eml"))


def _texts(section: Section, language: str) -> list[str]:
    return [text for one, text in section.blocks if one == language]


def _entries(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    entries = []
    for entry in text.strip().split("\n\n"):
        (_, _, dn), *values = [line.partition(": ") for line in entry.splitlines()]
        entries.append((dn, [(name, value) for name, _, value in values]))
    return entries


def _with(record: Record, values: Sequence[tuple[str, str]]) -> Record:
    # Values of one attribute stand together, as slapadd wants them.
    classes = [("objectClass", "ldapMilterPolicy")] if values else []
    return Record(record.dn, (*classes, *record.attributes, *values), record.filler)


def without_searches(output: str) -> str:
    """Return what `explain` printed without its last line: the number of searches depends on the back end."""
    return "".join(line for line in output.splitlines(keepends=True) if not line.startswith("searches "))
