"""Search filters: written so that no value can change their meaning, and read back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.backend.filters import (
    And,
    Equal,
    Filter,
    Not,
    Or,
    Present,
    Substring,
    any_of,
    matches,
    parse,
)
from ldapmilter.directory.backend.raw_entry import RawEntry
from tests.support.filter_text import escape, render

ATTRIBUTES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,20}\Z")
VALUES = st.one_of(st.text(), st.text(alphabet="*()\\\x00&|!=~<> 25aA\n"))
PARTS = st.lists(VALUES.filter(bool), min_size=1, max_size=3)


def _substring(attribute: str, initial: str, middle: list[str], final: str) -> Substring:
    return Substring(attribute, (initial, *middle, final))


SIMPLE = st.one_of(
    st.builds(Equal, ATTRIBUTES, VALUES),
    st.builds(Present, ATTRIBUTES),
    st.builds(_substring, ATTRIBUTES, VALUES, PARTS, VALUES),
)


def _combine(part: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    some = st.lists(part, max_size=4).map(tuple)
    return st.one_of(st.builds(And, some), st.builds(Or, some), st.builds(Not, part))


FILTERS: st.SearchStrategy[Filter] = st.recursive(SIMPLE, _combine, max_leaves=15)


@settings(deadline=None)
@given(FILTERS)
def test_what_is_written_is_read_back(search_filter: Filter) -> None:
    assert parse(render(search_filter)) == search_filter


@settings(deadline=None)
@given(VALUES)
def test_an_escaped_value_has_nothing_that_means_anything(value: str) -> None:
    assert not set("*()\x00") & set(escape(value))
    assert parse(f"(cn={escape(value)})") == Equal("cn", value)


@settings(deadline=None)
@given(VALUES)
def test_an_assertion_matches_its_own_value_only(value: str) -> None:
    entry = RawEntry("cn=x", {"cn": (value,), "uid": ("somebody",)})
    assert matches(Equal("CN", value), entry)
    assert not matches(Equal("cn", f"{value}x"), entry)
    assert not matches(parse(f"(uid={escape(value)})"), RawEntry("cn=x", {"uid": ("-",)})) or value.strip() == "-"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("*", "\\2a"),
        ("(", "\\28"),
        (")", "\\29"),
        ("\\", "\\5c"),
        ("\x00", "\\00"),
        ("*()\\\x00", "\\2a\\28\\29\\5c\\00"),
        ("ann@example.test", "ann@example.test"),
        ("o'neil+x=y/z", "o'neil+x=y/z"),
        ("Jürgen", "Jürgen"),
        ("\\2a", "\\5c2a"),
    ],
)
def test_escapes(value: str, written: str) -> None:
    assert escape(value) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # RFC 4515, section 4
        ("(cn=Babs Jensen)", Equal("cn", "Babs Jensen")),
        ("(!(cn=Tim Howes))", Not(Equal("cn", "Tim Howes"))),
        (
            "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
            And((Equal("objectClass", "Person"), Or((Equal("sn", "Jensen"), Substring("cn", ("Babs J", "")))))),
        ),
        ("(o=univ*of*mich*)", Substring("o", ("univ", "of", "mich", ""))),
        ("(seeAlso=)", Equal("seeAlso", "")),
        (
            "(o=Parens R Us \\28for all your parenthetical needs\\29)",
            Equal("o", "Parens R Us (for all your parenthetical needs)"),
        ),
        ("(cn=*\\2A*)", Substring("cn", ("", "*", ""))),
        ("(filename=C:\\5cMyFile)", Equal("filename", "C:\\MyFile")),
        ("(sn=Lu\\c4\\8di\\c4\\87)", Equal("sn", "Lučić")),
        # what Zimbra writes
        (
            "(|(zimbraMemberOf=0b6d6a52-0000-4000-8000-0000000000e1)(zimbraId=0B6D))",
            Or((Equal("zimbraMemberOf", "0b6d6a52-0000-4000-8000-0000000000e1"), Equal("zimbraId", "0B6D"))),
        ),
        ("(title=*)", Present("title")),
        (" (title=x) ", Equal("title", "x")),
    ],
)
def test_reading(text: str, expected: Filter) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "cn=x",
        "(cn=x",
        "(cn=x))",
        "(cn=x)(cn=y)",
        "()",
        "(=x)",
        "(cn)",
        "(!)",
        "(!(cn=x)(cn=y))",
        "(&(cn=x)",
        "(&cn=x)",
        "(cn=(x))",
        "(1cn=x)",
        "(c n=x)",
        "(cn>=x)",
        "(cn~=x)",
        "(cn:dn:=x)",
        "(" * 5000,
        "(!" * 5000 + "(cn=x)" + ")" * 5000,
        "(&" * 5000 + ")" * 5000,
    ],
)
def test_what_is_no_such_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


ANN = RawEntry("uid=ann", {"uid": ("ann",), "cn": ("Ann  Able", "Änn"), "mail": ("ann@example.test",)})


@pytest.mark.parametrize(
    ("search_filter", "expected"),
    [
        (Equal("UID", "ANN"), True),
        (Equal("cn", "ann able"), True),
        (Equal("cn", "ÄNN"), True),
        (Equal("cn", "able"), False),
        (Equal("sn", ""), False),
        (Present("mail"), True),
        (Present("sn"), False),
        (Not(Present("sn")), True),
        (Substring("mail", ("", "@EXAMPLE.test")), True),
        (Substring("mail", ("ann", "")), True),
        (Substring("mail", ("a", "n", "e", "")), True),
        (Substring("mail", ("ann", "ann@example.test")), False),
        (Substring("mail", ("", ".*", "")), False),
        (And(()), True),
        (Or(()), False),
        (And((Present("mail"), Not(Equal("uid", "bob")))), True),
        (Or((Equal("uid", "bob"), Equal("uid", "carl"))), False),
        (any_of("uid", ["bob", "ann"]), True),
        (any_of("uid", []), False),
    ],
)
def test_matching(search_filter: Filter, *, expected: bool) -> None:
    assert matches(search_filter, ANN) is expected
