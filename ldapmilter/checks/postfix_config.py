"""Postfix's configuration as postconf(1) tells it: parameters, services, and lists of milters."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.postfix.postconf import assignments, run_postconf
from ldapmilter.socket_address import parse_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ldapmilter.socket_address import SocketAddress

_LOCAL = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})  # noqa: S104 - names, nothing is bound
_MILTER = re.compile(r"\{((?:[^{}]|\{[^{}]*\})*)\}|([^\s,{}]+)")
_PART = re.compile(r"\{([^{}]*)\}|([^\s,{}=]+(?:\s*=\s*[^\s,{}]*)?)")
"""Of one milter in braces: commas or spaces separate, and what has spaces in it has braces of its own."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FIELDS = 8
"""Columns of master.cf before the arguments: name, type, private, unprivileged, chroot, wake-up, limit, command."""
_WELL_KNOWN = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}


class Milter(Struct, frozen=True, kw_only=True):
    """One milter in a list: an address, or ``{ address, name = value, ... }`` (Postfix 3.0)."""

    address: str
    settings: Mapping[str, str]


class Service(Struct, frozen=True, kw_only=True):
    """One line of master.cf with the parameters that it overrules."""

    name: str
    kind: str
    """``inet``, ``pass``, ``unix``, ..."""
    chrooted: bool
    command: str
    parameters: Mapping[str, str]
    """Every parameter as it counts for this service."""
    overrides: frozenset[str]
    """Which of them are set on the service itself."""

    @property
    def shown(self) -> str:
        """How master.cf names it."""
        return f"{self.name}/{self.kind}"

    @property
    def port(self) -> int | None:
        """The TCP port; that of SMTP for the service behind postscreen; ``None`` for others."""
        if self.kind == "pass":
            return _WELL_KNOWN["smtp"]
        name = self.name.rpartition(":")[2]
        if self.kind != "inet":
            return None
        if name.isdecimal():
            return int(name)
        try:
            return _WELL_KNOWN.get(name) or socket.getservbyname(name, "tcp")
        except OSError:
            return None

    def parameter(self, name: str) -> str:
        """Return a parameter as it counts for this service; empty when Postfix has none of the name."""
        return self.parameters.get(name, "")

    def where(self, parameter: str) -> str:
        """Return what stands before a parameter in a finding: the service, where it has its own.

        What main.cf says for several services is one finding then.
        """
        return f"{self.shown}: " if parameter in self.overrides else ""


class PostfixConfig(Struct, frozen=True, kw_only=True):
    """main.cf and master.cf, with ``$name`` expanded."""

    parameters: Mapping[str, str]
    services: tuple[Service, ...]

    def parameter(self, name: str) -> str:
        """Return a parameter of main.cf, or its default; empty when Postfix has none of the name."""
        return self.parameters.get(name, "")


def read_postfix(postconf: str, directory: Path | None) -> PostfixConfig:
    """Read the configuration.

    Args:
        postconf: the program.
        directory: that holds main.cf; Postfix's own unless given.

    Raises:
        PostconfFailed: postconf does not run, or refuses the configuration.
    """
    place = ["-c", str(directory)] if directory is not None else []
    parameters = dict(assignments(run_postconf(postconf, *place, "-x")))
    services = _services(run_postconf(postconf, *place, "-M"), run_postconf(postconf, *place, "-x", "-P"), parameters)
    return PostfixConfig(parameters=parameters, services=tuple(services))


def _services(lines: list[str], overrides: list[str], parameters: Mapping[str, str]) -> Iterator[Service]:
    own: dict[tuple[str, str], dict[str, str]] = {}
    for path, value in assignments(overrides):
        name, kind, parameter = [*path.rsplit("/", 2), "", ""][:3]
        own.setdefault((name, kind), {})[parameter] = value
    old = parameters.get("compatibility_level", "0").partition(".")[0] == "0"
    for line in lines:
        fields = line.split(None, _FIELDS)
        if len(fields) < _FIELDS:
            continue
        name, kind, chroot, command = fields[0], fields[1], fields[4], fields[7]
        mine = own.get((name, kind), {})
        yield Service(
            name=name,
            kind=kind,
            chrooted=chroot == "y" or (chroot == "-" and old),
            command=command,
            parameters={**parameters, **mine},
            overrides=frozenset(mine),
        )


def parse_milters(text: str) -> list[Milter]:
    """Return the milters of a list, in order (postconf(5), ``smtpd_milters``)."""
    milters = []
    for braced, plain in _MILTER.findall(text):
        parts = [(inner or part).strip() for inner, part in _PART.findall(braced)] if braced else [plain]
        address, *settings = parts or [""]
        pairs = (setting.partition("=") for setting in settings if "=" in setting)
        if address:
            milters.append(Milter(address=address, settings={name.strip(): value.strip() for name, _, value in pairs}))
    return milters


def position(milters: list[Milter], ours: SocketAddress, *, queue: str = "", chrooted: bool = False) -> int | None:
    """Return where our socket stands in a list, or ``None`` when it is not in it.

    Args:
        milters: the list.
        ours: where the daemon listens.
        queue: Postfix's queue directory, which relative and chrooted paths lie in.
        chrooted: whether the process that connects is.
    """
    return next((n for n, one in enumerate(milters) if is_ours(one, ours, queue=queue, chrooted=chrooted)), None)


def is_ours(milter: Milter, ours: SocketAddress, *, queue: str = "", chrooted: bool = False) -> bool:
    """Whether a milter of a list is the socket on which the daemon listens."""
    scheme, _, path = milter.address.partition(":")
    if scheme.lower() in {"unix", "local"}:
        if chrooted or not path.startswith("/"):
            path = f"{queue.rstrip('/')}/{path.lstrip('/')}"
        return ours.kind == "unix" and Path(path) == Path(ours.path)
    try:
        other = parse_socket(milter.address)
    except ValueError:
        return False
    if ours.kind == "unix" or other.port != ours.port:
        return False
    if other.host == ours.host or (ours.is_wildcard and other.host in _LOCAL):
        return True
    if other.host in _LOCAL and ours.host in _LOCAL:
        return True
    theirs = _addresses(other.host)
    return not theirs.isdisjoint(_own_addresses() if ours.is_wildcard else _addresses(ours.host))


def _own_addresses() -> frozenset[str]:
    return _addresses(socket.gethostname()) | _addresses(socket.getfqdn())


def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()


def seconds(text: str, unit: str = "s") -> float | None:
    """Return a time of main.cf (``30s``, ``5m``, ``300``) in seconds, or ``None`` when it is none."""
    match = re.fullmatch(r"([0-9]+)([smhdw]?)", text.strip())
    return float(match[1]) * _UNITS[match[2] or unit] if match else None


def macro_names(text: str) -> frozenset[str]:
    """Return the macros of a list such as ``milter_mail_macros``, without braces."""
    return frozenset(name.strip("{}") for name in text.replace(",", " ").split())
