"""Tokens: the local parts under which copies travel to the relay, ``TOKEN@DOMAIN``.

A token is 24 octets in lower-case hexadecimal: 16 random ones and the first 8 of an HMAC-SHA256 over them
(RFC 2104). Who has the key knows one of ours from a guess without a look-up. That it is a probe's token, of
which no mail is on its way, is said by the label under the HMAC: nobody else can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING, Final

from ldapmilter.durable import sync_directory
from ldapmilter.errors import ConfigError
from ldapmilter.secret_file import credential, read_secret
from ldapmilter.who_may import WRITE, user_name, who_may

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKEN_LENGTH: Final = 48
TOKEN_RE: Final = re.compile(rf"[0-9a-f]{{{TOKEN_LENGTH}}}\Z")
"""What every token looks like; only :meth:`TokenKey.valid` knows ours."""

_RANDOM_OCTETS = 16
_SEAL_OCTETS = 8
_KEY_OCTETS = 32
_KEY_TEXT = re.compile(r"(?:[0-9A-Fa-f]{2}){32,}\Z")
_COPY, _PROBE = b"ldapmilter copy\0", b"ldapmilter probe\0"
_WHAT = "[relay] key_file"


class TokenKey:
    """What tokens are made with and known by; the same on all MTAs."""

    def __init__(self, secret: bytes, randomness: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Make tokens with a secret.

        Args:
            secret: at least 32 octets.
            randomness: returns so many octets that nobody can foretell.
        """
        self._secret = secret
        self._randomness = randomness

    @classmethod
    def load(cls, path: Path) -> TokenKey:
        """Return the key in a file: one line of 64 or more hexadecimal digits.

        A bare name is looked for among systemd's credentials first.

        Raises:
            ConfigError: it cannot be read, any user may read it, or it holds no key.
        """
        text = read_secret(path, _WHAT).strip()
        if not _KEY_TEXT.match(text):
            msg = (
                f"{_WHAT} = {path}: holds no key; allowed is one line of {2 * _KEY_OCTETS} or more hexadecimal digits,"
                " copied from another MTA, or no file at all: it is made then"
            )
            raise ConfigError(msg)
        return cls(bytes.fromhex(text))

    @classmethod
    def load_or_make(cls, path: Path) -> TokenKey:
        """Return the key in a file, which is made (mode 0600, on disk) where there is none.

        Processes that make it at the same time end up with one key.

        Raises:
            ConfigError: as :meth:`load`, or it is not there and cannot be made.
        """
        if credential(path) is None:
            try:
                _make(path)
            except OSError as error:
                if not path.exists():
                    raise ConfigError(_why_not_made(path, error)) from error
        return cls.load(path)

    def new(self, *, probe: bool = False) -> str:
        """Return a token that was never given out."""
        drawn = self._randomness(_RANDOM_OCTETS)
        return (drawn + self._seal(_PROBE if probe else _COPY, drawn)).hex()

    def valid(self, token: str) -> bool:
        """Whether a token was made with this key, for a copy or for a probe."""
        return self.is_copy(token) or self.is_probe(token)

    def is_copy(self, token: str) -> bool:
        """Whether a token was made for a copy."""
        return self._sealed_with(_COPY, token)

    def is_probe(self, token: str) -> bool:
        """Whether a token was made for a probe: it is never counted, and no mail comes with it."""
        return self._sealed_with(_PROBE, token)

    def _seal(self, label: bytes, drawn: bytes) -> bytes:
        return hmac.digest(self._secret, label + drawn, hashlib.sha256)[:_SEAL_OCTETS]

    def _sealed_with(self, label: bytes, token: str) -> bool:
        if not TOKEN_RE.match(token):
            return False
        octets = bytes.fromhex(token)
        return hmac.compare_digest(octets[_RANDOM_OCTETS:], self._seal(label, octets[:_RANDOM_OCTETS]))


def token_of(address: str) -> str | None:
    """Return what looks like a token before an address's domain; ``None``: nothing does.

    Whichever the domain is: that of the relay may have been another when a copy set out, and only the key says
    whether it is a token.

    Args:
        address: ``local@domain``, without brackets, in any case.
    """
    local, _, domain = address.lower().rpartition("@")
    return local if domain and TOKEN_RE.match(local) else None


def _make(path: Path) -> None:
    """Make a file with a new key, unless there is one: nobody ever sees half of it."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_KEY_OCTETS).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)
        except FileExistsError:
            return
    finally:
        new.unlink()
    sync_directory(path.parent)


def _why_not_made(path: Path, error: OSError) -> str:
    made = f"{_WHAT} = {path}: is not there"
    if isinstance(error, FileNotFoundError):
        return f"{made}, nor is its directory {path.parent}: make that (mkdir -m 0700), owned by user {user_name()}"
    if isinstance(error, PermissionError):
        return f"{made}, and user {user_name()} may not make it: {who_may(path.parent, WRITE)}"
    return f"{made}, and cannot be made: {error.strerror or error}"
