"""Mailboxes and From headers: what is written, what is read, and that the two agree."""

from __future__ import annotations

import email
import email.policy
import re
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ldapmilter.address import Address, parse_address
from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox import encoded_word
from ldapmilter.mailbox.reading import MAX_LENGTH, MAX_MAILBOXES, FromHeader, read_from
from ldapmilter.mailbox.writing import MAX_DISPLAY_NAME, clean_display_name, fold, header_value

if TYPE_CHECKING:
    from email.headerregistry import AddressHeader


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None, text
    return parsed


LEGAL = address("legal@example.com")


# Reading: a value, and its mailboxes as display name and address.

READABLE: dict[str, list[tuple[str, str]]] = {
    # addr-spec and name-addr
    "ann@example.com": [("", "ann@example.com")],
    "<ann@example.com>": [("", "ann@example.com")],
    "Ann <ann@example.com>": [("Ann", "ann@example.com")],
    "Ann<ann@example.com>": [("Ann", "ann@example.com")],
    "  Ann   Lee  <ann@example.com>  ": [("Ann Lee", "ann@example.com")],
    "Ann Q. Lee <ann@example.com>": [("Ann Q. Lee", "ann@example.com")],
    "Ann\n\tLee\r\n <ann@example.com>\n": [("Ann Lee", "ann@example.com")],
    "Ann@EXAMPLE.com.": [("", "Ann@example.com")],
    "< ann@example.com >": [("", "ann@example.com")],
    "ann+news@[192.0.2.1]": [("", "ann+news@[192.0.2.1]")],
    "Ann <ann@[IPv6:2001:db8::1]>": [("Ann", "ann@[ipv6:2001:db8::1]")],
    "ann@b\u00fccher.example": [("", "ann@xn--bcher-kva.example")],
    "a..b.@example.com": [("", '"a..b."@example.com')],
    # quoted strings and quoted pairs
    '"Lee, Ann" <ann@example.com>': [("Lee, Ann", "ann@example.com")],
    r'"Ann \"A\" \\ Lee" <ann@example.com>': [(r'Ann "A" \ Lee', "ann@example.com")],
    r'"A\nn\(" <ann@example.com>': [("Ann(", "ann@example.com")],
    '"Ann" "Lee" <ann@example.com>': [("Ann Lee", "ann@example.com")],
    '"Ann"Lee <ann@example.com>': [("AnnLee", "ann@example.com")],
    '"" <ann@example.com>': [("", "ann@example.com")],
    '"Ann\n Lee" <ann@example.com>': [("Ann Lee", "ann@example.com")],
    '"Lee <lee@example.com>" <ann@example.com>': [("Lee <lee@example.com>", "ann@example.com")],
    '"ann lee"@example.com': [("", '"ann lee"@example.com')],
    r'Ann <"a\"n,<n>"@example.com>': [("Ann", r'"a\"n,<n>"@example.com')],
    '<"ann"@example.com>': [("", "ann@example.com")],
    '"a@b.example"@example.com': [("", '"a@b.example"@example.com')],
    # text that is no phrase, but means one thing only
    "lee@example.com <ann@example.com>": [("lee@example.com", "ann@example.com")],
    "[External] Ann <ann@example.com>": [("[External] Ann", "ann@example.com")],
    r"Ann\Lee <ann@example.com>": [(r"Ann\Lee", "ann@example.com")],
    "Ann\x00\x1b[0m <ann@example.com>": [("Ann [0m", "ann@example.com")],
    "\u202enna\u2066 Lee <ann@example.com>": [("nna Lee", "ann@example.com")],
    # comments
    "ann@example.com (Ann Lee)": [("Ann Lee", "ann@example.com")],
    "ann@example.com (Ann (the (first)) Lee)": [("Ann (the (first)) Lee", "ann@example.com")],
    r"ann@example.com (Ann \) Lee)": [("Ann ) Lee", "ann@example.com")],
    "ann@example.com (=?utf-8?q?J=C3=BCrgen?=)": [("J\u00fcrgen", "ann@example.com")],
    "Ann (in Rome) <ann@example.com> (now)": [("Ann", "ann@example.com")],
    "(x) <ann@example.com>": [("x", "ann@example.com")],
    "(<lee@example.com>,) ann@example.com ()": [("", "ann@example.com")],
    # RFC 5322 appendices A.5 and A.6
    r"Pete(A nice \) chap) <pete(his account)@silly.test(his host)>": [("Pete", "pete@silly.test")],
    "Mary Smith <@node.test:mary@example.net>": [("Mary Smith", "mary@example.net")],
    "Mary <@a.test , @b.test : mary@example.net>": [("Mary", "mary@example.net")],
    "John Doe <jdoe@machine(comment).  example>": [("John Doe", "jdoe@machine.example")],
    "ann @ example.com": [("", "ann@example.com")],
    # lists
    "ann@example.com, Bob <bob@example.com>": [("", "ann@example.com"), ("Bob", "bob@example.com")],
    ",, ann@example.com ,\n ,bob@example.com,": [("", "ann@example.com"), ("", "bob@example.com")],
    # groups
    "Team: ann@example.com, Bob <bob@example.com>;": [("", "ann@example.com"), ("Bob", "bob@example.com")],
    '"Team, A": ann@example.com;': [("", "ann@example.com")],
    "Team:ann@example.com;, bob@example.com": [("", "ann@example.com"), ("", "bob@example.com")],
    "Undisclosed recipients:(none) ;, ann@example.com": [("", "ann@example.com")],
    "A: ann@example.com,; , B: , bob@example.com ;": [("", "ann@example.com"), ("", "bob@example.com")],
    # encoded words
    "=?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <j@example.com>": [("J\u00fcrgen M\u00fcller", "j@example.com")],
    "=?ISO-8859-1?B?SvxyZ2Vu?= <j@example.com>": [("J\u00fcrgen", "j@example.com")],
    "=?iso-8859-1*de?q?J=FCrgen?= <j@example.com>": [("J\u00fcrgen", "j@example.com")],
    "=?iso-2022-jp?B?GyRCOzNFRBsoQg==?= <j@example.com>": [("\u5c71\u7530", "j@example.com")],
    "=?koi8-r?B?6dfBzg==?= <j@example.com>": [("\u0418\u0432\u0430\u043d", "j@example.com")],
    "=?windows-1252?Q?=80_5?= <j@example.com>": [("\u20ac 5", "j@example.com")],
    "=?iso-8859-1?Q?=80_5?= <j@example.com>": [("\u20ac 5", "j@example.com")],
    "=?utf-8?q?a?= =?utf-8?q?b?=\n =?utf-8?b?Yw?= <j@example.com>": [("abc", "j@example.com")],
    "=?utf-8?q?a_?= =?koi8-r?q?b?= c =?utf-8?q?d?= <j@example.com>": [("a b c d", "j@example.com")],
    "=?utf-8?q?J=C3?= =?utf-8?q?=BCrgen?= <j@example.com>": [("J\u00fcrgen", "j@example.com")],
    '"=?utf-8?q?J=C3=BCrgen?=" <j@example.com>': [("J\u00fcrgen", "j@example.com")],
    "=?utf-8?q?Ann Lee?= <j@example.com>": [("Ann Lee", "j@example.com")],
    "=?utf-8?q?a=0D=0ABcc=3A_b=00?= <j@example.com>": [("a Bcc: b", "j@example.com")],
    "=?utf-8?q?=3Cx=40y.z=3E=2C?= <j@example.com>": [("<x@y.z>,", "j@example.com")],
    "=?utf-8?q?=FF=3D?= <j@example.com>": [("\ufffd=", "j@example.com")],
    "=?utf-8?q?=ZZ=?= <j@example.com>": [("=ZZ", "j@example.com")],
    "=?x-unknown?q?a?= Lee <j@example.com>": [("=?x-unknown?q?a?= Lee", "j@example.com")],
    "=?punycode?q?a-b?= <j@example.com>": [("=?punycode?q?a-b?=", "j@example.com")],
    "=?bz2?b?QlpoOQ==?= <j@example.com>": [("=?bz2?b?QlpoOQ==?=", "j@example.com")],
    "=?utf-8?b?A?= <j@example.com>": [("=?utf-8?b?A?=", "j@example.com")],
    "=?utf-8?x?a?= <j@example.com>": [("=?utf-8?x?a?=", "j@example.com")],
    "=?utf-8?q?a <j@example.com>": [("=?utf-8?q?a", "j@example.com")],
    # raw octets: UTF-8, and Latin-1 as the surrogates it arrives as
    "J\u00fcrgen <j@example.com>": [("J\u00fcrgen", "j@example.com")],
    "J\udcfcrgen \udc80 <j@example.com>": [("J\u00fcrgen \u20ac", "j@example.com")],
    '"J\udcfcrgen" =?utf-8?q?M=C3=BCller?= <j@example.com>': [("J\u00fcrgen M\u00fcller", "j@example.com")],
}

