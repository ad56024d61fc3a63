"""Shapes made of types: what is read back is checked against the types that wrote it."""

from __future__ import annotations

import json
from typing import Any, Literal, TypedDict

import pytest

from ldapmilter.audit.record import record_shape
from ldapmilter.audit.shape import conforms, shape_of
from ldapmilter.policy.document import DecisionDocument, as_json
from tests.unit.audit.example import FULL, recorded

_Named = TypedDict("_Named", {"class": str})


class _Inner(_Named):
    number: int


class _Outer(TypedDict):
    word: Literal["a", "b"]
    texts: list[str]
    maybe: str | None
    inner: list[_Inner]


_Whole = TypedDict("_Whole", {"from": _Inner | None})


def test_a_shape_has_the_keys_of_the_type_in_their_order() -> None:
    inner = {"class": str, "number": int}
    assert shape_of(_Outer) == {"word": str, "texts": [str], "maybe": (None, str), "inner": [inner]}
    assert shape_of(_Whole) == {"from": (None, inner)}
    assert list(shape_of(DecisionDocument)) == list(as_json(FULL))
    assert list(record_shape()) == list(recorded())


def test_the_document_of_a_decision_has_the_shape_of_its_type() -> None:
    assert conforms(json.loads(json.dumps(as_json(FULL))), shape_of(DecisionDocument))


WHOLE: dict[str, Any] = {"word": "a", "texts": ["x"], "maybe": None, "inner": [{"class": "c", "number": 1}]}


@pytest.mark.parametrize(
    "change",
    [
        {"word": None},
        {"texts": "x"},
        {"texts": [1]},
        {"maybe": 1},
        {"inner": {}},
        {"inner": [{"class": "c"}]},
        {"inner": [{"class": "c", "number": True}]},
    ],
)
def test_what_is_otherwise_does_not_conform(change: dict[str, Any]) -> None:
    shape = shape_of(_Outer)
    assert conforms(WHOLE, shape)
    assert conforms({**WHOLE, "word": "a word of a later version", "more": 1}, shape)
    assert not conforms({**WHOLE, **change}, shape)


def test_a_key_that_came_later_may_be_missing_where_it_came() -> None:
    shape = shape_of(_Outer)
    without = {**WHOLE, "inner": [{"class": "c"}]}
    assert conforms(without, shape, {"inner[].number"})
    assert not conforms(without, shape, {"number"})
    assert not conforms({**WHOLE, "inner": [{"class": "c", "number": "1"}]}, shape, {"inner[].number"})
