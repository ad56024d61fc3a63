"""Files that others write are read whole, or not at all, and never waited for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ldapmilter.files import read_regular, text_of, version

if TYPE_CHECKING:
    from pathlib import Path


def test_a_regular_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    octets, status = read_regular(file, 10)
    assert octets == b"0123456789"
    assert status.st_size == 10
    with pytest.raises(OSError, match="larger than 9 octets"):
        read_regular(file, 9)


def test_what_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, what in (("fifo", "not a regular file"), ("zero", "not a regular file"), (".", "a directory")):
        with pytest.raises(OSError, match=what):
            read_regular(tmp_path / name, 10)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 10)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        ("a = b\u00fc\n".encode(), "a = b\u00fc\n"),
        (b"\xef\xbb\xbfa\r\nb", "a\nb"),  # as Windows saves it
        (b"a\t\x1b\x0c", "a\t\x1b\x0c"),
    ],
)
def test_text(octets: bytes, text: str) -> None:
    assert text_of(octets) == text


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"a\n# caf\xe9\n", r"line 2: octet 6 \(0xE9\) is not UTF-8; save the file as UTF-8 \(iconv "),
        (b"\xe9", r"line 1: octet 1 \(0xE9\) is not UTF-8"),
        (b"\xef\xbb\xbfa\r\n\xc3\xa9\xc3", r"line 2: octet 3 \(0xC3\) is not UTF-8"),
        (b"a\n\xc3\xa9\0", r"line 2: octet 3 \(0x00\) is not text; take it out"),
        (b"a\rb\r", r"line 1: octet 2 \(0x0D\) is not text; end lines by LF"),
        ("[ldap]\n".encode("utf-16"), r"line 1: is UTF-16; save it as UTF-8"),
        ("[ldap]\n".encode("utf-16-be"), r"line 1: octet 1 \(0x00\)"),
    ],
)
def test_what_is_no_text_is_named_by_line_and_octet(octets: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        text_of(octets)


def test_the_version_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert version(None) is None
    assert version(file) is None
    file.write_bytes(b"one")
    first = version(file)
    assert first is not None
    assert version(file) == first
    (tmp_path / "g").write_bytes(b"two")
    (tmp_path / "g").replace(file)
    assert version(file) not in {None, first}
