"""Every code is used by a check, and says what to do; scripts/tables documents it."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import pytest

from ldapmilter import checks
from ldapmilter.checks.catalogue import KINDS
from ldapmilter.checks.finding import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def test_no_code_occurs_twice() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", code) for code in codes)


def kinds_in(module: ModuleType) -> list[Kind]:
    return [value for value in vars(module).values() if isinstance(value, Kind)]


def used_by(module: ModuleType) -> Iterator[Kind]:
    """Yield the kinds that the code of a module uses beside listing them in ``KINDS``."""
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "KINDS":
            continue
        for node in ast.walk(statement):
            value: object = None
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                value = vars(module).get(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                value = getattr(vars(module).get(node.value.id), node.attr, None)
            if isinstance(value, Kind):
                yield value


def test_the_catalogue_has_every_kind_and_none_that_no_check_uses() -> None:
    modules = [import_module(f"{checks.__name__}.{found.name}") for found in iter_modules(checks.__path__)]
    assert {kind.code for module in modules for kind in kinds_in(module)} == {kind.code for kind in KINDS}
    assert {kind.code for module in modules for kind in used_by(module)} == {kind.code for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_code_says_why_and_what_to_do(kind: Kind) -> None:
    assert kind.meaning.endswith(".")
    assert kind.remedy
    assert not kind.remedy.endswith(".")
    assert "|" not in kind.meaning + kind.remedy
    assert "$" not in kind.general_remedy
