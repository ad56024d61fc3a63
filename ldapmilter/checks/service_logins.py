"""Whether the logins of devices and relays mean what the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.errors import AmbiguousEntry

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config
    from ldapmilter.directory.interface import Directory

_AREA = Area.IDENTITY

UNKNOWN = Kind(
    code="service-login-unknown",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A login of `[identity] service_logins` stands for an address that is not an account's: its mail waits, or"
    " goes on without that account's policy (`unknown_login`).",
    remedy="correct the address behind $login= in [identity] service_logins, or make the account",
)
ACCOUNT = Kind(
    code="service-login-account",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A login of `[identity] service_logins` is an account's, too: what that account sends by SMTP is not its"
    " own for ldapmilter, so none of its copies of mail sent is made.",
    remedy="take $login out of [identity] service_logins, or rename the account",
)

KINDS = (UNKNOWN, ACCOUNT)


def check(directory: Directory, config: Config, report: Report) -> None:
    """Look every login up.

    Raises:
        DirectoryUnavailable: no answer.
    """
    for login, account in config.policy.identity.service_logins.items():
        if account is not None and not _is_account(account.text, directory):
            report.add(UNKNOWN.found(f"{login} stands for {account}", login=login))
        if _is_account(login, directory) and (account is None or account.key != login):
            meant = "nobody" if account is None else account
            report.add(ACCOUNT.found(f"{login} stands for {meant}", login=login))


def _is_account(login: str, directory: Directory) -> bool:
    try:
        resolution = directory.login(login)
    except AmbiguousEntry:
        return True  # mail of it waits, and says so
    return resolution is not None and resolution.entry is not None
