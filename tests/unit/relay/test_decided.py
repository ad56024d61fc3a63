"""What the audit's record of a message says of one of its copies."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ldapmilter.relay.decided import decided
from tests.unit.audit.example import FULL, recorded

TOKEN: Final = "0123456789abcdef" * 3


def record(source: str, address: str | None) -> dict[str, Any]:
    whole: dict[str, Any] = dict(recorded(FULL))
    whole["identity"] = {"source": source, "address": address, "dn": None}
    whole["sender"] = "envelope@example.test"
    reasons = whole["copies"][0]["reasons"]
    told = [{**reasons[0], "ref": ref} for ref in ("K-7", None, "K-9", "K-7")]
    other = {**whole["copies"][0], "delivery": "direct", "token": None}
    copy = {**other, "address": "vault@archive.test", "classes": ["legal"], "reasons": told, "token": TOKEN}
    return {**whole, "copies": [other, copy]}


@pytest.mark.parametrize(
    ("source", "address", "sender", "identified"),
    [
        ("sasl", "ann@example.test", "ann@example.test", True),
        ("mailbox-host", "ann@example.test", "ann@example.test", True),
        ("none", None, "envelope@example.test", False),
    ],
)
def test_who_sent_it(source: str, address: str | None, sender: str, *, identified: bool) -> None:
    said = decided(record(source, address), TOKEN)
    assert said is not None
    assert (said.sender, said.identified) == (sender, identified)


def test_of_this_copy_alone() -> None:
    said = decided(record("none", None), TOKEN)
    assert said is not None
    assert (said.target, said.classes, said.refs) == ("vault@archive.test", ("legal",), ("K-7", "K-9"))


def test_another_token() -> None:
    assert decided(record("none", None), "f" * 48) is None
