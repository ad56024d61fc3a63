"""What breaks the grammar is refused with what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.errors import InvalidValue
from ldapmilter.policy.rules import parse_copy, parse_mailbox, parse_sender_rule

if TYPE_CHECKING:
    from collections.abc import Callable

HINTS: dict[tuple[Callable[[str], object], str], str] = {
    (parse_copy, "broken@@x"): "; there are 2 @ in it",
    (parse_copy, "broken"): "; there is no @ in it",
    (parse_copy, "<legal@x.test>"): "; write legal@x.test",
    (parse_copy, "Legal Dept <legal@x.test>"): "; a copy has no name: write legal@x.test",
    (parse_copy, "legal@x.test client.test"): "; did you mean with=client.test?",
    (parse_copy, "legal@x.test external"): "; did you mean with=external?",
    (parse_copy, "legal@x.test with client.test"): "; write with= and its value without blanks",
    (parse_copy, "legal@b\u00fccher.test"): "; write legal@xn--bcher-kva.test",
    (parse_copy, "l\u00e4gal@x.test"): "; before the @ only ASCII can be delivered",
    (parse_copy, "group:sales@x.test"): "; group: stands in conditions alone: write sales@x.test",
    (parse_copy, "client.test => legal@x.test"): "; a copy has no =>: write legal@x.test with=client.test",
    (
        parse_copy,
        "a@x.test b@x.test",
    ): "give the attribute a second value; for mail with b@x.test only, write with=b@x.test",
    (parse_copy, "a@x.test with=joe@@y.test"): "; there are 2 @ in it",
    (parse_mailbox, "Legal Dept legal@x.test"): "; write Legal Dept <legal@x.test>",
    (parse_mailbox, "Legal Dept."): ": 'Legal Dept.'; there is no @ in it",
    (parse_mailbox, "M <m\u00fcller@x.test>"): "; before the @ only ASCII can be delivered",
    (parse_mailbox, "client.test => L <l@x.test>"): "there is no place for WHEN => here; write the mailbox alone",
    (parse_sender_rule, "client.test => Legal Dept legal@x.test"): "; write Legal Dept <legal@x.test>",
    (parse_sender_rule, "with=client.test => a@x.test"): "; write client.test (with= is for copies)",
    (parse_sender_rule, "@client.test => a@x.test"): "; for a domain write client.test",
    (parse_sender_rule, "*.client.test => a@x.test"): "; for the subdomains write .client.test",
    (parse_sender_rule, "L <l@x.test> => client.test"): "; the mailbox stands behind =>",
}


@pytest.mark.parametrize(("parse", "value"), HINTS)
def test_the_way_out_is_named(parse: Callable[[str], object], value: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(value)
    assert HINTS[parse, value] in str(caught.value)


def test_an_arrow_in_a_quoted_name_is_a_name() -> None:
    assert parse_mailbox('"a => b" <a@x.test>').display_name == "a => b"