UNREADABLE: dict[str, list[tuple[str, str]]] = {
    # nobody
    "": [],
    " \n\t": [],
    ",": [],
    "<>": [],
    "Ann <>": [],
    "Ann": [],
    "Ann Lee": [],
    "(ann@example.com)": [],
    "Team:;": [],
    "MAILER-DAEMON <>": [],
    # no addr-spec
    "Ann <ann>": [],
    "Ann <ann@>": [],
    "<@example.com>": [],
    "ann@@example.com": [],
    "ann@exa mple.com": [],
    "<ann lee@example.com>": [],
    "ann@lee@example.com": [],
    '"ann"."lee"@example.com': [],
    '"ann"lee@example.com': [],
    "an\x00n@example.com": [],
    "j\udcfcrgen@example.com": [],
    f"{'a' * 300}@example.com": [],
    "Ann <mailto:ann@example.com>": [],
    # undelimited
    "ann@example.com bob@example.com": [],
    "Ann bob@example.com": [],
    '"Ann" bob@example.com': [],
    "Dept. bob@example.com": [],
    "<ann@example.com> <bob@example.com>": [("", "ann@example.com")],
    "<ann@example.com> bob@example.com": [("", "ann@example.com")],
    "Ann <ann@example.com> junk": [("Ann", "ann@example.com")],
    'Ann <ann@example.com> "junk"': [("Ann", "ann@example.com")],
    "Ann <ann@example.com>>": [("Ann", "ann@example.com")],
    "<<ann@example.com>>": [("", "ann@example.com")],
    "Ann) <ann@example.com>": [("Ann", "ann@example.com")],
    "Lee, Ann <ann@example.com>": [("Ann", "ann@example.com")],
    "<ann@example.com, bob@example.com>": [],
    "ann@example.com; bob@example.com": [("", "ann@example.com"), ("", "bob@example.com")],
    # without an end
    '"Ann <ann@example.com>': [],
    '"Ann\\': [],
    'Ann <ann@example.com> "': [("Ann", "ann@example.com")],
    "ann@example.com (Ann (Lee)": [("", "ann@example.com")],
    "ann@example.com (Ann\\": [("", "ann@example.com")],
    "Ann <ann@example.com": [],
    "Ann <ann@example.com, <bob@example.com>": [],
    # groups that are none
    "Team: ann@example.com": [("", "ann@example.com")],
    ": ann@example.com;": [("", "ann@example.com")],
    "A: B: ann@example.com;;": [("", "ann@example.com")],
    "lee@example.com: ann@example.com;": [("", "ann@example.com")],
    "Lee <lee@example.com>: ann@example.com;": [("", "ann@example.com")],
    "@node.test:ann@example.com": [("", "ann@example.com")],
    "Team: ann@example.com; bob@example.com": [("", "ann@example.com"), ("", "bob@example.com")],
    # what an encoded word must not hold (RFC 2047 section 5 (3)) ends it
    "=?utf-8?q?Lee,_Ann?= <ann@example.com>": [("_Ann?=", "ann@example.com")],
}


