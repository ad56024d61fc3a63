"""Distinguished names are parted at commas that are not escaped (RFC 4514 section 3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory import searches
from ldapmilter.directory.backend.dn import Name, fold_dn, parts, take_apart
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.entries import spelt_by_dn
from ldapmilter.policy.not_applied import entry_name

PEOPLE = "ou=people,dc=example,dc=test"


@pytest.mark.parametrize(
    ("dn", "expected"),
    [
        ("", [""]),
        ("dc=test", ["dc=test"]),
        ("uid=ann, ou=people , dc=test", ["uid=ann", "ou=people", "dc=test"]),
        ("uid=a\\,b,dc=test", ["uid=a\\,b", "dc=test"]),
        ("uid=a\\2Cb,dc=test", ["uid=a\\2Cb", "dc=test"]),
        ("uid=a\\\\,dc=test", ["uid=a\\\\", "dc=test"]),
        ("uid=a\\\\\\,b,dc=test", ["uid=a\\\\\\,b", "dc=test"]),
        ("uid=a\\ ,dc=test", ["uid=a\\ ", "dc=test"]),
        ("uid=a\\\\ ,dc=test", ["uid=a\\\\", "dc=test"]),
        ("uid=a\\,", ["uid=a\\,"]),
        ("uid=a\\", ["uid=a\\"]),
    ],
)
def test_parts(dn: str, expected: list[str]) -> None:
    assert parts(dn) == expected


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab,\\ ="), min_size=1))
def test_every_value_stays_whole(values: list[str]) -> None:
    escaped = ["uid=" + "".join(f"\\{char}" if char in ",\\ " else char for char in value) for value in values]
    assert parts(",".join(escaped)) == escaped


def test_a_name_is_taken_apart_at_its_first_part() -> None:
    assert take_apart(f"uid=a\\,b, {PEOPLE}") == Name("uid", "a\\,b", PEOPLE)
    assert take_apart("") == Name("", "", "")


def test_blanks_and_case_do_not_count_but_a_comma_that_is_escaped_does() -> None:
    assert fold_dn("UID=Ann, dc=Test") == "uid=ann,dc=test"
    assert fold_dn("uid=a\\,b,dc=test") != fold_dn("uid=a\\, b,dc=test")


@pytest.mark.parametrize("spelt", ["a\\,b", "a\\2Cb"])
def test_who_has_a_comma_in_their_name_is_found_by_it(spelt: str) -> None:
    """A member of a dynamic group with a search of its own is searched for by its name."""
    assert searches._rdn(f"uid={spelt},{PEOPLE}") == Equal("uid", "a,b")
    assert spelt_by_dn(f"uid={spelt},{PEOPLE}") == "a,b@example.test"


def test_what_people_call_an_entry() -> None:
    assert entry_name("cn=Sales\\, EU,cn=cos,cn=zimbra") == "Sales\\, EU"
    assert entry_name("dc=example,dc=test") == "example.test"
