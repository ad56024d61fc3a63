"""The documents: every link leads somewhere, every log line that is quoted is one of the program's."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from ldapmilter import __version__
from ldapmilter.daemon import decision_log
from ldapmilter.message import HandledMessage
from ldapmilter.policy.effect import HeaderChange
from tests.unit.audit.example import ENVELOPE, FULL, copy
from tests.unit.policy.world import read_config

ROOT: Final = Path(__file__).resolve().parents[3]
POLICY: Final = read_config({}).policy
DOCUMENTS: Final = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    *ROOT.glob("contrib/*.md"),
]
LINK: Final = re.compile(r"(?<!!)\[[^\]\n]+(?:\n[^\]\n]+)?\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FORMAT: Final = re.compile(r"%[-#0-9.]*[sdgxr]")


def test_the_newest_changes_are_this_versions_or_ahead_of_it() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def anchors(page: Path) -> set[str]:
    """Return what a heading of the page is linked by, as GitHub makes it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    return [(page, link) for page in DOCUMENTS for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))]


def test_there_are_links() -> None:
    assert len(links()) > 40
    assert len(DOCUMENTS) >= 12


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in [link for of, link in links() if of == page]:
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_document_is_reached_from_the_readme(page: Path) -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    every = links()
    while ahead:
        current = ahead.pop()
        reached.add(current)
        near = {(current.parent / link.partition("#")[0]).resolve() for of, link in every if of == current}
        ahead += [target for target in near if target.suffix == ".md" and target not in reached]
    assert page in reached


def texts() -> set[str]:
    """Return every text of the program, what is filled in written as an ellipsis."""
    found: set[str] = set()
    for file in (ROOT / "ldapmilter").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(FORMAT.sub("…", node.value))
    return {re.sub(r"…+", "…", text) for text in found}


def test_every_log_line_of_the_documents_is_the_programs() -> None:
    known = texts()
    quoted = [
        line
        for page in DOCUMENTS
        for block in re.findall(r"^```log\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(quoted) > 25
    assert [line for line in quoted if line not in known] == []


def log_fields() -> set[str]:
    """Return the names of the fields of log lines, of messages to which everything happens that can."""
    would = [replace(effect, mode="observe") for effect in FULL.effects]
    copies = (copy("vault@keep.test", "archive"), copy("vault@keep.test", "archive", mode="observe"))
    happened = replace(FULL, verdict="accept", mode="observe", decided_before="re-injected", copies=copies)
    changes = tuple(effect for effect in would if isinstance(effect, HeaderChange))
    lines = []
    for decision in (happened, replace(happened, from_change=None, header_changes=changes)):
        line = decision_log.line(HandledMessage(queue_id="4QID", envelope=ENVELOPE, probe=True), decision, POLICY)
        lines.append(line or "")
    return {name for line in lines for name in re.findall(r" (\w+)=", line)}


def test_the_fields_of_the_log_line_that_are_named_are_its_fields() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)=(?:\w*)`", page))
    assert named >= {"verdict", "would_copy", "identity", "decided_before"}
    options = set(re.findall(r"`(invalid_value|unknown_login)", page))
    assert named - options <= log_fields()
