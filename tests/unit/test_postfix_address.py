"""Addresses that Postfix takes from a milter and bounces afterwards, where nobody is told."""

from __future__ import annotations

from typing import Final

import pytest

from ldapmilter.address import parse_address
from ldapmilter.errors import InvalidValue
from ldapmilter.policy.rules import CopyRule, parse_copy
from tests.support.late_refusals import DELIVERED, REFUSED, THROWN_AWAY

PLAIN: Final = [text for text in DELIVERED if "{" not in text]


@pytest.mark.parametrize("text", [*REFUSED, *THROWN_AWAY])
def test_what_postfix_refuses_late_is_no_value(text: str) -> None:
    address = parse_address(text)
    assert address is not None, "the grammar has it already"
    with pytest.raises(InvalidValue, match="no copy can reach") as raised:
        parse_copy(f"{text} ref=case-1")
    assert str(address) in str(raised.value)


@pytest.mark.parametrize("text", PLAIN)
def test_what_postfix_delivers_is_one(text: str) -> None:
    assert isinstance(parse_copy(text), CopyRule)


@pytest.mark.parametrize(
    ("template", "account"),
    [
        ("{localpart}@vault.test", "-olga@example.test"),
        ("{localpart}@vault.test", "Double-Bounce@example.test"),
        ("hold@{domain}", "olga@192.0.2.1"),
        ("hold@[{domain}]", "olga@example.test"),
    ],
)
def test_it_is_judged_again_once_the_placeholders_are_filled(template: str, account: str) -> None:
    rule = parse_copy(template) if "[" not in template else CopyRule(template=template)
    assert isinstance(rule, CopyRule)
    with pytest.raises(InvalidValue, match="no copy can reach"):
        rule.address_for(parse_address(account))
