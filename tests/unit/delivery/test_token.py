"""Tokens: made with the key, known by it, and by nobody else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from ldapmilter.delivery.token import TOKEN_RE, TokenKey, token_of
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = bytes(range(32))
DRAWN = b"sixteen octets.."


def key(secret: bytes = SECRET) -> TokenKey:
    return TokenKey(secret, lambda count: DRAWN[:count])


def test_a_token_is_16_random_octets_and_8_of_an_hmac() -> None:
    # printf 'ldapmilter copy\0sixteen octets..' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0001...1f
    assert key().new() == DRAWN.hex() + "e1045402ee330ae2"
    assert TOKEN_RE.match(key().new())


def test_every_token_is_another() -> None:
    made = TokenKey(SECRET)
    assert len({made.new() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("probe", [False, True])
def test_a_token_is_valid_with_its_key_only(*, probe: bool) -> None:
    token = key().new(probe=probe)
    assert key().valid(token)
    assert not key(bytes(32)).valid(token)
    assert key().is_probe(token) is probe
    assert not key(bytes(32)).is_probe(token)


def test_a_changed_digit_is_no_token() -> None:
    token = key().new()
    for place in range(len(token)):
        other = "0" if token[place] != "0" else "1"
        assert not key().valid(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize("text", ["", "0" * 47, "0" * 49, "g" * 48, "A" * 48, "0" * 48 + "\n", "\u0663" * 48])
def test_what_looks_otherwise_is_none(text: str) -> None:
    assert not key().valid(text)
    assert not key().is_probe(text)


def test_a_token_before_the_domain_is_found_in_any_case() -> None:
    token = key().new()
    assert token_of(f"{token}@copies.invalid") == token
    assert token_of(f"{token.upper()}@Copies.INVALID") == token
    assert token_of(f"{token}@other.invalid") == token
    assert token_of("ann@copies.invalid") is None
    assert token_of(f"{token}@") is None
    assert token_of(token) is None


def test_a_missing_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "relay.key"
    token = TokenKey.load_or_make(file).new()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert TokenKey.load_or_make(file).valid(token)
    assert TokenKey.load(file).valid(token)
    assert [one.name for one in tmp_path.iterdir()] == ["relay.key"]


def test_the_key_of_another_mta_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "relay.key"
    file.write_text(SECRET.hex().upper() + "\n", encoding="ascii")
    file.chmod(0o640)
    assert TokenKey.load(file).valid(key().new())


def test_load_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[relay\] key_file = .*cannot be read"):
        TokenKey.load(tmp_path / "relay.key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["secret\n", "00" * 31, "00" * 32 + "0", "zz" * 32])
def test_a_file_without_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "relay.key"
    file.write_text(text, encoding="ascii")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no key; allowed is one line of 64 or more hexadecimal digits"):
        TokenKey.load_or_make(file)
    assert file.read_text(encoding="ascii") == text


def test_a_key_that_anybody_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "relay.key"
    file.write_text(SECRET.hex(), encoding="ascii")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="any user may read or write it"):
        TokenKey.load_or_make(file)


def test_without_directory_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not there, nor is its directory .*mkdir"):
        TokenKey.load_or_make(tmp_path / "none" / "relay.key")


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"and user \S+ may not make it: "):
        TokenKey.load_or_make(tmp_path / "relay.key")


def test_a_credential_of_systemd_is_no_file_to_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "relay.key"
    file.write_text(SECRET.hex(), encoding="ascii")
    file.chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert TokenKey.load_or_make(file.relative_to(tmp_path)).valid(key().new())
