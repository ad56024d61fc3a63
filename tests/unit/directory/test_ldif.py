"""LDIF as RFC 2849 writes it and slapcat prints it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldapmilter.directory.backend.filters import Equal, Present
from ldapmilter.directory.backend.ldif import LdifStore, parse
from ldapmilter.errors import ConfigError
from tests.unit.directory.hand import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.directory.backend.raw_entry import RawEntry

CLOCK = Clock()


def b64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def one(text: str) -> RawEntry:
    (entry,) = parse(text)
    return entry


def search(store: LdifStore, attribute: str, value: str) -> list[str]:
    found = store.search("", "sub", Equal(attribute, value), ("uid",), CLOCK.deadline())
    return [entry.dn for entry in found]


def test_entries_are_separated_by_empty_lines() -> None:
    found = parse("dn: uid=ann\nuid: ann\n\ndn: uid=bob\nuid: bob\n")
    assert [(entry.dn, entry.attributes) for entry in found] == [
        ("uid=ann", {"uid": ("ann",)}),
        ("uid=bob", {"uid": ("bob",)}),
    ]


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n", "# nothing\n", "version: 1\n", "version: 1\n\n# nothing\n\n"])
def test_nothing(text: str) -> None:
    assert parse(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "dn: uid=ann\nuid: ann",
        "dn: uid=ann\nuid: ann\n",
        "dn: uid=ann\nuid: ann\n\n\n\n",
        "\n\ndn: uid=ann\nuid: ann\n",
        "version: 1\ndn: uid=ann\nuid: ann\n",
        "version: 1\n\ndn: uid=ann\nuid: ann\n",
        "# a comment\n# dn: uid=bob\nversion: 1\n\n# another\ndn: uid=ann\n# and one inside\nuid: ann\n",
        "# a comment that\n  is continued\n dn: uid=bob\ndn: uid=ann\nuid: ann\n",
        "dn: uid=ann\r\nuid: ann\r\n\r\n",
        "version: 1\r\n\r\n# c\r\ndn: uid=ann\r\nuid: a\r\n nn\r\n",
        "dn:uid=ann\nuid:ann\n",
        "dn:   uid=ann\nuid:     ann\n",
        "DN: uid=ann\nUID: ann\n",
        f"dn:: {b64('uid=ann')}\nuid:: {b64('ann')}\n",
        f"dn::{b64('uid=ann')}\nuid::    {b64('ann')}\n",
        "dn: uid=a\n n\n n\nuid: a\n nn\n",
        "dn:\n  uid=ann\nuid:\n  ann\n",
        f"dn: uid=ann\nuid:: {b64('ann')[:2]}\n {b64('ann')[2:]}\n",
    ],
)
def test_the_same_entry_in_many_spellings(text: str) -> None:
    entry = one(text)
    assert (entry.dn, entry.attributes) == ("uid=ann", {"uid": ("ann",)})


def test_values_keep_their_order_and_names_lose_their_case() -> None:
    entry = one("dn: uid=ann\nMAIL: c\nmail: a\nuid: ann\nMail: b\n")
    assert entry.attributes == {"mail": ("c", "a", "b"), "uid": ("ann",)}


def test_a_continuation_takes_one_blank_only() -> None:
    assert one("dn: uid=ann\ncn: Ann\n  Able\n").first("cn") == "Ann Able"


def test_colons_belong_to_the_value() -> None:
    assert one("dn: uid=ann\nx: a: b:: c\n").first("x") == "a: b:: c"
    assert one("dn: uid=ann\nmemberURL: ldap:///??sub?(a=b)\n").first("memberurl") == "ldap:///??sub?(a=b)"


def test_an_empty_value() -> None:
    assert one("dn: uid=ann\ncn:\nuid: ann\n").all("cn") == ("",)


@pytest.mark.parametrize(
    "value",
    [
        "Jürgen Ärger",
        "line\u2028separator\u2029paragraph",
        "form\x0cfeed\x0bvertical\x1cfile\x1dgroup\x1erecord\x85next",
        "line\nfeed and\r\ncarriage return\r",
        " blanks around ",
        ": colon",
        "< less",
        "\x00NUL",
        "日本語 🙂",
    ],
)
def test_base64_carries_anything(value: str) -> None:
    assert one(f"dn: uid=ann\ncn:: {b64(value)}\nuid: ann\n").attributes == {"cn": (value,), "uid": ("ann",)}


@pytest.mark.parametrize("value", ["form\x0cfeed", "vertical\x0btab", "file\x1cgroup\x1drecord\x1eunit\x1f", "tab\tx"])
def test_control_characters_that_end_no_line(value: str) -> None:
    assert one(f"dn: uid=ann\ncn: {value}\nuid: ann\n").attributes == {"cn": (value,), "uid": ("ann",)}


@pytest.mark.parametrize("value", ["Jürgen", "a\u2028b", "a\x85b"])
def test_text_that_should_have_been_base64(value: str) -> None:
    assert one(f"dn: uid=ann\ncn: {value}\nuid: ann\n").attributes == {"cn": (value,), "uid": ("ann",)}


def test_a_value_that_is_no_text_harms_nothing_else() -> None:
    entry = one(f"dn: uid=ann\njpegPhoto:: {b64(bytes(range(256)))}\nuid: ann\n")
    assert entry.first("uid") == "ann"


def written(entries: list[list[tuple[str, str]]], fold: int, end: str) -> str:
    """Return entries as LDIF, all values in base64, lines folded."""
    lines: list[str] = []
    for number, attributes in enumerate(entries):
        for name, value in [("dn", f"cn={number}"), *attributes]:
            line = f"{name}:: {b64(value)}"
            lines.append(line[:fold])
            lines.extend(f" {line[start : start + fold]}" for start in range(fold, len(line), fold))
        lines.append("")
    return end.join([*lines, ""])


@settings(deadline=None)
@given(
    entries=st.lists(
        st.lists(st.tuples(st.sampled_from(["cn", "uid", "mail"]), st.text()), min_size=1, max_size=4), max_size=4
    ),
    fold=st.integers(6, 80),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_is_written_is_read_back(entries: list[list[tuple[str, str]]], fold: int, end: str) -> None:
    found = [
        [(name, value) for name, values in entry.attributes.items() for value in values]
        for entry in parse(written(entries, fold, end))
    ]
    assert [sorted(attributes) for attributes in found] == [sorted(attributes) for attributes in entries]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("dn: uid=ann\nchangetype: modify\n", 2, "changes"),
        ("version: 1\n\ndn: uid=ann\nuid: ann\n\ndn: uid=bob\nchangetype: add\nuid: bob\n", 7, "changes"),
        ("dn: uid=ann\nChangeType: delete\n", 2, "changes"),
        ("dn: uid=ann\nuid:: !!!!\n", 2, "base64"),
        ("dn: uid=ann\nuid:: YW5\n", 2, "base64"),
        ("dn: uid=ann\nno attribute\n", 2, ""),
        ("dn: uid=ann\n: value\n", 2, ""),
        ("dn: uid=ann\njpegPhoto:< file:///etc/passwd\n", 2, "URL"),
        ("uid: ann\n", 1, "dn"),
        ("dn: uid=ann\nuid: ann\n\nuid: bob\n", 4, "dn"),
        ("# comment\n\n\ndn: uid=ann\ncn: x\n y\n z\nbroken\n", 8, ""),
        ("dn: uid=ann\r\nuid: ann\r\nbroken\r\n", 3, ""),
    ],
)
def test_what_is_no_export_is_refused_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    file = tmp_path / "broken.ldif"
    file.write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        LdifStore.load(file)
    assert str(file) in str(caught.value)
    assert f"line {line}:" in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.ldif"):
        LdifStore.load(tmp_path / "missing.ldif")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "latin.ldif"
    file.write_bytes("dn: uid=ann\ncn: Jürgen\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.ldif"):
        LdifStore.load(file)


def test_a_file_with_every_line_end_and_separator(tmp_path: Path) -> None:
    file = tmp_path / "fine.ldif"
    file.write_bytes(f"dn: uid=ann\r\ncn: a\x0cb\r\ncn:: {b64('c' + chr(0x2028) + 'd')}\r\nuid: ann\r\n".encode())
    (found,) = LdifStore.load(file).search("", "sub", Present("uid"), ("cn",), CLOCK.deadline())
    assert found.all("cn") == ("a\x0cb", "c\u2028d")


def test_twenty_thousand_entries() -> None:
    count = 20_000
    text = "".join(
        f"dn: uid=u{number},dc=test\nobjectClass: zimbraAccount\nuid: u{number}\nzimbraMailAlias: a{number}@x.test\n\n"
        for number in range(count)
    )
    store = LdifStore(parse(text))
    for number in range(count):
        assert search(store, "zimbraMailAlias", f"A{number}@x.test") == [f"uid=u{number},dc=test"]
    assert len(search(store, "objectClass", "zimbraaccount")) == count


def test_one_entry_with_twenty_thousand_values_and_folded_lines() -> None:
    count = 20_000
    text = "dn: uid=all\nuid: all\n" + "".join(
        f"zimbraMailForwardingAddress: member{number}\n @x.test\n" for number in range(count)
    )
    text += f"jpegPhoto:: {b64(b'x' * 300_000)[:76]}\n" + "".join(
        f" {b64(b'x' * 300_000)[start : start + 76]}\n" for start in range(76, 400_000, 76)
    )
    store = LdifStore(parse(text))
    assert search(store, "zimbraMailForwardingAddress", f"member{count - 1}@x.test") == ["uid=all"]
