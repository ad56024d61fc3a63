"""Whether the copy relay can write what it promises: its state, and the copies that it keeps."""

from __future__ import annotations

import os
import pwd
import subprocess
from itertools import islice
from typing import TYPE_CHECKING, Final

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.relay.kept import KeepError, Maildir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config

_AREA = Area.CONFIGURATION

NOT_WRITABLE = Kind(
    code="relay-not-writable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The daemon's user may not write where the copy relay has its state or keeps copies: copies wait.",
    remedy="give $path to the user $user (chown $user $path; chmod u+rwx $path), on a file system that takes what is"
    " written",
)
FOREIGN = Kind(
    code="relay-kept-foreign",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A file among the kept copies is none that the relay can read: it is neither counted nor sent again.",
    remedy="look at the file; if it is no copy, move it away",
)
LEFT_BEHIND = Kind(
    code="relay-kept-unserved",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Copies are kept that no archive has taken, and `[relay] listen` is empty: nothing hands them on.",
    remedy="set [relay] listen again, reload the daemon, and run ldapmilter copies --resend (or --discard what nobody"
    " needs)",
)
KINDS = (NOT_WRITABLE, FOREIGN, LEFT_BEHIND)

_FOLDERS: Final = ("tmp", "new", "cur")
_MOST: Final = 1000
"""Kept copies that are looked at."""
_NAMED: Final = 3


def check(config: Config, report: Report) -> None:
    """Look at the files of the relay, where there is one; nothing is written.

    Args:
        config: the relay's settings, and the control socket: it belongs to the daemon's user.
        report: what to add to.
    """
    if config.relay.listen is None:
        _left_behind(config.relay.kept, report)
        return
    user = _daemons_user(config)
    if user is None or os.geteuid() not in {0, user}:
        report.not_looked_for |= {NOT_WRITABLE.code, FOREIGN.code}
        return
    before = len(report.findings)
    for path in dict.fromkeys((*_of_state(config.relay.state), *_of_maildir(config.relay.kept))):
        if not _may_write(path, user):
            report.add(NOT_WRITABLE.found(f"{path}: {_name(user)} may not write there", path=path, user=_name(user)))
    _foreign(config.relay.kept, report)
    if len(report.findings) == before:
        report.fine(_AREA, f"{config.relay.state} and {config.relay.kept}: the copy relay may write there")


def _daemons_user(config: Config) -> int | None:
    try:
        return config.control.stat().st_uid if config.control is not None else None
    except OSError:
        return None


def _of_state(state: Path) -> Iterator[Path]:
    """Yield what SQLite writes to: the file, and its directory, for what lies beside it while it is written."""
    yield from [state] if _is_there(state) else []
    yield state.parent if _is_there(state.parent) else state.parent.parent


def _of_maildir(kept: Path) -> Iterator[Path]:
    yield kept if _is_there(kept) else kept.parent
    yield from (folder for name in _FOLDERS if _is_there(folder := kept / name))


def _is_there(path: Path) -> bool:
    """Whether this user can see that something is there: where it cannot, it cannot write either."""
    try:
        return path.exists()
    except OSError:
        return False


def _may_write(path: Path, user: int) -> bool:
    """Whether a user may write to a file, or make files in a directory, as the kernel says it."""
    enters = _is_there(path) and path.is_dir()
    if user == os.geteuid():
        return os.access(path, os.W_OK | (os.X_OK if enters else 0))
    try:
        group = pwd.getpwuid(user).pw_gid
        groups = os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        group, groups = user, []
    command = ["/usr/bin/test", "-w", str(path), *(["-a", "-x", str(path)] if enters else [])]
    done = subprocess.run(  # noqa: S603 - ours
        command, check=False, user=user, group=group, extra_groups=groups, timeout=10, stdin=subprocess.DEVNULL, cwd="/"
    )
    return done.returncode == 0


def _left_behind(kept: Path, report: Report) -> None:
    """Look for copies of a relay that is no more."""
    try:
        count = sum(1 for name in ("new", "cur") if (kept / name).is_dir() for _ in (kept / name).iterdir())
    except OSError:
        report.not_looked_for.add(LEFT_BEHIND.code)
        return
    if count:
        report.add(LEFT_BEHIND.found(f"{kept}: {count} kept {'copy' if count == 1 else 'copies'}"))


def _foreign(kept: Path, report: Report) -> None:
    if not _is_there(kept / "new"):
        return
    try:
        unreadable = [str(one) for one in islice(Maildir(kept).copies(), _MOST) if isinstance(one, KeepError)]
    except KeepError as error:
        unreadable = [str(error)]
    for text in unreadable[:_NAMED]:
        report.add(FOREIGN.found(text))
    if len(unreadable) > _NAMED:
        report.add(FOREIGN.found(f"{kept}: and {len(unreadable) - _NAMED} more"))


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
