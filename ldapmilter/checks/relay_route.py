"""The way of copies from Postfix to the copy relay, and on from there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import seconds
from ldapmilter.policy.identity import in_networks

if TYPE_CHECKING:
    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import PostfixConfig, Service
    from ldapmilter.config import Config
    from ldapmilter.postfix.transport import Route

_AREA = Area.POSTFIX

NOT_ROUTED = Kind(
    code="relay-not-routed",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Postfix does not hand copies to the copy relay: mail with tracked or journaled copies waits.",
    remedy="run scripts/register --relay $listen --relay-domain $domain",
)
UNKNOWN = Kind(
    code="relay-route-unknown",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="It cannot be found out whether Postfix hands copies to the copy relay; where it does not, they bounce, and"
    " nobody is told.",
    remedy="run scripts/register --relay $listen, which puts the relay's table in front, or let the daemon's user read"
    " those that stand before it",
)
NOT_KEPT = Kind(
    code="relay-no-last-table",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Should the route to the copy relay be taken away, copies that are under way bounce, and nobody is told: no"
    " further table makes Postfix keep them.",
    remedy="run scripts/register --relay $listen --relay-domain $domain, which appends such a table",
)
CHROOTED = Kind(
    code="relay-chroot",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The client that hands copies over looks for the relay's unix socket where it is not: no copy gets there.",
    remedy="set the chroot column of $service in master.cf to n, or set [relay] listen to a TCP socket on loopback",
)
TLS = Kind(
    code="relay-tls",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Postfix wants TLS of every LMTP server, and the copy relay, on this host, has none: no copy gets there.",
    remedy="set lmtp_tls_security_level = may, or route copies by a transport of their own with -o"
    " lmtp_tls_security_level=may in master.cf",
)
LIFETIME = Kind(
    code="relay-keep-after",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A copy that does not get through leaves Postfix's queue before the relay keeps it: it would be lost.",
    remedy="set [relay] keep_after below $parameter less maximal_backoff_time, or raise $parameter",
)
OWN_NEXT_HOP = Kind(
    code="relay-next-hop-own",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A next hop of the copy relay is this host or a relay of one's own: that it has accepted a copy says only"
    " that the copy is in one's own queue.",
    remedy="name the archive's own server in [relay] next_hop and next_hop_for",
)

REINJECTION = Kind(
    code="relay-reinjection",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Mail that comes back from a content filter passes the milter again, which refuses what has tracked or"
    " journaled copies by then: nobody may write to the relay's domain. The content filter bounces it.",
    remedy="add $port to [identity] reinjection_ports, or -o smtpd_milters= to that service",
)

KINDS = (NOT_ROUTED, UNKNOWN, NOT_KEPT, CHROOTED, TLS, LIFETIME, OWN_NEXT_HOP, REINJECTION)

_WITHOUT_TLS = frozenset({"", "none", "may", "dane"})
_LIFETIMES = ("maximal_queue_lifetime", "bounce_queue_lifetime")
"""Of mail with a sender, and of mail without one."""
_THIS_HOST = frozenset({"localhost", "::1", "127.0.0.1"})


def look(postfix: PostfixConfig, found: Route, config: Config, report: Report) -> None:
    """Look at the way that Postfix has for copies, where there is a relay.

    Args:
        postfix: its configuration.
        found: what its tables say.
        config: the relay's settings.
        report: what to add to.
    """
    relay = config.relay
    if found.state == "not routed":
        report.add(NOT_ROUTED.found(found.text, listen=relay.listen, domain=relay.domain))
    elif found.state == "unknown":
        report.add(UNKNOWN.found(found.text, listen=relay.listen))
    else:
        if not found.kept:
            report.add(NOT_KEPT.found(found.text, listen=relay.listen, domain=relay.domain))
        service = next((one for one in postfix.services if one.shown == f"{found.transport}/unix"), None)
        _client(postfix, service, found, config, report)
        report.fine(_AREA, found.text)
    _lifetimes(postfix, config, report)


def look_at_next_hops(config: Config, report: Report) -> None:
    """Look at where the relay hands copies on."""
    own = {*_THIS_HOST, socket.gethostname().lower(), socket.getfqdn().lower()}
    relays = config.policy.identity.own_relays
    for hop in config.relay.every_hop:
        mailbox_server = hop.kind == "lmtp"  # a mailbox of this system is delivered to, not queued
        if (hop.host in own and not mailbox_server) or (relays and in_networks(hop.host, relays)):
            whose = "this host" if hop.host in own else "in [identity] own_relays"
            report.add(OWN_NEXT_HOP.found(f"{hop.text}: that is {whose}"))


def _client(postfix: PostfixConfig, service: Service | None, found: Route, config: Config, report: Report) -> None:
    parameter = (service or postfix).parameter
    level = parameter("lmtp_tls_security_level")
    if level not in _WITHOUT_TLS:
        where = service.where("lmtp_tls_security_level") if service is not None else ""
        report.add(TLS.found(f"{where}lmtp_tls_security_level = {level}"))
    listen = config.relay.listen
    if service is None or listen is None or listen.kind != "unix":
        return
    queue, path = postfix.parameter("queue_directory").rstrip("/"), found.hop.removeprefix("unix:")
    looked_for = f"{queue}/{path.lstrip('/')}" if service.chrooted or not path.startswith("/") else path
    if looked_for != listen.path:
        text = f"{service.shown} looks for {looked_for}; [relay] listen = {listen}"
        report.add(CHROOTED.found(text, service=service.shown))


def _lifetimes(postfix: PostfixConfig, config: Config, report: Report) -> None:
    pause = seconds(postfix.parameter("maximal_backoff_time")) or 0.0
    for name in _LIFETIMES:
        lifetime = seconds(postfix.parameter(name), "d")
        if lifetime is not None and config.relay.keep_after + pause >= lifetime:
            text = f"{name} = {postfix.parameter(name)}; [relay] keep_after = {config.relay.keep_after:g}"
            report.add(LIFETIME.found(text, parameter=name))
