"""Passwords in files: read, refused where others may read them too, found among systemd's credentials."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ldapmilter.errors import ConfigError, SecretForbidden
from ldapmilter.files import read_regular, text_of, why
from ldapmilter.who_may import READ, user_name, who_may

_MAX_SECRET = 1 << 16


def credential(file: Path) -> Path | None:
    """Return where systemd has put a credential of this bare name (systemd.exec(5), ``LoadCredential``)."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory or "/", file)
    return credential if directory and len(file.parts) == 1 and credential.exists() else None


def read_secret(file: Path, what: str) -> str:
    """Return the secret in a file, without the line end.

    A bare name is looked for among the systemd credentials (``$CREDENTIALS_DIRECTORY``) first.

    Raises:
        SecretForbidden: this user may not read it.
        ConfigError: it cannot be read, is empty, or any user may read it.
    """
    file = credential(file) or file
    try:
        octets, status = read_regular(file, _MAX_SECRET)
        secret, mode = text_of(octets.rstrip(b"\r\n")), status.st_mode
    except PermissionError as error:
        msg = f"{what} = {file}: user {user_name()} may not read it: {who_may(file, READ)}"
        raise SecretForbidden(msg) from error
    except OSError as error:
        msg = f"{what} = {file}: cannot be read: {why(error)}"
        raise ConfigError(msg) from error
    except ValueError:  # its text, and the error itself, would show octets of the password
        msg = f"{what} = {file}: is not UTF-8 text; save it as UTF-8: one line with the password"
        raise ConfigError(msg) from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        msg = f"{what} = {file}: any user may read or write it; allowed is mode 0640 or stricter (chmod 0640 {file})"
        raise ConfigError(msg)
    if not secret:
        msg = f"{what} = {file}: is empty; allowed is a file whose first line is the password"
        raise ConfigError(msg)
    return secret
