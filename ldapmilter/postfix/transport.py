"""Where Postfix sends the mail of one domain: transport(5) tables, asked as trivial-rewrite(8) asks them.

An unroutable recipient bounces at once, and a copy bounces to nobody. So it is asked before copies are handed over.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.postfix.postconf import PostconfFailed, failed, find_postconf, run_postconf, run_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ldapmilter.socket_address import SocketAddress

RouteState = Literal["routed", "not routed", "unknown"]

_INET = re.compile(r"(?:inet:)?(?:\[(?P<literal>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]+)\Z", re.IGNORECASE)
_NO_LMTP: Final = frozenset({"", "smtp", "relay", "error", "retry", "discard", "local", "virtual"})
"""Transports that Postfix comes with and that speak no LMTP; others are a site's own."""
_SUFFIXES: Final = ("", ".db", ".lmdb", ".cdb")
"""What postmap(1) adds to the name of a table's source."""
_LOCAL: Final = {"localhost": ("127.0.0.1", "::1")}


class Route(Struct, frozen=True):
    """Whether a domain is routed to a socket."""

    state: RouteState
    text: str
    """What was found, in words."""
    transport: str = ""
    """The service of master.cf that hands the mail over, where it is routed."""
    hop: str = ""
    """What that service is given: where to."""
    kept: bool = False
    """Whether a further table names the domain: Postfix does not bounce the mail without the first one."""
    files: tuple[Path, ...] = ()
    """What it was read from: the answer may be another one when one of these is."""


def ask_postfix(domain: str, listen: SocketAddress, directory: Path | None) -> Route:
    """Return whether the Postfix of this host hands the mail of a domain to a socket; takes seconds at most.

    Args:
        domain: lower-case ACE.
        listen: the socket.
        directory: that holds main.cf; Postfix's own unless given.
    """
    postconf = find_postconf()
    if postconf is None:
        return Route("unknown", "there is no postconf on this host")
    place = ("-c", str(directory)) if directory is not None else ()
    try:
        names = ("transport_maps", "queue_directory", "config_directory")
        maps, queue, main = [*run_postconf(postconf, *place, "-xh", *names), "", "", ""][:3]
    except PostconfFailed as error:
        return Route("unknown", str(error))
    postmap = str(Path(postconf).with_name("postmap"))
    found = route(domain, listen, tables(maps), queue, lambda table, keys: _postmap([postmap, *place], table, keys))
    return replace(found, files=(Path(main, "main.cf"), *(file for table in tables(maps) for file in files_of(table))))


def files_of(table: str) -> tuple[Path, ...]:
    """Return the files that a table ``TYPE:PATH`` may be kept in (DATABASE_README), whether they are there or not."""
    path = table.removeprefix("proxy:").partition(":")[2]
    return tuple(Path(f"{path}{suffix}") for suffix in _SUFFIXES) if path.startswith("/") else ()


def tables(value: str) -> list[str]:
    """Return the tables of ``transport_maps``: separated by commas and blanks, braces hold one together."""
    found, depth, begins = [], 0, None
    for place, letter in enumerate(f"{value},"):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth <= 0 and (letter.isspace() or letter == ","):
            if begins is not None:
                found.append(value[begins:place])
            begins = None
        elif begins is None:
            begins = place
    return found


def route(
    domain: str,
    listen: SocketAddress,
    maps: Sequence[str],
    queue: str,
    ask: Callable[[str, Sequence[str]], Mapping[str, str]],
) -> Route:
    """Return whether tables lead a domain to a socket.

    Postfix asks all tables for the whole address, then all for the domain, then for its parents. A table that this
    user may not read is passed over for the address: it holds users', and tokens are nobody's.

    Args:
        domain: lower-case ACE.
        listen: the socket.
        maps: the tables, in order.
        queue: ``queue_directory``, below which a chrooted client looks for unix sockets.
        ask: returns what a table holds for some keys; raises :class:`PostconfFailed`.
    """
    address, *others = keys = [f"{48 * '0'}@{domain}", domain, *_parents(domain), "*"]
    answers: list[tuple[str, Mapping[str, str] | PostconfFailed]] = []
    for table in maps:
        try:
            answers.append((table, ask(table, keys)))
        except PostconfFailed as error:
            answers.append((table, error))
    for table, found in answers:
        if not isinstance(found, PostconfFailed) and address in found:
            return _judged(domain, table, found[address], listen, queue)
    for key in others:
        for place, (table, found) in enumerate(answers):
            if isinstance(found, PostconfFailed):
                return Route("unknown", f"{table} cannot be read: {found}")
            if key in found:
                further = [one for _, one in answers[place + 1 :] if not isinstance(one, PostconfFailed)]
                judged = _judged(domain, table, found[key], listen, queue)
                return replace(judged, kept=any(domain in one for one in further))
    return Route("not routed", f"transport_maps = {', '.join(maps) or '(empty)'} has nothing for {domain}")


def _parents(domain: str) -> Iterator[str]:
    while domain := domain.partition(".")[2]:
        yield f".{domain}"


def _judged(domain: str, table: str, value: str, listen: SocketAddress, queue: str) -> Route:
    transport, _, hop = value.strip().partition(":")
    if transport not in _NO_LMTP and _leads_to(hop, listen, queue):
        return Route("routed", f"{table} sends {domain} to {value}", transport, hop)
    return Route("not routed", f"{table} sends {domain} to {value or '(nothing)'}, not to [relay] listen = {listen}")


def _leads_to(hop: str, listen: SocketAddress, queue: str) -> bool:
    if listen.kind == "unix":
        path = hop.removeprefix("unix:")
        return path != hop and listen.path in {path, f"{queue.rstrip('/')}/{path.lstrip('/')}"}
    found = _INET.match(hop)
    if found is None or int(found["port"]) != listen.port:
        return False
    host = (found["literal"] or found["host"]).lower().removeprefix("ipv6:")
    return bool({host, *_LOCAL.get(host, ())} & {listen.peer_host, *_LOCAL.get(listen.peer_host, ())})


def _postmap(postmap: Sequence[str], table: str, keys: Sequence[str]) -> Mapping[str, str]:
    """Ask one table by postmap(1), directly: proxymap(8) answers Postfix's own processes only.

    Raises:
        PostconfFailed: it could not be asked.
    """
    command = [*postmap, "-q", "-", table.removeprefix("proxy:")]
    done = run_tool(command, "".join(f"{key}\n" for key in keys))
    # It ends with 1, too, where there is no such key.
    if done.returncode not in {0, 1} or "fatal:" in done.stderr or "error:" in done.stderr:
        raise failed(command, " ".join(done.stderr.split()))
    return dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
