"""How one option of ``config.ini`` is read: from text to a value, or to an error that helps.

Every reader raises ``ValueError`` with a phrase that completes "allowed is ...".
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ldapmilter.config_text import unix_path
from ldapmilter.socket_address import ALLOWED, SocketAddress, SocketRefused, parse_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LDIF_PREFIX = "ldif:"
"""Of ``[ldap] uri``: a directory in memory."""
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_TAKEN_HEADERS = frozenset(
    [
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "message-id",
        "received",
        "return-path",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "dkim-signature",
        "in-reply-to",
        "references",
        "auto-submitted",
        "x-authenticated-user",
        "x-zimbra-forwarded",
    ]
)
_DN = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+) *=.*[^,;+]\Z")
_GROUP = re.compile(r"[^\s:,/]*\Z")
_MAX_PORT = 65535
_MAX_WORKERS = 256
_FINDING = re.compile(r"([a-z]+(?:-[a-z]+)+)(?::(\S+))?\Z")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
_SERVER = r"ldaps?://(?:[^\s/?#@]*@)?(?:\[[^\s\[\]]+\]|[^\s/?#:@\[\]]+)(?::[0-9]{1,5})?/?"
_URI = re.compile(rf"(?:{_SERVER}|ldapi://[^\s?#]*|ldif:\S.*)\Z", re.IGNORECASE)


class Option(Struct, frozen=True):
    """One option: its default as text, and how text becomes a value."""

    default: str | None
    """``None``: the option has to be given."""
    read: Callable[[str], Any]


def dn(value: str) -> str:
    """Return a DN, or nothing; whether there is such an entry is the directory's affair."""
    if value and not _DN.match(value):
        msg = "a DN such as uid=ldapmilter,cn=appaccts,cn=zimbra, or nothing"
        raise ValueError(msg)
    return value


def group(value: str) -> str:
    """Return the name of a group, or nothing; whether there is such a group is found out when it is used."""
    if not _GROUP.match(value):
        msg = "the name of one group, such as postfix, or nothing"
        raise ValueError(msg)
    return value


