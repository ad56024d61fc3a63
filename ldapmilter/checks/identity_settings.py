"""What in the directory undermines knowing who sends, or what may be written as From."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING

from ldapmilter.checks import automatic_mail
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.backend.filters import And, Equal, Or
from ldapmilter.directory.backend.names import COS_BASE, GLOBAL_CONFIG_DN, ZIMBRA_BASE
from ldapmilter.directory.ldap.hosts import host_addresses
from ldapmilter.directory.ldap.resolver import Resolver
from ldapmilter.directory.site import SITE_ATTRIBUTES, SITE_FILTER, read_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.reading import RawDirectory
    from ldapmilter.config import Config
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.site import Site

_AREA = Area.IDENTITY

ENVELOPE_UNRESTRICTED = Kind(
    code="identity-envelope-unrestricted",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="`zimbraSmtpRestrictEnvelopeFrom` is FALSE: users of the web client choose any envelope sender, and so"
    " any identity.",
    remedy="zmprov $command zimbraSmtpRestrictEnvelopeFrom TRUE",
)
ANY_FROM = Kind(
    code="identity-any-from",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`zimbraAllowAnyFromAddress` is TRUE: enforcement lets these users send with any From.",
    remedy="zmprov $command zimbraAllowAnyFromAddress FALSE, and list what they need in zimbraAllowFromAddress",
)
NETWORKS = Kind(
    code="identity-networks",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`zimbraMtaMyNetworks` lets hosts that are not mailbox servers send without a login: their mail has no"
    " identity, so no policy of a sender applies to it.",
    remedy="take them out of zimbraMtaMyNetworks of $server, let them log in, or list real mailbox servers in"
    " [identity] mailbox_hosts",
)
NO_MAILBOX_HOSTS = Kind(
    code="identity-no-mailbox-hosts",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="No client is known as a mailbox server: mail of the web client has no identity, and no sender's policy"
    " applies.",
    remedy="list the addresses of the mailbox servers in [identity] mailbox_hosts",
)
PERSON_UNNAMED = Kind(
    code="identity-person-unnamed",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="`trust_x_authenticated_user` is on, but Zimbra does not write the header, so it is ignored.",
    remedy="zmprov mcf zimbraSmtpSendAddAuthenticatedUser TRUE, or set trust_x_authenticated_user = no",
)
NO_DEFAULT_DOMAIN = Kind(
    code="identity-no-default-domain",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="`zimbraDefaultDomainName` is unset: a login without a domain matches no account.",
    remedy="zmprov mcf zimbraDefaultDomainName DOMAIN, if users log in by bare names",
)
DELIMITER = Kind(
    code="identity-delimiter",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Postfix uses another recipient delimiter than the directory says: recipients with one are not"
    " recognised, and their copies are missed.",
    remedy="set zimbraMtaRecipientDelimiter to what Postfix has in recipient_delimiter",
)
UNSEEN = Kind(
    code="identity-unseen",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="The bind identity may not read settings that can undermine identity, so they could not be checked.",
    remedy="let it read $attributes, or look with zmprov gc and zmprov gs",
)
UNANSWERED = Kind(
    code="identity-unanswered",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The directory stopped answering before all of its settings had been checked.",
    remedy="solve the findings about LDAP servers, and run the check again",
)

KINDS = (
    ENVELOPE_UNRESTRICTED,
    ANY_FROM,
    NETWORKS,
    NO_MAILBOX_HOSTS,
    PERSON_UNNAMED,
    NO_DEFAULT_DOMAIN,
    DELIMITER,
    UNSEEN,
    UNANSWERED,
)

_RESTRICT, _ANY = "zimbraSmtpRestrictEnvelopeFrom", "zimbraAllowAnyFromAddress"
_NETWORKS = "zimbraMtaMyNetworks"
READS = (_RESTRICT, _ANY, _NETWORKS)
_ADDRESS = "zimbraMailDeliveryAddress"


def check(raw_directory: RawDirectory, config: Config, report: Report, *, delimiter: str | None) -> None:
    """Look at the COSes, the servers and the global config.

    Args:
        raw_directory: where to look.
        config: which clients count as mailbox servers.
        report: what to add to.
        delimiter: Postfix's recipient_delimiter; ``None``: not known.

    Raises:
        DirectoryUnavailable: no answer.
    """
    site = read_site(raw_directory.search("", "sub", SITE_FILTER, SITE_ATTRIBUTES))
    hidden = [
        *raw_directory.hidden(f"cn=default,{COS_BASE}", (_RESTRICT, _ANY)),
        *raw_directory.hidden(GLOBAL_CONFIG_DN, (_NETWORKS,)),
        *automatic_mail.hidden(raw_directory),
    ]
    if hidden:
        report.add(UNSEEN.found(f"hidden: {', '.join(hidden)}", attributes=", ".join(hidden)))
    before = len(report.findings)
    _classes_of_service(raw_directory, report)
    _global(site, config, report, delimiter=delimiter)
    trusted = _mailbox_hosts(site, config, report)
    _networks(raw_directory, trusted, report)
    automatic_mail.check(raw_directory, report)
    if len(report.findings) == before:
        report.fine(_AREA, "COSes, servers and the global config: nothing that undermines identity")


def check_accounts(raw_directory: RawDirectory, report: Report) -> None:
    """Look at every account; for ``--directory``, since no index helps.

    Raises:
        DirectoryUnavailable: the answer broke off.
    """
    loose = Or((Equal(_RESTRICT, "FALSE"), Equal(_ANY, "TRUE")))
    wanted = And((Equal("objectClass", "zimbraAccount"), loose))
    for entry in raw_directory.pages(raw_directory.base, wanted, (_ADDRESS, _RESTRICT, _ANY)):
        name = entry.first(_ADDRESS.lower()) or entry.dn
        if entry.is_false(_RESTRICT.lower()):
            report.add(ENVELOPE_UNRESTRICTED.found(f"account {name}: {_RESTRICT} FALSE", command=f"ma {name}"))
        if entry.is_true(_ANY.lower()):
            report.add(ANY_FROM.found(f"account {name}: {_ANY} TRUE", command=f"ma {name}"))


def _classes_of_service(raw_directory: RawDirectory, report: Report) -> None:
    for cos in raw_directory.search(COS_BASE, "sub", Equal("objectClass", "zimbraCOS"), ("cn", _RESTRICT, _ANY)):
        name = cos.first("cn") or cos.dn
        if cos.is_false(_RESTRICT.lower()):
            report.add(ENVELOPE_UNRESTRICTED.found(f"COS {name}: {_RESTRICT} FALSE", command=f"mc {name}"))
        if cos.is_true(_ANY.lower()):
            report.add(ANY_FROM.found(f"COS {name}: {_ANY} TRUE", command=f"mc {name}"))


def _global(site: Site, config: Config, report: Report, *, delimiter: str | None) -> None:
    if site.default_domain is None:
        report.add(NO_DEFAULT_DOMAIN.found("zimbraDefaultDomainName is unset"))
    named = site.config is not None and site.config.is_true("zimbrasmtpsendaddauthenticateduser")
    if config.policy.identity.trust_x_authenticated_user and not named:
        report.add(PERSON_UNNAMED.found("zimbraSmtpSendAddAuthenticatedUser is not TRUE"))
    if delimiter is not None and set(delimiter) != set(site.delimiters):
        postfix, zimbra = delimiter or "(empty)", site.delimiters or "(unset)"
        text = f"recipient_delimiter = {postfix}, zimbraMtaRecipientDelimiter = {zimbra}"
        report.add(DELIMITER.found(text))


def _mailbox_hosts(site: Site, config: Config, report: Report) -> tuple[str, ...]:
    """Return the networks whose envelope senders are believed."""
    configured = config.policy.identity.mailbox_hosts
    if not isinstance(configured, str):
        if not configured:
            report.add(NO_MAILBOX_HOSTS.found("[identity] mailbox_hosts is empty"))
        return configured
    found = tuple(sorted(host_addresses(site.mailbox_host_names, Resolver(time.monotonic))))
    if not site.mailbox_host_names:
        report.add(
            NO_MAILBOX_HOSTS.found("mailbox_hosts = auto, and no zimbraServer has mailbox in zimbraServiceEnabled")
        )
    elif not found:
        names = ", ".join(site.mailbox_host_names)
        report.add(NO_MAILBOX_HOSTS.found(f"mailbox_hosts = auto, and none of these names resolves: {names}"))
    return found


def _networks(raw_directory: RawDirectory, trusted: Iterable[str], report: Report) -> None:
    believed = [network for text in trusted if (network := _network(text)) is not None]
    holders: list[RawEntry] = [
        *raw_directory.search(GLOBAL_CONFIG_DN, "base", Equal("objectClass", "zimbraGlobalConfig"), ("cn", _NETWORKS)),
        *raw_directory.search(ZIMBRA_BASE, "sub", Equal("objectClass", "zimbraServer"), ("cn", _NETWORKS)),
    ]
    for holder in holders:
        listed = " ".join(holder.all(_NETWORKS.lower())).replace(",", " ").split()
        strangers = [text for text in listed if _is_strange(text, believed)]
        if strangers:
            name = holder.first("cn") or holder.dn
            report.add(NETWORKS.found(f"{name}: {_NETWORKS} has {', '.join(strangers)}", server=name))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None  # a table, or an exclusion


def _is_strange(text: str, believed: Iterable[Network]) -> bool:
    """Whether a network holds hosts that are neither loopback nor mailbox servers."""
    network = _network(text)
    if network is None or network.is_loopback or network.is_link_local:
        return False
    return not any(
        network.subnet_of(one)
        if isinstance(network, ipaddress.IPv4Network) and isinstance(one, ipaddress.IPv4Network)
        else isinstance(network, ipaddress.IPv6Network)
        and isinstance(one, ipaddress.IPv6Network)
        and network.subnet_of(one)
        for one in believed
    )
