"""Many things, so many at a time."""

from __future__ import annotations

import pytest

from ldapmilter.chunks import chunks


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])])
def test_nothing_is_lost_and_no_chunk_is_empty(number: int, sizes: list[int]) -> None:
    found = list(chunks(range(number), 3))
    assert [len(chunk) for chunk in found] == sizes
    assert [item for chunk in found for item in chunk] == list(range(number))
