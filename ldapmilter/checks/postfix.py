"""Postfix, as far as it decides whether the milter sees the mail, and what happens when it does not answer.

main.cf is only half of it: any service of master.cf may overrule it, and one that does is how mail goes
past an archive for years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks import postfix_copies, postfix_identity, postfix_service, relay_route
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import (
    is_ours,
    macro_names,
    parse_milters,
    position,
    read_postfix,
)
from ldapmilter.checks.postfix_service import CHROOTED, SWITCHED_OFF, lists_us
from ldapmilter.postfix.postconf import PostconfFailed, find_postconf
from ldapmilter.postfix.transport import ask_postfix

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import Milter, PostfixConfig, Service
    from ldapmilter.config import Config

_AREA = Area.POSTFIX

ABSENT = Kind(
    code="postfix-absent",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="There is no Postfix on this host, so it could not be checked.",
    remedy="run ldapmilter check on every MTA too, or name the directory of main.cf with --postconf-dir",
)
BROKEN = Kind(
    code="postfix-unreadable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="`postconf` could not read Postfix's configuration.",
    remedy="run postconf by hand and correct what it complains about",
)
UNLISTED = Kind(
    code="postfix-unlisted",
    severity=Severity.PROBLEM,
    area=_AREA,
    outage=True,
    meaning="`smtpd_milters` does not name the milter: mail by SMTP bypasses it: no copies, no change of From.",
    remedy="register the milter (scripts/register on Zimbra), or add $socket to smtpd_milters and run postfix reload",
)
SERVICE_UNLISTED = Kind(
    code="postfix-service-unlisted",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A service of master.cf has its own list of milters, without ours: its mail bypasses the milter.",
    remedy="take -o smtpd_milters out of that service, or add $socket to it (in Zimbra: master.cf.in)",
)
NONSMTPD_UNLISTED = Kind(
    code="postfix-nonsmtpd-unlisted",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`non_smtpd_milters` does not name the milter: mail of local programs (sendmail) gets no copies.",
    remedy="register the milter (scripts/register on Zimbra), or add $socket to non_smtpd_milters",
)
REINJECTION = Kind(
    code="postfix-reinjection",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Mail that comes back from a content filter passes the milter again and is decided twice, the second time"
    " without a login.",
    remedy="add $port to [identity] reinjection_ports, or -o smtpd_milters= to that service",
)
REINJECTION_PUBLIC = Kind(
    code="postfix-reinjection-public",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A port to which the world or the users connect is taken for a re-injection port: its mail is left"
    " untouched.",
    remedy="take $port out of [identity] reinjection_ports",
)

KINDS = (
    ABSENT,
    BROKEN,
    UNLISTED,
    SERVICE_UNLISTED,
    NONSMTPD_UNLISTED,
    REINJECTION,
    REINJECTION_PUBLIC,
)

_KNOWN_REINJECTION = frozenset({10025, 10028, 10029, 10030})
"""Zimbra's: amavisd, postjournal, archive injection, DKIM."""
_ZIMBRAS_MILTER = ":7026"
"""``zimbraMilterBindPort``: Zimbra's own milter server."""
_PUBLIC = frozenset({25, 465, 587})


def check(config: Config, report: Report, *, directory: Path | None) -> str | None:
    """Look at Postfix, where there is one; return its recipient_delimiter.

    Args:
        config: where the daemon listens, and how long a decision may take.
        report: what to add to.
        directory: that holds main.cf; the one that ``[relay]`` names, or Postfix's own, unless given.
    """
    relay = config.relay
    if relay.listen is not None:
        relay_route.look_at_next_hops(config, report)
    directory = directory or relay.postfix_dir
    postconf = find_postconf()
    if postconf is None:
        report.add(ABSENT.found("no postconf on this host"))
        return None
    try:
        postfix = read_postfix(postconf, directory)
    except PostconfFailed as error:
        report.add(BROKEN.found(str(error)))
        return None
    look(postfix, config, report)
    if relay.listen is not None:
        relay_route.look(postfix, ask_postfix(relay.domain, relay.listen, directory), config, report)
    return postfix.parameter("recipient_delimiter")


