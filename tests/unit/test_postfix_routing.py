"""Which addresses Postfix reads in a value of an alias map, and which address it delivers to."""

from __future__ import annotations

from typing import Final

import pytest

from ldapmilter.address import envelope_address
from ldapmilter.postfix.routing import delivered_to, read_value

_BOB: Final = "bob@north.test"
_CARL: Final = "carl@north.test"
_LOCAL: Final = frozenset({"localhost", "mx.north.test"})


def is_local(domain: str) -> bool:
    return domain in _LOCAL or domain.startswith("[")


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (_CARL, [_CARL]),
        ("bob@north.test carl@north.test", [_BOB, _CARL]),
        ("bob@north.test\tcarl@north.test", [_BOB, _CARL]),
        ("<bob@north.test> <carl@north.test>", [_BOB, _CARL]),
        ("<bob@north.test>,<carl@north.test>", [_BOB, _CARL]),
        ("<bob@north.test><carl@north.test>", [_BOB, _CARL]),
        ("Carl C <carl@north.test>", [_CARL]),
        ('"C, x" <carl@north.test>', [_CARL]),
        ("Carl Q. C <carl@north.test> bob@north.test", [_BOB, _CARL]),
        ("carl@north.test (c)", [_CARL]),
        ("(c (d) \\) e) carl@north.test", [_CARL]),
        ("carl@north(x).test", [_CARL]),
        ("carl@north.test,", [_CARL]),
        (",,carl@north.test,, ,", [_CARL]),
        ("bob@north.test;carl@north.test", [_BOB, _CARL]),
        ("bob@north.test; carl@north.test;", [_BOB, _CARL]),
        ("bob@north.test,carl@north.test", [_BOB, _CARL]),
        ("x:carl@north.test;", [_CARL]),
        ("x y: carl@north.test, bob@north.test;", [_BOB, _CARL]),
        ("ca\\rl@north.test", [_CARL]),
        ("\\carl@north.test", [_CARL]),
        ("carl @ north . test", [_CARL]),
        ("CARL@NORTH.TEST.", [_CARL]),
        ("@localhost:carl@north.test", [_CARL]),
        ("<@one.test,@two.test:carl@north.test>", [_CARL]),
        ('"carl"@north.test', [_CARL]),
        ('"ca.rl"@north.test', ["ca.rl@north.test"]),
        ("carl%north.test", [_CARL]),
        ("north.test!carl", [_CARL]),
        ("", []),
        (" , ;", []),
    ],
)
def test_a_value_is_read_as_postfix_reads_it(value: str, addresses: list[str]) -> None:
    reading = read_value(value)
    assert ([address.key for address in reading.addresses], reading.odd) == (addresses, False)


@pytest.mark.parametrize("value", ["Carl carl@north.test", "carl", "bob@north.test:carl@north.test", "carl@x..y", "x@"])
def test_what_is_more_or_less_than_an_address_is_odd(value: str) -> None:
    assert read_value(value).odd


def test_a_word_beside_an_address_does_not_hide_it() -> None:
    assert _CARL in [address.key for address in read_value("Carl carl@north.test").addresses]


@pytest.mark.parametrize(
    "text",
    [
        "carl%north.test@localhost",
        "north.test!carl@localhost",
        "carl@north.test@localhost",
        "carl%north.test@[127.0.0.1]",
        "carl%north.test@[IPv6:::1]",
        '"carl@north.test"@localhost',
        '"carl%north.test"@localhost',
        '"north.test!carl"@localhost',
        '"ca rl%x@north.test"@localhost',
        "carl%north.test%localhost%mx.north.test@localhost",
        "localhost!mx.north.test!north.test!carl@localhost",
        "localhost!carl%north.test@localhost",
        "carl%north.test%@localhost",
        "carl%north.test%%%@localhost",
        "carl%NORTH.test.@LOCALHOST.",
        "carl@north.test@localhost@mx.north.test",
        '"@localhost:carl@north.test"@localhost',
        '"north.test!ca rl"@localhost',
    ],
)
def test_a_domain_of_the_host_is_undone(text: str) -> None:
    address = envelope_address(text)
    assert address is not None
    found = delivered_to(address, is_local)
    assert found.key == ("ca rl%x@north.test" if "ca rl%x" in text else _CARL)


@pytest.mark.parametrize(
    "text",
    [
        "carl@localhost",
        "carl%north.test@elsewhere.test",
        "north.test!carl@elsewhere.test",
        "carl%north.test@north.test",
        "%@localhost",
        "!@localhost",
        "carl%x..y@localhost",
    ],
)
def test_everything_else_stays(text: str) -> None:
    address = envelope_address(text)
    assert address is not None
    assert delivered_to(address, is_local).key == address.key


_MANY: Final = 100_000


@pytest.mark.parametrize(
    "piece",
    [
        "%",
        "!",
        "@",
        "%localhost",
        "localhost!",
        '"',
        "(",
        "((\\",
        "<",
        "<>",
        ">",
        ";",
        ":;",
        ",",
        " ",
        "a ",
        "\\",
        "[",
        "a:",
    ],
)
def test_a_long_text_takes_a_time_that_grows_with_its_length(piece: str) -> None:
    text = piece * (_MANY // len(piece))
    assert len(read_value(text).addresses) <= _MANY
    wholes = (
        f"carl%north.test{text}@localhost",
        f'"a b%north.test{text}"@localhost',
        f"{text}north.test!carl@localhost",
    )
    for whole in wholes:
        address = envelope_address(whole)
        assert address is None or delivered_to(address, is_local).key
