"""Text of others is shown, not obeyed: nothing of it steers a terminal or begins a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.plain import plain, plain_json, plain_lines

TEXTS = {
    "Zoë 😀 \\": "Zoë 😀 \\",
    "\x1b[2J\x07": r"\x1b[2J\x07",
    "a\r\nb\tc": r"a\r\nb\tc",
    "\x7f\x9b31m": r"\x7f\x9b31m",
    "\u202eb\u2028\u2029\u0085": r"\u202eb\u2028\u2029\x85",
    "caf\udce9": r"caf\udce9",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_cannot_be_printed_is_spelt(text: str) -> None:
    assert plain(text) == TEXTS[text]


@given(st.text(st.characters()))
def test_whatever_it_is(text: str) -> None:
    assert plain(text).isprintable()
    assert plain_lines(text).replace("\n", "").isprintable()
    assert plain_lines(text).count("\n") == text.count("\n")
    spelt = plain_json({text: [text]}, indent=1)
    assert spelt.replace("\n", "").isprintable()
    assert json.loads(spelt) == {text: [text]}
