"""Whether the other milters that Postfix asks answer: one that does not holds all mail up, whatever is decided here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.postfix_config import is_ours, parse_milters, read_postfix
from ldapmilter.mta.dial import IS_IT_RUNNING, dial
from ldapmilter.mta.stream import ConnectError
from ldapmilter.postfix.postconf import PostconfFailed, find_postconf
from ldapmilter.socket_address import SocketRefused, parse_socket

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.postfix_config import PostfixConfig
    from ldapmilter.config import Config

SILENT = Kind(
    code="postfix-other-milter-silent",
    severity=Severity.PROBLEM,
    area=Area.POSTFIX,
    meaning="Another milter that Postfix asks does not answer: all mail waits for it, or is refused, by its"
    " `default_action`.",
    remedy="start what should listen at $milter (Zimbra's own milter: zmmilterctl start), or take it out of the list",
)
KINDS = (SILENT,)

_SECONDS: Final = 3.0
_LISTS: Final = ("smtpd_milters", "non_smtpd_milters")


def check(config: Config, report: Report, *, directory: Path | None) -> None:
    """Connect to each milter but ours, and say nothing to it.

    Args:
        config: where the daemon listens.
        report: what to add to.
        directory: that holds main.cf; the one that ``[relay]`` names, or Postfix's own, unless given.
    """
    postconf = find_postconf()
    if postconf is None:
        return
    with contextlib.suppress(PostconfFailed):  # which is told of Postfix's configuration
        look(read_postfix(postconf, directory or config.relay.postfix_dir), config, report)


def look(postfix: PostfixConfig, config: Config, report: Report) -> None:
    """Do the same by a configuration that has been read."""
    lists: dict[str, list[str]] = {}
    queue = postfix.parameter("queue_directory").rstrip("/")
    for name in _LISTS:
        for one in parse_milters(postfix.parameter(name)):
            action = one.settings.get("default_action", postfix.parameter("milter_default_action"))
            ours = any(is_ours(one, config.milter.socket, queue=queue, chrooted=chroot) for chroot in (False, True))
            if action != "accept" and not ours:
                lists.setdefault(one.address, []).append(name)
    for address, names in lists.items():
        try:
            why = _why_silent(address, queue, ipv6=postfix.parameter("inet_protocols") != "ipv4")
        except PermissionError:
            report.not_looked_for.add(SILENT.code)
            continue
        if why is not None:
            report.add(SILENT.found(f"{' and '.join(dict.fromkeys(names))}: {why}", milter=address))


def _why_silent(address: str, queue: str, *, ipv6: bool) -> str | None:
    """Return why nothing answers, in words; ``None``: something does, or it cannot be looked for.

    Raises:
        PermissionError: this user may not connect.
    """
    kind, _, path = address.partition(":")
    spellings = [address]
    host, _, port = path.rpartition(":")
    if ipv6 and kind == "inet" and ":" not in host and any(map(str.isalpha, host)):
        spellings.append(f"inet6:{port}@{host}")  # Postfix tries all addresses of a name
    if kind in {"unix", "local"}:  # a chrooted process, and a relative path, look below the queue
        spellings = [*([address] if path.startswith("/") else []), f"unix:{queue}/{path.lstrip('/')}"]
    why = None
    for spelling in spellings:
        try:
            with dial(parse_socket(spelling), _SECONDS):
                return None
        except SocketRefused:
            return None
        except ConnectError as error:
            if isinstance(error.__cause__, PermissionError):
                raise error.__cause__ from None
            why = why or str(error).removesuffix(IS_IT_RUNNING)  # ours is not the one
    return why
