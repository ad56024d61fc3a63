"""The directory's side of registration: what Zimbra will write into Postfix's configuration next.

zmconfigd makes main.cf from these attributes again and again, so what Postfix has now is worth nothing
when the directory says otherwise. A server's own value counts before that of the global config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import parse_milters, position, seconds
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.names import GLOBAL_CONFIG_DN, ZIMBRA_BASE
from ldapmilter.directory.ldap.localconfig import ZIMBRAS_OWN, local_value
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import Milter
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.config import Config
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.socket_address import SocketAddress

_AREA = Area.REGISTRATION

NOT_REGISTERED = Kind(
    code="zimbra-not-registered",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="`zimbraMtaSmtpdMilters` of an MTA does not name the milter: Zimbra takes it out of Postfix at its next"
    " rewrite.",
    remedy="run scripts/register on $server",
)
NON_SMTPD = Kind(
    code="zimbra-non-smtpd-not-registered",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`zimbraMtaNonSmtpdMilters` of an MTA does not name the milter: mail of local programs gets no copies.",
    remedy="run scripts/register on $server",
)
SERVER_OFF = Kind(
    code="zimbra-milter-server-off",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="`zimbraMilterServerEnabled` is not TRUE: Zimbra empties `smtpd_milters` whatever is registered.",
    remedy="run scripts/register --enable-milter-server on $server; it lists what that starts besides",
)
ACTION = Kind(
    code="zimbra-default-action",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="While the daemon does not answer, an MTA will not defer mail but accept it without copies, refuse it, or"
    " put it on hold.",
    remedy="zmprov ms $server zimbraMtaMilterDefaultAction tempfail",
)
TIMEOUT = Kind(
    code="zimbra-timeout",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="An MTA will wait for a milter no longer than a decision may take.",
    remedy="zmprov ms $server $attribute 30s, or lower [ldap] lookup_deadline",
)
UNSEEN = Kind(
    code="zimbra-registration-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="The bind identity may not read how milters are registered, so only Postfix itself could be checked.",
    remedy="let it read $attributes, or look with zmprov gs on every MTA",
)

POSTJOURNAL = Kind(
    code="zimbra-postjournal",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="`postjournal_enabled` is on: mail on port 25 passes a filter before it is queued, where milters can change"
    " nothing.",
    remedy="zmlocalconfig -e postjournal_enabled=false && zmmtactl restart",
)

KINDS = (NOT_REGISTERED, NON_SMTPD, SERVER_OFF, ACTION, TIMEOUT, UNSEEN, POSTJOURNAL)

_LISTS = ("zimbraMtaSmtpdMilters", "zimbraMtaNonSmtpdMilters", "zimbraMilterServerEnabled")
_TIMEOUTS = ("zimbraMtaMilterCommandTimeout", "zimbraMtaMilterContentTimeout")
READS = (*_LISTS, "zimbraMtaMilterDefaultAction", *_TIMEOUTS)
_MARGIN = 1.0
"""Seconds that an answer may be under way."""


def check(raw_directory: RawDirectory, config: Config, report: Report) -> None:
    """Look at the registration on every server that runs an MTA.

    Raises:
        DirectoryUnavailable: no answer.
    """
    servers = [
        entry
        for entry in raw_directory.search(
            ZIMBRA_BASE,
            "sub",
            Equal("objectClass", "zimbraServer"),
            ("cn", "zimbraServiceHostname", "zimbraServiceEnabled", *READS),
        )
        if "mta" in {service.lower() for service in entry.all("zimbraserviceenabled")}
    ]
    if not servers:
        return
    hidden = raw_directory.hidden(servers[0].dn, READS)
    if hidden:
        report.add(UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    defaults = raw_directory.search(GLOBAL_CONFIG_DN, "base", Equal("objectClass", "zimbraGlobalConfig"), READS)
    for server in servers:
        _server(server, defaults[0] if defaults else None, frozenset(hidden), config, report)


def _is_listed(milters: list[Milter], ours: SocketAddress) -> bool:
    """Whether a list names this daemon, or one on another host that listens on the same port.

    Sites run a daemon beside each MTA, or two for all: to this one, the others are as good.
    """
    same_port = ours.kind != "unix" and any(one.address.endswith(f":{ours.port}") for one in milters)
    return same_port or position(milters, ours) is not None


def check_postjournal(config: Config, report: Report) -> None:
    """Look into Zimbra's localconfig.xml, where there is one that may be read."""
    path = config.ldap.zimbra_localconfig or ZIMBRAS_OWN
    try:
        found = local_value(path, "postjournal_enabled")
    except ConfigError:
        return
    if found.lower() in {"true", "1"}:
        report.add(POSTJOURNAL.found(f"{path}: postjournal_enabled = {found}"))


def _server(
    server: RawEntry, defaults: RawEntry | None, hidden: frozenset[str], config: Config, report: Report
) -> None:
    name = server.first("zimbraservicehostname") or server.first("cn") or server.dn
    before = len(report.findings)

    def value(attribute: str) -> str | None:
        """Return what counts on this server; ``None``: unset."""
        own = server.first(attribute.lower())
        return own if own is not None or defaults is None else defaults.first(attribute.lower())

    def may_say(attribute: str) -> bool:
        return attribute not in hidden

    for attribute, kind in (("zimbraMtaSmtpdMilters", NOT_REGISTERED), ("zimbraMtaNonSmtpdMilters", NON_SMTPD)):
        listed = parse_milters(value(attribute) or "")
        if may_say(attribute) and not _is_listed(listed, config.milter.socket):
            report.add(kind.found(f"{name}: {attribute} = {value(attribute) or '(unset)'}", server=name))
    if may_say("zimbraMilterServerEnabled") and (value("zimbraMilterServerEnabled") or "").upper() != "TRUE":
        said = value("zimbraMilterServerEnabled") or "(unset)"
        report.add(SERVER_OFF.found(f"{name}: zimbraMilterServerEnabled = {said}", server=name))
    action = value("zimbraMtaMilterDefaultAction")
    if action is not None and action != "tempfail":
        report.add(ACTION.found(f"{name}: zimbraMtaMilterDefaultAction = {action}", server=name))
    for attribute in _TIMEOUTS:
        text = value(attribute)
        limit = seconds(text) if text is not None else None
        if limit is not None and limit < config.ldap.lookup_deadline + _MARGIN:
            found = f"{name}: {attribute} = {text}, [ldap] lookup_deadline = {config.ldap.lookup_deadline:g}"
            report.add(TIMEOUT.found(found, server=name, attribute=attribute))
    if len(report.findings) == before and not hidden:
        report.fine(_AREA, f"{name}: registered; the timeouts suffice")
