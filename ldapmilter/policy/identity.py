"""Who is really sending: the login, the mailbox of a mailbox server, or an unknown sender.

Header text never counts: an outsider can write any MAIL FROM and any From.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from ldapmilter.address import Address, envelope_address, parse_address
from ldapmilter.directory.model import Resolution
from ldapmilter.errors import AmbiguousEntry
from ldapmilter.message import Identity
from ldapmilter.policy.service_logins import ServiceLogins, is_service, stands_for

if TYPE_CHECKING:
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.message import Envelope, Headers, IdentitySource

# Postfix replaces bytes it does not like in a SASL name by "?": such a name belongs to no account.
_NOBODY = re.compile(r"[?\x00-\x1f\x7f]")

AUTHENTICATED_USER = "x-authenticated-user"

NOBODY = Identity(source="none")

OnFailure = Literal["tempfail", "accept"]
"""What a message gets when something that should be known is not."""


class IdentityPolicy(Struct, frozen=True, kw_only=True):
    """The ``[identity]`` section."""

    mailbox_hosts: tuple[str, ...] | Literal["auto"] = "auto"
    """CIDR blocks, or ``auto``: the zimbraServer entries that run ``mailbox``."""
    unknown_login: OnFailure = "tempfail"
    trust_x_authenticated_user: bool = False
    """Whether mailbox servers may name the person behind a mailbox."""
    reinjection_ports: frozenset[int] = frozenset()
    """Ports on which Zimbra takes mail back that has been through here."""
    own_relays: tuple[str, ...] = ()
    """CIDR blocks of relays behind which the mail has been through here."""
    service_logins: ServiceLogins = field(default_factory=dict)
    """Logins that are no account's, and what each stands for."""


class Claim(Struct, frozen=True):
    """By what a sender is known."""

    source: Literal["sasl", "mailbox-host"]
    text: str
    """``{auth_authen}`` as the client typed it, the account that it stands for, or MAIL FROM of a mailbox server."""


class Sender(Struct, frozen=True, kw_only=True):
    """The identity together with what the directory knows about it."""

    identity: Identity
    resolution: Resolution | None = None
    """The account, or (without entry) the hosted address; ``None`` when policy cannot apply."""
    unknown_login: bool = False
    """Whether a login resolved to no entry."""
    asks_for_person: bool = False
    """Whether ``X-Authenticated-User`` may name who wrote from this mailbox."""
    person: Resolution | None = None
    """Who wrote, where that is another account than the mailbox: its copies are due as well."""
    unclear: str | None = None
    """Why it cannot be known who sends; policy of the sender's cannot apply."""
    unknown_person: str | None = None
    """An ``X-Authenticated-User`` that resolves to no entry."""

    @property
    def entry(self) -> Entry | None:
        """The author's account, if there is one."""
        return self.resolution.entry if self.resolution is not None else None

    @property
    def own_keys(self) -> frozenset[str]:
        """The keys under which an address is the author's own; none without an account."""
        resolution = self.resolution
        return resolution.identity_keys if resolution is not None and resolution.entry is not None else frozenset()


_NOBODYS_SERVICE = "the login is a service's, and stands for nobody ([identity] service_logins)"
_NO_MAILBOX_HOST = "nobody logged in, and the client is no mailbox server ([identity] mailbox_hosts)"

UNKNOWN = Sender(identity=NOBODY)
"""The sender of a message whose sender is not known."""


def as_claimed(envelope: Envelope) -> Identity:
    """Return who says to be sending, before the directory has been asked: a login is a login."""
    if envelope.login:
        return Identity(source="sasl", address=parse_address(envelope.login))
    return NOBODY


def decided_before(envelope: Envelope, policy: IdentityPolicy) -> str | None:
    """Return why a message has been decided on an earlier hop, or ``None``: it has not.

    Zimbra sends mail through several ports of one Postfix (``{daemon_port}``), some of which run
    the milters again.
    """
    if envelope.daemon_port is not None and envelope.daemon_port in policy.reinjection_ports:
        return f"re-injected on port {envelope.daemon_port}"
    if envelope.client is not None and policy.own_relays and in_networks(envelope.client, policy.own_relays):
        return f"from the relay {envelope.client}"
    return None


def recipient_of_relay(envelope: Envelope, relay_domain: str | None) -> str | None:
    """Return a recipient in the copy relay's domain, of a message that has not been decided before; ``None``: none.

    Only copies of ours go there, and a milter sees these as recipients on a later hop only.
    """
    if relay_domain is None:
        return None
    end = f"@{relay_domain}"
    return next((one for one in envelope.recipients if one.lower().rstrip(".").endswith(end)), None)


