"""What an entry keeps in little room reads as what it was made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.directory.backend.raw_entry import RawEntry

NAMES = st.sampled_from(["objectclass", "zimbracosid", "ldapmilterlegalbcc", "uid", "cn", "mail", "zimbramailalias"])
VALUES = st.lists(st.text(max_size=8), max_size=4).map(tuple)
ATTRIBUTES = st.dictionaries(NAMES, VALUES)
DNS = st.text(alphabet="ab=,\\\x1e\x1f", max_size=8)
DN = "uid=ann,ou=people,dc=example,dc=test"


@given(DNS, ATTRIBUTES)
def test_it_is_what_was_given(dn: str, given_values: dict[str, tuple[str, ...]]) -> None:
    expected = {name: values for name, values in given_values.items() if values}
    made = RawEntry(dn, given_values)
    assert made.dn == dn
    assert made.attributes == expected
    for name, values in expected.items():
        assert made.all(name) == values
        assert made.first(name) == values[0]
    assert made.all("absent") == ()
    assert made.first("absent") is None


@given(DNS, ATTRIBUTES, DNS, ATTRIBUTES)
def test_it_is_equal_to_what_says_the_same(
    dn: str, one: dict[str, tuple[str, ...]], other_dn: str, two: dict[str, tuple[str, ...]]
) -> None:
    first, second = RawEntry(dn, one), RawEntry(other_dn, two)
    assert (first == second) == ((dn, first.attributes) == (other_dn, second.attributes))
    same = RawEntry(dn, dict(reversed(one.items())))
    assert first == same
    assert hash(first) == hash(same)
    assert first != dn


@pytest.mark.parametrize("odd", ["\x1e", "\x1f", "a\x1eb", "a\x1fb", "\x1e\x1f"])
def test_control_characters_stay_where_they_are(odd: str) -> None:
    given_values = {"uid": (odd, "x"), "cn": ("y",), "mail": ("", odd)}
    assert RawEntry(DN, given_values).attributes == given_values
    assert RawEntry(f"uid={odd},ou=people", {"uid": ("x",)}).dn == f"uid={odd},ou=people"


def test_what_many_have_in_common_is_one_object() -> None:
    one, two = (
        RawEntry(DN, {"objectclass": ("zimbraAccount", "inetOrgPerson"), "zimbracosid": ("c1",), "uid": (name,)})
        for name in ("ann", "bob")
    )
    assert one.all("objectclass") is two.all("objectclass")
    assert one != two


@pytest.mark.parametrize(("values", "says"), [(("TRUE",), True), (("true",), True), (("FALSE",), False), ((), False)])
def test_a_boolean_without_a_value_is_false(values: tuple[str, ...], says: bool) -> None:  # noqa: FBT001 - a parameter
    assert RawEntry(DN, {"flag": values}).is_true("flag") is says
