"""Many things, so many at a time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in their order, in lists of ``size``; the last one may be shorter, and none is empty."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