def as_pairs(header: FromHeader) -> list[tuple[str, str]]:
    return [(mailbox.display_name, mailbox.address.text) for mailbox in header.mailboxes]


@pytest.mark.parametrize(("value", "mailboxes"), READABLE.items())
def test_reads_a_from(value: str, mailboxes: list[tuple[str, str]]) -> None:
    header = read_from([value])
    assert as_pairs(header) == mailboxes
    assert not header.unreadable
    assert header.count == 1
    assert header.display_name == mailboxes[0][0]


@pytest.mark.parametrize(("value", "mailboxes"), UNREADABLE.items())
def test_calls_a_from_unreadable_and_keeps_what_it_can_read(value: str, mailboxes: list[tuple[str, str]]) -> None:
    header = read_from([value])
    assert as_pairs(header) == mailboxes
    assert header.unreadable


def test_a_message_without_from_has_nothing_unreadable() -> None:
    header = read_from([])
    assert header == FromHeader(count=0, mailboxes=(), unreadable=False)
    assert header.display_name == ""


def test_reads_several_from_headers_in_their_order() -> None:
    header = read_from(["Ann <ann@example.com>", "Bob <bob@example.com>, c@example.com"])
    assert header.count == 2
    assert [pair[1] for pair in as_pairs(header)] == ["ann@example.com", "bob@example.com", "c@example.com"]
    assert header.display_name == "Ann"
    assert not header.unreadable


