"""postconf(1): where it is, and what it says of one parameter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACES = ("/opt/zimbra/common/sbin/postconf", "/opt/zextras/common/sbin/postconf", "/usr/sbin/postconf")
_SECONDS = 20


class PostconfFailed(LdapmilterError):
    """Postfix's configuration could not be read; the text is postconf's."""


def find_postconf() -> str | None:
    """Return where postconf(1) is: on the path, or where Zimbra and Carbonio have theirs."""
    for place in _PLACES[:2]:
        if Path(place).exists():
            return place
    return shutil.which("postconf") or next((place for place in _PLACES if Path(place).exists()), None)


def run_postconf(*command: str) -> list[str]:
    """Return the lines that a command of postconf's prints.

    Raises:
        PostconfFailed: it does not run, or refuses the configuration.
    """
    try:
        done = subprocess.run(  # noqa: S603 - found by name or by the administrator's word
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PostconfFailed(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        complaint = " ".join(done.stderr.split())
        raise PostconfFailed(f"{' '.join(command)}: {complaint}")
    return done.stdout.splitlines()


def assignments(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of every ``name = value``."""
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip()


def values_anywhere(postconf: str, parameter: str) -> frozenset[str]:
    """Return the value of a parameter in main.cf, and those by which services of master.cf overrule it.

    Raises:
        PostconfFailed: it could not be read.
    """
    found = {value for _, value in assignments(run_postconf(postconf, "-x", parameter))}
    for path, value in assignments(run_postconf(postconf, "-x", "-P")):
        if path.rpartition("/")[2] == parameter:
            found.add(value)
    return frozenset(found)
