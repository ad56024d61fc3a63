"""The configuration itself: what it switches off, and who else may write or read it.

What cannot be used at all is refused when the file is read; this is about what can be used and may
still not be meant.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config

_AREA = Area.CONFIGURATION

NOT_APPLIED = Kind(
    code="config-not-applied",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A part of the policy is in mode `observe` or `pass`: its copies and From changes do not happen.",
    remedy="set mode = apply in config.ini once the trial is over, and reload the daemon",
)
FAILURE_ACCEPTED = Kind(
    code="config-failure-accepted",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="While the directory cannot be asked, mail goes on without the copies that would be due.",
    remedy="set [policy] directory_failure = tempfail if no copy may ever be missed",
)
WRITABLE = Kind(
    code="config-writable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Users other than its owner can write or replace a file that decides whose mail is copied where.",
    remedy="chmod $mode $path",
)
SECRET_OWNER = Kind(
    code="config-secret-owner",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The file with the bind password belongs neither to root nor to the daemon's user, who owns the"
    " configuration or is in its group.",
    remedy="chown $path to root (systemd hands it to the service) or to the user of the daemon",
)
EMBEDDED = Kind(
    code="config-embedded-directory",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Mail is decided from an LDIF export: later changes in the directory have no effect.",
    remedy="set [ldap] uri to the LDAP servers of the site; ldif: is for trials",
)
SOCKET_OPEN = Kind(
    code="config-socket-open",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Any client that can connect to the milter can find out who is copied to whom.",
    remedy="listen on a unix socket or on loopback, or let only the MTAs through the firewall",
)

START_REFUSED = Kind(
    code="config-start-refused",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The daemon would not start with this configuration (`--config-only`).",
    remedy="correct the value, or make what it names",
)
AUDIT_NOWHERE = Kind(
    code="config-audit-nowhere",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The directory of the audit does not exist: mail that needs an audit line would wait (`--config-only`).",
    remedy="make $path, owned by the user of the daemon and with mode 0700, or correct [audit] file",
)

KINDS = (NOT_APPLIED, FAILURE_ACCEPTED, WRITABLE, SECRET_OWNER, EMBEDDED, SOCKET_OPEN, START_REFUSED, AUDIT_NOWHERE)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OTHERS_WRITE = stat.S_IWOTH
_GROUP_WRITES = stat.S_IWGRP


def check(config: Config, report: Report) -> None:
    """Look at what a valid configuration says, and at the files that it lies in."""
    before = len(report.findings)
    for sentence in config.policy.not_applied():
        report.add(NOT_APPLIED.found(sentence))
    if config.policy.directory_failure == "accept":
        report.add(FAILURE_ACCEPTED.found("[policy] directory_failure = accept"))
    if config.ldap.embedded:
        report.add(EMBEDDED.found(f"[ldap] uri = {config.ldap.uris[0]}"))
    _socket(config, report)
    _files(config, report)
    if len(report.findings) == before:
        report.fine(_AREA, f"{config.file}: valid; everything is applied; modes and owners are right")


def check_start(config: Config, report: Report) -> None:
    """Look at what a daemon needs on this host at its start, and no reading of the file finds missing."""
    group = config.milter.socket_group
    if config.milter.socket.kind == "unix" and group:
        try:
            grp.getgrnam(group)
        except KeyError:
            report.add(START_REFUSED.found(f"[milter] socket_group = {group}: there is no such group"))
    audit = config.audit
    if audit is not None and not audit.parent.is_dir():
        report.add(AUDIT_NOWHERE.found(f"[audit] file = {audit}: there is no {audit.parent}", path=audit.parent))


def _socket(config: Config, report: Report) -> None:
    socket = config.milter.socket
    if socket.kind == "unix":
        if config.milter.socket_mode & stat.S_IWOTH:
            text = f"[milter] socket_mode = {config.milter.socket_mode:04o}: every local user may connect"
            report.add(SOCKET_OPEN.found(text))
    elif socket.host not in _LOOPBACK:
        report.add(SOCKET_OPEN.found(f"[milter] socket = {socket}: other hosts may connect"))


def _files(config: Config, report: Report) -> None:
    _not_writable(config.file, "0640", report)
    secret = secret_file(config)
    if secret is not None and secret.exists():  # an embedded directory needs none
        _not_writable(secret, "0640", report)
        owner = secret.stat().st_uid
        if owner not in {0, os.geteuid()} and not _is_the_daemons(owner, config.file):
            report.add(SECRET_OWNER.found(f"{secret}: belongs to user id {owner}", path=secret))


def _is_the_daemons(user: int, file: Path) -> bool:
    """Whether a user owns the configuration, or has the group that it belongs to as his own."""
    status = file.stat()
    try:
        own_group = pwd.getpwuid(user).pw_gid
    except KeyError:
        own_group = None
    return user == status.st_uid or own_group == status.st_gid


def secret_file(config: Config) -> Path | None:
    """Return the file that holds the bind password, looked for as the configuration does."""
    file = config.ldap.bind_password_file
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if file is not None and directory and len(file.parts) == 1 and (Path(directory) / file).exists():
        return Path(directory) / file
    return file


def _not_writable(path: Path, mode: str, report: Report) -> None:
    """Others may neither write the file nor put another one in its place."""
    file_mode = path.stat().st_mode
    if file_mode & (_GROUP_WRITES | _OTHERS_WRITE):
        report.add(WRITABLE.found(f"{path}: mode {stat.S_IMODE(file_mode):04o}", mode=mode, path=path))
    parent = path.absolute().parent
    parent_mode = parent.stat().st_mode
    if parent_mode & _OTHERS_WRITE and not parent_mode & stat.S_ISVTX:
        text = f"{parent}: mode {stat.S_IMODE(parent_mode):04o}: any user can replace {path.name}"
        report.add(WRITABLE.found(text, mode="0755", path=parent))