def test_one_unreadable_header_among_several_counts() -> None:
    header = read_from(["Ann <ann@example.com>", ""])
    assert header.count == 2
    assert as_pairs(header) == [("Ann", "ann@example.com")]
    assert header.unreadable


PATHOLOGICAL = {
    "letters": "a" * 100_000,
    "quotes": '"' * 30_000,
    "an odd number of quotes": '"' * 29_999,
    "quoted pairs": '"' + '\\"' * 50_000,
    "quoted strings": '"a" ' * 25_000,
    "commas": "," * 50_000,
    "bad elements": "a," * 50_000,
    "parentheses that open": "(" * 50_000,
    "nested comments": "(" * 50_000 + ")" * 50_000,
    "comments": "()" * 50_000,
    "backslashes": "\\" * 100_000,
    "backslashes in a comment": "(" + "\\" * 100_000,
    "brackets that open": "<" * 100_000,
    "brackets that close": ">" * 100_000,
    "at signs": "@" * 100_000,
    "domain literals": "@[" * 50_000,
    "one domain literal": "a@[" + "1" * 100_000,
    "colons": ":" * 100_000,
    "semicolons": ";" * 100_000,
    "groups": "a:b@c;," * 14_000,
    "folds": "\n " * 50_000,
    "obsolete dots": "a . " * 25_000,
    "beginnings of encoded words": "=?" * 50_000,
    "almost encoded words": "=?a?q?" * 10_000 + " <a@b.c>",
    "unknown charsets": "".join(f"=?x{index}?q?a?= " for index in range(4_000)) + "<a@b.c>",
    "changing charsets": "=?utf-8?q?a?= =?koi8-r?q?a?= " * 2_200 + "<a@b.c>",
    "international domains": "a@" + "\u00e9." * 50_000,
    "surrogates": "\udce9" * 60_000 + " <a@b.c>",
    "joiners": "\u200d" * 60_000 + " <a@b.c>",
}


@pytest.mark.parametrize("value", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_reads_hostile_text_in_one_pass(value: str) -> None:
    header = read_from([value, value])
    assert header.unreadable
    assert len(header.mailboxes) <= MAX_MAILBOXES


def test_text_beyond_the_limit_is_unreadable_over_all_headers() -> None:
    most = "(" + "a" * (MAX_LENGTH - len("(),")) + "),"
    assert not read_from([most[:-20] + ")a@example.com"]).unreadable
    header = read_from(["ann@example.com," + most, "bob@example.com"])
    assert header.count == 2
    assert header.unreadable
    assert header.mailboxes[0].address == address("ann@example.com")


@pytest.mark.parametrize(("number", "unreadable"), [(MAX_MAILBOXES, False), (MAX_MAILBOXES + 1, True)])
def test_mailboxes_beyond_the_limit_are_unreadable(number: int, *, unreadable: bool) -> None:
    for values in (["a@b.example," * number], ["a@b.example"] * number):
        header = read_from(values)
        assert len(header.mailboxes) == MAX_MAILBOXES
        assert header.unreadable is unreadable


@given(st.lists(st.text(st.sampled_from('ab@.,:;<>()[]"\\ \n\t=?q_\u00e9\udce9\x00'), max_size=60), max_size=3))
def test_reading_never_raises_and_leaves_nothing_unaccounted(values: list[str]) -> None:
    header = read_from(values)
    assert header.count == len(values)
    assert header.unreadable or len(header.mailboxes) >= len(values)


# Writing


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "": "legal@example.com",
        " \r\n\x00\u2028\u202e\ud800": "legal@example.com",
        "Legal": "Legal <legal@example.com>",
        "Legal Dept.": "Legal Dept. <legal@example.com>",
        "R&D {x}!": "R&D {x}! <legal@example.com>",
        " Legal \t Dept.\r\nBcc: x@example.com ": '"Legal Dept. Bcc: x@example.com" <legal@example.com>',
        ".net": '".net" <legal@example.com>',
        "Doe, John": '"Doe, John" <legal@example.com>',
        'A "B" \\ C': r'"A \"B\" \\ C" <legal@example.com>',
        "a@example.com": '"a@example.com" <legal@example.com>',
        "J\u00fcrgen": "=?UTF-8?Q?J=C3=BCrgen?= <legal@example.com>",
        "Andr\u00e9, Legal (Rome)": "=?UTF-8?Q?Andr=C3=A9=2C_Legal_=28Rome=29?= <legal@example.com>",
        "\u5c71\u7530\u3000\u592a\u90ce": "=?UTF-8?B?5bGx55SwIOWkqumDjg==?= <legal@example.com>",
        "=?utf-8?q?x?=": "=?UTF-8?Q?=3D=3Futf-8=3Fq=3Fx=3F=3D?= <legal@example.com>",
        "a" * 58: "a" * 58 + " <legal@example.com>",
        "a" * 59: f"=?UTF-8?Q?{'a' * 46}?= =?UTF-8?Q?{'a' * 13}?= <legal@example.com>",
    }.items(),
)
def test_writes_a_from(name: str, value: str) -> None:
    assert header_value(name, LEGAL) == value


