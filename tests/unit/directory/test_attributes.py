"""What an entry keeps in little room reads as the mapping that it was made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapmilter.directory.attributes import Attributes

NAMES = st.sampled_from(["objectclass", "zimbracosid", "ldapmilterlegalbcc", "uid", "cn", "mail", "zimbramailalias"])
VALUES = st.lists(st.text(max_size=8), max_size=4).map(tuple)


@given(st.dictionaries(NAMES, VALUES))
def test_it_is_what_was_given(given_values: dict[str, tuple[str, ...]]) -> None:
    expected = {name: values for name, values in given_values.items() if values}
    made = Attributes(given_values)
    assert dict(made) == expected
    assert made == expected
    assert len(made) == len(expected)
    for name, values in expected.items():
        assert made[name] == values
        assert made.get(name) == values
    assert made.get("absent", ()) == ()
    with pytest.raises(KeyError):
        made["absent"]


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_it_is_equal_to_what_says_the_same(one: dict[str, tuple[str, ...]], two: dict[str, tuple[str, ...]]) -> None:
    assert (Attributes(one) == Attributes(two)) == (dict(Attributes(one)) == dict(Attributes(two)))
    assert Attributes(one) == Attributes(dict(reversed(one.items())))


@pytest.mark.parametrize("odd", ["\x1e", "\x1f", "a\x1eb", "a\x1fb", "\x1e\x1f"])
def test_control_characters_stay_where_they_are(odd: str) -> None:
    given_values = {"uid": (odd, "x"), "cn": ("y",), "mail": ("", odd)}
    assert dict(Attributes(given_values)) == given_values


def test_what_many_have_in_common_is_one_object() -> None:
    one, two = (
        Attributes({"objectclass": ("zimbraAccount", "inetOrgPerson"), "zimbracosid": ("c1",), "uid": (name,)})
        for name in ("ann", "bob")
    )
    assert one["objectclass"] is two["objectclass"]
    assert one != two
