"""Next hops: what is read, and what is said about the rest."""

from __future__ import annotations

import pytest

from ldapmilter.delivery.next_hop import NextHop, parse_next_hop_for, parse_next_hops

ARCHIVE = NextHop(kind="smtp", host="archive.example.test", port=25)


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("smtp:[archive.example.test]:25", ARCHIVE),
        ("SMTP:[Archive.Example.TEST]:25", ARCHIVE),
        ("lmtp:[192.0.2.7]:7025", NextHop(kind="lmtp", host="192.0.2.7", port=7025)),
        ("smtp:[2001:DB8:0::7]:25", NextHop(kind="smtp", host="2001:db8::7", port=25)),
        ("lmtp:unix:/run/archive.sock", NextHop(kind="lmtp", path="/run/archive.sock")),
    ],
)
def test_one_hop(text: str, hop: NextHop) -> None:
    assert parse_next_hops(text) == (hop,)
    assert parse_next_hops(hop.text) == (hop,)


def test_the_order_stays() -> None:
    assert [hop.text for hop in parse_next_hops(" smtp:[b.test]:25 \t smtp:[a.test]:25\nlmtp:unix:/a")] == [
        "smtp:[b.test]:25",
        "smtp:[a.test]:25",
        "lmtp:unix:/a",
    ]
    assert parse_next_hops("") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("archive.example.test", "that is none"),
        ("smtp:archive.example.test:25", r"MX records; write smtp:\[archive.example.test\]:25"),
        ("lmtp:inet:127.0.0.1:7025", r"write lmtp:\[127.0.0.1\]:7025"),
        ("smtp:[archive.example.test]", r"the port is missing; write smtp:\[archive.example.test\]:25"),
        ("lmtp:archive.example.test", r"the port is missing; write lmtp:\[archive.example.test\]:PORT"),
        ("archive.example.test:25", r"smtp: or lmtp: is missing; write smtp:\[archive.example.test\]:25"),
        ("[192.0.2.1]:25", r"smtp: or lmtp: is missing; write smtp:\[192.0.2.1\]:25"),
        ("smtp:[a b]:25", "that is none"),
        ("smtp:[-a]:25", "is not a host name"),
        ("smtp:[999.0.0.1]:25", "is not an IPv4 address"),
        ("smtp:[::g]:25", "is not an IPv6 address"),
        ("smtp:[0.0.0.0]:25", "every interface"),
        ("smtp:[*]:25", "every interface"),
        ("smtp:[a.test]:0", "is not a port"),
        ("smtp:[a.test]:65536", "is not a port"),
        ("smtp:unix:/run/archive.sock", "that is none"),
        ("lmtp:unix:run/archive.sock", "that is none"),
        ("lmtp:unix:/run/", "not a file name"),
        ("lmtp:unix:/" + 107 * "a", "107 bytes"),
        ("smtp:[a.test]:25, smtp:[b.test]:25", "that is none"),
        ("smtp:[a.test]:25 SMTP:[A.test]:25", "is there twice"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        parse_next_hops(text)
    assert str(error.value).startswith("smtp:[HOST]:PORT, lmtp:[HOST]:PORT or lmtp:unix:PATH")


def test_hops_of_domains() -> None:
    found = parse_next_hop_for(
        "\nVault.example.test smtp:[a.test]:25\tsmtp:[b.test]:25\n\nb\u00fccher.test lmtp:unix:/a\n"
    )
    assert {domain: [hop.text for hop in hops] for domain, hops in found.items()} == {
        "vault.example.test": ["smtp:[a.test]:25", "smtp:[b.test]:25"],
        "xn--bcher-kva.test": ["lmtp:unix:/a"],
    }
    assert parse_next_hop_for("") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("vault.test", "vault.test has no HOP"),
        ("smtp:[a.test]:25", "is no domain"),
        ("a..b smtp:[a.test]:25", "'a..b' is no domain"),
        ("a.test smtp:[a.test]:25\nA.TEST smtp:[b.test]:25", "a.test has two"),
        ("a.test smtp:b.test:25", "write smtp:"),
    ],
)
def test_what_is_refused_of_domains(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_next_hop_for(text)
