"""Who is really sending: the login, the mailbox behind a mailbox server, or nobody we know.

Header text never takes part: an outsider can write any MAIL FROM and any From.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from ldapmilter.address import Address, envelope_address, parse_address
from ldapmilter.directory.model import Resolution
from ldapmilter.errors import AmbiguousEntry
from ldapmilter.message import Identity

if TYPE_CHECKING:
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry
    from ldapmilter.message import Envelope, Headers, IdentitySource

# Postfix replaces bytes it does not like in a SASL name by "?": such a name is nobody's.
_NOBODY = re.compile(r"[?\x00-\x1f\x7f]")

AUTHENTICATED_USER = "x-authenticated-user"

NOBODY = Identity(source="none")

OnFailure = Literal["tempfail", "accept"]
"""What a message gets when something that should be known is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPolicy:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """The identity together with what the directory knows about it."""

    identity: Identity
    resolution: Resolution | None = None
    """The account, or (without entry) the hosted address; ``None`` when policy cannot apply."""
    unknown_login: bool = False
    """Whether a login resolved to no entry."""
    asks_for_person: bool = False
    """Whether ``X-Authenticated-User`` may name who wrote from this mailbox."""
    person: Resolution | None = None
    """Who wrote, where that is somebody else than the mailbox: their copies are due as well."""
    unclear: str | None = None
    """Why it cannot be known who sends; policy of the sender's cannot apply."""
    unknown_person: str | None = None
    """An ``X-Authenticated-User`` that resolves to no entry."""

    @property
    def entry(self) -> Entry | None:
        """The author's account, if there is one."""
        return self.resolution.entry if self.resolution is not None else None


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


def identify(
    envelope: Envelope, directory: Directory, policy: IdentityPolicy, headers: Headers | None = None
) -> Author:
    """Return who sends a message.

    1. ``{auth_authen}``, resolved as Zimbra resolves logins.
    2. Else, when the client is one of our mailbox servers, the envelope sender: trustworthy as a
       mailbox (``zimbraSmtpRestrictEnvelopeFrom``), not as a person.
       Its last ``X-Authenticated-User``, where that is trusted and Zimbra writes it
       (``zimbraSmtpSendAddAuthenticatedUser``), names the person.
    3. Else nobody. The null sender without a login, and sendmail(1) mail, are nobody.

    Raises:
        DirectoryUnavailable: the directory could not be asked.
        AmbiguousEntry: two accounts answer to the login.
    """
    if envelope.login:
        return _by_login(envelope.login, directory)
    if envelope.submitted_locally or not envelope.sender or envelope.client is None:
        return Author(identity=NOBODY)
    if not _is_mailbox_host(envelope.client, directory, policy):
        return Author(identity=NOBODY)
    return _by_mailbox(envelope.sender, directory, policy, headers)


def _by_mailbox(sender_text: str, directory: Directory, policy: IdentityPolicy, headers: Headers | None) -> Author:
    """Return the mailbox that a mailbox server sends for; a redirect that kept its sender is nobody's."""
    sender = envelope_address(sender_text)
    resolution = directory.sender(sender) if sender is not None else None
    if sender is None or resolution is None or resolution.hosted_domain is None:
        return Author(identity=NOBODY)
    if len(resolution.entries) > 1:
        names = " and ".join(sorted(entry.dn for entry in resolution.entries))
        message = f"two entries answer to the sender {sender}: {names}"
        raise AmbiguousEntry(message)
    author = Author(
        identity=_named("mailbox-host", resolution, sender),
        resolution=resolution,
        asks_for_person=policy.trust_x_authenticated_user and directory.names_authenticated_user(),
    )
    if not author.asks_for_person or headers is None:
        return author
    return _with_person(author, directory, headers)


def _with_person(author: Author, directory: Directory, headers: Headers) -> Author:
    """Add who the last ``X-Authenticated-User`` names: Zimbra appends, so an earlier one is forged."""
    names = headers.values(AUTHENTICATED_USER)
    if not names:
        return author
    name = names[-1].strip()
    person = None if _NOBODY.search(name) else directory.login(name)
    if person is not None and not person.known:
        return author  # the directory has noted the failure: nobody can say that there is no such person
    if person is None or person.entry is None:
        return replace(author, unknown_person=name)
    same = author.entry is not None and author.entry.dn == person.entry.dn
    return author if same else replace(author, person=person)


def login_key(login: str | None) -> tuple[str, str | None]:
    """Return what an author who logged in is remembered by (:meth:`Directory.recall`)."""
    return ("login", login)


def _by_login(login: str, directory: Directory) -> Author:
    """Return who logged in, remembered if it is somebody: an account may have been made a minute ago."""
    key = login_key(login)
    made = directory.work_out(
        [key], lambda _keys: {key: _look_up_login(login, directory)}, worth_keeping=lambda one: one.entry is not None
    )
    return made[key]


def _look_up_login(login: str, directory: Directory) -> Author:
    resolution = None if _NOBODY.search(login) else directory.login(login)
    if resolution is None:
        # Nobody's, but of a domain perhaps: its levels, or at least the global one, apply if it may pass.
        address = envelope_address(login) or Address(key=login, written=login, domain="", odd=True)
        hosted = address.domain if address.domain and directory.hosts(address.domain) else None
        return Author(
            identity=Identity(source="sasl", address=parse_address(login)),
            resolution=Resolution(address=address, hosted_domain=hosted),
            unknown_login=True,
        )
    return Author(
        identity=_named("sasl", resolution, resolution.address),
        resolution=resolution,
        unknown_login=resolution.known and not resolution.entries,
    )


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
