"""One service of Postfix that mail reaches the milter through: its order, its patience, its macros."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import is_ours, macro_names, parse_milters, position, seconds

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import Milter, Service
    from ldapmilter.config import Config

_AREA = Area.POSTFIX

LISTED_TWICE = Kind(
    code="postfix-listed-twice",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The milter is listed twice: every message is decided twice, and copies may be made twice.",
    remedy="leave one of them in the list",
)
SWITCHED_OFF = Kind(
    code="postfix-milters-off",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="Milters are switched off, for a service or for some clients, although the milter is listed.",
    remedy="take no_milters out of receive_override_options, and the clients out of smtpd_milter_maps",
)
PROXY_FILTER = Kind(
    code="postfix-proxy-filter",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A service hands mail to a filter before it is queued (`smtpd_proxy_filter`): milters see commands there"
    " and can change nothing.",
    remedy="use content_filter in place of smtpd_proxy_filter (Zimbra: zmlocalconfig -e postjournal_enabled=false)",
)
CHROOTED = Kind(
    code="postfix-chroot",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="A chrooted service looks for the unix socket below the queue directory, where it is not.",
    remedy="set the chroot column of that service in master.cf to n, or listen on a TCP socket on loopback",
)
SIGNED_BEFORE = Kind(
    code="postfix-signed-before",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A milter that may sign (DKIM) runs before ours: a From that is changed afterwards breaks its signature.",
    remedy="put ldapmilter before the signing milter in the list",
)
DEFAULT_ACTION = Kind(
    code="postfix-default-action",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="While the daemon does not answer, mail is not deferred but accepted without copies, refused, or put on"
    " hold.",
    remedy="set milter_default_action = tempfail (Zimbra: zimbraMtaMilterDefaultAction)",
)
TIMEOUT = Kind(
    code="postfix-timeout",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Postfix waits for a milter no longer than a decision may take, and then does what `milter_default_action`"
    " says.",
    remedy="set $parameter well above [ldap] lookup_deadline (30s), or lower lookup_deadline",
)
PROTOCOL = Kind(
    code="postfix-protocol",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The milter protocol is older than version 6: copies could not be kept from bouncing to the author.",
    remedy="leave milter_protocol at its default, 6",
)
LOGIN_MACRO = Kind(
    code="postfix-login-macro",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The list of macros does not hold `{auth_authen}`: logins are not known, so mail programs have no"
    " identity.",
    remedy="add {auth_authen} to milter_mail_macros, or take the parameter out of main.cf",
)
MACROS = Kind(
    code="postfix-macros",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A list of macros lacks one that is used: addresses may be misread, log lines have no queue id, and"
    " Zimbra's own milter defers mail.",
    remedy="add $macros to $parameter, or take the parameter out of main.cf",
)

KINDS = (
    LISTED_TWICE,
    SWITCHED_OFF,
    PROXY_FILTER,
    CHROOTED,
    SIGNED_BEFORE,
    DEFAULT_ACTION,
    TIMEOUT,
    PROTOCOL,
    LOGIN_MACRO,
    MACROS,
)

_SIGNERS = re.compile(r"dkim|rspamd|:8465\b|:8891\b|:11332\b|\b8465@|\b8891@|\b11332@", re.IGNORECASE)
_TIMEOUTS = ("command_timeout", "content_timeout")
_MARGIN = 1.0
"""Seconds that an answer may be under way."""
_PROTOCOL = 6
_MACROS = {
    "milter_mail_macros": ("mail_addr",),
    "milter_rcpt_macros": ("rcpt_addr",),
    "milter_data_macros": ("i",),
    "milter_end_of_data_macros": ("i",),
}


def lists_us(one: Milter, service: Service, config: Config) -> bool:
    """Whether a milter in the list of a service is ours, whatever a chroot makes of it."""
    queue, ours = service.parameter("queue_directory"), config.milter.socket
    return is_ours(one, ours, queue=queue) or (service.chrooted and is_ours(one, ours, queue=queue, chrooted=True))


def look(service: Service, ours: Milter, config: Config, report: Report) -> None:
    """Look at one service that mail reaches us through."""
    milters = parse_milters(service.parameter("smtpd_milters"))
    mine = [number for number, one in enumerate(milters) if lists_us(one, service, config)]
    where = service.where("smtpd_milters")
    if len(mine) > 1:
        report.add(LISTED_TWICE.found(f"{where}smtpd_milters = {service.parameter('smtpd_milters')}"))
    signers = [one.address for one in milters[: mine[0]] if _SIGNERS.search(one.address)]
    if signers:
        report.add(SIGNED_BEFORE.found(f"{where}{', '.join(signers)} before ldapmilter"))
    _switches(service, config, report)
    _failure(service, ours, config, report)
    _macros(service, report)


def _switches(service: Service, config: Config, report: Report) -> None:
    if "no_milters" in macro_names(service.parameter("receive_override_options")):
        report.add(SWITCHED_OFF.found(f"{service.shown}: receive_override_options has no_milters"))
    if service.parameter("smtpd_milter_maps"):
        maps = _said(service, "smtpd_milter_maps", service.parameter("smtpd_milter_maps"))
        report.add(SWITCHED_OFF.found(f"{maps} overrules the list for clients in it"))
    if service.parameter("smtpd_proxy_filter"):
        text = f"{service.shown}: smtpd_proxy_filter = {service.parameter('smtpd_proxy_filter')}"
        report.add(PROXY_FILTER.found(text))
    socket, queue = config.milter.socket, service.parameter("queue_directory")
    if service.chrooted and socket.kind == "unix":
        milters = parse_milters(service.parameter("smtpd_milters"))
        if position(milters, socket, queue=queue, chrooted=True) is None:
            report.add(CHROOTED.found(f"{service.shown} looks for {queue.rstrip('/')}{socket.path}"))


def _setting(service: Service, ours: Milter, name: str) -> tuple[str, str]:
    """Return the parameter that counts for our milter in a service, and its value."""
    if name in ours.settings:
        return f"{name} of the milter in smtpd_milters", ours.settings[name]
    return f"milter_{name}", service.parameter(f"milter_{name}")


def _failure(service: Service, ours: Milter, config: Config, report: Report) -> None:
    parameter, action = _setting(service, ours, "default_action")
    if action not in {"tempfail", "shutdown"}:
        report.add(DEFAULT_ACTION.found(_said(service, parameter, action)))
    needed = config.ldap.lookup_deadline + _MARGIN
    for name in _TIMEOUTS:
        parameter, text = _setting(service, ours, name)
        limit = seconds(text)
        if limit is None or limit < needed:
            found = f"{_said(service, parameter, text)}, [ldap] lookup_deadline = {config.ldap.lookup_deadline:g}"
            report.add(TIMEOUT.found(found, parameter=parameter))
    parameter, text = _setting(service, ours, "protocol")
    version = text.split(None, 1)[0] if text else ""
    if not version.isdecimal() or int(version) < _PROTOCOL:
        report.add(PROTOCOL.found(_said(service, parameter, text)))


def _macros(service: Service, report: Report) -> None:
    if "auth_authen" not in macro_names(service.parameter("milter_mail_macros")):
        report.add(LOGIN_MACRO.found(_said(service, "milter_mail_macros", service.parameter("milter_mail_macros"))))
    for parameter, wanted in _MACROS.items():
        missing = [name for name in wanted if name not in macro_names(service.parameter(parameter))]
        if missing:
            spelled = ", ".join(name if len(name) == 1 else f"{{{name}}}" for name in missing)
            text = _said(service, parameter, service.parameter(parameter))
            report.add(MACROS.found(text, macros=spelled, parameter=parameter))


def _said(service: Service, parameter: str, value: str) -> str:
    """Return a setting in words; a service is named where it has its own."""
    return f"{service.where(parameter)}{parameter} = {value}"
