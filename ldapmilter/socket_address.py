"""Where a milter listens: one value, and the three ways in which it is written.

Postfix writes ``inet:host:port``, libmilter ``inet:port@host``; libmilter reads the Postfix form too,
and then listens on port 127 of every interface when it is given ``inet:127.0.0.1:8800``. So the
text is parsed here once, and each side is handed its own spelling.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from msgspec import Struct

SocketKind = Literal["unix", "inet", "inet6"]

ALLOWED: Final = "unix:/path, inet:host:port, inet:[ipv6]:port, inet:port@host or inet6:port@host"

# sockaddr_un.sun_path holds 108 bytes on Linux, the last one NUL.
_MAX_UNIX_PATH_BYTES = 107
_MAX_PORT = 65535
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class SocketRefused(ValueError):
    """A text spells no socket.

    Attributes:
        reason: what is wrong with it.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is not a milter socket: {reason} (allowed is {ALLOWED})")
        self.reason = reason


class SocketAddress(Struct, frozen=True, kw_only=True):
    """One listening socket; ``str()`` of it is read back by :func:`parse_socket` as an equal value."""

    kind: SocketKind
    """``unix``, ``inet`` (IPv4) or ``inet6``."""
    path: str = ""
    """Absolute path of a unix socket, else empty."""
    host: str = ""
    """Host name or bare IP address (no brackets), else empty; ``0.0.0.0`` and ``::`` are every interface."""
    port: int = 0
    """TCP port from 1 to 65535, 0 for a unix socket."""

    @property
    def is_wildcard(self) -> bool:
        """Whether the socket is bound to every interface."""
        return self.host in _WILDCARDS

    @property
    def peer_host(self) -> str:
        """The host to connect to: the loopback address where the socket is bound to every interface."""
        return _WILDCARDS.get(self.host, self.host)

    @property
    def postfix(self) -> str:
        """The spelling for ``smtpd_milters`` in main.cf: a place to connect to, so never a wildcard."""
        return _postfix_order(self, self.peer_host)

    @property
    def libmilter(self) -> str:
        """The spelling for libmilter's ``smfi_setconn``: ``inet:port@host``, ``inet6:port@host``, ``unix:/path``."""
        return f"unix:{self.path}" if self.kind == "unix" else f"{self.kind}:{self.port}@{self.host}"

    def __str__(self) -> str:
        if self.kind == "inet6" and ":" not in self.host:
            return self.libmilter  # a name that is to be looked up in IPv6 only: Postfix has no word for it
        return _postfix_order(self, self.host)


def parse_socket(text: str) -> SocketAddress:
    """Return the socket that a configuration value spells.

    ``unix:`` and ``local:`` mean the same; ``inet:`` is read in Postfix's order and, where there
    is an ``@``, in libmilter's. An IPv6 address makes an ``inet6`` socket. ``inet:*:port`` and
    ``inet:0.0.0.0:port`` are every interface, which has to be asked for.

    Raises:
        SocketRefused: the text spells no socket; the message says what is wrong and what is allowed.
    """
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if colon and scheme in ("unix", "local"):
        return _unix(text, rest)
    if colon and scheme in ("inet", "inet6"):
        host, port = _split_inet(text, rest)
        return _inet(text, scheme == "inet6", host, port)
    reason = "it starts with none of unix:, local:, inet: and inet6:"
    if text.strip().startswith("/"):
        reason += f"; write unix:{text.strip()}"
    raise SocketRefused(text, reason)


def _unix(text: str, path: str) -> SocketAddress:
    if not path.startswith("/"):
        raise SocketRefused(text, "the path of a unix socket is absolute")
    if "\0" in path or path.endswith("/"):
        raise SocketRefused(text, "that is not a file name")
    if len(path.encode(errors="surrogateescape")) > _MAX_UNIX_PATH_BYTES:
        raise SocketRefused(text, f"the kernel allows a unix socket {_MAX_UNIX_PATH_BYTES} bytes of path")
    return SocketAddress(kind="unix", path=path)


def _split_inet(text: str, rest: str) -> tuple[str, str]:
    """Return host (without brackets) and port as they are written, in whichever order."""
    if "@" in rest:
        port, _, host = rest.partition("@")
    elif ":" not in rest:
        advice = f"inet:127.0.0.1:{rest} for this machine or inet:*:{rest} for every interface"
        raise SocketRefused(text, f"without a host it would listen on every interface; write {advice}")
    else:
        host, _, port = rest.rpartition(":")
        if host.isdigit():
            advice = f"inet:{port}:{host} or inet:{host}@{port}"
            raise SocketRefused(text, f"{host!r} looks like a port where the host belongs; write {advice}")
        if ":" in host and not host.startswith("["):
            raise SocketRefused(text, f"put the IPv6 address in brackets: inet:[{host}]:{port}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, port


def _inet(text: str, wants_ipv6: bool, host: str, port_text: str) -> SocketAddress:  # noqa: FBT001 - private
    if not (port_text.isascii() and port_text.isdigit() and 1 <= int(port_text[:6]) <= _MAX_PORT):
        raise SocketRefused(text, f"{port_text!r} is not a port from 1 to {_MAX_PORT}")
    port = int(port_text)
    if not host:
        raise SocketRefused(text, "the host is empty; every interface is written inet:*:port")
    if host == "*":
        host = "::" if wants_ipv6 else "0.0.0.0"
    if ":" in host:
        try:
            return SocketAddress(kind="inet6", host=str(IPv6Address(host)), port=port)
        except ValueError:
            raise SocketRefused(text, f"{host!r} is not an IPv6 address") from None
    if host.replace(".", "").isdigit():
        if wants_ipv6:
            raise SocketRefused(text, f"{host!r} is not an IPv6 address")
        try:
            return SocketAddress(kind="inet", host=str(IPv4Address(host)), port=port)
        except ValueError:
            raise SocketRefused(text, f"{host!r} is not an IPv4 address") from None
    if not _HOST_NAME.match(host):
        raise SocketRefused(text, f"{host!r} is not a host name")
    return SocketAddress(kind="inet6" if wants_ipv6 else "inet", host=host.lower(), port=port)


def _postfix_order(address: SocketAddress, host: str) -> str:
    if address.kind == "unix":
        return f"unix:{address.path}"
    return f"inet:[{host}]:{address.port}" if ":" in host else f"inet:{host}:{address.port}"
