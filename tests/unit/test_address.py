"""Addresses: what is one, which two are the same, and how one is written."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ldapmilter.address import (
    MAX_ADDRESS_OCTETS,
    Address,
    fold_domain,
    make_address,
    parse_address,
    strip_brackets,
)


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None, text
    return parsed


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann.Able@Example.COM", "ann.able@example.com"),
        ("<ann@example.com>", "ann@example.com"),
        (" ann@example.com\t", "ann@example.com"),
        ("ann@example.com.", "ann@example.com"),
        ("ann+news@example.com", "ann+news@example.com"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("a..b@example.com", "a..b@example.com"),
        (".ann@example.com", ".ann@example.com"),
        ("ann.@example.com", "ann.@example.com"),
        ("ann@localhost", "ann@localhost"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann@[IPv6:2001:DB8::1]", "ann@[ipv6:2001:db8::1]"),
        ("ann@under_score.example", "ann@under_score.example"),
    ],
)
def test_is_an_address(text: str, key: str) -> None:
    assert address(text).key == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "@",
        "ann",
        "ann@",
        "@example.com",
        "ann able@example.com",
        "ann@exa mple.com",
        "ann@example..com",
        "ann@.example.com",
        "ann@-example.com",
        "ann@example-.com",
        f"ann@{'a' * 64}.example.com",
        "ann@[192.0.2.1",
        "ann@example.com>",
        "<ann@example.com",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        "ann,bob@example.com",
        "(ann)@example.com",
        'an"n@example.com',
        '"ann@example.com',
        '"an"n"@example.com',
        "ann@example.com\r\nRCPT TO:<bob@example.com>",
        "ann@example.com\n",
        "an\x00n@example.com",
        "ann\x7f@example.com",
        '"an\nn"@example.com',
        '"an\\\nn"@example.com',
        "\udcffann@example.com",
        "ann@ex\udcffample.com",
        '"\udcff"@example.com',
    ],
)
def test_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", "ANN@EXAMPLE.COM"),
        ('"ann"@example.com', "ann@example.com"),
        ('"a\\nn"@example.com', "ann@example.com"),
        ('"ann.able"@example.com', "ann.able@example.com"),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@B\u00dcCHER.example", "ann@XN--BCHER-KVA.example"),
        ("@relay.example,@other.example:ann@example.com", "ann@example.com"),
        ("<@relay.example:ann@example.com>", "ann@example.com"),
        ("ann@example.com.", "ann@example.com"),
    ],
)
def test_are_the_same(one: str, other: str) -> None:
    assert address(one) == address(other)
    assert hash(address(one)) == hash(address(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", "anne@example.com"),
        ("ann@example.com", "ann@example.org"),
        ("ann@example.com", "ann+x@example.com"),
        ("ann@example.com", '"ann "@example.com'),
        # The Kelvin sign turns into k in lower case, and would be somebody else's address.
        ("mike@example.com", "mi\u212ae@example.com"),
        ("is@example.com", "\u0130s@example.com"),
    ],
)
def test_are_two(one: str, other: str) -> None:
    assert address(one) != address(other)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Ann.Able@Example.COM", "Ann.Able@example.com"),
        ('"ann"@example.com', "ann@example.com"),
        ('"ann lee"@example.com', '"ann lee"@example.com'),
        ('"a@b"@example.com', '"a@b"@example.com'),
        ('"a\\"b\\\\c"@example.com', '"a\\"b\\\\c"@example.com'),
        ('""@example.com', '""@example.com'),
        ("a..b@example.com", '"a..b"@example.com'),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
    ],
)
def test_is_written(text: str, written: str) -> None:
    assert address(text).text == written
    assert str(address(text)) == written
    assert address(written) == address(text)


def test_what_a_local_part_may_hold_without_quotes() -> None:
    specials = '()<>[]:;@\\,"'  # RFC 5322 section 3.2.3; the dot has rules of its own
    taken = {chr(code) for code in range(0x80) if parse_address(f"a{chr(code)}b@example.test")}
    assert taken == {chr(code) for code in range(0x21, 0x7F)} - set(specials)


def test_a_quoted_at_sign_is_part_of_the_local_part() -> None:
    parsed = address('"ann@example.org"@example.com')

    assert (parsed.local, parsed.domain) == ("ann@example.org", "example.com")


def test_ascii() -> None:
    assert address("ann@b\u00fccher.example").is_readable
    assert not address("j\u00fcrgen@example.com").is_readable


def test_length() -> None:
    fits = "a" * (MAX_ADDRESS_OCTETS - len("@example.com")) + "@example.com"

    assert address(fits).text == fits
    assert parse_address(f"a{fits}") is None
    assert parse_address("\u00fc" * 130 + "@example.com") is None
    assert parse_address("a" * 10_000_000 + "@example.com") is None


def test_made_of_parts() -> None:
    assert make_address("Ann", "example.com") == address("ann@example.com")
    assert make_address("ann lee", "example.com").text == '"ann lee"@example.com'


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dccher.Example", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("STRA\u1e9eE.example", "xn--strae-oqa.example"),
        ("xn--strae-OQA.example", "xn--strae-oqa.example"),
        ("strasse.example", "strasse.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.example", "xn--nxasmm1c.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c3.example", "xn--nxasmq6b.example"),
        ("\u0928\u094d\u200d\u0937.example", "xn--l2b4a0dw70k.example"),
        ("\uff21\uff22.example", "ab.example"),
        ("b\u00fccher\u3002example", "xn--bcher-kva.example"),
        ("_mail.b\u00fccher.example", "_mail.xn--bcher-kva.example"),
        ("_mail.Example.com", "_mail.example.com"),
        # Joiners where they join nothing, letters of no domain: IDNA 2003 would have made others of them.
        ("a\u200cb.example", None),
        ("a\u200db.example", None),
        ("\u2603.example", None),
        ("b\u00fc_cher.example", None),
        ("-\u00fc.example", None),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("a b", None),
        ("\udcff.example", None),
        (f"{'a.' * 127}aa", None),
        ("\u00fc" * 100 + ".example", None),
    ],
)
def test_domain(text: str, folded: str | None) -> None:
    assert fold_domain(text) == folded


@pytest.mark.parametrize(
    ("path", "bare"),
    [
        ("<ann@example.com>", "ann@example.com"),
        ("ann@example.com", "ann@example.com"),
        ("<>", ""),
        ("", ""),
        ("<ann@example.com", "<ann@example.com"),
    ],
)
def test_brackets(path: str, bare: str) -> None:
    assert strip_brackets(path) == bare


@given(
    st.one_of(st.text(), st.builds("{}@{}".format, st.text(), st.sampled_from(["example.com", "b\u00fccher.example"])))
)
@example('"\\"@example.com')
@example("\u3002@\u3002")
@settings(deadline=None)
def test_any_text_is_an_address_or_none(text: str) -> None:
    parsed = parse_address(text)

    if parsed is not None:
        assert parse_address(parsed.text) == parsed
        assert parse_address(parsed.text.upper() if parsed.is_readable else parsed.text) == parsed
        assert parsed.domain.isascii()
        assert not any(character in parsed.text for character in "\r\n\0")