def choice(*allowed: str) -> Callable[[str], str]:
    """Return the reader of one of a few words."""

    def read(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(" or ".join(allowed))
        return value.lower()

    return read


def boolean(value: str) -> bool:
    """``yes`` or ``no`` (``true``, ``on``, ``1`` and their opposites too)."""
    lowered = value.lower()
    if lowered in {"yes", "true", "on", "1"}:
        return True
    if lowered in {"no", "false", "off", "0"}:
        return False
    msg = "yes or no"
    raise ValueError(msg)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the reader of a whole number within bounds."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
            msg = f"a whole number from {least} to {most}"
            raise ValueError(msg)
        return int(value)

    return read


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Return the reader of a duration in seconds, fractions allowed."""

    def read(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", value) or not least <= float(value) <= most:
            msg = f"a number of seconds from {least:.10g} to {most:.10g}"
            raise ValueError(msg)
        return float(value)

    return read


def octal_mode(value: str) -> int:
    """File permissions in octal, such as ``0660``."""
    if not re.fullmatch(r"0?[0-7]{3}", value):
        msg = "file permissions in octal, such as 0660"
        raise ValueError(msg)
    return int(value, 8)


def path(value: str) -> Path | None:
    """Return a file, or nothing."""
    return Path(value) if value else None


def attributes(value: str) -> tuple[str, ...]:
    """LDAP attribute names separated by blanks; none switches the purpose off."""
    names = value.replace(",", " ").split()
    for name in names:
        if not _ATTRIBUTE.match(name):
            msg = f"LDAP attribute names separated by blanks ({name!r} is none)"
            raise ValueError(msg)
    return tuple(dict.fromkeys(names))


def uris(value: str) -> tuple[str, ...]:
    """LDAP URIs in the order in which they are tried, or one ``ldif:FILE``."""
    embedded = value.lower().startswith(LDIF_PREFIX)
    found = [value] if embedded else value.split()
    if not found or not all(_URI.match(uri) for uri in found) or (not embedded and LDIF_PREFIX in value.lower()):
        msg = "ldap://host:port, ldaps://host:port or ldapi://%2Fpath URIs separated by blanks, or one ldif:FILE"
        bare = next((one for one in found if "/" not in one and ":" not in one), None)
        if bare is not None:
            msg += f" ({bare} has no scheme; write ldap://{bare}:389, or ldaps://{bare}:636)"
        raise ValueError(msg)
    return tuple(found)


def networks(value: str) -> tuple[str, ...] | str:
    """``auto``, or CIDR blocks separated by blanks (none: no client is a mailbox server)."""
    if value.lower() == "auto":
        return "auto"
    found = value.replace(",", " ").split()
    for network in found:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            msg = f"auto, or addresses and CIDR blocks separated by blanks ({network!r} is neither)"
            raise ValueError(msg) from None
    return tuple(found)


def header_name(value: str) -> str:
    """Return the name of a header field that may be made up, or nothing."""
    if not value:
        return ""
    if not _HEADER_NAME.match(value) or value.lower() in _TAKEN_HEADERS:
        msg = "the name of a header field of your own, such as X-Original-From, or nothing"
        raise ValueError(msg)
    return value


def cidr_blocks(value: str) -> tuple[str, ...]:
    """Return addresses and CIDR blocks separated by blanks; none is fine."""
    found = networks(value)
    if isinstance(found, str):
        msg = "addresses and CIDR blocks separated by blanks"
        raise ValueError(msg)  # noqa: TRY004 - the value is wrong, not its type
    return found


def ports(value: str) -> frozenset[int]:
    """Return port numbers separated by blanks; none is fine."""
    names = value.replace(",", " ").split()
    if not all(re.fullmatch(r"[0-9]{1,5}", name) and 0 < int(name) <= _MAX_PORT for name in names):
        msg = f"port numbers from 1 to {_MAX_PORT} separated by blanks"
        raise ValueError(msg)
    return frozenset(map(int, names))


def findings(value: str) -> tuple[tuple[str, str], ...]:
    """Return findings of ``check``, as code and subject; an empty subject stands for whatever it is about."""
    # A DN has commas, too: only one at the end of an item parts it from the next.
    found = {item: _FINDING.match(item.rstrip(",")) for item in value.split()}
    for item, read in found.items():
        if read is None:
            msg = f"CODE or CODE:SUBJECT, separated by blanks, with the codes that check writes ({item!r} is neither)"
            raise ValueError(msg)
    return tuple((read[1], read[2] or "") for read in found.values() if read is not None)


def workers(value: str) -> int:
    """``auto`` (as many as there are cores to run on), or a number of processes."""
    if value.lower() == "auto":
        return len(os.sched_getaffinity(0))
    try:
        return whole(1, _MAX_WORKERS)(value)
    except ValueError:
        msg = f"auto, or a whole number from 1 to {_MAX_WORKERS}"
        raise ValueError(msg) from None


def socket_path(value: str) -> Path | None:
    """Return the path of a unix socket (``unix:`` before it is fine), or nothing."""
    found = unix_path(value)
    return Path(found) if found else None


def host_and_port(value: str) -> tuple[str, int] | None:
    """``host:port``, ``[ipv6]:port``, or nothing."""
    if not value:
        return None
    try:
        address = parse_socket(f"inet:{value}")
    except ValueError:
        msg = "host:port such as 127.0.0.1:9800, or nothing"
        raise ValueError(msg) from None
    return address.host, address.port


def milter_socket(value: str) -> SocketAddress:
    """Where the milter listens."""
    try:
        return parse_socket(value)
    except SocketRefused as error:
        msg = f"{ALLOWED} ({error.reason})"
        raise ValueError(msg) from None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name that was most likely meant."""
    import difflib  # noqa: PLC0415 - for a mistake only

    candidates = sorted(names)
    return difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0)[0]
