"""Which LDAP servers there are and how they are spoken to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Endpoints(Struct, frozen=True, kw_only=True):
    """Servers in order, and how a connection is secured."""

    uris: tuple[str, ...]
    starttls: bool = True
    """Whether ``ldap://`` is encrypted by StartTLS."""
    ca_file: Path | None = None
    ca_directory: Path | None = None


class LdapSettings(Struct, frozen=True, kw_only=True):
    """The ``[ldap]`` section, as far as connections go."""

    uris: tuple[str, ...]
    bind_dn: str = ""
    read_password: Callable[[], str] = lambda: ""
    """Called for every bind, so that a rotated password needs no restart."""
    starttls: bool = True
    ca_file: Path | None = None
    connect_timeout: float = 3.0
    policy_attributes: tuple[str, ...] = ()
    """What has to be readable on every server; nothing: not checked."""

    @property
    def endpoints(self) -> Endpoints:
        """The servers as configured here."""
        return Endpoints(uris=self.uris, starttls=self.starttls, ca_file=self.ca_file)