def claim_of(envelope: Envelope, directory: Directory, policy: IdentityPolicy) -> Claim | None:
    """Return by what the sender of a message is known; ``None``: the sender is not known.

    1. ``{auth_authen}``, resolved as Zimbra resolves logins (:func:`by_login`). One of ``service_logins`` is the
       account that it stands for, or not known.
    2. Else, when the client is one of our mailbox servers, the envelope sender: trustworthy as a
       mailbox (``zimbraSmtpRestrictEnvelopeFrom``), not as a person (:func:`by_mailbox`).
       Its last ``X-Authenticated-User``, where that is trusted and Zimbra writes it
       (``zimbraSmtpSendAddAuthenticatedUser``), names the person (:func:`with_person`).
    3. Else it is not known, as for the null sender without a login and for sendmail(1) mail.

    Raises:
        DirectoryUnavailable: it could not be asked which clients are mailbox servers.
    """
    if why_nobody(envelope, directory, policy) is not None:
        return None
    if not envelope.login:
        return Claim("mailbox-host", envelope.sender)
    account = stands_for(envelope.login, policy.service_logins)
    return Claim("sasl", account.text if account is not None else envelope.login)


def why_nobody(envelope: Envelope, directory: Directory, policy: IdentityPolicy) -> str | None:
    """Return why the sender of a message is not known; ``None``: there is a login, or a mailbox server sends it.

    Raises:
        DirectoryUnavailable: it could not be asked which clients are mailbox servers.
    """
    if envelope.login:
        service = is_service(envelope.login, policy.service_logins)
        return _NOBODYS_SERVICE if service and stands_for(envelope.login, policy.service_logins) is None else None
    if envelope.submitted_locally:
        return "handed in by sendmail(1), which vouches for nobody"
    if not envelope.sender:
        return "nobody logged in, and the envelope sender is empty (<>)"
    if envelope.client is None:
        return "nobody logged in, and the client's address is not known"
    if not _is_mailbox_host(envelope.client, directory, policy):
        return _NO_MAILBOX_HOST
    return None


def by_login(login: str, directory: Directory) -> Sender:
    """Return who logged in.

    Raises:
        DirectoryUnavailable: the directory could not be asked.
        AmbiguousEntry: two accounts answer to the login.
    """
    resolution = None if _NOBODY.search(login) else directory.login(login)
    if resolution is None:
        # No account; its domain's levels, if that is hosted, or at least the global one apply if the mail may pass.
        address = envelope_address(login) or Address(key=login, written=login, domain="")
        hosted = address.domain if address.domain and directory.hosts(address.domain) else None
        return Sender(
            identity=Identity(source="sasl", address=parse_address(login)),
            resolution=Resolution(address=address, hosted_domain=hosted),
            unknown_login=True,
        )
    return Sender(
        identity=_named("sasl", resolution, resolution.address),
        resolution=resolution,
        unknown_login=resolution.known and not resolution.entries,
    )


def by_mailbox(address: Address | None, directory: Directory, policy: IdentityPolicy) -> Sender:
    """Return the mailbox that a mailbox server sends for; a redirect that kept its sender has none.

    Args:
        address: the envelope sender; ``None``: it is no address.
        directory: where it is looked up.
        policy: the ``[identity]`` section.

    Raises:
        DirectoryUnavailable: the directory could not be asked.
        AmbiguousEntry: two entries answer to the address.
    """
    resolution = directory.sender(address) if address is not None else None
    if address is None or resolution is None or resolution.hosted_domain is None:
        return UNKNOWN
    if len(resolution.entries) > 1:
        names = " and ".join(sorted(entry.dn for entry in resolution.entries))
        message = f"two entries answer to the sender {address}: {names}"
        raise AmbiguousEntry(message)
    return Sender(
        identity=_named("mailbox-host", resolution, address),
        resolution=resolution,
        asks_for_person=policy.trust_x_authenticated_user and directory.names_authenticated_user(),
    )


def named_person(headers: Headers) -> str | None:
    """Return whom the last ``X-Authenticated-User`` names: Zimbra appends, so an earlier one is forged."""
    names = headers.values(AUTHENTICATED_USER)
    return names[-1].strip() if names else None


def with_person(mailbox: Sender, name: str, person: Sender) -> Sender:
    """Add who wrote from a mailbox, where that is another account: the one that a name logs in as, if any."""
    if person.resolution is not None and not person.resolution.known:
        return mailbox  # the directory has noted the failure: whether there is such a person is not known
    if person.entry is None:
        return replace(mailbox, unknown_person=name)
    same = mailbox.entry is not None and mailbox.entry.dn == person.entry.dn
    return mailbox if same else replace(mailbox, person=person.resolution)


def _named(source: IdentitySource, resolution: Resolution, fallback: Address) -> Identity:
    entry = resolution.entry
    return Identity(
        source=source,
        address=entry.name if entry is not None else fallback,
        dn=entry.dn if entry is not None else None,
    )


def _is_mailbox_host(client: str, directory: Directory, policy: IdentityPolicy) -> bool:
    if policy.mailbox_hosts == "auto":
        return directory.is_mailbox_host(client)
    return in_networks(client, policy.mailbox_hosts)


@lru_cache(maxsize=4096)
def in_networks(client: str, networks: tuple[str, ...]) -> bool:
    """Whether a textual IP address lies in one of the CIDR blocks; what is no address does not."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ipaddress.ip_network(network, strict=False) for network in networks)
