"""The shape of JSON that a TypedDict describes, to check what is read back from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Shape = Any
"""A type, ``[shape]`` of a list, a mapping by key, or ``(None, shape)`` of what may be null."""


def shape_of(kind: Any) -> Shape:  # noqa: ANN401 - a type, in whatever form typing knows
    """Return the shape of JSON of a type.

    A text that may be one of some words only (``Literal``) is any text: a later version may know more words.
    """
    if is_typeddict(kind):
        return {key: shape_of(inner) for key, inner in get_type_hints(kind).items()}
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return str
    if origin is list:
        return [shape_of(inner[0])]
    if type(None) in inner:
        (other,) = (one for one in inner if one is not type(None))
        return (None, shape_of(other))
    return kind


def conforms(value: object, shape: Shape, added: Collection[str] = (), path: str = "") -> bool:
    """Whether a value read back has a shape; further keys do no harm.

    Args:
        value: what was read.
        shape: what it should be like.
        added: keys that may be missing, each with the way to it: ``copies[].added``.
        path: the way to the value.
    """
    if isinstance(shape, tuple):
        return value is None or conforms(value, shape[1], added, path)
    if isinstance(shape, list):
        return isinstance(value, list) and all(conforms(item, shape[0], added, f"{path}[]") for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _keys_conform(value, shape, added, f"{path}." if path else "")
    if shape is int and isinstance(value, bool):
        return False
    return isinstance(value, shape)


def _keys_conform(value: Mapping[str, object], shape: Mapping[str, Shape], added: Collection[str], before: str) -> bool:
    return all(
        conforms(value[key], inner, added, before + key) if key in value else before + key in added
        for key, inner in shape.items()
    )