def test_an_address_beyond_ascii_is_refused() -> None:
    with pytest.raises(InvalidValue, match="ASCII"):
        header_value("J\u00fcrgen", address("j\u00fcrgen@example.com"))


def test_a_letter_that_only_its_lower_case_is_ascii_is_refused() -> None:
    kelvin = address("\u212aate@example.com")
    assert kelvin != address("kate@example.com")
    with pytest.raises(InvalidValue, match="ASCII"):
        header_value("", kelvin)


@pytest.mark.parametrize(
    ("text", "clean"),
    {
        "Ann": "Ann",
        "\u00a0Ann\u2003\u3000Lee\x85": "Ann Lee",
        "a\u200bb\u00adc\ufeffd": "a b c d",
        "\u202eAnn\u2069": "Ann",
        "a\ud800\udcffb": "a b",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627": "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\U0001f468\u200d\U0001f469": "\U0001f468\u200d\U0001f469",
        "Le\u200cgal \u200d\u00e9\u200d\u200d\u00e9\u200d": "Le gal \u00e9 \u00e9",
        "\u00e9\u200d\x00\u00e9": "\u00e9 \u00e9",
        "\u200d": "",
        "a" * 5_001: "a" * 5_000,
        "a" * 4_999 + " b": "a" * 4_999,
        "\u00e9\u200d" * 2_501: "\u00e9\u200d" * 2_499 + "\u00e9",
    }.items(),
)
def test_cleans_a_display_name(text: str, clean: str) -> None:
    assert clean_display_name(text) == clean


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        ("", ""),
        ("   ", ""),
        ("a", "a"),
        ("a" * 70 + " b", "a" * 70 + "\n b"),
        ("a" * 68 + " b", "a" * 68 + " b"),
        (" " * 100 + "a  " + "b" * 200 + " " * 100, "a\n  " + "b" * 200),
        (f'Ann <"{"a b " * 20}"@example.com>', f'Ann\n <"{"a b " * 20}"@example.com>'),
        (f'"{"a b " * 20}"@example.com', f'"{"a b " * 20}"@example.com'),
        (f'"{"a b " * 20}" <c@d>', f'"{"a b " * 17}a\n b a b a b " <c@d>'),
    ],
)
def test_folds_at_blanks(value: str, folded: str) -> None:
    assert fold("From", value) == folded


@pytest.mark.parametrize("value", ["a\nb", "a\r\nBcc: b", "a\x00", "\u00e9", "\udce9", "a" * 993, "a " + "b" * 998])
def test_refuses_to_fold_what_cannot_stand_in_a_header(value: str) -> None:
    with pytest.raises(InvalidValue, match="From"):
        fold("From", value)


# What is written is read back, by this package and by the standard library.

LOCAL_PARTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
DOMAINS = st.sampled_from(["example.com", "a.b-c.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "x" * 63 + ".example"])


def quoted_address(local: str, domain: str) -> Address:
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return address(f'"{escaped}"@{domain}')


ADDRESSES = st.one_of(st.just(LEGAL), st.builds(quoted_address, LOCAL_PARTS, DOMAINS))
PLAIN_ADDRESSES = st.builds(
    quoted_address, st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]{1,64}", fullmatch=True), DOMAINS
)
NAMES = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(), max_size=300),
    st.text(
        st.sampled_from("ab.,@<>()[]:;\"'\\ \t\r\n=?_Qq\u00fc\u5c71\U0001f600\u200d\u202e\ud800\udcff"), max_size=300
    ),
    st.text(st.sampled_from("ab \u00fc"), min_size=1, max_size=20).map(lambda text: (text * 5_000)[:5_000]),
    st.from_regex(r"(=\?utf-8\?[qb]\?[a-z=]*\?=[ .,]?){1,5}", fullmatch=True),
)


