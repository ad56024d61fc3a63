"""The ``[relay]`` section: how copies travel that are tracked or journaled."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ldapmilter.address import Address
    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.socket_address import SocketAddress

Delivery = Literal["direct", "tracked", "journal"]
"""How the copies of a class travel: ``direct``, as any recipient's mail; ``tracked``, by way of the relay,
unchanged; ``journal``, by way of the relay, wrapped in a journal report."""

StartTls = Literal["no", "may", "must"]

DRAIN_SECONDS: Final = 30.0
"""For which the relay lets copies under way end when it is to end itself."""


class RelaySettings(Struct, frozen=True, kw_only=True):
    """The ``[relay]`` section."""

    listen: SocketAddress | None
    """Where Postfix hands copies to the relay, by LMTP; ``None``: there is no relay."""
    socket_mode: int
    socket_group: str
    postfix_dir: Path | None
    """``config_directory`` of the Postfix that routes copies; ``None``: where ``postconf`` says, Zimbra's where
    that is."""
    domain: str
    """Of tokens: lower-case ACE."""
    key_file: Path
    """A bare name may be a systemd credential."""
    next_hop: tuple[NextHop, ...]
    """For targets whose domain has none of its own, in the order in which they are tried."""
    next_hop_for: Mapping[str, tuple[NextHop, ...]]
    """By domain of the target, exactly."""
    starttls: StartTls
    """``may``: where it is offered, unchecked; ``must``: the server's certificate is checked."""
    ca_file: Path | None
    """Certificates of the authorities that ``must`` trusts; ``None``: those of the system."""
    envelope_sender: str
    """MAIL FROM of what the relay hands on, without brackets; empty: the null sender."""
    report_from: str
    """From of journal reports: one mailbox (RFC 5322), ASCII."""
    state: Path
    """The SQLite file."""
    kept: Path
    """The Maildir."""
    keep_after: float
    """Seconds after its decision from which a copy that is not through is kept."""
    late_after: float
    """Seconds after which a copy that waits is late."""

    @property
    def every_hop(self) -> tuple[NextHop, ...]:
        """All servers that take copies, each once."""
        hops = (self.next_hop, *self.next_hop_for.values())
        return tuple(dict.fromkeys(chain.from_iterable(hops)))

    def hops_for(self, target: Address) -> tuple[NextHop, ...]:
        """Return the servers that take copies for a target, in order; none: it has no way."""
        return self.next_hop_for.get(target.domain, self.next_hop)
