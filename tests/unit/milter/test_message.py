"""Headers in, headers out: reading a message, and a milter's modifications as Postfix applies them."""

from __future__ import annotations

import pytest

from ldapmilter.mta.headers import Header, HeaderModification, modified, read_message

HEADERS: list[Header] = [
    (b"Received", b"from a"),
    (b"From", b"one"),
    (b"To", b"bob"),
    (b"from", b"two"),
    (b"FROM", b"three"),
]


def change(name: bytes, index: int, value: bytes) -> HeaderModification:
    return HeaderModification(kind="change", name=name, value=value, index=index)


def insert(index: int, name: bytes, value: bytes = b"v") -> HeaderModification:
    return HeaderModification(kind="insert", name=name, value=value, index=index)


def add(name: bytes, value: bytes = b"v") -> HeaderModification:
    return HeaderModification(kind="add", name=name, value=value)


def values(headers: tuple[Header, ...], name: bytes) -> list[bytes]:
    return [value for candidate, value in headers if candidate.lower() == name.lower()]


def test_nothing_asked_nothing_changed() -> None:
    assert modified(HEADERS, []) == tuple(HEADERS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([change(b"From", 1, b"new")], [b"new", b"two", b"three"]),
        ([change(b"From", 0, b"new")], [b"new", b"two", b"three"]),
        ([change(b"fRoM", 3, b"new")], [b"one", b"two", b"new"]),
        ([change(b"From", 4, b"new")], [b"one", b"two", b"three", b"new"]),
        ([change(b"From", 1, b"")], [b"two", b"three"]),
        ([change(b"From", 9, b"")], [b"one", b"two", b"three"]),
        ([change(b"From", 2, b""), change(b"From", 2, b"")], [b"one"]),
        ([change(b"From", 3, b""), change(b"From", 2, b"")], [b"one"]),
        ([change(b"From", 1, b"new"), *[change(b"From", 2, b"")] * 5], [b"new"]),
        ([*[change(b"From", 1, b"")] * 3, change(b"From", 1, b"new")], [b"new"]),
        ([add(b"From", b"four"), change(b"From", 4, b"five")], [b"one", b"two", b"three", b"five"]),
    ],
)
def test_headers_are_counted_by_name_without_case_and_deleting_shifts(
    changes: list[HeaderModification], expected: list[bytes]
) -> None:
    assert values(modified(HEADERS, changes), b"From") == expected


def test_a_changed_header_keeps_its_place_and_takes_the_new_name() -> None:
    assert modified(HEADERS, [change(b"from", 1, b"new")])[:3] == (HEADERS[0], (b"from", b"new"), HEADERS[2])


def test_a_change_of_a_missing_header_adds_it_at_the_end() -> None:
    assert modified(HEADERS, [change(b"Reply-To", 1, b"x")]) == (*HEADERS, (b"Reply-To", b"x"))


def test_an_added_header_comes_last() -> None:
    assert modified(HEADERS, [add(b"X-1"), add(b"X-2")])[-2:] == ((b"X-1", b"v"), (b"X-2", b"v"))


@pytest.mark.parametrize(("index", "place"), [(0, 0), (1, 0), (2, 1), (5, 4), (6, 5), (99, 5)])
def test_insertion_counts_the_received_header_of_the_mta(index: int, place: int) -> None:
    assert modified(HEADERS, [insert(index, b"X-Top")])[place] == (b"X-Top", b"v")


def test_the_received_header_of_the_mta_is_out_of_reach_until_something_stands_above_it() -> None:
    assert values(modified(HEADERS, [change(b"Received", 1, b"new")]), b"Received") == [b"new"]

    above = [insert(0, b"X-Top"), change(b"Received", 1, b"mine")]
    assert modified(HEADERS, above)[:3] == ((b"X-Top", b"v"), (b"Received", b"mine"), (b"Received", b"from a"))
    # ... and the header on top is out of reach then.
    assert values(modified(HEADERS, [insert(0, b"X-Top"), change(b"X-Top", 1, b"")]), b"X-Top") == [b"v"]


def test_a_further_line_of_a_value_becomes_a_continuation() -> None:
    assert modified([], [add(b"X", b"a\r\nInjected: yes\n folded\n\tkept\n")]) == (
        (b"X", b"a\r\n\tInjected: yes\n folded\n\tkept\n\t"),
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_message_is_split_with_either_line_end(end: bytes) -> None:
    lines = [b"From:  caf\xe9", b"Subject: a", b"\tb", b"  c", b"X-Empty:", b"X-Tab:\tt", b"", b"body", b" x", b""]

    headers, body = read_message(end.join(lines))

    assert headers == [
        (b"From", b" caf\xe9"),
        (b"Subject", b"a\n\tb\n  c"),
        (b"X-Empty", b""),
        (b"X-Tab", b"\tt"),
    ]
    assert body == b"body" + end + b" x" + end


@pytest.mark.parametrize(
    ("text", "names", "body"),
    [
        (b"", [], b""),
        (b"\nbody", [], b"body"),
        (b"A: 1", [b"A"], b""),
        (b"A: 1\n", [b"A"], b""),
        (b"A: 1\nno header\nB: 2\n", [b"A"], b"no header\nB: 2\n"),
        (b"A: 1\nna me: 2\n\nbody", [b"A"], b"na me: 2\n\nbody"),
        (b"A: 1\ncaf\xe9: 2\n", [b"A"], b"caf\xe9: 2\n"),
        (b"A: 1\n: 2\n", [b"A"], b": 2\n"),
        (b"A \t: 1\n\n", [b"A"], b""),
        (b" folded\nA: 1\n", [], b" folded\nA: 1\n"),
        (b"A: 1\n \n\nbody", [b"A"], b"body"),
        (b"From ann Mon Jan  1\nA: 1\n\nb", [b"X-Mailbox-Line", b"A"], b"b"),
        (b">From ann Mon Jan  1\nA: 1\n\nb", [b"X-Mailbox-Line", b"A"], b"b"),
        (b"A: 1\nFrom ann\n\nb", [b"A"], b"From ann\n\nb"),
        (b"A: a\rb\n\nb", [b"A"], b"b"),
    ],
)
def test_the_header_block_ends_where_postfix_ends_it(text: bytes, names: list[bytes], body: bytes) -> None:
    headers, rest = read_message(text)

    assert [name for name, _ in headers] == names
    assert rest == body
