"""Every text that says why a message waits (451) stands in docs/troubleshooting.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "ldapmilter"
PAGE = ROOT / "docs" / "troubleshooting.md"
HOLDING = re.compile(
    r'TEMPFAIL_REPLY|milter\.TEMPFAIL|verdict="tempfail"|"verdict": "tempfail"|truncations(\[|\.setdefault)|_held\('
)
"""What a function has that lets a message wait."""

KNOWN = {
    "milter/callbacks.py": {"register", "callback"},
    "milter/collected.py": {"feasible"},
    "milter/session.py": {"_refuse"},
    "daemon/deciding.py": {"done", "gave_up"},
    "daemon/relayed_copies.py": {"_stopped", "_held"},
    "policy/decide.py": {"decide", "_held", "_copies", "_by_envelope_alone"},
    "policy/verdict.py": {"answer"},
    "policy/facts.py": {"_expand", "_look_up_groups"},
}
"""Every function that does. What a new one says has to be found by TEXTS, and to stand in the document."""

TEXTS = {
    "policy/service_logins.py": {"why_unknown"},
    "policy/decide.py": {"_by_envelope_alone"},
    "policy/copies.py": {"decide_copies"},
    "policy/identity.py": {"by_mailbox"},
    "policy/from_rewrite.py": {"render"},
    "policy/levels.py": {"__str__"},
    "directory/addresses.py": {"login"},
    "directory/groups.py": {"_too_many", "_too_deep"},
    "directory/cache/progress.py": {"of"},
    "milter/collected.py": {"feasible"},
    "milter/session.py": {"_introduce", "data", "eom", "_require"},
    "milter/callbacks.py": {"callback"},
    "daemon/audit_trail.py": {"look"},
    "daemon/relayed_copies.py": {"_stopped"},
}
"""Where the texts come from: of an audit, of an entry, of a group."""

OTHER = re.compile(r"550 |%d lines of mail|the From domain … is not hosted|%s: unexpected error|none beside From rules")
"""What those functions say besides: of other things, or with the name of what failed before it."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> list[Function]:
    """Return the functions of a module, with those inside them taken out."""
    found = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, Function)]
    for function in found:
        function.body = [node for node in function.body if not isinstance(node, (ast.ClassDef, Function))]
    return found


def texts(function: Function) -> set[str]:
    """Return what a function may say, what is filled in written as an ellipsis."""
    without_doc = function.body[1:] if ast.get_docstring(function) is not None else function.body
    found = set[str]()
    nodes = [inner for statement in without_doc for inner in ast.walk(statement)]
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    for whole in formatted:
        found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in whole.values))
    parts = {id(part) for whole in formatted for part in ast.walk(whole)}
    found |= {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    }
    return {text for text in found if len(text.split()) > 3}


def test_every_place_that_lets_a_message_wait_is_known() -> None:
    found: dict[str, set[str]] = {}
    for room in ("milter", "daemon", "policy"):
        for file in sorted((PROGRAM / room).rglob("*.py")):
            for function in functions(file):
                if HOLDING.search("\n".join(map(ast.unparse, function.body)).replace("'", '"')):
                    found.setdefault(str(file.relative_to(PROGRAM)), set()).add(function.name)
    assert found == KNOWN


@pytest.mark.parametrize("module", TEXTS)
def test_every_cause_is_in_the_document(module: str) -> None:
    blocks = re.findall(r"^```log\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    written = {line for block in blocks for line in block.splitlines()}
    named = [function for function in functions(PROGRAM / module) if function.name in TEXTS[module]]
    assert {function.name for function in named} == TEXTS[module]
    said = {re.sub("…+|%[sd]", "…", text) for function in named for text in texts(function) if not OTHER.match(text)}
    assert said
    assert sorted(said - written) == []