def look(postfix: PostfixConfig, config: Config, report: Report) -> None:
    """Look at a configuration that has been read."""
    _registration(postfix, config, report)
    _non_smtpd(postfix, config, report)
    for service in _listening(postfix):
        ours = _ours(service, config)
        if ours is not None:
            postfix_service.look(service, ours, config, report)
    postfix_copies.look(postfix, config, report)
    postfix_identity.look(postfix, _listening(postfix), config, report)


def _listening(postfix: PostfixConfig) -> list[Service]:
    return [service for service in postfix.services if service.command == "smtpd" and service.kind in {"inet", "pass"}]


def _ours(service: Service, config: Config) -> Milter | None:
    """Return our milter in the list of a service, as it is written there."""
    milters = parse_milters(service.parameter("smtpd_milters"))
    # As written: whether a chroot hides the socket is another question.
    return next((one for one in milters if lists_us(one, service, config)), None)


def _registration(postfix: PostfixConfig, config: Config, report: Report) -> None:
    socket = config.milter.socket
    reinjection = config.policy.identity.reinjection_ports
    inheriting: list[str] = []
    for service in _listening(postfix):
        if service.port in reinjection:
            if service.port in _PUBLIC and service.port is not None:
                text = f"{service.shown}: port {service.port} is in reinjection_ports"
                report.add(REINJECTION_PUBLIC.found(text, port=service.port))
            continue
        if _ours(service, config) is not None:
            if _comes_back(service):
                text = f"{service.shown}: mail from a content filter, with the milter on"
                kind = relay_route.REINJECTION if config.relay.listen is not None else REINJECTION
                report.add(kind.found(text, port=service.port or service.name))
            continue
        if "smtpd_milters" not in service.overrides:
            inheriting.append(service.shown)
        elif not _comes_back(service):
            text = f"{service.shown}: smtpd_milters = {service.parameter('smtpd_milters') or '(empty)'}"
            report.add(SERVICE_UNLISTED.found(text, socket=socket.postfix))
    milters = parse_milters(postfix.parameter("smtpd_milters"))
    place = position(milters, socket, queue=postfix.parameter("queue_directory"))
    if inheriting or place is None:
        listed, concerned = postfix.parameter("smtpd_milters") or "(empty)", ", ".join(inheriting) or "no service"
        text = f"smtpd_milters = {listed}, for {concerned}"
        report.add(UNLISTED.found(text, socket=socket.postfix))
        return
    behind = (one.address for one in milters[place + 1 :])
    report.milters_behind = tuple(address for address in behind if not address.endswith(_ZIMBRAS_MILTER))
    chain = " then ".join("ldapmilter" if is_ours(one, socket) else one.address for one in milters)
    report.fine(_AREA, f"smtpd_milters: {chain}")


def _comes_back(service: Service) -> bool:
    """Whether a service takes mail back from a content filter: it has none itself, by its own setting."""
    if service.port in _KNOWN_REINJECTION:
        return True
    return "content_filter" in service.overrides and not service.parameter("content_filter")


def _non_smtpd(postfix: PostfixConfig, config: Config, report: Report) -> None:
    cleanup = next((service for service in postfix.services if service.shown == "cleanup/unix"), None)
    pickup = next((service for service in postfix.services if service.shown == "pickup/unix"), None)
    text = (cleanup or postfix).parameter("non_smtpd_milters")
    socket = config.milter.socket
    chrooted = cleanup is not None and cleanup.chrooted
    queue = postfix.parameter("queue_directory")
    milters = parse_milters(text)
    if (
        position(milters, socket, queue=queue) is None
        and position(milters, socket, queue=queue, chrooted=chrooted) is None
    ):
        report.add(NONSMTPD_UNLISTED.found(f"non_smtpd_milters = {text or '(empty)'}", socket=socket.postfix))
        return
    if chrooted and position(milters, socket, queue=queue, chrooted=True) is None and socket.kind == "unix":
        report.add(CHROOTED.found(f"cleanup/unix looks for {queue.rstrip('/')}{socket.path}"))
    if pickup is not None and "no_milters" in macro_names(pickup.parameter("receive_override_options")):
        report.add(SWITCHED_OFF.found("pickup/unix: receive_override_options has no_milters"))
    report.fine(_AREA, "non_smtpd_milters: ldapmilter is listed")