@settings(max_examples=400, deadline=None)
@given(name=NAMES, to=ADDRESSES)
@example(name="\U0001f600" * 6_000, to=LEGAL)
@example(name='"' * 5_000, to=LEGAL)
@example(name='" ' * 2_500, to=LEGAL)
@example(name=", " * 2_500, to=LEGAL)
@example(name="x" * 58 + " " + "," * 57, to=quoted_address('" ' * 60, "example.com"))
def test_what_is_written_is_one_mailbox_in_short_lines_and_is_read_back(name: str, to: Address) -> None:
    value = header_value(name, to)
    folded = fold("From", value)
    lines = f"From: {folded}".split("\n")

    assert re.fullmatch(r"[ -~\n]*", folded)
    assert folded.replace("\n ", " ") == value
    assert len(folded) < 65_535, "libmilter takes no more"
    for line in lines:
        assert line.strip()
        assert len(line) <= 998
        unfoldable = line.lstrip(" ").removeprefix("From: ") in (to.text, f"<{to.text}>")
        assert len(line) <= 76 or unfoldable

    header = read_from([folded])
    assert not header.unreadable
    [mailbox] = header.mailboxes
    assert mailbox.display_name == clean_display_name(name)
    assert (mailbox.address, mailbox.address.local) == (to, to.local)
    assert read_from([value]) == read_from([folded.replace("\n", "\r\n")]) == header


@settings(max_examples=400, deadline=None)
@given(name=NAMES, to=PLAIN_ADDRESSES)
@example(name="\U0001f600" * 6_000, to=LEGAL)
@example(name="a b, " * 1_000, to=LEGAL)
def test_the_standard_library_reads_the_same(name: str, to: Address) -> None:
    folded = fold("From", header_value(name, to))
    clean = clean_display_name(name)

    # Some standard libraries read no address literal here ("a@[192.0.2.1]"), others unless told to be lenient.
    if not to.domain.startswith("["):
        [(written_name, written_address)] = getaddresses([folded.replace("\n ", " ")])
        assert str(make_header(decode_header(written_name))) == clean
        assert parse_address(written_address) == to

    message = email.message_from_bytes(f"From: {folded}\nTo: x@example.com\n\n".encode(), policy=email.policy.default)
    assert message.keys() == ["From", "To"]
    header: AddressHeader = message["From"]
    [mailbox] = header.addresses
    assert parse_address(mailbox.addr_spec) == to
    if folded.count("=?UTF-8?") <= 1:  # Python puts a blank between encoded words
        assert mailbox.display_name == clean


# Shorter than one name may be: all of them together have to be within what is read.
@given(st.lists(st.tuples(NAMES.map(lambda name: name[:1000]), ADDRESSES), min_size=1, max_size=5))
@settings(deadline=None)
def test_mailboxes_in_a_list_are_read_back_each(mailboxes: list[tuple[str, Address]]) -> None:
    header = read_from([", ".join(header_value(*mailbox) for mailbox in mailboxes)])
    assert not header.unreadable
    assert as_pairs(header) == [(clean_display_name(name), to.text) for name, to in mailboxes]


@given(st.text(st.characters()))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    clean = clean_display_name(text)
    assert clean_display_name(clean) == clean


@given(st.text())
def test_encoded_words_are_short_and_decode_to_the_text(text: str) -> None:
    encoded = encoded_word.encode(text)
    assert all(len(word) <= encoded_word.MAX_WORD_OCTETS for word in encoded.split(" "))
    assert encoded_word.decode(encoded) == text


@given(st.text(st.sampled_from("=?utf-8QqBb_ aZ")))
def test_decoding_never_raises(text: str) -> None:
    assert isinstance(encoded_word.decode(text), str)


def test_the_longest_name_fits_the_limit() -> None:
    assert len(clean_display_name("\U0001f600" * 9_999)) == MAX_DISPLAY_NAME
