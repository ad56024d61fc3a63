"""Who may use a file or a socket that this user may not, and how he comes to: told where he is refused."""

from __future__ import annotations

import grp
import os
import pwd
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE, SEARCH = 4, 2, 1
"""What is wanted of it, as in one digit of a mode; of a socket that is to be connected to: ``WRITE`` (unix(7))."""


def user_name() -> str:
    """Return the name of the user that this process runs as."""
    return _user(os.geteuid())


def who_may(path: Path | str, wanted: int) -> str:
    """Return to whom something belongs and who may use it, as the end of a message.

    Args:
        path: a file, a directory or a socket; a directory above it may be what refuses.
        wanted: :data:`READ` or :data:`WRITE`.
    """
    place, wanted = _refusing(os.path.abspath(path), wanted)  # noqa: PTH100 - pathlib takes a verb longer than its answer
    try:
        status = os.stat(place)  # noqa: PTH116 - as above
    except OSError:
        return "root may (sudo)"
    owner, group, mode = _user(status.st_uid), _group(status.st_gid), stat.S_IMODE(status.st_mode)
    ways = ["as root (sudo)"]
    if status.st_uid and mode & (wanted << 6):
        ways.append(f"as {owner} (sudo -u {owner})")
    if status.st_gid and mode & (wanted << 3):
        ways.append(
            f"as a member of the group {group} (usermod --append --groups {group} {user_name()}, and log in again)"
        )
    return f"{place} belongs to {owner}:{group}, mode {mode:04o}; do it {', or '.join(ways)}"


def _refusing(path: str, wanted: int) -> tuple[str, int]:
    """Return the first directory on the way that may not be entered, else the path, and what is wanted of it."""
    at = 1
    while (at := path.find("/", at)) > 0:
        above = path[:at]
        if os.path.isdir(above) and not os.access(above, os.X_OK, effective_ids=True):  # noqa: PTH112 - as above
            return above, SEARCH
        at += 1
    return path, wanted


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
