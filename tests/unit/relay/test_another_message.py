"""Whether what comes is the message that was decided, by its Message-ID, however that is written."""

from __future__ import annotations

import pytest

from ldapmilter.relay.another_message import other_message_id

ID = "<one@example.com>"


@pytest.mark.parametrize(
    ("decided", "found"),
    [
        (ID, [ID]),
        (ID, ["ONE@Example.com"]),
        (ID, ["<one\r\n @example.com>"]),
        (ID, ["<two@example.com>", ID]),
        ("", ["<two@example.com>"]),
        ("<>", ["<two@example.com>"]),
        (ID, []),
        (ID, ["", "<two@example.com>", ""][:1]),
        ("<\u00e9@example.com>", ["<two@example.com>"]),
        ("<\\xE9@example.com>", ["<\udce9@example.com>"]),
        ("<" + "x" * 70_000, ["<" + "x" * 60_000]),
        (ID, ["<one@exa"]),
    ],
    ids=repr,
)
def test_it_is_or_that_cannot_be_told(decided: str, found: list[str]) -> None:
    assert other_message_id(decided, found) is None


@pytest.mark.parametrize(
    ("decided", "found", "other"),
    [
        (ID, ["<two@example.com>"], "<two@example.com>"),
        (ID, [" <two\r\n\t@example.com>", "<three@example.com>"], "<two @example.com>"),
        (ID, ["<\x1b[31m@example.com>"], "<\\x1b[31m@example.com>"),
        ("<\\xE9@example.com>", ["<notice@filter.example>"], "<notice@filter.example>"),
        (ID, ["<" + "x" * 70_000], "<" + "x" * 899),
    ],
    ids=lambda value: str(value)[:30],
)
def test_another_one(decided: str, found: list[str], other: str) -> None:
    assert other_message_id(decided, found) == other
