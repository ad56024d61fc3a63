"""From the names of mailbox servers to the client addresses that their mail comes from."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

from ldapmilter.directory.ldap.resolver import NotAnswered, NotResolved
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.directory.ldap.resolver import Resolver

_log = logging.getLogger(__name__)
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_SECONDS = 5.0
"""How long one name is waited for."""


def host_addresses(names: Sequence[str], resolver: Resolver) -> frozenset[str]:
    """Return the textual IP addresses of the names; a name that does not exist is left out.

    When one of the servers is this machine, its mail comes over loopback too: a single-server
    Zimbra submits web mail from 127.0.0.1. Waits for the resolver: call it where waiting is fine.

    Raises:
        DirectoryUnavailable: the resolver does not answer for one of them. Whose mail comes from
            there is not known then, which is not the same as no host's.
    """
    found: set[str] = set()
    for name in names:
        try:
            found.update(str(info[4][0]) for info in resolver.addresses(name, 0, _SECONDS))
        except NotResolved as error:
            # Not an outage: a server entry may outlive its machine, and then no mail comes from it.
            _log.warning("mailbox server %s: %s", name, error)
        except NotAnswered as error:
            message = f"mailbox server {name}: {error} ([identity] mailbox_hosts can name addresses instead)"
            raise DirectoryUnavailable(message) from error
    if any(_is_here(address) for address in found):
        found |= _LOOPBACK
    return frozenset(found)


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's own: then a socket can be bound to it."""
    family = socket.AF_INET6 if ipaddress.ip_address(address.partition("%")[0]).version == 6 else socket.AF_INET  # noqa: PLR2004
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False
