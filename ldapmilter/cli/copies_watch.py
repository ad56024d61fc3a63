"""What ``ldapmilter copies --nagios`` looks at beside the numbers: whether copies get to the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.mta.dial import dial
from ldapmilter.mta.stream import ConnectError
from ldapmilter.postfix.transport import ask_postfix

if TYPE_CHECKING:
    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.relay.summary import CopyNumbers
    from ldapmilter.socket_address import SocketAddress

_GREETING_SECONDS = 10.0


def figures(summary: CopyNumbers, late_after: float) -> str:
    """Return the performance data of a plugin."""
    return (
        f"waiting={summary.waiting};;;0 oldest={summary.oldest_seconds:.0f}s;{late_after:g};14400;0"
        f" kept={summary.kept};;0;0 unseen={summary.unseen};;;0"
    )


def unrouted(relay: RelaySettings, listen: SocketAddress) -> tuple[str, str | None]:
    """Return how bad it is that Postfix does not route copies to the relay, and why; ``None``: it does."""
    route = ask_postfix(relay.domain, listen, relay.postfix_dir)
    if route.state == "unknown":
        return "warning", f"it is not known whether copies are routed to the relay: {route.text}"
    return "critical", f"copies are not routed to the relay: {route.text}" if route.state == "not routed" else None


def silence(listen: SocketAddress) -> str | None:
    """Return why the relay does not answer; ``None``: it does, or this user may not connect to it."""
    try:
        with dial(listen, _GREETING_SECONDS) as connection:
            greeting = connection.recv(4)
    except ConnectError as error:
        return None if isinstance(error.__cause__, PermissionError) else f"the relay does not answer at {error}"
    except OSError as error:
        return f"the relay does not answer at {listen}: {error.strerror or error}"
    return None if greeting.startswith(b"220") else f"the relay at {listen} takes no mail now"
