"""Texts compare as slapd compares them; the contract tests hold the same against a real one."""

from __future__ import annotations

import pytest

from ldapmilter.folding import fold_ascii, fold_value


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Ann@Example.Test", "ann@example.test"),
        (" ann@x.test ", "ann@x.test"),
        ("  in   side@x.test", "in side@x.test"),
        ("ann @x.test", "ann @x.test"),
        ("\tann@x.test", "\tann@x.test"),
        ("a\t b", "a\t b"),
        ("\u212aate@x.test", "\u212aate@x.test"),
        ("\u00c9  B", "\u00c9 B"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_addresses(written: str, folded: str) -> None:
    assert fold_ascii(written) == folded


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        (" Sales  Team ", "sales team"),
        ("Änn\u00a0 Able", "änn able"),
        ("\u212aate", "kate"),
        ("\u0130x", "ix"),
        ("e\u0301", "é"),
        ("Straße", "straße"),
        ("tab\there", "tab\there"),
        ("", ""),
        ("  ", " "),
        ("\u00a0", " "),
    ],
)
def test_names_and_ids(written: str, folded: str) -> None:
    assert fold_value(written) == folded
