"""How archives' servers are talked to: the name that is given, and what is encrypted."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.delivery.settings import StartTls


class Terms(Struct, frozen=True, kw_only=True):
    """How servers are talked to."""

    host_name: str
    """What this host calls itself in EHLO and LHLO, in ASCII."""
    starttls: StartTls = "may"
    """``must``: encrypted, and the certificate is that of the next hop's name. Not over a unix socket."""
    ca_file: Path | None = None
    """The authorities that certificates have to be of; ``None``: those of the system."""


def host_name() -> str:
    """Return this host's name as servers accept it: qualified, where that can be found out."""
    name = socket.getfqdn()
    return name if name.isascii() and "." in name else f"{socket.gethostname() or 'localhost'}.localdomain"


def tls_context(terms: Terms) -> ssl.SSLContext:
    """Return how connections are encrypted.

    Raises:
        OSError: the authorities cannot be read.
    """
    if terms.starttls == "must":
        return ssl.create_default_context(cafile=terms.ca_file)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
