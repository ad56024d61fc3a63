"""postconf(1): where it is, and what it says of one parameter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.errors import LdapmilterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    done = run_tool(command)
    if done.returncode:
        raise failed(command, " ".join(done.stderr.split()))
    return done.stdout.splitlines()


def run_tool(command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of Postfix's commands to its end, whatever its exit status.

    Args:
        command: the command with its arguments.
        given: what it reads.

    Raises:
        PostconfFailed: it does not run, or not in time.
    """
    try:
        return subprocess.run(  # noqa: S603 - found by name or by the administrator's word
            command, check=False, input=given, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise failed(command, str(error)) from error


def failed(command: Sequence[str], why: str) -> PostconfFailed:
    """Return the error of a command that has not said what it was asked for."""
    return PostconfFailed(f"{' '.join(command)}: {why}")


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
