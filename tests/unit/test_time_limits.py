"""No test measures the machine: what bounds real time is a guard against hangs, of a minute at least."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).resolve().parents[1]
LEAST: Final = 60.0
PAUSE: Final = 0.5
"""A call that waits no longer is a pause, or runs out on purpose: nobody takes that for a guard."""
CLOCKS: Final = frozenset({"monotonic", "perf_counter", "time"})
# How a call bounds real time: a keyword of that name, or an argument at that place.
WAITS: Final = {
    "wait_until": ("timeout", 2),
    "run": ("timeout", None),
    "communicate": ("timeout", 1),
    "join": ("timeout", 0),
    "wait": ("timeout", 0),
    "wait_for": ("timeout", 1),
    "result": ("timeout", 0),
    "map": ("timeout", None),
    "acquire": ("timeout", 1),
    "urlopen": ("timeout", 2),
    "connect": ("timeout", 1),
    "create_connection": ("timeout", 1),
    "cli": ("timeout", None),
    "queue_idle": ("timeout", 0),
    "wait_delivered": ("timeout", 2),
}


def too_short(source: str) -> list[str]:
    """Return what bounds real time below a minute, by line."""
    tree = ast.parse(source)
    constants = dict(_constants(tree))
    return [f"{line}: {text}" for line, text in sorted({*_calls(tree, constants), *_comparisons(tree, constants)})]


def _constants(tree: ast.Module) -> Iterator[tuple[str, float]]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant(value)) if isinstance(value, int | float):
                yield name, float(value)
            case ast.AnnAssign(target=ast.Name(name), value=ast.Constant(value)) if isinstance(value, int | float):
                yield name, float(value)


def _calls(tree: ast.Module, constants: dict[str, float]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in WAITS or "stop" in ast.unparse(node.func):  # stop.wait(0.1) is a pause, and ends early
            continue
        keyword, place = WAITS[name]
        given = [one.value for one in node.keywords if one.arg == keyword]
        if place is not None and len(node.args) > place:
            given.append(node.args[place])
        for value in given:
            seconds = _seconds(value, constants)
            if seconds is not None and PAUSE <= seconds < LEAST:
                yield node.lineno, ast.unparse(node)


def _comparisons(tree: ast.Module, constants: dict[str, float]) -> Iterator[tuple[int, str]]:
    """Yield ``clock() - began < 5``."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Compare) and isinstance(node.left, ast.BinOp)):
            continue
        clock = node.left.left
        if not (isinstance(clock, ast.Call) and isinstance(clock.func, ast.Attribute) and clock.func.attr in CLOCKS):
            continue
        for operation, value in zip(node.ops, node.comparators, strict=True):
            seconds = _seconds(value, constants)
            if isinstance(operation, ast.Lt | ast.LtE) and (seconds is None or seconds < LEAST):
                yield node.lineno, ast.unparse(node)


def _seconds(value: ast.expr, constants: dict[str, float]) -> float | None:
    match value:
        case ast.Constant(number) if isinstance(number, int | float) and not isinstance(number, bool):
            return float(number)
        case ast.Name("HANG"):
            return HANG
        case ast.Name(name):
            return constants.get(name)
    return None


def test_the_guard_itself() -> None:
    assert HANG >= LEAST


@pytest.mark.parametrize(
    "source",
    [
        "wait_until(ready, 'it', 20)",
        "wait_until(ready, 'it', timeout=20)",
        "_LIMIT = 5.0\nprocess.wait(_LIMIT)",
        "_LIMIT: Final = 5.0\nthread.join(_LIMIT)",
        "subprocess.run(command, timeout=30)",
        "assert time.monotonic() - began < 10",
        "assert 1 < time.monotonic() - began\nassert time.monotonic() - began < SHORT * 8",
    ],
)
def test_a_short_bound_is_found(source: str) -> None:
    assert len(too_short(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "wait_until(ready, 'it')",
        "wait_until(ready, 'it', HANG)",
        "stop.wait(2)",
        "gate.wait(0.1)",
        "assert seconds() < 5",
    ],
)
def test_what_bounds_nothing_is_left_alone(source: str) -> None:
    assert too_short(source) == []


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_bound_is_below_a_minute(path: Path) -> None:
    assert too_short(path.read_text(encoding="utf-8")) == []
