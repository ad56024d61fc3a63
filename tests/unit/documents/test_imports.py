"""The package is built as docs/design.md says: imports run downward, and none closes a circle."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGE: Final = "ldapmilter"


def module_name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path) -> dict[str, set[str]]:
    """Return the modules of the package with what each imports of it, for types only or wherever it stands."""
    files = {module_name(file, root): file for file in (root / PACKAGE).rglob("*.py")}
    return {name: set(imported(ast.parse(file.read_text(encoding="utf-8")), files)) for name, file in files.items()}


def imported(tree: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            assert node.level == 0
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in modules else str(node.module)


def rooms() -> list[str]:
    """Return the rooms of docs/design.md, from the top down."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: rooms -->")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([\w/.]+?)(?:\.py|/)?` \|", table, re.MULTILINE)


def room_of(module: str, order: list[str]) -> str:
    """Return the room of a module: the longest name in the map that it lies in."""
    place = module.removeprefix(PACKAGE).removeprefix(".").replace(".", "/")
    holding = [room for room in order if place == room or place.startswith(f"{room}/")]
    return max(holding, key=len, default="")


def upward(graph: Mapping[str, set[str]], order: list[str]) -> list[str]:
    """Return every import that runs upward, or from or to a module that the map does not know."""
    position = {room: number for number, room in enumerate(order)}
    found = []
    for module, targets in graph.items():
        for target in targets - {PACKAGE}:
            above, below = room_of(module, order), room_of(target, order)
            if not below or (above != below and position.get(above, -1) >= position[below]):
                found.append(f"{module} ({above or 'not in the map'}) imports {target} ({below or 'not in the map'})")
    return sorted(found)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle, in order; nothing: there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for target in sorted(graph.get(module, ())):
                if found := visit(target, [*path, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def test_every_module_is_in_the_map() -> None:
    order = rooms()
    assert len(order) > 10
    top = {PACKAGE, f"{PACKAGE}.__main__"}
    assert [module for module in imports(ROOT) if module not in top and not room_of(module, order)] == []


def test_every_room_of_the_map_is_there() -> None:
    for room in rooms():
        assert (ROOT / PACKAGE / room).is_dir() or (ROOT / PACKAGE / f"{room}.py").is_file(), room


def test_no_import_runs_upward() -> None:
    graph = imports(ROOT)
    del graph[f"{PACKAGE}.__main__"]
    assert upward(graph, rooms()) == []


def test_no_import_closes_a_circle() -> None:
    assert circle(imports(ROOT)) == []


@pytest.mark.parametrize("line", ["from ldapmilter import upper", "from ldapmilter.upper import thing"])
def test_what_would_be_found(tmp_path: Path, line: str) -> None:
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "upper.py").write_text("import ldapmilter.lower\n", encoding="utf-8")
    (package / "lower.py").write_text(f"if TYPE_CHECKING:\n    {line}\n", encoding="utf-8")
    graph = imports(tmp_path)
    assert upward(graph, ["upper", "lower"]) == ["ldapmilter.lower (lower) imports ldapmilter.upper (upper)"]
    assert circle(graph) == ["ldapmilter.lower", "ldapmilter.upper", "ldapmilter.lower"]
