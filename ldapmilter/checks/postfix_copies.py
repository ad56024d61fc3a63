"""What Postfix makes of copies once they are added, and whom it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import macro_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import PostfixConfig
    from ldapmilter.config import Config

_AREA = Area.POSTFIX

ORIGINAL_RECIPIENT = Kind(
    code="postfix-original-recipient",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Postfix and `config.ini` differ about `enable_original_recipient`: a copy to an address that is a"
    " recipient too may be lost behind an alias, or delivered twice.",
    remedy="set [milter] enable_original_recipient = $setting",
)

ADDRESS_TESTS = Kind(
    code="postfix-address-tests",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Every local user may have Postfix test an address (`sendmail -bv`) or trace a message (`sendmail -v`): the"
    " report names the copies, legal ones too.",
    remedy="set authorized_submit_users to the users that send mail, such as root and the one that Zimbra runs as",
)
POSTMASTER_NOTICES = Kind(
    code="postfix-postmaster-notices",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The postmaster gets notices of mail that bounces or is delayed, whatever the copy asks for: they name"
    " copies that cannot be delivered.",
    remedy="take $classes out of notify_classes, or let only administrators read the postmaster's mail",
)

SPLIT = Kind(
    code="postfix-recipient-limit",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="Clients have to split a message to many recipients into several: each is decided, copied and audited"
    " for itself, so an archive gets as many copies with one Message-ID.",
    remedy="raise smtpd_recipient_limit to Postfix's 1000, or let the archive join what has one Message-ID",
)

KINDS = (ORIGINAL_RECIPIENT, ADDRESS_TESTS, POSTMASTER_NOTICES, SPLIT)

_PARAMETER = "enable_original_recipient"
_SUBMITTERS = "authorized_submit_users"
_NOTICES = "notify_classes"
_LIMIT, _USUAL_LIMIT = "smtpd_recipient_limit", 1000
_TELLING = ("bounce", "2bounce", "delay")
"""Classes whose notices heed no NOTIFY (bounce(8), DSN_NOTIFY_OVERRIDE)."""


def look(postfix: PostfixConfig, config: Config, report: Report) -> None:
    """Look at a configuration that has been read."""
    _original_recipient(postfix, config, report)
    _address_tests(postfix, report)
    _postmaster_notices(postfix, report)
    _recipient_limit(postfix, report)


def _original_recipient(postfix: PostfixConfig, config: Config, report: Report) -> None:
    setting = config.milter.enable_original_recipient
    values = _settings(postfix, _PARAMETER, "cleanup")
    counts = "yes" if set(values.values()) == {"yes"} else "no"
    if setting not in {"auto", counts}:
        said = ", ".join(f"{where}{_PARAMETER} = {value}" for where, value in values.items())
        report.add(ORIGINAL_RECIPIENT.found(f"{said}; [milter] {_PARAMETER} = {setting}", setting=counts))


def _address_tests(postfix: PostfixConfig, report: Report) -> None:
    """Look at who may hand mail in by sendmail(1), which reads main.cf alone."""
    users = postfix.parameter(_SUBMITTERS)
    if any(word.startswith("static:") for word in users.lower().replace(",", " ").split()):
        report.add(ADDRESS_TESTS.found(f"{_SUBMITTERS} = {users}"))


def _postmaster_notices(postfix: PostfixConfig, report: Report) -> None:
    for where, value in _settings(postfix, _NOTICES, "bounce").items():
        telling = [name for name in _TELLING if name in macro_names(value.lower())]
        if telling:
            report.add(POSTMASTER_NOTICES.found(f"{where}{_NOTICES} = {value}", classes=", ".join(telling)))


def _recipient_limit(postfix: PostfixConfig, report: Report) -> None:
    """Look for services that take fewer recipients of a message than Postfix does by default."""
    for where, value in _settings(postfix, _LIMIT, "smtpd").items():
        if value.isdigit() and int(value) < _USUAL_LIMIT:
            report.add(SPLIT.found(f"{where}{_LIMIT} = {value}"))


def _settings(postfix: PostfixConfig, parameter: str, command: str) -> dict[str, str]:
    """Return a parameter as it counts for the services that run a program, by how they are named in front of it."""
    return dict(_each_setting(postfix, parameter, command)) or {"": postfix.parameter(parameter)}


def _each_setting(postfix: PostfixConfig, parameter: str, command: str) -> Iterator[tuple[str, str]]:
    for service in postfix.services:
        if service.command == command:
            yield service.where(parameter), service.parameter(parameter)
