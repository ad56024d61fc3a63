"""What in Postfix undermines knowing who sends: logins that prove nothing, or none at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import macro_names

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import PostfixConfig, Service
    from ldapmilter.config import Config

_AREA = Area.POSTFIX

NO_LOGIN = Kind(
    code="postfix-no-login",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="SMTP offers no login: mail programs have no identity, and no policy of the sender applies to them.",
    remedy="set smtpd_sasl_auth_enable = yes (Zimbra: zimbraMtaSaslAuthEnable), unless all users use the web client",
)
ANONYMOUS_LOGIN = Kind(
    code="postfix-anonymous-login",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A login without a password is offered: its users count as logged in.",
    remedy="add noanonymous to smtpd_sasl_security_options and smtpd_sasl_tls_security_options",
)
LOGIN_REALM = Kind(
    code="postfix-login-realm",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Postfix completes logins without a domain, perhaps to other addresses than Zimbra does.",
    remedy="leave smtpd_sasl_local_domain empty: zimbraDefaultDomainName completes a bare login",
)
XCLIENT = Kind(
    code="postfix-xclient",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Clients may claim any login by the XCLIENT command.",
    remedy="empty smtpd_authorized_xclient_hosts, or list only proxies of your own in it",
)

KINDS = (NO_LOGIN, ANONYMOUS_LOGIN, LOGIN_REALM, XCLIENT)


def look(postfix: PostfixConfig, services: list[Service], config: Config, report: Report) -> None:
    """Look at logins in all services that mail reaches the milter through."""
    facing = [service for service in services if service.port not in config.policy.identity.reinjection_ports]
    before = len(report.findings)
    with_login = [service for service in facing if service.parameter("smtpd_sasl_auth_enable") == "yes"]
    if facing and not with_login:
        report.add(NO_LOGIN.found(f"smtpd_sasl_auth_enable = {postfix.parameter('smtpd_sasl_auth_enable')}"))
    for service in with_login:
        for parameter in ("smtpd_sasl_security_options", "smtpd_sasl_tls_security_options"):
            if "noanonymous" not in macro_names(service.parameter(parameter)):
                text = f"{service.where(parameter)}{parameter} = {service.parameter(parameter)}"
                report.add(ANONYMOUS_LOGIN.found(text))
        if realm := service.parameter("smtpd_sasl_local_domain"):
            report.add(LOGIN_REALM.found(f"smtpd_sasl_local_domain = {realm}"))
    for service in facing:
        if hosts := service.parameter("smtpd_authorized_xclient_hosts"):
            report.add(XCLIENT.found(f"smtpd_authorized_xclient_hosts = {hosts}"))
    if len(report.findings) == before and with_login:
        names = ", ".join(service.shown for service in with_login)
        report.fine(_AREA, f"logins: offered on {names}, never without a password")
