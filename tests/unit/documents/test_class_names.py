"""A class name means one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGE: Final = "ldapmilter"


def classes(root: Path) -> dict[str, list[str]]:
    """Return every class name with the modules that define one, nested classes too."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted((root / PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(file.relative_to(root)))
    return found


def defined_twice(root: Path) -> dict[str, list[str]]:
    return {name: modules for name, modules in classes(root).items() if len(modules) > 1}


def test_no_two_classes_have_one_name() -> None:
    assert len(classes(ROOT)) > 100
    assert defined_twice(ROOT) == {}


def test_what_would_be_found(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE
    (package / "below").mkdir(parents=True)
    (package / "one.py").write_text("class A:\n    class B: ...\n", encoding="utf-8")
    (package / "below" / "two.py").write_text("class B: ...\nclass C: ...\n", encoding="utf-8")
    assert defined_twice(tmp_path) == {"B": [f"{PACKAGE}/below/two.py", f"{PACKAGE}/one.py"]}
