"""Who is really sending: the login, the mailbox behind a mailbox server, or nobody we know.

Header text never takes part: an outsider can write any MAIL FROM and any From.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from ldapmilter.address import parse_address
from ldapmilter.errors import AmbiguousEntry
from ldapmilter.message import Identity

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry, Resolution
    from ldapmilter.message import Envelope, IdentitySource

# Postfix replaces bytes it does not like in a SASL name by "?": such a name is nobody's.
_NOBODY = re.compile(r"[?\x00-\x1f\x7f]")

NOBODY = Identity(source="none")

OnFailure = Literal["tempfail", "accept"]
"""What a message gets when something that should be known is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPolicy:
    """The ``[identity]`` section."""

    mailbox_hosts: tuple[str, ...] | Literal["auto"] = "auto"
    """CIDR blocks, or ``auto``: the zimbraServer entries that run ``mailbox``."""
    unknown_login: OnFailure = "tempfail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """The identity together with what the directory knows about it."""

    identity: Identity
    resolution: Resolution | None = None
    """The account, or (without entry) the hosted address; ``None`` when policy cannot apply."""
    unknown_login: bool = False
    """Whether a login resolved to no entry."""

    @property
    def entry(self) -> Entry | None:
        """The author's account, if there is one."""
        return self.resolution.entry if self.resolution is not None else None


def identify(envelope: Envelope, directory: Directory, policy: IdentityPolicy) -> Author:
    """Return who sends a message.

    1. ``{auth_authen}``, resolved as Zimbra resolves logins.
    2. Else, when the client is one of our mailbox servers, the envelope sender: trustworthy as a
       mailbox (``zimbraSmtpRestrictEnvelopeFrom``), not as a person.
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
    sender = parse_address(envelope.sender)
    if sender is None:
        return Author(identity=NOBODY)
    resolution = directory.sender(sender)
    if len(resolution.entries) > 1:
        names = " and ".join(sorted(entry.dn for entry in resolution.entries))
        message = f"two entries answer to the sender {sender}: {names}"
        raise AmbiguousEntry(message)
    return Author(identity=_named("mailbox-host", resolution, sender), resolution=resolution)


def _by_login(login: str, directory: Directory) -> Author:
    resolution = None if _NOBODY.search(login) else directory.login(login)
    if resolution is None:
        return Author(identity=Identity(source="sasl", address=parse_address(login)), unknown_login=True)
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
