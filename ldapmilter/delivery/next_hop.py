"""Where the relay hands copies on: servers, in the order in which they are tried.

``smtp:[HOST]:PORT``, ``lmtp:[HOST]:PORT`` or ``lmtp:unix:PATH``, spelt as in Postfix's transport(5). The
brackets are not left out: there they mean that no MX record is looked up, and the relay looks up none.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from ldapmilter.address import fold_domain
from ldapmilter.socket_address import SocketRefused, parse_socket

ALLOWED: Final = "smtp:[HOST]:PORT, lmtp:[HOST]:PORT or lmtp:unix:PATH"

_INET = re.compile(r"(smtp|lmtp):\[([^\[\]\s]+)\]:([0-9]{1,5})\Z", re.IGNORECASE)
_UNIX = re.compile(r"lmtp:(unix:/\S*)\Z", re.IGNORECASE)
_WITHOUT_BRACKETS = re.compile(r"(smtp|lmtp):(?:inet:)?([^\[\]\s:/]+):([0-9]{1,5})\Z", re.IGNORECASE)

_WITHOUT_PORT = re.compile(r"(smtp|lmtp):(?:inet:)?(?:\[([^\[\]\s]+)\]|([^\[\]\s:/]+))\Z", re.IGNORECASE)
_WITHOUT_KIND = re.compile(r"(?:\[([^\[\]\s]+)\]|([^\[\]\s:/]+)):([0-9]{1,5})\Z")
_USUAL_PORTS: Final = {"smtp": "25", "lmtp": "PORT"}


class NextHop(Struct, frozen=True, kw_only=True):
    """One server that takes copies: by SMTP (RFC 5321), or by LMTP (RFC 2033)."""

    kind: Literal["smtp", "lmtp"]
    host: str = ""
    """Host name or bare IP address, lower case, without brackets; empty for a unix socket."""
    port: int = 0
    """1 to 65535; 0 for a unix socket."""
    path: str = ""
    """Absolute path of a unix socket; else empty."""

    @property
    def text(self) -> str:
        """As it is configured; read back it is an equal value."""
        return f"{self.kind}:unix:{self.path}" if self.path else f"{self.kind}:[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return self.text


def parse_next_hops(text: str) -> tuple[NextHop, ...]:
    """Return the next hops that a text names, separated by blanks, in order; none is fine.

    Raises:
        ValueError: one cannot be read, or is named twice; the message completes "allowed is ...".
    """
    hops = tuple(_parse(word) for word in text.split())
    if twice := next((hop for hop in hops if hops.count(hop) > 1), None):
        msg = f"{ALLOWED}, each once, separated by blanks ({twice} is there twice)"
        raise ValueError(msg)
    return hops


def parse_next_hop_for(text: str) -> dict[str, tuple[NextHop, ...]]:
    """Return the next hops of targets in single domains: a line each, ``DOMAIN HOP...``.

    Returns:
        By domain, lower-case ACE; one counts for exactly that domain.

    Raises:
        ValueError: a line cannot be read, or has a domain again; the message completes "allowed is ...".
    """
    found: dict[str, tuple[NextHop, ...]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, *words = line.split()
        domain = fold_domain(name.removeprefix("@"))
        if domain is None or ":" in name:
            msg = f"a line each of DOMAIN HOP..., with HOP {ALLOWED} ({name!r} is no domain)"
            raise ValueError(msg)
        if domain in found:
            msg = f"a line each of DOMAIN HOP... ({domain} has two)"
            raise ValueError(msg)
        hops = parse_next_hops(" ".join(words))
        if not hops:
            msg = f"a line each of DOMAIN HOP..., with HOP {ALLOWED} ({domain} has no HOP)"
            raise ValueError(msg)
        found[domain] = hops
    return found


def _parse(word: str) -> NextHop:
    if match := _UNIX.match(word):
        try:
            return NextHop(kind="lmtp", path=parse_socket(match[1]).path)
        except SocketRefused as error:
            raise _refused(word, error.reason) from None
    if match := _INET.match(word):
        host = match[2]
        try:
            address = parse_socket(f"inet:[{host}]:{match[3]}" if ":" in host else f"inet:{host}:{match[3]}")
        except SocketRefused as error:
            raise _refused(word, error.reason) from None
        if address.is_wildcard:
            raise _refused(word, "that is every interface, not a server")
        return NextHop(kind="smtp" if match[1].lower() == "smtp" else "lmtp", host=address.host, port=address.port)
    if match := _WITHOUT_BRACKETS.match(word):
        advice = f"without brackets Postfix would look up MX records; write {match[1].lower()}:[{match[2]}]:{match[3]}"
        raise _refused(word, advice)
    if match := _WITHOUT_PORT.match(word):
        kind, host = match[1].lower(), match[2] or match[3]
        raise _refused(word, f"the port is missing; write {kind}:[{host}]:{_USUAL_PORTS[kind]}")
    if match := _WITHOUT_KIND.match(word):
        raise _refused(word, f"smtp: or lmtp: is missing; write smtp:[{match[1] or match[2]}]:{match[3]}")
    raise _refused(word, "that is none")


def _refused(word: str, reason: str) -> ValueError:
    return ValueError(f"{ALLOWED}, separated by blanks ({word!r}: {reason})")
